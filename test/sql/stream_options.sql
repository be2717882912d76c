-- Every option of a stream, its columns, servers and user mappings: the good
-- values, and what is said of the bad ones.  No broker is needed.
\set VERBOSITY default
SET client_min_messages = warning;
CREATE SCHEMA stream_options;
SET search_path = stream_options;

-- table options
CREATE FOREIGN TABLE s (t text) SERVER streamcount;
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topik 't');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic '');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 'a b');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic '..');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', format 'xml');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', format 'JSON');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', on_error 'ignore');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', on_gap 'reject');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', reject_limit '-1');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', reject_limit 'many');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', reject_limit '');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start 'newest');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start 'yesterday');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start 'infinity');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start '{"0": -5}');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start '{"0": 1.5}');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start '{"a": 5}');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start '{"0": [1]}');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start '{"3000000000": 1}');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start '{"0": 99999999999999999999}');
CREATE FOREIGN TABLE s (t text) SERVER streamcount OPTIONS (topic 't', start '{"0": 1');

CREATE FOREIGN TABLE s (t text) SERVER streamcount
	OPTIONS (topic 'a.b_c-9', format 'json', start 'earliest', on_error 'reject',
			 reject_limit '0', on_gap 'halt');
ALTER FOREIGN TABLE s OPTIONS (SET on_error 'halt', SET on_gap 'skip', SET reject_limit '2147483647');
ALTER FOREIGN TABLE s OPTIONS (SET start 'latest');
ALTER FOREIGN TABLE s OPTIONS (SET start '2014-09-21 13:05:00+02');
ALTER FOREIGN TABLE s OPTIONS (SET start '2014-09-21');
ALTER FOREIGN TABLE s OPTIONS (SET start '{"0": 17, "12": 9223372036854775807}');
ALTER FOREIGN TABLE s OPTIONS (SET start '{}');
ALTER FOREIGN TABLE s OPTIONS (SET start '{"0": 17, "12": "x"}');
ALTER FOREIGN TABLE s OPTIONS (DROP topic);
ALTER FOREIGN TABLE s OPTIONS (DROP start, DROP on_error);
SELECT ftoptions FROM pg_foreign_table WHERE ftrelid = 's'::regclass;

-- column options
ALTER FOREIGN TABLE s ADD c text OPTIONS (pfad 'a');
ALTER FOREIGN TABLE s ADD c text OPTIONS (path '.a');
ALTER FOREIGN TABLE s ADD c text OPTIONS (path 'a..b');
ALTER FOREIGN TABLE s ADD c text OPTIONS (path 'a.');
ALTER FOREIGN TABLE s ADD c text OPTIONS (path '{a');
ALTER FOREIGN TABLE s ADD c text OPTIONS (path '{a,NULL}');
ALTER FOREIGN TABLE s ADD c text OPTIONS (path '{{a,b},{c,d}}');
ALTER FOREIGN TABLE s ADD c text OPTIONS (metadata 'time');
ALTER FOREIGN TABLE s ADD c text OPTIONS (metadata 'topic', path 'a');
ALTER FOREIGN TABLE s ADD c timestamptz OPTIONS (metadata 'timestamp', time_format 'epoch_s');
ALTER FOREIGN TABLE s ADD c timestamptz OPTIONS (metadata 'timestamp', time_zone 'UTC');
ALTER FOREIGN TABLE s ADD c timestamptz OPTIONS (time_format 'rfc3339');
ALTER FOREIGN TABLE s ADD c timestamptz OPTIONS (time_zone 'Mars/Olympus');
ALTER FOREIGN TABLE s ADD c timestamptz OPTIONS (on_error 'halt');

ALTER FOREIGN TABLE s
	ADD c1 text OPTIONS (path 'user.screen_name'),
	ADD c2 text OPTIONS (path '{http,service.name}'),
	ADD c3 jsonb OPTIONS (path ''),
	ADD c4 text OPTIONS (path '{""}'),
	ADD c5 timestamptz OPTIONS (time_format 'iso8601', time_zone 'Europe/Berlin'),
	ADD c6 timestamptz OPTIONS (time_format 'epoch_s'),
	ADD c7 timestamp OPTIONS (time_format 'epoch_ms', on_error 'null'),
	ADD c8 timestamptz OPTIONS (time_format 'twitter');
SELECT attname, attfdwoptions FROM pg_attribute
	WHERE attrelid = 's'::regclass AND attnum > 0 ORDER BY attnum;

