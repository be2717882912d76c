-- What create_rollup() makes, and what it refuses.  No broker is needed.
SET client_min_messages = error;
CREATE FOREIGN TABLE tweets (
	id bigint, text text, created_at timestamptz, n int, x float8, amount numeric,
	flag boolean, doc jsonb, raw json, who text COLLATE "POSIX"
) SERVER streamcount OPTIONS (topic 'tweets');
CREATE FOREIGN TABLE other (id bigint, text text) SERVER streamcount OPTIONS (topic 'other');
CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE FOREIGN TABLE parent (n int) SERVER streamcount OPTIONS (topic 'parent');
CREATE TABLE child () INHERITS (parent);
CREATE TABLE guarded (id bigint, secret text);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SET client_min_messages = notice;
\set VERBOSITY default

-- the three objects
SELECT streamcount.create_rollup('hashtags', $$
	SELECT hashtag, w.interval, count(*) AS mentions
	FROM tweets,
		streamcount.hashtags(text) AS hashtag,
		streamcount.windows(created_at, '{day,ALL}') AS w
	GROUP BY hashtag, w.interval $$);
-- \d+ tells more, but not alike from 15 to 18
\d hashtags
\d hashtags_data
SELECT reloptions, relreplident FROM pg_class WHERE oid = 'hashtags_data'::regclass;
SELECT * FROM hashtags;

-- the view computes what the table keeps apart
SET client_min_messages = error;
SELECT streamcount.create_rollup('stats', $$
	SELECT upper(who) AS shouted, who, count(*), sum(n) + 1 AS more, avg(n), avg(x) AS mean,
		avg(amount)::numeric(10,2) AS rounded, min(text), max(created_at), bool_or(flag),
		count(*) FILTER (WHERE n > 3) AS big, sum(n) FILTER (WHERE flag) / count(*) AS share
	FROM tweets GROUP BY who $$);
-- 16 and later leave out d., which nothing needs
SELECT regexp_replace(pg_get_viewdef('stats', true), '\md\.', '', 'g') AS definition;
SELECT attname, format_type(atttypid, atttypmod), collname FROM pg_attribute a
	LEFT JOIN pg_collation c ON c.oid = attcollation
	WHERE attrelid = 'stats_data'::regclass AND attnum > 0 ORDER BY attnum;

-- a hidden key, a key that is written twice, a key that is an expression, and no aggregate
SELECT streamcount.create_rollup('hidden', 'SELECT count(*) AS c FROM tweets GROUP BY n, n % 2, n');
SELECT regexp_replace(pg_get_viewdef('hidden', true), '\md\.', '', 'g') AS definition;
SELECT attname FROM pg_attribute WHERE attrelid = 'hidden_data'::regclass AND attnum > 0 ORDER BY attnum;
SELECT streamcount.create_rollup('keys', 'SELECT DATE_TRUNC(''day'', created_at, ''UTC'') AS d, doc -> ''a'' AS a FROM tweets GROUP BY 1, 2');

-- through views and subqueries; a table beside the stream
CREATE VIEW tweets_view AS SELECT id, lower(text) AS text, n FROM tweets WHERE n > 0;
SELECT streamcount.create_rollup('through', $$
	SELECT s.text, u.name, count(*) FROM (SELECT text, id FROM tweets_view WHERE n < 10) s
	LEFT JOIN users u ON u.id = s.id GROUP BY s.text, u.name $$);
SELECT streamcount.create_rollup('between', $$
	SELECT s.text, u.name, v.name AS other, count(*)
	FROM users u RIGHT JOIN (SELECT text, id FROM (SELECT * FROM tweets) t) s USING (id)
		LEFT JOIN (users v LEFT JOIN guarded g USING (id)) USING (id)
	GROUP BY s.text, u.name, v.name $$);
DROP VIEW between;
SET client_min_messages = notice;
SELECT streamcount.create_rollup('joined', $$
	SELECT u.name, count(*) FROM tweets t JOIN users u USING (id) GROUP BY u.name $$);

