-- Which way a rollup takes, and which part of its query asks for the executor.
-- No broker is needed.
SET client_min_messages = error;
CREATE SCHEMA which_way;
SET search_path = which_way, public;
CREATE FOREIGN TABLE tweets (
	id bigint, text text, who varchar(20), created_at timestamptz, local timestamp, day date,
	n int, small smallint, x float8, f real, amount numeric, price numeric(8,2), flag boolean, doc jsonb,
	uid uuid, span interval, raw json, codes int[], padded char(3), posix text COLLATE "POSIX",
	part int OPTIONS (metadata 'partition'), pos bigint OPTIONS (metadata 'offset'),
	sent timestamptz OPTIONS (metadata 'timestamp'), topic text OPTIONS (metadata 'topic'),
	key text OPTIONS (metadata 'key'), bytes bytea OPTIONS (metadata 'key'),
	head jsonb OPTIONS (metadata 'headers'), whole jsonb OPTIONS (path ''),
	epoch timestamptz OPTIONS (time_format 'epoch_ms'), twitter timestamptz OPTIONS (time_format 'twitter'),
	zoned timestamptz OPTIONS (time_zone 'America/New_York'), lenient int OPTIONS (on_error 'null'),
	filled text DEFAULT 'none', needed int NOT NULL
) SERVER streamcount OPTIONS (topic 'tweets');
CREATE FOREIGN TABLE lines (line text) SERVER streamcount OPTIONS (topic 'lines', format 'text');
CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE VIEW shown AS SELECT upper(text) AS text, n FROM tweets WHERE n > 0;
CREATE FUNCTION own(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE FUNCTION inlined(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE DOMAIN percent AS int CHECK (VALUE BETWEEN 0 AND 100);
CREATE TYPE mood AS ENUM ('sad', 'ok');

-- The way and why of each query, and what streamcount.way = 'tally' says of it
CREATE FUNCTION pg_temp.try(query text, OUT way text, OUT why text, OUT forced text)
LANGUAGE plpgsql AS $$
DECLARE
	made regclass;
BEGIN
	SET LOCAL streamcount.way = 'auto';
	made := streamcount.create_rollup('made', query);
	SELECT r.way, r.why INTO way, why FROM streamcount.rollups r WHERE r.rollup = made;
	PERFORM streamcount.drop_rollup(made);
	SET LOCAL streamcount.way = 'tally';
	BEGIN
		made := streamcount.create_rollup('made', query);
		forced := 'made';
		PERFORM streamcount.drop_rollup(made);
	EXCEPTION WHEN feature_not_supported THEN
		forced := sqlerrm;
	END;
END $$;
CREATE FUNCTION pg_temp.ways(queries text[], OUT query text, OUT way text, OUT why text, OUT forced text)
RETURNS SETOF record LANGUAGE sql AS
	'SELECT q, (pg_temp.try(q)).* FROM unnest(queries) WITH ORDINALITY AS u(q, i) ORDER BY i';
\pset format unaligned
\x on

-- a tally
SELECT query, way, why, forced FROM pg_temp.ways(ARRAY[
	$$SELECT hashtag, w.interval, count(*) FROM tweets, streamcount.hashtags(text) AS hashtag,
		streamcount.windows(created_at, '{minute,day,ALL}') AS w GROUP BY hashtag, w.interval$$,
	$$SELECT n, count(*) FROM tweets GROUP BY n$$,
	$$SELECT 'ALL'::text AS k, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT upper(left(who, 3)) || '!' AS k, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT CASE WHEN n % 7 = 0 THEN 'seventh' END AS k, count(*) FROM tweets WHERE flag OR n > 3 GROUP BY 1$$,
	$$SELECT text, who, n, small, x, f, amount, price, flag, day, local, created_at, doc, count(*)
		FROM tweets GROUP BY text, who, n, small, x, f, amount, price, flag, day, local, created_at, doc$$,
	$$SELECT n, count(x), sum(small) AS a, sum(n) AS b, sum(id) AS c, sum(f) AS d, sum(x) AS e, sum(amount) AS f, avg(small) AS g,
		avg(n) AS h, avg(id) AS i, avg(f) AS j, avg(x) AS k, avg(price) AS l FROM tweets GROUP BY n$$,
	$$SELECT n, min(text) AS a, max(who) AS b, min(n) AS c, max(id) AS d, min(f) AS e, max(x) AS f, min(amount) AS g, max(day) AS h,
		min(local) AS i, max(created_at) AS j FROM tweets GROUP BY n$$,
	$$SELECT n, count(*) FILTER (WHERE flag), sum(n * 2) FILTER (WHERE who LIKE 'a%'), round(avg(n), 2), max(n) - min(n) AS span
		FROM tweets GROUP BY n$$,
	$$SELECT topic, part, key, max(pos), min(sent) FROM tweets GROUP BY topic, part, key$$,
	$$SELECT posix, bytes, min(posix) AS least, count(*) FROM tweets GROUP BY posix, bytes$$,
	$$SELECT inlined(n) AS i, sum(inlined(n)) FROM tweets GROUP BY 1$$,
	$$SELECT whole -> 'a' AS a, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT w.interval, count(*) FROM tweets, streamcount.windows(created_at, '{day}', 'EST5EDT') AS w GROUP BY 1$$,
	$$SELECT m, count(*) FROM tweets, streamcount.mentions(lower(text)) AS m WHERE m <> '@me' GROUP BY m$$,
	$$SELECT length(c) AS l, count(*) FROM tweets, streamcount.cashtags(text) AS c GROUP BY 1$$,
	$$SELECT n, count(u), min(u) FROM tweets, streamcount.urls(text) AS u GROUP BY n$$,
	$$SELECT w, count(*) FROM lines, streamcount.words(line) AS w GROUP BY w$$,
	$$SELECT window_start, window_end, count(*) FROM tweets, streamcount.windows(sent, '{15 minutes}', 'Asia/Kolkata') GROUP BY 1, 2$$,
	$$SELECT granularity, window_start, count(*) FROM tweets, streamcount.windows(epoch, '{hour,week,month}') GROUP BY 1, 2$$,
	$$SELECT n, count(*) FROM tweets, streamcount.windows(twitter, ARRAY['da' || 'y']) AS w GROUP BY n, w.interval$$,
	$$SELECT lenient, filled, needed, zoned, count(*) FROM tweets GROUP BY lenient, filled, needed, zoned$$,
	$$SELECT doc ->> 'lang' AS lang, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT n FROM tweets GROUP BY n$$]);

-- the executor, for what stands in FROM
SELECT query, way, why, forced FROM pg_temp.ways(ARRAY[
	$$SELECT a, b, count(*) FROM tweets, streamcount.hashtags(text) AS a, streamcount.mentions(text) AS b GROUP BY a, b$$,
	$$SELECT a, b, count(*) FROM tweets, streamcount.hashtags(text) AS a, streamcount.words(a) AS b GROUP BY a, b$$,
	$$SELECT a.interval, b.window_start, count(*) FROM tweets, streamcount.windows(created_at, '{day}') AS a,
		streamcount.windows(sent, '{day}') AS b GROUP BY 1, 2$$,
	$$SELECT window_start, count(*) FROM tweets, streamcount.tumble(created_at, '1 hour') GROUP BY 1$$,
	$$SELECT window_start, count(*) FROM tweets, streamcount.hop(created_at, '1 hour', '15 minutes') GROUP BY 1$$,
	$$SELECT window_end, count(*) FROM tweets, streamcount.cumulate(created_at, '1 day', '1 hour') GROUP BY 1$$,
	$$SELECT c, count(*) FROM tweets, unnest(codes) AS c GROUP BY c$$,
	$$SELECT g, count(*) FROM tweets, generate_series(1, n) AS g GROUP BY g$$,
	$$SELECT i, count(*) FROM tweets, streamcount.hashtags(text) WITH ORDINALITY AS h(tag, i) GROUP BY i$$,
	$$SELECT h, count(*) FROM tweets LEFT JOIN LATERAL streamcount.hashtags(text) AS h ON true GROUP BY h$$,
	$$SELECT u.name, count(*) FROM tweets t JOIN users u USING (id) GROUP BY u.name$$,
	$$SELECT u.name, count(*) FROM tweets t LEFT JOIN users u USING (id) GROUP BY u.name$$,
	$$SELECT text, count(*) FROM shown GROUP BY text$$,
	$$SELECT s.n, count(*) FROM (SELECT n FROM tweets WHERE flag) AS s GROUP BY s.n$$,
	$$SELECT n, count(*) FROM tweets WHERE id IN (SELECT id FROM users) GROUP BY n$$,
	$$SELECT interval, count(*) FROM tweets, streamcount.windows(created_at, ARRAY[who::text]) GROUP BY 1$$,
	$$SELECT interval, count(*) FROM tweets, streamcount.windows(created_at, '{day}', who) GROUP BY 1$$,
	$$SELECT n, count(*) FROM tweets, streamcount.windows(created_at, '{day}') GROUP BY n$$,
	$$SELECT left(w.interval, 4) AS y, w.granularity, count(*) FROM tweets, streamcount.windows(created_at, '{day,month}') AS w GROUP BY 1, 2$$]);

-- the executor, for keys and columns
SELECT query, way, why, forced FROM pg_temp.ways(ARRAY[
	$$SELECT uid, count(*) FROM tweets GROUP BY uid$$,
	$$SELECT span, count(*) FROM tweets GROUP BY span$$,
	$$SELECT codes, count(*) FROM tweets GROUP BY codes$$,
	$$SELECT padded, count(*) FROM tweets GROUP BY padded$$,
	$$SELECT head ->> 'lang' AS lang, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT raw ->> 'a' AS a, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT ARRAY[n, small] AS a, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT n::percent AS p, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT who::mood AS m, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT t IS NULL AS nothing, count(*) FROM tweets t GROUP BY 1$$]);

-- the executor, for expressions
SELECT query, way, why, forced FROM pg_temp.ways(ARRAY[
	$$SELECT created_at::date AS d, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT to_char(created_at, 'HH24') AS h, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT n, count(*) FROM tweets WHERE created_at > day GROUP BY n$$,
	$$SELECT own(n) AS o, count(*) FROM tweets GROUP BY 1$$,
	$$SELECT n, sum(own(n)) FROM tweets GROUP BY n$$,
	$$SELECT n, count(*) FILTER (WHERE own(n) > 1) FROM tweets GROUP BY n$$,
	$$SELECT n, count(*) FROM tweets WHERE ROW(n, small) < ROW(1, 2) GROUP BY n$$,
	$$SELECT h, count(*) FROM tweets, streamcount.hashtags(concat(text, who)) AS h GROUP BY h$$,
	$$SELECT w.interval, count(*) FROM tweets, streamcount.windows(local, '{day}') AS w GROUP BY 1$$]);

-- the executor, for aggregates
SELECT query, way, why, forced FROM pg_temp.ways(ARRAY[
	$$SELECT n, bool_and(flag), count(*) FROM tweets GROUP BY n$$,
	$$SELECT n, bit_or(n) FROM tweets GROUP BY n$$,
	$$SELECT n, range_agg(int4range(n, n + 1)) FROM tweets GROUP BY n$$,
	$$SELECT n, sum(span) FROM tweets GROUP BY n$$,
	$$SELECT n, avg(span) FROM tweets GROUP BY n$$,
	$$SELECT n, sum(n::money) FROM tweets GROUP BY n$$,
	$$SELECT n, max(codes) FROM tweets GROUP BY n$$,
	$$SELECT n, min(padded) FROM tweets GROUP BY n$$]);
\x off
\pset format aligned

-- it is kept with the rollup, whatever the setting is later
SET streamcount.way = 'executor';
SELECT streamcount.create_rollup('by_executor', 'SELECT n, count(*) FROM tweets GROUP BY n');
RESET streamcount.way;
SELECT streamcount.create_rollup('by_itself', 'SELECT n, count(*) FROM tweets GROUP BY n');
SELECT rollup, way, why FROM streamcount.rollups ORDER BY rollup::text;
SET streamcount.way = 'none';
SET streamcount.way = 'tally';
SELECT streamcount.create_rollup('refused', 'SELECT uid, count(*) FROM tweets GROUP BY uid');
SELECT to_regclass('refused'), to_regclass('refused_data');
RESET streamcount.way;

DROP VIEW by_executor, by_itself;
DROP SCHEMA which_way CASCADE;
