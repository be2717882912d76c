-- Rejects tried again and discarded, as far as no broker is needed: what was
-- kept whole is not read again.
SET client_min_messages = error;
CREATE FOREIGN TABLE tweets (
	who text, n int, o bigint OPTIONS (metadata 'offset'), k text OPTIONS (metadata 'key'),
	t timestamptz OPTIONS (metadata 'timestamp')
) SERVER streamcount OPTIONS (topic 'tweets', reject_limit '2', on_error 'halt');
CREATE FUNCTION picky(int) RETURNS int LANGUAGE plpgsql STABLE AS
	$$ BEGIN IF $1 = 13 THEN RAISE EXCEPTION 'no % here', $1 USING DETAIL = 'It was asked for.'; END IF; RETURN $1; END $$;
SELECT streamcount.create_rollup('r', $$
	SELECT who, count(*) AS c, sum(public.picky(n)) AS s, max(k) AS k, max(t) AS t FROM tweets
	WHERE n IS DISTINCT FROM 0 GROUP BY who $$);
SELECT streamcount.create_rollup('other', 'SELECT n, count(*) FROM tweets GROUP BY n');
SET client_min_messages = notice;

-- What workers would have written: each of 20 messages is a reject.
INSERT INTO streamcount.rollup_progress (rollup, partition, start_offset, next_offset, counted, rejected)
	SELECT r, p, 100, 1000, 890, 10 FROM (VALUES ('r'::regclass), ('other')) AS v(r), (VALUES (0), (1)) AS w(p);