-- names: a taken companion gets a number, a taken name is an error, a schema is followed
CREATE TABLE again_data (a int);
CREATE SCHEMA "Other Schema";
SET client_min_messages = error;
SELECT streamcount.create_rollup('again', 'SELECT n, count(*) FROM tweets GROUP BY n');
SELECT query, data FROM streamcount.rollups WHERE rollup = 'again'::regclass;
SELECT streamcount.create_rollup('again', 'SELECT n, count(*) FROM tweets GROUP BY n');
SELECT streamcount.create_rollup('"Other Schema"."My Rollup"', 'SELECT n AS "N N", count(*) FROM tweets GROUP BY n');
SELECT rollup, query, data FROM streamcount.rollups WHERE rollup::text LIKE '%My%';
SELECT streamcount.create_rollup('pg_temp.t', 'SELECT n, count(*) FROM tweets GROUP BY n');
SELECT streamcount.create_rollup('', 'SELECT n, count(*) FROM tweets GROUP BY n');
SELECT streamcount.create_rollup(NULL, 'SELECT n, count(*) FROM tweets GROUP BY n');
SET client_min_messages = warning;

-- what is missing to keep it up to date
SELECT streamcount.create_rollup('warned', 'SELECT n, count(*) FROM tweets GROUP BY n');
SET client_min_messages = error;

-- it is transactional
BEGIN;
SELECT streamcount.create_rollup('undone', 'SELECT n, count(*) FROM tweets GROUP BY n');
ROLLBACK;
SELECT count(*) FROM pg_class WHERE relname LIKE 'undone%';
SELECT count(*) FROM streamcount.rollup_catalog WHERE rollup::text LIKE 'undone%';

