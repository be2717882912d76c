/* streamcount 1.0 */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION streamcount" to load this file. \quit

-- Made here, not by the control file: a schema that somebody else has made,
-- and may fill, is never taken over.
CREATE SCHEMA streamcount;
COMMENT ON SCHEMA streamcount IS
	'Kafka topics in, live rollups out';

-- ---------------------------------------------------------------------
-- Tokenizers
-- ---------------------------------------------------------------------

CREATE FUNCTION streamcount.hashtags(text text) RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'streamcount_hashtags'
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 2;

COMMENT ON FUNCTION streamcount.hashtags(text) IS
	'The hashtags of a text, by the rules of twitter-text, in order: with their sign, case folded';

CREATE FUNCTION streamcount.mentions(text text) RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'streamcount_mentions'
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 2;

COMMENT ON FUNCTION streamcount.mentions(text) IS
	'The users that a text mentions, by the rules of twitter-text, in order: with their sign, case folded';

CREATE FUNCTION streamcount.cashtags(text text) RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'streamcount_cashtags'
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1;

COMMENT ON FUNCTION streamcount.cashtags(text) IS
	'The cashtags of a text, by the rules of twitter-text, in order: with their sign, case folded';

CREATE FUNCTION streamcount.urls(text text) RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'streamcount_urls'
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1;

COMMENT ON FUNCTION streamcount.urls(text) IS
	'The URLs of a text, by the rules of twitter-text, in order and as they stand';

CREATE FUNCTION streamcount.words(text text) RETURNS SETOF text
	AS 'MODULE_PATHNAME', 'streamcount_words'
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 20;

COMMENT ON FUNCTION streamcount.words(text) IS
	'The words of a text, in order, case folded: runs of letters, marks, digits and underscores, with apostrophes, middle dots and zero-width joiners between letters';

-- end of tokenizers

-- ---------------------------------------------------------------------
-- Windows
-- ---------------------------------------------------------------------

CREATE TYPE streamcount.window_row AS (
	granularity text,
	"interval" text COLLATE pg_catalog."C",
	window_start timestamptz,
	window_end timestamptz
);
COMMENT ON TYPE streamcount.window_row IS
	'a window of streamcount.windows(); interval is its label by ISO 8601';

CREATE FUNCTION streamcount.windows(ts timestamptz, granularities text[],
									time_zone text DEFAULT 'UTC')
	RETURNS SETOF streamcount.window_row
	AS 'MODULE_PATHNAME', 'streamcount_windows'
	LANGUAGE C STABLE PARALLEL SAFE ROWS 3;
COMMENT ON FUNCTION streamcount.windows(timestamptz, text[], text) IS
	'the window that a time is in, for each granularity';

CREATE FUNCTION streamcount.tumble(ts timestamptz, size interval,
								   shift interval DEFAULT '0',
								   time_zone text DEFAULT 'UTC')
	RETURNS TABLE (window_start timestamptz, window_end timestamptz)
	AS 'MODULE_PATHNAME', 'streamcount_tumble'
	LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 1;
COMMENT ON FUNCTION streamcount.tumble(timestamptz, interval, interval, text) IS
	'the window that a time is in: windows of one size, one after the other';

CREATE FUNCTION streamcount.hop(ts timestamptz, size interval, slide interval,
								shift interval DEFAULT '0',
								time_zone text DEFAULT 'UTC')
	RETURNS TABLE (window_start timestamptz, window_end timestamptz)
	AS 'MODULE_PATHNAME', 'streamcount_hop'
	LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 10;
COMMENT ON FUNCTION streamcount.hop(timestamptz, interval, interval, interval, text) IS
	'the windows that a time is in: windows of one size, of which one begins with every slide';

CREATE FUNCTION streamcount.cumulate(ts timestamptz, max_size interval, step interval,
									 shift interval DEFAULT '0',
									 time_zone text DEFAULT 'UTC')
	RETURNS TABLE (window_start timestamptz, window_end timestamptz)
	AS 'MODULE_PATHNAME', 'streamcount_cumulate'
	LANGUAGE C STABLE STRICT PARALLEL SAFE ROWS 10;
COMMENT ON FUNCTION streamcount.cumulate(timestamptz, interval, interval, interval, text) IS
	'the windows that a time is in: windows that grow step by step up to a size, then begin anew';