CREATE FUNCTION reject(rollup regclass, part int, pos bigint, payload text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO streamcount.left_out_data
		(rollup, kind, partition, first_offset, end_offset, message_time, sqlstate, reason, key, payload)
	VALUES (rollup, 'rejected', part, pos, pos + 1, '2014-09-21 00:00:00Z', '22P02', 'old', convert_to('key' || pos, 'UTF8'),
		convert_to(payload, 'UTF8'));
	UPDATE streamcount.rollup_progress p SET reject_bytes = p.reject_bytes + length(payload) + length('key' || pos)
		WHERE p.rollup = reject.rollup AND p.partition = part $$;
SELECT reject(r, p, 100 + i, CASE
	WHEN i = 1 THEN 'not json' WHEN i = 2 THEN '{"n": "x"}' WHEN i = 3 THEN '{"who": "z", "n": 0}'
	WHEN i = 4 AND p = 1 THEN '{"who": "y", "n": 13}'
	ELSE format('{"who": "%s", "n": %s}', chr(97 + i % 2), i) END)
FROM (VALUES ('r'::regclass), ('other')) AS v(r), generate_series(0, 1) AS p, generate_series(0, 9) AS i;
CREATE FUNCTION books(rollup regclass) RETURNS TABLE (part int, counted bigint, filtered bigint, rejected bigint,
		discarded bigint, listed bigint, bytes_are_right boolean)
	LANGUAGE sql AS $$
	SELECT p.partition, p.counted, p.filtered, p.rejected, p.discarded, count(*) FILTER (WHERE kind = 'rejected'),
		p.reject_bytes = coalesce(sum(coalesce(octet_length(payload), 0) + coalesce(octet_length(key), 0)), 0)
	FROM streamcount.rollup_progress p LEFT JOIN streamcount.left_out_data l USING (rollup, partition)
	WHERE p.rollup = books.rollup AND partition >= 0 GROUP BY p.rollup, p.partition ORDER BY 1 $$;
SELECT * FROM books('r');

-- some of them, also those that are another rollup's, or nobody's
SELECT array_agg(id ORDER BY id) AS ids FROM streamcount.rejects
	WHERE rollup = 'r'::regclass AND partition = 0 AND "offset" IN (101, 103, 104) \gset
SELECT id AS others FROM streamcount.rejects WHERE rollup = 'other'::regclass AND "offset" = 105 AND partition = 0 \gset
SELECT * FROM streamcount.retry_rejects('r', :'ids'::bigint[] || :others || 4711::bigint || NULL);
SELECT * FROM r ORDER BY who;
SELECT * FROM books('r');
SELECT * FROM streamcount.retry_rejects('r', '{}');

-- all of them: what fails again says why, and how often
SELECT * FROM streamcount.retry_rejects('r');
SELECT who, c, s, k, t AT TIME ZONE 'UTC' AS t FROM r ORDER BY who;
SELECT partition, "offset", sqlstate, reason, "column", detail, attempts FROM streamcount.rejects
	WHERE rollup = 'r'::regclass ORDER BY partition, "offset";
SELECT * FROM books('r');
SELECT * FROM books('other');

-- by the stream's and the query's present definitions
CREATE OR REPLACE FUNCTION picky(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
ALTER FOREIGN TABLE tweets ALTER n OPTIONS (ADD on_error 'null');
SELECT * FROM streamcount.retry_rejects('r');
SELECT who, c, s FROM r ORDER BY who;
SELECT * FROM books('r');

-- a paused or halted rollup may be helped
SELECT streamcount.pause('other');
UPDATE streamcount.rollup_progress SET state = 'halted', reason = 'x' WHERE rollup = 'other'::regclass AND partition = 1;
SELECT * FROM streamcount.retry_rejects('other', ARRAY[:others]);
SELECT * FROM other;

-- nothing is done by halves
BEGIN;
SELECT * FROM streamcount.retry_rejects('other');
ROLLBACK;
SELECT * FROM other;
SELECT * FROM books('other');
ALTER TABLE other_data ADD CHECK (n < 8);
SELECT * FROM streamcount.retry_rejects('other');
SELECT * FROM other;
SELECT * FROM books('other');
ALTER TABLE other_data DROP CONSTRAINT other_data_n_check;

-- what the session has set changes nothing
SET client_min_messages = error;
SELECT streamcount.create_rollup('texts', 'SELECT (n / 3.0::float8)::text AS x, count(*) AS c FROM tweets GROUP BY 1');
INSERT INTO streamcount.rollup_progress (rollup, partition, start_offset, next_offset, rejected) VALUES ('texts', 0, 0, 1, 1);
SELECT reject('texts', 0, 0, '{"n": 1}');
SET extra_float_digits = -15;
SET quote_all_identifiers = on;
SET search_path = pg_temp, public;
SET session_replication_role = replica;
SELECT * FROM streamcount.retry_rejects('texts');
RESET ALL;
SELECT * FROM texts;

-- discarded: the offsets stay listed, neighbours as one range
SELECT array_agg(id) AS ids FROM streamcount.rejects WHERE rollup = 'other'::regclass AND partition = 0 AND "offset" IN (102, 103, 107) \gset
SELECT streamcount.discard_rejects('other', :'ids'::bigint[] || (SELECT max(id) FROM streamcount.rejects WHERE rollup = 'r'::regclass));
SELECT kind, partition, first_offset, end_offset, regexp_replace(reason, session_user, 'me') FROM streamcount.gaps ORDER BY 2, 3;
SELECT * FROM books('other');
SELECT streamcount.discard_rejects('other');
SELECT kind, partition, first_offset, end_offset, payload, key, sqlstate FROM streamcount.left_out
	WHERE rollup = 'other'::regclass ORDER BY 2, 3;
SELECT * FROM books('other');
SELECT streamcount.discard_rejects('other');
SELECT * FROM streamcount.retry_rejects('other');
SELECT rejected, discarded FROM streamcount.progress WHERE rollup = 'other'::regclass ORDER BY partition;

-- errors
SELECT streamcount.retry_rejects(NULL);
SELECT streamcount.discard_rejects(NULL);
SELECT streamcount.retry_rejects('tweets');
SELECT streamcount.discard_rejects('tweets');
SELECT streamcount.retry_rejects('r_data');
SELECT streamcount.discard_rejects('r_query');
BEGIN READ ONLY;
SELECT streamcount.retry_rejects('r');
ROLLBACK;
BEGIN READ ONLY;
SELECT streamcount.discard_rejects('r');
ROLLBACK;
CREATE ROLE regress_stranger;
GRANT SELECT ON r, r_data TO regress_stranger;
SET ROLE regress_stranger;
SELECT streamcount.retry_rejects('r');
SELECT streamcount.discard_rejects('r');
SELECT id IS NOT NULL AS id, reason, payload, key FROM streamcount.rejects ORDER BY partition, "offset" LIMIT 1;
RESET ROLE;
CREATE ROLE regress_owner;
GRANT CREATE ON SCHEMA public TO regress_owner;
ALTER VIEW r OWNER TO regress_owner;
SELECT streamcount.retry_rejects('r');
ALTER VIEW r_query OWNER TO regress_owner;
ALTER TABLE r_data OWNER TO regress_owner;
SELECT streamcount.retry_rejects('r');
DELETE FROM streamcount.left_out_data WHERE rollup = 'r'::regclass AND partition = -1;
GRANT SELECT ON tweets TO regress_owner;
SELECT streamcount.retry_rejects('r');

-- the rollup's query cannot call it
INSERT INTO streamcount.left_out_data (rollup, kind, partition, first_offset, end_offset) VALUES ('r', 'sentinel', -1, 0, 0);
SELECT reject('r', 0, 999, '{"who": "q", "n": 5}');
CREATE OR REPLACE FUNCTION picky(int) RETURNS int LANGUAGE plpgsql STABLE AS
	$$ BEGIN PERFORM * FROM streamcount.retry_rejects('public.r'); RETURN $1; END $$;
SELECT streamcount.retry_rejects('r');
SELECT count(*) FROM r WHERE who = 'q';

SET client_min_messages = error;
DROP FOREIGN TABLE tweets CASCADE;
DROP VIEW r, other, texts;
DROP TABLE IF EXISTS r_data, other_data, texts_data;
DROP FUNCTION picky, reject, books;
DROP OWNED BY regress_owner, regress_stranger;
DROP ROLE regress_owner, regress_stranger;
