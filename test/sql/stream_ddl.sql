-- What the columns of a stream may be, who may make one, and what PostgreSQL
-- does with it.  No broker is needed.
SET client_min_messages = warning;
CREATE SCHEMA stream_ddl;
SET search_path = stream_ddl;

-- metadata columns have one type each
CREATE FOREIGN TABLE s (c int OPTIONS (metadata 'topic')) SERVER streamcount OPTIONS (topic 't');
CREATE FOREIGN TABLE s (c bigint OPTIONS (metadata 'partition')) SERVER streamcount OPTIONS (topic 't');
CREATE FOREIGN TABLE s (c int OPTIONS (metadata 'offset')) SERVER streamcount OPTIONS (topic 't');
CREATE FOREIGN TABLE s (c timestamp OPTIONS (metadata 'timestamp')) SERVER streamcount OPTIONS (topic 't');
CREATE FOREIGN TABLE s (c varchar OPTIONS (metadata 'key')) SERVER streamcount OPTIONS (topic 't');
CREATE FOREIGN TABLE s (c json OPTIONS (metadata 'headers')) SERVER streamcount OPTIONS (topic 't');
CREATE FOREIGN TABLE s (c text OPTIONS (metadata 'value')) SERVER streamcount OPTIONS (topic 't');

CREATE FOREIGN TABLE s (
	m_topic text OPTIONS (metadata 'topic'),
	m_partition int OPTIONS (metadata 'partition'),
	m_offset bigint OPTIONS (metadata 'offset'),
	m_timestamp timestamptz OPTIONS (metadata 'timestamp'),
	m_key bytea OPTIONS (metadata 'key'),
	m_key_text text OPTIONS (metadata 'key'),
	m_headers jsonb OPTIONS (metadata 'headers'),
	m_value bytea OPTIONS (metadata 'value'),
	word text NOT NULL,
	n int DEFAULT 7
) SERVER streamcount OPTIONS (topic 't');

-- the same on ALTER, by both spellings of it
ALTER FOREIGN TABLE s ALTER m_offset TYPE int;
ALTER TABLE s ALTER m_offset TYPE int;
ALTER FOREIGN TABLE s ALTER word OPTIONS (metadata 'offset');

-- times
ALTER FOREIGN TABLE s ADD c text OPTIONS (time_format 'epoch_s');
ALTER FOREIGN TABLE s ADD c date OPTIONS (time_zone 'Asia/Tokyo');

-- NOT NULL and on_error
ALTER FOREIGN TABLE s ALTER word OPTIONS (on_error 'null');
ALTER FOREIGN TABLE s ADD c int OPTIONS (on_error 'null') NOT NULL;

-- defaults and generated columns
ALTER FOREIGN TABLE s ALTER n SET DEFAULT random() * 10;
ALTER FOREIGN TABLE s ADD c timestamptz DEFAULT now();
ALTER FOREIGN TABLE s ADD c timestamptz DEFAULT '2014-09-21 00:00:00+00';
ALTER FOREIGN TABLE s ALTER m_topic SET DEFAULT 'x';
ALTER FOREIGN TABLE s ADD g int GENERATED ALWAYS AS (n + 1) STORED;

-- format text
CREATE FOREIGN TABLE x () SERVER streamcount OPTIONS (topic 't', format 'text');
CREATE FOREIGN TABLE x (a text, b text) SERVER streamcount OPTIONS (topic 't', format 'text');
CREATE FOREIGN TABLE x (a bigint OPTIONS (metadata 'offset'))
	SERVER streamcount OPTIONS (topic 't', format 'text');
CREATE FOREIGN TABLE x (a text OPTIONS (path 'a')) SERVER streamcount OPTIONS (topic 't', format 'text');
CREATE FOREIGN TABLE x (a text DEFAULT 'b') SERVER streamcount OPTIONS (topic 't', format 'text');
CREATE FOREIGN TABLE x (line text, at bigint OPTIONS (metadata 'offset'))
	SERVER streamcount OPTIONS (topic 't', format 'text');
ALTER FOREIGN TABLE x ADD b text;
ALTER FOREIGN TABLE x DROP line;
ALTER FOREIGN TABLE x OPTIONS (SET format 'json');

-- a dump sets options column by column, after the table
SET check_function_bodies = off;
CREATE FOREIGN TABLE restored (line text, at bigint, part int)
	SERVER streamcount OPTIONS (topic 't', format 'text');
ALTER FOREIGN TABLE ONLY restored ALTER at OPTIONS (metadata 'offset');
ALTER FOREIGN TABLE ONLY restored ALTER part OPTIONS (metadata 'partition');
RESET check_function_bodies;
ALTER FOREIGN TABLE restored RENAME line TO text;
CREATE FOREIGN TABLE IF NOT EXISTS restored (a int) SERVER streamcount OPTIONS (topic 't');

-- nothing is written to a stream
INSERT INTO s (word) VALUES ('x');
UPDATE s SET word = 'x';
DELETE FROM s;
IMPORT FOREIGN SCHEMA public FROM SERVER streamcount INTO stream_ddl;

-- plans: serial, whatever else the query reads
EXPLAIN (COSTS OFF) SELECT word FROM s WHERE n > 3;
CREATE TABLE big AS SELECT g AS i FROM generate_series(1, 20000) g;
ANALYZE big;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT count(*) FROM big;
EXPLAIN (COSTS OFF) SELECT count(*) FROM big, s WHERE big.i = s.n;
EXPLAIN (COSTS OFF) SELECT count(*) FROM s, big WHERE big.i = s.n;
EXPLAIN (VERBOSE, COSTS OFF) SELECT ctid, tableoid::regclass, word FROM s;

-- who may: USAGE on the server, then the table's own privileges
CREATE ROLE regress_stream_user;
GRANT CREATE, USAGE ON SCHEMA stream_ddl TO regress_stream_user;
SET ROLE regress_stream_user;
CREATE FOREIGN TABLE mine (t text) SERVER streamcount OPTIONS (topic 't');
SELECT * FROM s;
CREATE SERVER other FOREIGN DATA WRAPPER streamcount OPTIONS ("bootstrap.servers" 'h:1');
SELECT streamcount.fdw_validator('{}', 0);
SELECT streamcount.fdw_handler();
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER streamcount TO regress_stream_user;
SET ROLE regress_stream_user;
CREATE FOREIGN TABLE mine (t text) SERVER streamcount OPTIONS (topic 't');
RESET ROLE;
SELECT streamcount.check_streams();

-- other foreign data wrappers are none of its business
CREATE FOREIGN DATA WRAPPER regress_other;
CREATE SERVER regress_other FOREIGN DATA WRAPPER regress_other OPTIONS (a 'b');
CREATE FOREIGN TABLE other (a int OPTIONS (c 'd'), b int DEFAULT random()) SERVER regress_other;
CREATE USER MAPPING FOR PUBLIC SERVER regress_other OPTIONS (e 'f');
DROP FOREIGN DATA WRAPPER regress_other CASCADE;

DROP SCHEMA stream_ddl CASCADE;
REVOKE ALL ON FOREIGN SERVER streamcount FROM regress_stream_user;
DROP ROLE regress_stream_user;

-- every setting
SELECT name, setting, unit, context, vartype, min_val, max_val, short_desc
	FROM pg_settings WHERE name LIKE 'streamcount.%' AND context <> 'postmaster' ORDER BY name;
SET streamcount.nonsense = 1;