-- refused, each by its own message
CREATE FUNCTION pg_temp.try(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text; h text;
BEGIN
	PERFORM streamcount.drop_rollup(streamcount.create_rollup('refused', query));
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
	RETURN concat(SQLSTATE, ' ', m, E'\n  detail: ' || nullif(d, ''), E'\n  hint: ' || nullif(h, ''));
END $$;
\pset format unaligned
\pset tuples_only on
SELECT pg_temp.try(q) FROM unnest(ARRAY[
	'SELECT n, count(*) FROM tweets GROUP BY n; SELECT 1',
	'DELETE FROM users',
	'SELECT n, count(*) INTO x FROM tweets GROUP BY n',
	'SELECT count(*) FROM tweets',
	'SELECT n FROM tweets',
	'SELECT DISTINCT n, count(*) FROM tweets GROUP BY n',
	'SELECT n, count(*) FROM tweets GROUP BY n HAVING count(*) > 1',
	'SELECT n, count(*) FROM tweets GROUP BY n ORDER BY 1',
	'SELECT n, count(*) FROM tweets GROUP BY n LIMIT 3',
	'SELECT n, count(*), sum(count(*)) OVER () FROM tweets GROUP BY n',
	'SELECT n, count(*) FROM tweets GROUP BY n UNION ALL SELECT 1, 2',
	'SELECT n, flag, count(*) FROM tweets GROUP BY ROLLUP (n, flag)',
	'SELECT n, count(*), (SELECT max(id) FROM users) AS m FROM tweets GROUP BY n',
	'SELECT streamcount.hashtags(text) AS h, count(*) FROM tweets GROUP BY 1',
	'SELECT n, count(DISTINCT text) FROM tweets GROUP BY n',
	'SELECT n, array_agg(text ORDER BY id) FROM tweets GROUP BY n',
	'SELECT n, string_agg(text, '','') FROM tweets GROUP BY n',
	'SELECT n, percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM tweets GROUP BY n',
	'SELECT n, stddev(x) FROM tweets GROUP BY n',
	'SELECT raw::json AS j, count(*) FROM tweets GROUP BY raw',
	'SELECT ROW(n, text) AS r, count(*) FROM tweets GROUP BY 1',
	'SELECT point(x, x)::text AS p, count(*) FROM tweets WHERE random() < 0.5 GROUP BY 1',
	'SELECT n, count(*) FROM tweets WHERE created_at > now() - interval ''1 day'' GROUP BY n',
	'SELECT n, count(*) FROM tweets WHERE created_at > CURRENT_TIMESTAMP GROUP BY n',
	'SELECT n, count(*) FROM tweets WHERE who = current_user GROUP BY n',
	'SELECT n, count(*) FROM tweets WHERE created_at > clock_timestamp() GROUP BY n',
	'SELECT name, count(*) FROM users GROUP BY name',
	'SELECT t.n, count(*) FROM tweets t, other o WHERE o.id = t.id GROUP BY t.n',
	'SELECT t.n, count(*) FROM tweets t, tweets u WHERE u.id = t.id GROUP BY t.n',
	'SELECT name, count(*) FROM users WHERE id IN (SELECT id FROM tweets) GROUP BY name',
	'SELECT u.name, count(*) FROM users u LEFT JOIN tweets t ON t.id = u.id GROUP BY u.name',
	'SELECT u.name, count(*) FROM tweets t FULL JOIN users u ON t.id = u.id GROUP BY u.name',
	'SELECT c, count(*) FROM (SELECT n, count(*) AS c FROM tweets GROUP BY n) s GROUP BY c',
	'SELECT n, count(*) FROM (SELECT n FROM tweets LIMIT 10) s GROUP BY n',
	'WITH t AS (SELECT n FROM tweets) SELECT n, count(*) FROM t GROUP BY n',
	'SELECT interval, count(*) FROM hashtags GROUP BY interval',
	'SELECT u.name, u.id, count(*) FROM tweets t JOIN users u USING (id) GROUP BY u.id',
	'SELECT hashtag, count(*) FROM tweets, streamcount.hashtags(text) hashtag, streamcount.windows(created_at, ''{day,ALL}'') w GROUP BY hashtag',
	'SELECT hashtag, count(*) FROM tweets, streamcount.hashtags(text) hashtag, streamcount.windows(created_at, ''{day}'') w GROUP BY hashtag, window_start',
	'SELECT n, GROUPING(n), count(*) FROM tweets GROUP BY n',
	'SELECT pg_backend_pid() AS p, count(*) FROM tweets GROUP BY 1',
	'SELECT ctid::text AS c, count(*) FROM tweets GROUP BY 1',
	'SELECT j.n, count(*) FROM (tweets JOIN users USING (id)) AS j GROUP BY j.n',
	'SELECT n, count(*) FROM parent GROUP BY n',
	'SELECT n, count(*) FROM nothing GROUP BY n',
	'SELECT n, count(* FROM tweets',
	''
]) AS q;
\pset format aligned
\pset tuples_only off

-- a bad start is told at once
SELECT streamcount.create_rollup('r', 'SELECT n, count(*) FROM tweets GROUP BY n', start => 'yesterday-ish');

-- what the owner may not read is told at once, not at the first message
CREATE VIEW names AS SELECT id, name FROM users;
CREATE ROLE regress_streamcount_owner;
GRANT CREATE ON SCHEMA public TO regress_streamcount_owner;
GRANT EXECUTE ON FUNCTION streamcount.create_rollup TO regress_streamcount_owner;
GRANT SELECT ON guarded TO regress_streamcount_owner;
SET ROLE regress_streamcount_owner;
SELECT streamcount.create_rollup('theirs', 'SELECT n, count(*) FROM tweets GROUP BY n');
RESET ROLE;
GRANT SELECT ON tweets TO regress_streamcount_owner;
SET ROLE regress_streamcount_owner;
SELECT streamcount.create_rollup('theirs', 'SELECT name, count(*) FROM tweets LEFT JOIN names USING (id) GROUP BY name');
SELECT streamcount.create_rollup('theirs', 'SELECT secret, count(*) FROM tweets LEFT JOIN guarded USING (id) GROUP BY secret');
SELECT streamcount.create_rollup('theirs', 'SELECT n, count(*) FROM tweets GROUP BY n');
SELECT rollup, owner FROM streamcount.rollups;
SELECT streamcount.pause('hashtags');
RESET ROLE;
SELECT streamcount.drop_rollup('theirs');
DROP OWNED BY regress_streamcount_owner;
DROP ROLE regress_streamcount_owner;

-- aggregates of others join by their merge
CREATE FUNCTION longer(text, text) RETURNS text LANGUAGE sql IMMUTABLE
	AS 'SELECT CASE WHEN length($1) >= length($2) THEN $1 ELSE $2 END';
CREATE AGGREGATE longest(text) (SFUNC = longer, STYPE = text);
INSERT INTO streamcount.merges VALUES ('public.longest(text)', 'public.nothing(text,text)');
INSERT INTO streamcount.merges VALUES ('public.longer(text,text)', 'public.longer(text,text)');
INSERT INTO streamcount.merges VALUES ('public.longest(text)', 'pg_catalog.int4pl(integer,integer)');
INSERT INTO streamcount.merges VALUES ('public.longest(text)', 'public.longer(text,text)');
INSERT INTO streamcount.merges (aggregate) VALUES ('public.longest(text)');
INSERT INTO streamcount.merges (merge) VALUES ('public.longer(text,text)');
SELECT streamcount.create_rollup('longests', 'SELECT n, longest(text) FROM tweets GROUP BY n');

-- nobody writes to a rollup, nor puts another query in its place
INSERT INTO hashtags VALUES ('#x', 'ALL', 1);
CREATE OR REPLACE VIEW hashtags_query AS SELECT '#x'::text AS hashtag, 'ALL'::text COLLATE "C" AS interval, 1::bigint AS mentions;

CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO hashtags_query DO INSTEAD
	SELECT '#x'::text COLLATE "default" AS hashtag, 'ALL'::text COLLATE "C" AS interval, 1::bigint AS mentions;

-- a view below the query may be replaced: what reads it halts, and goes on when told
SET client_min_messages = notice;
CREATE OR REPLACE VIEW tweets_view AS SELECT id, lower(text) AS text, n FROM tweets WHERE n > 1;
SET client_min_messages = error;
SELECT rollup, state, reason FROM streamcount.rollups WHERE state = 'halted';
SELECT streamcount.resume('through');
SELECT rollup, state, reason FROM streamcount.rollups WHERE state = 'halted';

-- pause and resume
SELECT streamcount.pause('hashtags');
SELECT state, reason FROM streamcount.rollups WHERE rollup = 'hashtags'::regclass;
SELECT streamcount.resume('hashtags');
SELECT state, reason FROM streamcount.rollups WHERE rollup = 'hashtags'::regclass;
SELECT streamcount.pause('tweets');
SELECT count(*) FILTER (WHERE state = 'paused') = count(*) FROM streamcount.rollups;
SELECT streamcount.resume('tweets');
SELECT streamcount.pause('users');
SELECT streamcount.wait('users');
SELECT streamcount.wait('hashtags');
SELECT streamcount.skip_to('hashtags', 0, 10);
SELECT streamcount.skip_to('hashtags', -1, 10);
SELECT rollup, state, statement FROM streamcount.problems WHERE rollup = 'hashtags'::regclass;

-- dropping: by the function, by the view, by what it stands on
SELECT streamcount.drop_rollup('hidden');
SELECT streamcount.drop_rollup('tweets');
DROP VIEW keys;
DROP VIEW keys_query;
DROP TABLE stats_data;
DROP TABLE stats_data CASCADE;
SELECT relname FROM pg_class WHERE relname ~ '^(hidden|keys|stats)' AND relkind IN ('r', 'v') ORDER BY 1;
SELECT count(*) FROM streamcount.rollup_progress p
	WHERE NOT EXISTS (SELECT FROM streamcount.rollup_catalog c WHERE c.rollup = p.rollup);

-- renames are harmless
ALTER VIEW hashtags RENAME TO tags;
ALTER TABLE hashtags_data RENAME TO tags_table;
ALTER VIEW tags SET SCHEMA "Other Schema";
ALTER FOREIGN TABLE tweets RENAME TO statuses;
SELECT rollup, data, stream FROM streamcount.rollups WHERE rollup::text LIKE '%tags%';
ALTER FOREIGN TABLE statuses RENAME TO tweets;

-- a stream that is dropped ends its rollups; the counts stay
SET client_min_messages = notice;
DROP FOREIGN TABLE tweets;
SET client_min_messages = error;
DROP FOREIGN TABLE tweets CASCADE;
SELECT count(*) FROM streamcount.rollups;
SELECT * FROM "Other Schema".tags;
