=pod

=head1 NAME

StreamCount::Oracle - what messages mean, said by PostgreSQL alone

=head1 DESCRIPTION

The same payloads as in the topics go into a table of bytes.  PL/pgSQL reads
their columns by jsonb and casts, value by value, catching what fails; so
there is an ordinary table for each stream, and a list of what is bad in
which message.  Queries that fail on some message are halved until the
message is found.

Everything lives in schema plain, where the ordinary tables are views of the
streams' names: the same query text gives either, by the search_path.

=cut

package StreamCount::Oracle;

use strict;
use warnings;
use utf8;

use Exporter 'import';
use StreamCount::Messages qw(columns stream_names);

our @EXPORT_OK = qw(setup);

sub literal { return defined $_[0] ? "'" . ($_[0] =~ s/'/''/gr) . "'" : 'NULL' }

sub path_literal
{
	my ($c) = @_;
	my $path = $c->{path} // $c->{name};

	return literal($path =~ /^\{/ ? $path : '{' . join(',', split /\./, $path) . '}');
}

# One line of plain.columns for each column
sub columns_of
{
	my ($stream) = @_;
	my $attnum = 0;

	return map {
		my $kind = $_->{metadata} // ($stream eq 'lines' ? 'payload' : 'member');

		$attnum++;
		'(' . join(', ', literal($stream), $attnum, literal($_->{name}), literal($_->{type}), literal($kind),
			path_literal($_), literal($_->{time_format}), literal($_->{time_zone} // 'UTC'), literal($_->{default}),
			($_->{not_null} ? 'true' : 'false'), ($_->{on_error} ? 'true' : 'false')) . ')'
	} columns($stream);
}

sub table
{
	my ($stream) = @_;
	my @names = map { $_->{name} } columns($stream);

	return "CREATE TABLE plain.${stream}_rows (message int PRIMARY KEY, bad text[], "
	  . join(', ', map { "$_->{name} $_->{type}" } columns($stream)) . ");\n"
	  # OFFSET keeps the query's own conditions from rows that are not its.
	  . "CREATE VIEW plain.$stream AS SELECT " . join(', ', @names) . " FROM plain.${stream}_rows
		WHERE NOT bad && (SELECT string_to_array(current_setting('test.reads'), ' '))
			AND message <> ALL ((SELECT current_setting('test.skip')::int[])::int[])
			AND message BETWEEN (SELECT current_setting('test.first')::int) AND (SELECT current_setting('test.last')::int)
		OFFSET 0;\n";
}

sub setup
{
	return 'CREATE SCHEMA plain;' . tables() . functions() . comparison()
	  . 'INSERT INTO plain.columns VALUES ' . join(', ', map { columns_of($_) } stream_names()) . ';'
	  . join '', map { table($_) } stream_names();
}

sub tables
{
	return q{
	CREATE TABLE plain.raw (
		stream text, message int, partition int, pos bigint, ms bigint, key bytea, head jsonb, payload bytea,
		PRIMARY KEY (stream, message));
	CREATE TABLE plain.columns (
		stream text, attnum int, name text, type text, kind text, path text[], time_format text, zone text,
		missing text, required boolean, null_on_error boolean);
	-- attnum 0: the payload as a whole
	CREATE TABLE plain.bad (stream text, message int, attnum int, name text, sqlstate text, reason text, detail text);
	CREATE TABLE plain.people (name text, team text, weight int);
	INSERT INTO plain.people VALUES ('Ann', 'red', 1), ('ann', 'blue', 2), ('Zoë', 'red', 3), ('Zoë', NULL, 4), ('', 'none', 5),
		('k1', 'blue', 6), ('en', 'red', 2);
	CREATE TABLE plain.outcome (query int, kind text, lines text);};
}

# The meaning of a message
sub functions
{
	return q{
	CREATE FUNCTION plain.epoch(m text, factor numeric) RETURNS timestamptz LANGUAGE plpgsql SET TimeZone = 'UTC' AS $$
	DECLARE
		us numeric := round(m::numeric * factor);
		day constant numeric := 86400000000;
	BEGIN
		IF us::text IN ('NaN', 'Infinity', '-Infinity') OR abs(us) > 1e19 THEN
			RAISE datetime_field_overflow;
		END IF;
		RETURN '1970-01-01'::timestamptz + floor(us / day)::int * interval '1 day'
			+ (us - floor(us / day) * day)::bigint * interval '1 microsecond';
	EXCEPTION WHEN datetime_field_overflow OR numeric_value_out_of_range THEN
		RAISE EXCEPTION 'timestamp out of range: "%"', m USING ERRCODE = '22008';
	END $$;

	-- A member's text as a value of the type, as text again
	CREATE FUNCTION plain.converted(m text, c plain.columns) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		short varchar(5);
	BEGIN
		IF c.type LIKE 'timestamp%' OR c.type = 'date' THEN
			PERFORM set_config('TimeZone', c.zone, true);
			IF c.time_format IN ('epoch_s', 'epoch_ms') THEN
				RETURN CASE c.type
					WHEN 'timestamp with time zone' THEN plain.epoch(m, CASE c.time_format WHEN 'epoch_s' THEN 1000000 ELSE 1000 END)::text
					ELSE plain.epoch(m, CASE c.time_format WHEN 'epoch_s' THEN 1000000 ELSE 1000 END)::timestamp::text END;
			END IF;
			IF c.time_format = 'twitter' AND m !~ '\A[A-Za-z]{3} [A-Za-z]{3} \d\d \d\d:\d\d:\d\d [+-]\d{4} \d{4}\Z' THEN
				RAISE EXCEPTION 'invalid input syntax for time format "twitter": "%"', m USING ERRCODE = '22007',
					DETAIL = 'Such a time looks like "Wed Aug 27 13:08:45 +0000 2008".';
			END IF;
			IF m ~* '(^|[^a-z])(now|today|tomorrow|yesterday)([^a-z]|$)' THEN
				RAISE EXCEPTION 'time "%" depends on when it is read', m USING ERRCODE = '22007',
					DETAIL = 'A stream must read the same at any time.';
			END IF;
		END IF;
		CASE c.type
			WHEN 'text' THEN RETURN m;
			WHEN 'character varying(5)' THEN short := m; RETURN short;
			WHEN 'integer' THEN RETURN m::int4;
			WHEN 'smallint' THEN RETURN m::int2;
			WHEN 'bigint' THEN RETURN m::int8;
			WHEN 'numeric' THEN RETURN m::numeric;
			WHEN 'numeric(8,2)' THEN RETURN m::numeric(8,2);
			WHEN 'real' THEN RETURN m::float4;
			WHEN 'double precision' THEN RETURN m::float8;
			WHEN 'boolean' THEN RETURN m::boolean;
			WHEN 'date' THEN RETURN m::date;
			WHEN 'timestamp with time zone' THEN RETURN m::timestamptz;
			WHEN 'timestamp(3) with time zone' THEN RETURN m::timestamptz(3);
			WHEN 'timestamp without time zone' THEN RETURN m::timestamp;
			WHEN 'uuid' THEN RETURN m::uuid;
			WHEN 'interval' THEN RETURN m::interval;
		END CASE;
	END $$;

	CREATE FUNCTION plain.value(r plain.raw, document jsonb, line text, c plain.columns) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		CASE c.kind
			WHEN 'topic' THEN RETURN r.stream;
			WHEN 'partition' THEN RETURN r.partition;
			WHEN 'offset' THEN RETURN r.pos;
			WHEN 'timestamp' THEN RETURN plain.epoch(r.ms::text, 1000);
			WHEN 'headers' THEN RETURN r.head;
			WHEN 'value' THEN RETURN r.payload;
			WHEN 'key' THEN RETURN CASE c.type WHEN 'text' THEN convert_from(r.key, 'UTF8') ELSE r.key::text END;
			WHEN 'payload' THEN RETURN line;
			ELSE NULL;
		END CASE;
		IF document #> c.path IS NULL THEN
			RETURN CASE WHEN r.payload IS NOT NULL THEN c.missing END;
		ELSIF c.type = 'jsonb' THEN
			RETURN document #> c.path;
		ELSIF document #>> c.path IS NULL THEN
			RETURN NULL;
		END IF;
		RETURN plain.converted(document #>> c.path, c);
	END $$;

	-- Read what has come: rows, and what is bad in which message
	CREATE FUNCTION plain.read(the_stream text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		c plain.columns;
		all_columns plain.columns[] := ARRAY(SELECT s FROM plain.columns s WHERE s.stream = the_stream ORDER BY s.attnum);
		r plain.raw;
		document jsonb;
		line text;
		v text;
		vs text[];
		bad text[];
		state text;
		reason text;
		why text;
		load text := format('INSERT INTO plain.%I SELECT $1, $2, %s', the_stream || '_rows',
			(SELECT string_agg(format('$3[%s]::%s', s.attnum, s.type), ', ' ORDER BY s.attnum)
				FROM plain.columns s WHERE s.stream = the_stream));
		seen int;
	BEGIN
		EXECUTE format('SELECT coalesce(max(message), 0) FROM (SELECT message FROM plain.%I UNION ALL
			SELECT message FROM plain.bad WHERE stream = $1) AS x', the_stream || '_rows') INTO seen USING the_stream;
		FOR r IN SELECT * FROM plain.raw WHERE stream = the_stream AND message > seen ORDER BY message LOOP
			BEGIN
				line := convert_from(r.payload, 'UTF8');
				document := CASE WHEN the_stream <> 'lines' THEN line::jsonb END;
			EXCEPTION WHEN OTHERS THEN
				GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, reason = MESSAGE_TEXT, why = PG_EXCEPTION_DETAIL;
				INSERT INTO plain.bad VALUES (the_stream, r.message, 0, NULL, state, reason, nullif(why, ''));
				CONTINUE;
			END;
			vs := '{}';
			bad := '{}';
			FOREACH c IN ARRAY all_columns LOOP
				BEGIN
					v := NULL;
					v := plain.value(r, document, line, c);
					IF v IS NULL AND c.required THEN
						RAISE not_null_violation USING MESSAGE =
							format('null value in column "%s" of stream public.%s violates not-null constraint', c.name, the_stream);
					END IF;
				EXCEPTION WHEN OTHERS THEN
					IF NOT c.null_on_error THEN
						GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, reason = MESSAGE_TEXT, why = PG_EXCEPTION_DETAIL;
						INSERT INTO plain.bad VALUES (the_stream, r.message, c.attnum, c.name, state, reason, nullif(why, ''));
						bad := bad || c.name;
					END IF;
				END;
				vs := vs || v;
			END LOOP;
			PERFORM set_config('TimeZone', 'UTC', true);
			EXECUTE load USING r.message, bad, vs;
		END LOOP;
	END $$;};
}

# Rollups of a query, both ways, against each other and the query itself
sub comparison
{
	return q{
	-- Make a rollup in this session's TimeZone and way.
	CREATE FUNCTION plain.make(query int, name text, sql text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM streamcount.create_rollup(name, sql);
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO plain.outcome VALUES (query, 'refused', sqlerrm);
	END $$;

	CREATE FUNCTION plain.too_long() RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		RAISE program_limit_exceeded USING MESSAGE = 'group keys are longer than 2000 bytes in all';
	END $$;

	-- How many bytes of a key the index has
	CREATE FUNCTION plain.bytes(key anyelement) RETURNS int LANGUAGE sql STABLE AS $$
		SELECT coalesce(CASE
			WHEN pg_typeof(key) IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) THEN octet_length(key::text)
			WHEN pg_typeof(key) = 'numeric'::regtype THEN octet_length(numeric_send(key::text::numeric)) - 6
			WHEN pg_typeof(key) = 'jsonb'::regtype THEN pg_column_size(key::text::jsonb) - 4
			WHEN pg_typeof(key) = 'integer[]'::regtype THEN pg_column_size(key::text::integer[]) - 4
			WHEN pg_typeof(key) = 'bytea'::regtype THEN octet_length(key::text::bytea) END, 0) $$;

	-- Is that what a message can be rejected for?
	CREATE FUNCTION plain.blames_message(state text) RETURNS boolean LANGUAGE sql AS
		$$ SELECT left(state, 2) IN ('22', '23', '54') $$;

	CREATE TABLE plain.failing (message int, sqlstate text, reason text, detail text);

	-- The messages on which the query fails alone
	CREATE FUNCTION plain.find_failing(sql text, messages int[]) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		middle int := cardinality(messages) / 2;
		state text;
		message text;
		why text;
	BEGIN
		PERFORM set_config('test.first', messages[1]::text, true),
			set_config('test.last', messages[cardinality(messages)]::text, true);
		BEGIN
			EXECUTE format('SELECT count(q) FROM (%s) AS q', sql);
			RETURN;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, why = PG_EXCEPTION_DETAIL;
			IF NOT plain.blames_message(state) THEN
				RAISE;
			END IF;
		END;
		IF middle = 0 THEN
			INSERT INTO plain.failing VALUES (messages[1], state, message, nullif(why, ''));
		ELSE
			PERFORM plain.find_failing(sql, messages[:middle]), plain.find_failing(sql, messages[middle + 1:]);
		END IF;
	END $$;

	-- columns: what to compare of a row; bytes: how long its keys are
	CREATE FUNCTION plain.compare_rows(query int, the_stream text, sql text, columns text, bytes text, reads text)
		RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		wanted text := format('SELECT * FROM (%s OFFSET 0) AS q WHERE CASE WHEN %s > 2000 THEN plain.too_long() ELSE true END',
			sql, bytes);
		names text := (SELECT string_agg('c' || i, ', ') FROM generate_series(1, regexp_count(columns, ' AS c\d')) AS i);
		comparison text := format($q$
			WITH wanted AS MATERIALIZED (%s),
			every AS (
				SELECT 'a' AS w, %s FROM public.q%s_auto UNION ALL
				SELECT 'e', %s FROM public.q%s_executor UNION ALL
				SELECT 'w', %s FROM wanted),
			different AS (
				SELECT count(*) FILTER (WHERE w = 'a') AS auto, count(*) FILTER (WHERE w = 'e') AS executor,
					count(*) FILTER (WHERE w = 'w') AS "table", %s
				FROM every GROUP BY %s
				HAVING count(*) FILTER (WHERE w = 'a') <> count(*) FILTER (WHERE w = 'w')
					OR count(*) FILTER (WHERE w = 'e') <> count(*) FILTER (WHERE w = 'w')
				LIMIT 6)
			SELECT (SELECT string_agg(left(row_to_json(different)::text, 2000), E'\n') FROM different),
				(SELECT count(*) FROM wanted)$q$,
			wanted, columns, query, columns, query, columns, names, names);
		messages int[];
		lines text;
		n bigint;
		state text;
		first_error text;
	BEGIN
		PERFORM set_config('search_path', 'plain, public', true), set_config('test.reads', reads, true),
			set_config('test.skip', '{}', true), set_config('test.first', '0', true), set_config('test.last', '2000000000', true);
		DELETE FROM plain.failing;
		BEGIN
			EXECUTE comparison INTO lines, n;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
			IF NOT plain.blames_message(state) THEN
				RAISE;
			END IF;
			first_error := sqlerrm;
			EXECUTE format('SELECT array_agg(message ORDER BY message) FROM plain.%I', the_stream || '_rows') INTO messages;
			PERFORM plain.find_failing(wanted, messages);
			IF NOT EXISTS (SELECT FROM plain.failing) THEN
				RAISE EXCEPTION 'no message alone is to blame for: %', first_error;
			END IF;
			PERFORM set_config('test.skip', (SELECT array_agg(message) FROM plain.failing)::text, true),
				set_config('test.first', '0', true), set_config('test.last', '2000000000', true);
			EXECUTE comparison INTO lines, n;
		END;
		INSERT INTO plain.outcome VALUES (query, 'rows', lines), (query, 'count', n);
	END $$;

	-- What all rollups have rejected, read once
	CREATE TABLE plain.rejected (
		query int, w text, partition int, pos bigint, sqlstate text, reason text, detail text, name text, key bytea, payload text);
	CREATE INDEX ON plain.rejected (query);
	CREATE FUNCTION plain.gather_rejects() RETURNS void LANGUAGE sql AS $$
		TRUNCATE plain.rejected;
		INSERT INTO plain.rejected
		SELECT substr(split_part(rollup::text, '_', 1), 2)::int, left(split_part(rollup::text, '_', 2), 1), partition, "offset",
			sqlstate, reason, CASE WHEN reason NOT LIKE 'group keys are longer%' THEN detail END, "column", key,
			left(payload::text, 40000)
		FROM streamcount.rejects;
		ANALYZE plain.rejected;
	$$;

	CREATE FUNCTION plain.compare_rejects(query int, the_stream text, reads text) RETURNS void LANGUAGE sql AS $$
		INSERT INTO plain.outcome
		SELECT query, 'rejects', string_agg(line, E'\n') FROM (
			SELECT format('partition %s offset %s: auto %s, executor %s, table %s: %s %s (%s) in %s; %s', partition, pos,
				count(*) FILTER (WHERE w = 'a'), count(*) FILTER (WHERE w = 'e'), count(*) FILTER (WHERE w = 'w'),
				sqlstate, left(reason, 300), left(detail, 300), name, left(payload, 500)) AS line
			FROM (
				SELECT x.w, x.partition, x.pos, x.sqlstate, x.reason, x.detail, x.name, x.key, x.payload
				FROM plain.rejected x WHERE x.query = compare_rejects.query
				UNION ALL
				SELECT 'w', r.partition, r.pos, b.sqlstate, b.reason, b.detail, b.name, r.key, left(r.payload::text, 40000)
				FROM (
					SELECT DISTINCT ON (b.message) b.message, b.sqlstate, b.reason, b.detail, b.name
					FROM plain.bad b
					WHERE b.stream = the_stream AND (b.attnum = 0 OR b.name = ANY (string_to_array(reads, ' ')))
					-- Of several it is the last that is told.
					ORDER BY b.message, b.attnum = 0 DESC, b.attnum DESC) AS b
					JOIN plain.raw r ON r.stream = the_stream AND r.message = b.message
				UNION ALL
				SELECT 'w', r.partition, r.pos, f.sqlstate, f.reason, f.detail, NULL, r.key, left(r.payload::text, 40000)
				FROM plain.failing f JOIN plain.raw r ON r.stream = the_stream AND r.message = f.message) AS every
			GROUP BY partition, pos, sqlstate, reason, detail, name, key, payload
			HAVING count(*) FILTER (WHERE w = 'a') <> 1 OR count(*) FILTER (WHERE w = 'e') <> 1
				OR count(*) FILTER (WHERE w = 'w') <> 1
			LIMIT 6) AS first_ones
	$$;

	-- One query; called in the TimeZone that its rollups were made in.
	CREATE FUNCTION plain.compare(query int, the_stream text, sql text, columns text, bytes text, reads text)
		RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM plain.compare_rows(query, the_stream, sql, columns, bytes, reads);
		PERFORM plain.compare_rejects(query, the_stream, reads);
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO plain.outcome VALUES (query, 'error', sqlerrm);
	END $$;

	-- All rollups there are: their books, and the ways they took
	CREATE FUNCTION plain.compare_books() RETURNS void LANGUAGE sql AS $$
		WITH books AS (
			SELECT substr(split_part(rollup::text, '_', 1), 2)::int AS query, split_part(rollup::text, '_', 2) AS way,
				format('partition %s, %s to %s: counted %s, filtered %s, rejected %s, state %s %s', partition, start_offset,
					next_offset, counted, filtered, rejected, CASE WHEN state = 'halted' THEN state END, reason) AS line,
				counted + filtered + rejected <> next_offset - start_offset AS wrong
			FROM streamcount.progress)
		INSERT INTO plain.outcome
		SELECT query, 'books', string_agg(format('%s: %s', way, line), E'\n') FROM (
			SELECT *, count(*) OVER (PARTITION BY query, line) AS n FROM books) AS every
		WHERE n <> 2 OR wrong GROUP BY query;
		INSERT INTO plain.outcome
		SELECT substr(split_part(rollup::text, '_', 1), 2)::int, split_part(rollup::text, '_', 2), concat_ws(': ', way, why)
		FROM streamcount.rollups
	$$;};
}

1;