-- end of windows

-- ---------------------------------------------------------------------
-- Streams
-- ---------------------------------------------------------------------

CREATE FUNCTION streamcount.fdw_handler() RETURNS fdw_handler
	AS 'MODULE_PATHNAME', 'streamcount_fdw_handler'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
REVOKE ALL ON FUNCTION streamcount.fdw_handler() FROM PUBLIC;
COMMENT ON FUNCTION streamcount.fdw_handler() IS
	'handler of the foreign data wrapper streamcount';

CREATE FUNCTION streamcount.fdw_validator(options text[], catalog oid) RETURNS void
	AS 'MODULE_PATHNAME', 'streamcount_fdw_validator'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION streamcount.fdw_validator(text[], oid) FROM PUBLIC;
COMMENT ON FUNCTION streamcount.fdw_validator(text[], oid) IS
	'validator of the options of the foreign data wrapper streamcount';

CREATE FOREIGN DATA WRAPPER streamcount
	HANDLER streamcount.fdw_handler
	VALIDATOR streamcount.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER streamcount IS
	'Kafka topics as foreign tables';

-- Brokers are addresses on a network: who may reach them is the
-- administrator's to GRANT.
CREATE SERVER streamcount FOREIGN DATA WRAPPER streamcount;
COMMENT ON SERVER streamcount IS
	'the Kafka brokers of streamcount.bootstrap_servers';

CREATE FUNCTION streamcount.check_streams() RETURNS event_trigger
	AS 'MODULE_PATHNAME', 'streamcount_check_streams'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
REVOKE ALL ON FUNCTION streamcount.check_streams() FROM PUBLIC;
COMMENT ON FUNCTION streamcount.check_streams() IS
	'checks streams and their servers when they are made or changed';

-- ALTER TABLE works on foreign tables, too.
CREATE EVENT TRIGGER streamcount_check_streams ON ddl_command_end
	WHEN TAG IN ('CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'ALTER TABLE',
				 'CREATE SERVER', 'ALTER SERVER',
				 'CREATE USER MAPPING', 'ALTER USER MAPPING', 'DROP USER MAPPING')
	EXECUTE FUNCTION streamcount.check_streams();
COMMENT ON EVENT TRIGGER streamcount_check_streams IS
	'checks streams and their servers when they are made or changed';

-- end of streams

-- ---------------------------------------------------------------------
-- Catalog
-- ---------------------------------------------------------------------

CREATE TABLE streamcount.rollup_catalog (
	rollup regclass PRIMARY KEY,
	query regclass NOT NULL,
	data regclass NOT NULL,
	stream regclass NOT NULL,
	start_at text,
	settings text[] NOT NULL,
	fingerprint text NOT NULL
);
COMMENT ON TABLE streamcount.rollup_catalog IS
	'the three objects of each rollup, and under what it was created';