-- servers
CREATE SERVER w FOREIGN DATA WRAPPER streamcount;
\set VERBOSITY terse
CREATE SERVER w FOREIGN DATA WRAPPER streamcount OPTIONS (host 'x');
CREATE SERVER w FOREIGN DATA WRAPPER streamcount OPTIONS ("plugin.library.paths" 'x');
CREATE SERVER w FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092', "auto.offset.reset" 'latest');
CREATE SERVER w FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092', "security.protocol" 'carrier pigeon');
\set VERBOSITY default
CREATE SERVER w FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092', "sasl.password" 'secret');
CREATE SERVER w FOREIGN DATA WRAPPER streamcount OPTIONS ("security.protocol" 'plaintext');
CREATE SERVER w FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092,i:9092', "security.protocol" 'plaintext');
ALTER SERVER w OPTIONS (DROP "bootstrap.servers");
ALTER SERVER w OPTIONS (SET "bootstrap.servers" 'j:9092');
ALTER SERVER w OPTIONS (ADD "ssl.ca.location" '/nowhere/ca.pem');
ALTER FOREIGN DATA WRAPPER streamcount OPTIONS (ADD anything 'x');
CREATE SERVER v FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092', "security.protocol" 'sasl_plaintext', "sasl.mechanism" 'PLAIN');
CREATE SERVER v FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092', "security.protocol" 'sasl_ssl', "sasl.mechanism" 'GSSAPI');

-- K17: limits that do not go together, by librdkafka's own rules, before any worker starts
SHOW streamcount.fetch_mem;
CREATE SERVER u FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092', "receive.message.max.bytes" '16777727');
CREATE SERVER u FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092', "receive.message.max.bytes" '16777728');
ALTER SERVER u OPTIONS (ADD "fetch.max.bytes" '16777217');
ALTER SERVER u OPTIONS (ADD "fetch.max.bytes" '999999');
ALTER SERVER u OPTIONS (ADD "fetch.max.bytes" '2000000', SET "receive.message.max.bytes" '2000511');
ALTER SERVER u OPTIONS (ADD "fetch.max.bytes" '2000000', SET "receive.message.max.bytes" '2000512');
ALTER SERVER u OPTIONS (DROP "fetch.max.bytes");
ALTER SERVER u OPTIONS (DROP "receive.message.max.bytes");
DROP SERVER u;

-- user mappings
\set VERBOSITY terse
CREATE USER MAPPING FOR PUBLIC SERVER w OPTIONS ("user" 'x');
CREATE USER MAPPING FOR PUBLIC SERVER w OPTIONS ("bootstrap.servers" 'h:9092');
\set VERBOSITY default
CREATE USER MAPPING FOR PUBLIC SERVER w OPTIONS ("sasl.username" 'u', "sasl.password" 'p');
ALTER USER MAPPING FOR PUBLIC SERVER w OPTIONS (SET "sasl.password" 'q');
DROP USER MAPPING FOR PUBLIC SERVER w;

-- the server of the extension takes none of it
ALTER SERVER streamcount OPTIONS (ADD "bootstrap.servers" 'h:9092');
CREATE USER MAPPING FOR PUBLIC SERVER streamcount OPTIONS ("sasl.username" 'u');
CREATE USER MAPPING FOR PUBLIC SERVER streamcount;
DROP USER MAPPING FOR PUBLIC SERVER streamcount;

-- files are read with the server's own rights
CREATE ROLE regress_stream_user;
GRANT USAGE ON FOREIGN DATA WRAPPER streamcount TO regress_stream_user;
GRANT CREATE, USAGE ON SCHEMA stream_options TO regress_stream_user;
SET ROLE regress_stream_user;
CREATE SERVER v FOREIGN DATA WRAPPER streamcount
	OPTIONS ("bootstrap.servers" 'h:9092', "ssl.ca.location" '/etc/passwd');
CREATE SERVER v FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" 'h:9092');
ALTER SERVER v OPTIONS (ADD "ssl.key.location" '/etc/shadow');
\set VERBOSITY terse
CREATE USER MAPPING FOR regress_stream_user SERVER v OPTIONS ("ssl.key.location" '/etc/shadow');
\set VERBOSITY default
RESET ROLE;

DROP SCHEMA stream_options CASCADE;
DROP SERVER v;
DROP SERVER w;
REVOKE ALL ON FOREIGN DATA WRAPPER streamcount FROM regress_stream_user;
DROP ROLE regress_stream_user;