-- Partition -1 is the sentinel: it holds the state of the rollup as a whole,
-- and a worker leaves a rollup alone that does not have it.  last_offset and
-- last_hash tell the last message that was read (-1: none): in a topic that is
-- made anew, another one is there.  In a sentinel, missing_topic and cluster
-- tell that the rollup had read nothing when this topic did not exist there.
CREATE TABLE streamcount.rollup_progress (
	rollup regclass NOT NULL,
	partition integer NOT NULL,
	cluster text,
	start_offset bigint NOT NULL,
	next_offset bigint NOT NULL,
	counted bigint NOT NULL DEFAULT 0,
	filtered bigint NOT NULL DEFAULT 0,
	rejected bigint NOT NULL DEFAULT 0,
	discarded bigint NOT NULL DEFAULT 0,
	rejected_in_row integer NOT NULL DEFAULT 0,
	last_offset bigint NOT NULL DEFAULT -1,
	last_hash bigint NOT NULL DEFAULT 0,
	missing_topic text,
	reject_bytes bigint NOT NULL DEFAULT 0,
	state text CHECK (state OPERATOR(pg_catalog.=) ANY ('{paused,halted}'::pg_catalog.text[])),
	reason text,
	hint text,
	since timestamptz,
	PRIMARY KEY (rollup, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE streamcount.rollup_progress IS
	'how far each rollup has counted each partition, committed with the counts';

-- Partition -1 is a sentinel here, too.  A restore may load this table last,
-- and its sequence after that: an id taken before would be taken twice.
CREATE TABLE streamcount.left_out_data (
	id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	rollup regclass NOT NULL,
	kind text NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY ('{rejected,discarded,skipped,lost,sentinel}'::pg_catalog.text[])),
	partition integer NOT NULL,
	first_offset bigint NOT NULL,
	end_offset bigint NOT NULL,
	left_out_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	message_time timestamptz,
	sqlstate text,
	reason text,
	"column" text,
	detail text,
	key bytea,
	headers jsonb,
	payload bytea,
	trimmed boolean NOT NULL DEFAULT false,
	attempts integer NOT NULL DEFAULT 1
);
CREATE INDEX ON streamcount.left_out_data (rollup, partition, first_offset);
COMMENT ON TABLE streamcount.left_out_data IS
	'ranges of offsets that a rollup does not count, and why';

CREATE TABLE streamcount.merges (
	aggregate text PRIMARY KEY,
	merge text NOT NULL
);
COMMENT ON TABLE streamcount.merges IS
	'aggregates of other extensions that a rollup may keep, each with the function that merges two of its results';

SELECT pg_catalog.pg_extension_config_dump('streamcount.rollup_catalog', '');
SELECT pg_catalog.pg_extension_config_dump('streamcount.rollup_progress', '');
SELECT pg_catalog.pg_extension_config_dump('streamcount.left_out_data', '');
SELECT pg_catalog.pg_extension_config_dump('streamcount.left_out_data_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('streamcount.merges', '');

CREATE FUNCTION streamcount.check_merge() RETURNS trigger
	AS 'MODULE_PATHNAME', 'streamcount_check_merge' LANGUAGE C;
COMMENT ON FUNCTION streamcount.check_merge() IS
	'trigger: refuses a row of streamcount.merges whose function cannot merge';
CREATE TRIGGER check_merge BEFORE INSERT OR UPDATE ON streamcount.merges
	FOR EACH ROW EXECUTE FUNCTION streamcount.check_merge();

-- A restore fills the catalog by COPY, which no event trigger sees.
CREATE FUNCTION streamcount.catalog_written() RETURNS trigger
	AS 'MODULE_PATHNAME', 'streamcount_catalog_written' LANGUAGE C;
COMMENT ON FUNCTION streamcount.catalog_written() IS
	'trigger: tells the workers that rollups have come or gone';
CREATE TRIGGER catalog_written AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
	ON streamcount.rollup_catalog
	FOR EACH STATEMENT EXECUTE FUNCTION streamcount.catalog_written();

-- ---------------------------------------------------------------------
-- Rollups
-- ---------------------------------------------------------------------

CREATE FUNCTION streamcount.create_rollup(name text, query text, start text DEFAULT NULL,
										  paused boolean DEFAULT false)
	RETURNS regclass
	AS 'MODULE_PATHNAME', 'streamcount_create_rollup'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.create_rollup(text, text, text, boolean) IS
	'make a rollup: a GROUP BY query over a stream that is kept up to date';

CREATE FUNCTION streamcount.drop_rollup(rollup regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'streamcount_drop_rollup'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.drop_rollup(regclass) IS
	'drop a rollup with its counts, its query and its progress';

CREATE FUNCTION streamcount.pause(relation regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'streamcount_pause'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.pause(regclass) IS
	'stop counting into a rollup, or into all rollups of a stream, until resume()';

CREATE FUNCTION streamcount.resume(relation regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'streamcount_resume'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.resume(regclass) IS
	'go on with a rollup, or all rollups of a stream, after pause() or a halt, by the stream''s present definition';

CREATE FUNCTION streamcount.skip_to(relation regclass, partition integer, to_offset bigint)
	RETURNS void
	AS 'MODULE_PATHNAME', 'streamcount_skip_to'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.skip_to(regclass, integer, bigint) IS
	'leave out the messages of a partition before an offset, note them in streamcount.gaps, and go on there';

CREATE FUNCTION streamcount.retry_rejects(rollup regclass, ids bigint[] DEFAULT NULL)
	RETURNS TABLE (counted bigint, rejected bigint)
	AS 'MODULE_PATHNAME', 'streamcount_retry_rejects'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION streamcount.retry_rejects(regclass, bigint[]) IS
	'count the rejects of a rollup that can be counted by now, all or those with these ids; the others stay';

CREATE FUNCTION streamcount.discard_rejects(rollup regclass, ids bigint[] DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'streamcount_discard_rejects'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.discard_rejects(regclass, bigint[]) IS
	'give up the rejects of a rollup, all or those with these ids: their offsets stay listed in streamcount.gaps';

CREATE FUNCTION streamcount.wait(rollup regclass, timeout interval DEFAULT '1 minute')
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'streamcount_wait'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.wait(regclass, interval) IS
	'wait until everything that is in the topic now is visible in the rollup; false when the time is over';

CREATE FUNCTION streamcount.refuse_write() RETURNS trigger
	AS 'MODULE_PATHNAME', 'streamcount_refuse_write' LANGUAGE C;
COMMENT ON FUNCTION streamcount.refuse_write() IS
	'trigger on every rollup: refuses INSERT, UPDATE and DELETE';

CREATE FUNCTION streamcount.mark_message(boolean, tid) RETURNS boolean
	AS 'MODULE_PATHNAME', 'streamcount_mark' LANGUAGE C IMMUTABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.mark_message(boolean, tid) IS
	'transition function of streamcount.mark()';
CREATE FUNCTION streamcount.mark_message(boolean, tid, VARIADIC "any") RETURNS boolean
	AS 'MODULE_PATHNAME', 'streamcount_mark' LANGUAGE C IMMUTABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.mark_message(boolean, tid, "any") IS
	'transition function of streamcount.mark()';
CREATE AGGREGATE streamcount.mark(tid) (
	SFUNC = streamcount.mark_message, STYPE = boolean, INITCOND = 'true', PARALLEL = UNSAFE
);
COMMENT ON AGGREGATE streamcount.mark(tid) IS
	'internal: notes which messages reach the grouping of a rollup';
CREATE AGGREGATE streamcount.mark(tid, VARIADIC "any") (
	SFUNC = streamcount.mark_message, STYPE = boolean, INITCOND = 'true', PARALLEL = UNSAFE
);
COMMENT ON AGGREGATE streamcount.mark(tid, "any") IS
	'internal: notes which messages reach the grouping of a rollup, and checks the length of their keys';

CREATE FUNCTION streamcount.objects_dropped() RETURNS event_trigger
	AS 'MODULE_PATHNAME', 'streamcount_objects_dropped' LANGUAGE C;
COMMENT ON FUNCTION streamcount.objects_dropped() IS
	'event trigger: dropping a rollup''s view drops the rest of it';
CREATE EVENT TRIGGER streamcount_objects_dropped ON sql_drop
	EXECUTE FUNCTION streamcount.objects_dropped();
COMMENT ON EVENT TRIGGER streamcount_objects_dropped IS
	'dropping a rollup''s view drops the rest of it';

CREATE FUNCTION streamcount.views_changed() RETURNS event_trigger
	AS 'MODULE_PATHNAME', 'streamcount_views_changed' LANGUAGE C;
COMMENT ON FUNCTION streamcount.views_changed() IS
	'event trigger: refuses to replace the defining query of a rollup, and halts those that read a replaced view';
CREATE EVENT TRIGGER streamcount_views_changed ON ddl_command_end
	WHEN TAG IN ('CREATE VIEW', 'CREATE RULE')
	EXECUTE FUNCTION streamcount.views_changed();
COMMENT ON EVENT TRIGGER streamcount_views_changed IS
	'refuses to replace the defining query of a rollup, and halts those that read a replaced view';

-- ---------------------------------------------------------------------
-- What is seen
-- ---------------------------------------------------------------------

CREATE FUNCTION streamcount.live_partitions(
		OUT rollup oid, OUT partition integer, OUT next_offset bigint,
		OUT high_watermark bigint, OUT oldest_offset bigint,
		OUT last_message_time timestamptz, OUT checked_at timestamptz,
		OUT state text, OUT since timestamptz, OUT reason text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'streamcount_live_partitions'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION streamcount.live_partitions() IS
	'what live workers know of the partitions they read; see the view streamcount.progress';

CREATE FUNCTION streamcount.live_units(
		OUT stream oid, OUT rollup oid, OUT pid integer, OUT state text,
		OUT since timestamptz, OUT reason text, OUT failures integer,
		OUT messages bigint, OUT bytes bigint, OUT flushes bigint, OUT rows_written bigint,
		OUT started_at timestamptz, OUT flushed_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'streamcount_live_units'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION streamcount.live_units() IS
	'the workers of this database; see the view streamcount.stat_workers';

CREATE FUNCTION streamcount.down_reason() RETURNS text
	AS 'MODULE_PATHNAME', 'streamcount_down_reason'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION streamcount.down_reason() IS
	'why no worker can run in this database, or NULL; for the other views';

-- The rollups that a role may see: those that it may read, or all of them.
CREATE VIEW streamcount.visible_rollups WITH (security_barrier) AS
	SELECT c.rollup, c.query, c.data, c.stream, c.start_at, c.settings,
		v.relowner AS owner_oid,
		pg_catalog.pg_has_role(v.relowner, 'USAGE') AS is_owner,
		-- A reason may quote what was in a message.
		pg_catalog.pg_has_role(v.relowner, 'USAGE')
			OR pg_catalog.pg_has_role('pg_monitor', 'USAGE') AS may_see_reason,
		(SELECT o.option_value
			FROM pg_catalog.pg_foreign_table f,
				LATERAL pg_catalog.pg_options_to_table(f.ftoptions) AS o
			WHERE f.ftrelid OPERATOR(pg_catalog.=) c.stream
				AND o.option_name OPERATOR(pg_catalog.=) 'topic') AS topic
	FROM streamcount.rollup_catalog c
		JOIN pg_catalog.pg_class v ON v.oid OPERATOR(pg_catalog.=) c.rollup
	WHERE pg_catalog.has_table_privilege(v.oid, 'SELECT')
		OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW streamcount.visible_rollups IS
	'the rollups that the current role may see, for the other views';

-- Columns that are not of visible_rollups would be given to a function in the
-- reader's condition before it is known what the reader may see.
CREATE VIEW streamcount.progress WITH (security_barrier) AS
	SELECT r.rollup, r.topic, p.partition, p.start_offset, p.next_offset,
		l.high_watermark,
		-- GREATEST() takes no notice of NULL: what is not known is not 0.
		CASE WHEN l.high_watermark OPERATOR(pg_catalog.<=) p.next_offset THEN 0
			ELSE l.high_watermark OPERATOR(pg_catalog.-) p.next_offset END AS lag,
		CASE WHEN l.high_watermark OPERATOR(pg_catalog.<=) p.next_offset THEN 0
			WHEN l.high_watermark OPERATOR(pg_catalog.>) p.next_offset AND l.last_message_time IS NOT NULL
			THEN GREATEST(EXTRACT(EPOCH FROM pg_catalog.now() OPERATOR(pg_catalog.-) l.last_message_time), 0)
		END AS lag_seconds,
		l.oldest_offset,
		p.next_offset OPERATOR(pg_catalog.-) l.oldest_offset AS messages_before_loss,
		p.counted, p.filtered, p.rejected, p.discarded,
		CASE
			WHEN p.state IS NOT NULL THEN p.state
			WHEN s.state IS NOT NULL THEN s.state
			WHEN u.pid IS NULL THEN 'down'
			WHEN u.state OPERATOR(pg_catalog.=) ANY ('{connecting,stalled,blocked,restoring}'::pg_catalog.text[])
				THEN u.state
			ELSE COALESCE(l.state, u.state)
		END AS state,
		CASE
			WHEN p.state IS NOT NULL THEN p.since
			WHEN s.state IS NOT NULL THEN s.since
			WHEN u.pid IS NULL OR l.state IS NULL
				OR u.state OPERATOR(pg_catalog.=) ANY ('{connecting,stalled,blocked,restoring}'::pg_catalog.text[])
				THEN u.since
			ELSE l.since
		END AS since,
		CASE
			WHEN NOT r.may_see_reason THEN NULL
			WHEN p.state IS NOT NULL THEN p.reason
			WHEN s.state IS NOT NULL THEN s.reason
			WHEN u.pid IS NULL THEN COALESCE(streamcount.down_reason(), u.reason)
			WHEN l.state IS NULL
				OR u.state OPERATOR(pg_catalog.=) ANY ('{connecting,stalled,blocked,restoring}'::pg_catalog.text[])
				THEN u.reason
			ELSE l.reason
		END AS reason,
		COALESCE(CASE WHEN r.may_see_reason THEN COALESCE(p.hint, s.hint) END, CASE WHEN l.state OPERATOR(pg_catalog.=) 'stalled'
			THEN 'It goes on by itself as soon as the broker serves what is there; streamcount.skip_to() goes on behind it.'
			END) AS hint,
		l.last_message_time, l.checked_at
	FROM streamcount.visible_rollups r
		JOIN streamcount.rollup_progress p ON p.rollup OPERATOR(pg_catalog.=) r.rollup
			AND p.partition OPERATOR(pg_catalog.>=) 0
		LEFT JOIN streamcount.rollup_progress s ON s.rollup OPERATOR(pg_catalog.=) r.rollup
			AND s.partition OPERATOR(pg_catalog.=) -1
		LEFT JOIN streamcount.live_partitions() AS l
			ON l.rollup OPERATOR(pg_catalog.=) r.rollup
			AND l.partition OPERATOR(pg_catalog.=) p.partition
		LEFT JOIN LATERAL (
			SELECT w.* FROM streamcount.live_units() AS w
			WHERE w.stream OPERATOR(pg_catalog.=) r.stream
				AND COALESCE(w.rollup OPERATOR(pg_catalog.=) r.rollup, true)
			ORDER BY w.rollup NULLS LAST LIMIT 1) AS u ON true;
COMMENT ON VIEW streamcount.progress IS
	'how far each rollup has counted each partition, and its state';

CREATE FUNCTION streamcount.rollup_way(rollup regclass, OUT way text, OUT why text)
	AS 'MODULE_PATHNAME', 'streamcount_rollup_way'
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION streamcount.rollup_way(regclass) IS
	'which way a rollup takes, and what asks for the executor''s; for the view streamcount.rollups';

CREATE VIEW streamcount.rollups AS
	SELECT r.rollup, r.stream, r.topic,
		pg_catalog.pg_get_viewdef(r.query) AS definition,
		r.query, r.data,
		pg_catalog.pg_get_userbyid(r.owner_oid) AS owner,
		-- Not in FROM: who does not ask for it must not wait for a lock.
		(streamcount.rollup_way(r.rollup)).way,
		(streamcount.rollup_way(r.rollup)).why,
		r.start_at AS start, r.settings,
		w.state, w.since, w.reason, w.hint
	FROM streamcount.visible_rollups r
		LEFT JOIN LATERAL (
			SELECT x.state, x.since, x.reason, x.hint
			FROM (
				SELECT p.state, p.since, p.reason, p.hint
				FROM streamcount.progress p
				WHERE p.rollup OPERATOR(pg_catalog.=) r.rollup
				UNION ALL
				-- Partitions that it has not begun
				SELECT l.state, l.since, CASE WHEN r.may_see_reason THEN l.reason END,
					'It begins by itself as soon as the brokers tell its offsets.'
				FROM streamcount.live_partitions() AS l
				WHERE l.rollup OPERATOR(pg_catalog.=) r.rollup
					AND NOT EXISTS (SELECT FROM streamcount.rollup_progress b
						WHERE b.rollup OPERATOR(pg_catalog.=) l.rollup
							AND b.partition OPERATOR(pg_catalog.=) l.partition)
				UNION ALL
				SELECT COALESCE(s.state, u.state, 'down'), COALESCE(s.since, u.since),
					CASE WHEN NOT r.may_see_reason THEN NULL
						WHEN s.state IS NOT NULL THEN s.reason
						WHEN u.pid IS NULL THEN COALESCE(streamcount.down_reason(), u.reason)
						ELSE u.reason END,
					CASE WHEN r.may_see_reason THEN s.hint END
				FROM (SELECT 1) AS one
					LEFT JOIN streamcount.rollup_progress s
						ON s.rollup OPERATOR(pg_catalog.=) r.rollup
						AND s.partition OPERATOR(pg_catalog.=) -1
					LEFT JOIN LATERAL (
						SELECT w.* FROM streamcount.live_units() AS w
						WHERE w.stream OPERATOR(pg_catalog.=) r.stream
							AND COALESCE(w.rollup OPERATOR(pg_catalog.=) r.rollup, true)
						ORDER BY w.rollup NULLS LAST LIMIT 1) AS u ON true
			) AS x
			ORDER BY pg_catalog.array_position(
				'{halted,down,blocked,stalled,connecting,restoring,paused,waiting,catching_up,running,idle}'::pg_catalog.text[],
				x.state), x.hint IS NULL LIMIT 1) AS w ON true;
COMMENT ON VIEW streamcount.rollups IS
	'the rollups, with the worst state of their partitions';

CREATE VIEW streamcount.problems WITH (security_barrier) AS
	SELECT r.rollup, NULL::integer AS partition, r.state, r.since, r.reason,
		COALESCE(r.hint,
			CASE
				WHEN r.state OPERATOR(pg_catalog.=) 'down' AND r.reason OPERATOR(pg_catalog.~) '^(all .* of )?(streamcount[ .]|max_worker)'
					THEN 'The reason says which setting to change.'
				WHEN r.state OPERATOR(pg_catalog.=) 'down' THEN 'Look into the server''s log.'
				WHEN r.state OPERATOR(pg_catalog.=) 'blocked' THEN 'The view pg_locks shows who holds the lock.'
				WHEN r.state OPERATOR(pg_catalog.=) 'restoring'
					THEN 'Where no restore is under way any more, its dump was not whole: drop and create the rollup.'
				ELSE 'Look at the brokers, and at the options of the server and of the user mapping.' END) AS hint,
		CASE WHEN r.state OPERATOR(pg_catalog.=) 'halted'
				OR (r.state OPERATOR(pg_catalog.=) 'down'
					AND r.reason OPERATOR(pg_catalog.~) '^its worker crashed')
			THEN pg_catalog.format('SELECT streamcount.resume(%L)', r.rollup)
		END AS statement
	FROM streamcount.rollups r
	WHERE r.state OPERATOR(pg_catalog.=) ANY ('{halted,down,blocked,stalled,connecting,restoring}'::pg_catalog.text[])
		AND NOT (r.state OPERATOR(pg_catalog.=) 'down' AND pg_catalog.pg_is_in_recovery())
		-- A worker that starts anew, as it does after any change, is no problem.
		AND NOT (r.state OPERATOR(pg_catalog.=) 'connecting' AND r.reason OPERATOR(pg_catalog.=) '')
		AND NOT (r.state OPERATOR(pg_catalog.=) 'down' AND r.since IS NOT NULL
			AND r.since OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '3 seconds'::interval))
		AND NOT (r.state OPERATOR(pg_catalog.=) 'restoring'
			AND r.since OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) '10 minutes'::interval))
		AND NOT EXISTS (SELECT FROM streamcount.progress p
			WHERE p.rollup OPERATOR(pg_catalog.=) r.rollup
				AND p.state OPERATOR(pg_catalog.=) 'halted')
	UNION ALL
	SELECT p.rollup, p.partition, p.state, p.since, p.reason, p.hint,
		-- Where resume() would only halt again, the hint has the offset behind it.
		CASE WHEN p.hint OPERATOR(pg_catalog.~) 'skip_to[(]rollup, [0-9]+, [0-9]+[)]'
			THEN pg_catalog.format('SELECT streamcount.skip_to(%L, %s)', p.rollup,
				pg_catalog.substring(p.hint, 'skip_to[(]rollup, ([0-9]+, [0-9]+)[)]'))
			WHEN p.state OPERATOR(pg_catalog.=) 'stalled' OR p.reason IS NULL THEN NULL
			WHEN p.hint OPERATOR(pg_catalog.~) '^Drop and create the rollup' THEN NULL
			ELSE pg_catalog.format('SELECT streamcount.resume(%L)', p.rollup)
		END
	FROM streamcount.progress p
	WHERE p.state OPERATOR(pg_catalog.=) 'halted'
		-- Beside halted ones, each is a problem of its own.
		OR (p.state OPERATOR(pg_catalog.=) 'stalled'
			AND EXISTS (SELECT FROM streamcount.progress h
				WHERE h.rollup OPERATOR(pg_catalog.=) p.rollup
					AND h.state OPERATOR(pg_catalog.=) 'halted'));
COMMENT ON VIEW streamcount.problems IS
	'what needs a person, with the statement to type; empty when all is well';

CREATE VIEW streamcount.left_out WITH (security_barrier) AS
	SELECT d.id, d.rollup, r.stream, r.topic, d.kind, d.partition, d.first_offset, d.end_offset,
		d.left_out_at, d.message_time, d.sqlstate,
		CASE WHEN r.is_owner OR d.kind OPERATOR(pg_catalog.<>) 'rejected' THEN d.reason END AS reason,
		d."column",
		CASE WHEN r.is_owner THEN d.detail END AS detail,
		CASE WHEN r.is_owner THEN d.key END AS key,
		CASE WHEN r.is_owner THEN d.headers END AS headers,
		CASE WHEN r.is_owner THEN d.payload END AS payload,
		d.trimmed, d.attempts
	FROM streamcount.left_out_data d
		JOIN streamcount.visible_rollups r ON r.rollup OPERATOR(pg_catalog.=) d.rollup
	WHERE d.partition OPERATOR(pg_catalog.>=) 0;
COMMENT ON VIEW streamcount.left_out IS
	'all messages that a rollup does not count: rejected, discarded, skipped or lost';

CREATE VIEW streamcount.rejects AS
	SELECT o.id, o.rollup, o.stream, o.topic, o.partition, o.first_offset AS "offset",
		o.message_time AS "time", o.sqlstate, o.reason, o."column", o.detail,
		o.key, o.headers, o.payload, o.trimmed, o.attempts, o.left_out_at
	FROM streamcount.left_out o
	WHERE o.kind OPERATOR(pg_catalog.=) 'rejected';
COMMENT ON VIEW streamcount.rejects IS
	'messages that could not be counted, each with its reason';

CREATE VIEW streamcount.gaps AS
	SELECT o.id, o.rollup, o.stream, o.topic, o.kind, o.partition, o.first_offset, o.end_offset,
		o.left_out_at, o.reason
	FROM streamcount.left_out o
	WHERE o.kind OPERATOR(pg_catalog.<>) 'rejected';
COMMENT ON VIEW streamcount.gaps IS
	'ranges of offsets that were skipped or discarded by a person, or lost by Kafka';

CREATE VIEW streamcount.stat_workers WITH (security_barrier) AS
	SELECT u.stream::pg_catalog.regclass AS stream, u.rollup::pg_catalog.regclass AS apart, u.pid, u.state, u.since,
		u.reason, u.failures, u.messages, u.bytes, u.flushes, u.rows_written,
		u.started_at, u.flushed_at
	FROM streamcount.live_units() AS u
	WHERE pg_catalog.pg_has_role('pg_monitor', 'USAGE')
		OR EXISTS (SELECT FROM streamcount.visible_rollups r
			WHERE r.stream OPERATOR(pg_catalog.=) u.stream);
COMMENT ON VIEW streamcount.stat_workers IS
	'the workers of this database, and what each has done since its start';

-- ---------------------------------------------------------------------
-- Privileges
-- ---------------------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA streamcount FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA streamcount FROM PUBLIC;
GRANT USAGE ON SCHEMA streamcount TO PUBLIC;
GRANT SELECT ON streamcount.progress, streamcount.rollups, streamcount.problems,
	streamcount.left_out, streamcount.rejects, streamcount.gaps,
	streamcount.stat_workers, streamcount.merges, streamcount.visible_rollups TO PUBLIC;
GRANT EXECUTE ON FUNCTION
	streamcount.hashtags(text), streamcount.mentions(text), streamcount.cashtags(text),
	streamcount.urls(text), streamcount.words(text),
	streamcount.windows(timestamptz, text[], text),
	streamcount.tumble(timestamptz, interval, interval, text),
	streamcount.hop(timestamptz, interval, interval, interval, text),
	streamcount.cumulate(timestamptz, interval, interval, interval, text),
	streamcount.mark_message(boolean, tid), streamcount.mark_message(boolean, tid, "any"),
	streamcount.mark(tid), streamcount.mark(tid, "any"),
	streamcount.refuse_write(), streamcount.down_reason(),
	streamcount.live_partitions(), streamcount.live_units(),
	streamcount.rollup_way(regclass),
	streamcount.drop_rollup(regclass), streamcount.pause(regclass),
	streamcount.resume(regclass), streamcount.skip_to(regclass, integer, bigint),
	streamcount.retry_rejects(regclass, bigint[]), streamcount.discard_rejects(regclass, bigint[]),
	streamcount.wait(regclass, interval)
	TO PUBLIC;
