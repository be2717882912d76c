# PostgreSQL's own date_trunc() and date_bin() as judges of windows() and its
# kin, over random times, many of them near a change of the clocks.
#
# Too many rows for an expected file, and zones change with the operating
# system's time zone data: so this is not a regression test.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('windows');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION streamcount');

# The query finds what is wrong: there must be nothing.
sub none
{
	my ($query, $name) = @_;

	is($node->safe_psql('postgres', "SELECT * FROM ($query) AS wrong LIMIT 5"), '', $name);
}

# All that follows is the same in every run; changes of the clocks are found by
# looking at each day's offset from UTC.
$node->safe_psql('postgres', <<'SQL');
BEGIN;
SELECT setseed(0.42);
CREATE TABLE zones AS SELECT unnest('{UTC, America/New_York, Europe/Berlin, Asia/Kathmandu,
	Australia/Lord_Howe, America/St_Johns, America/Havana, America/Sao_Paulo, Pacific/Apia,
	Africa/Casablanca, America/Juneau, Asia/Manila, Europe/Dublin}'::text[]) AS zone;
CREATE TABLE changes AS
	SELECT zone, day FROM zones, LATERAL (
		SELECT day, day AT TIME ZONE zone - day AT TIME ZONE 'UTC' AS east,
			lag(day AT TIME ZONE zone - day AT TIME ZONE 'UTC') OVER (ORDER BY day) AS before
		FROM generate_series('1840-01-01'::timestamptz, '2045-01-01', '1 day') AS day) AS days
	WHERE east <> before;
CREATE TABLE times AS
	SELECT zone, 'epoch'::timestamptz + (random() * 4e9 - 2e9) * interval '1 s' AS ts
	FROM zones, generate_series(1, 6000)
	UNION ALL
	SELECT zone, day + (random() * 4 - 2.5) * interval '1 day'
	FROM changes, generate_series(1, 30)
	UNION ALL
	SELECT zone, '4712-01-01 BC'::timestamptz + random() * 298980 * interval '365.25 days'
	FROM zones, generate_series(1, 2000);
CREATE TABLE found AS
	SELECT zone, ts, granularity, "interval", window_start, window_end,
		date_trunc(granularity, ts, zone) AS truncated
	FROM times, streamcount.windows(ts, '{second,minute,hour,day,week,month,quarter,year}', zone);
COMMIT;
SQL

my ($windows, $changes) = split /\|/, $node->safe_psql('postgres',
	'SELECT (SELECT count(*) FROM found), (SELECT count(*) FROM changes)');
note "$windows windows, $changes changes of the clocks";
cmp_ok($windows, '>', 500_000, 'there is enough to compare');
cmp_ok($changes, '>', 1000, 'the clocks were changed often enough');

none('SELECT * FROM found WHERE window_start > ts OR window_end <= ts',
	'a time is in its window');

# Next to a change of the clocks date_trunc() may answer with a time that is
# later than the one asked for; or at which the clock shows something else
# than the truncated time; or, where a midnight is shown twice, with the
# second one for both days' worth of times.  A window cannot begin there.
none(q{
	SELECT * FROM found
	WHERE window_start <> truncated
		AND truncated <= ts
		AND truncated AT TIME ZONE zone = date_trunc(granularity, ts AT TIME ZONE zone)
		AND date_trunc(granularity, truncated - interval '1 us', zone) < truncated},
	'windows begin where date_trunc() says');
my $exceptions = $node->safe_psql('postgres',
	'SELECT count(*) FROM found WHERE window_start <> truncated');
note "$exceptions times at which date_trunc() is no beginning of a window";
cmp_ok($exceptions, '<', $windows / 500, 'there are few exceptions');
is($node->safe_psql('postgres', q{
	SELECT count(*) FROM found WHERE window_start <> truncated
		AND zone IN ('UTC', 'America/New_York', 'Europe/Dublin') AND ts > '1950-01-01'}),
	'0', 'and none where the clocks are changed by whole hours, away from midnight');

none(q{
	SELECT zone, granularity, count(DISTINCT "interval"), count(DISTINCT window_start)
	FROM found GROUP BY zone, granularity
	HAVING count(DISTINCT "interval") <> count(DISTINCT window_start)
		OR count(DISTINCT ("interval", window_start, window_end)) <> count(DISTINCT window_start)},
	'D21: a label is one window, and a window is one label');

none(q{
	SELECT f.* FROM (SELECT DISTINCT zone, granularity, "interval", window_start, window_end
			FROM found WHERE ts < '294000-01-01') AS f,
		streamcount.windows(f.window_start, ARRAY[f.granularity], zone) AS first,
		streamcount.windows(f.window_end - interval '1 us', ARRAY[f.granularity], zone) AS last,
		streamcount.windows(f.window_end, ARRAY[f.granularity], zone) AS next
	WHERE first."interval" <> f."interval" OR last."interval" <> f."interval"
		OR next.window_start <> f.window_end},
	'D21: windows leave no gap and do not overlap');

# Labels, spelt by to_char().  In St. John's the clocks were put back from one
# minute past midnight, and Alaska lived a date twice: a day that is left
# again has not begun yet.
none(q{
	SELECT * FROM (
		SELECT *, ts AT TIME ZONE zone AS local, ts AT TIME ZONE zone - ts AT TIME ZONE 'UTC' AS east
		FROM found WHERE ts BETWEEN '0002-01-01' AND '9998-12-31') AS f
	WHERE "interval" <> to_char(local, CASE granularity
			WHEN 'second' THEN 'YYYY-MM-DD"T"HH24:MI:SS'
			WHEN 'minute' THEN 'YYYY-MM-DD"T"HH24:MI'
			WHEN 'hour' THEN 'YYYY-MM-DD"T"HH24'
			WHEN 'day' THEN 'YYYY-MM-DD'
			WHEN 'week' THEN 'IYYY-"W"IW'
			WHEN 'month' THEN 'YYYY-MM'
			WHEN 'quarter' THEN 'YYYY-"Q"Q'
			WHEN 'year' THEN 'YYYY' END) ||
		CASE WHEN zone = 'UTC' OR granularity NOT IN ('second', 'minute', 'hour') THEN ''
			ELSE CASE WHEN east < '0' THEN '-' ELSE '+' END ||
				to_char(CASE WHEN east < '0' THEN -east ELSE east END,
					CASE WHEN extract(second FROM east) = 0 THEN 'HH24:MI' ELSE 'HH24:MI:SS' END) END
		AND NOT (granularity NOT IN ('second', 'minute', 'hour')
			AND (zone = 'America/St_Johns' AND local::time < '00:01'
				OR zone = 'America/Juneau' AND ts < '1868-01-01'))},
	'labels are what to_char() spells');

# Any size in UTC; weeks are counted from a Monday.
none(q{
	SELECT * FROM (
		SELECT ts, size, window_start, window_end,
			date_bin(size, ts, CASE WHEN extract(epoch FROM size) % 604800 = 0
				THEN timestamptz '2000-01-03' ELSE '2000-01-01' END) AS binned
		FROM times, unnest('{1 us,250 ms,7 s,15 minutes,90 minutes,1 hour,7 hours,12 hours,36 hours,
			1 day,3 days,7 days,10 days,14 days,1000 days}'::interval[]) AS size,
			streamcount.tumble(ts, size)
		WHERE zone = 'UTC' AND ts < '290000-01-01') AS t
	WHERE window_start <> binned OR window_end <> binned + size},
	'in UTC, windows of any size begin where date_bin() says');
none(q{
	SELECT * FROM (
		SELECT ts, size, shift, window_start, date_bin(size, ts, timestamptz '2000-01-01' + shift) AS binned
		FROM times, unnest('{15 minutes,7 hours,1 day,10 days}'::interval[]) AS size,
			unnest('{5 minutes,-5 minutes,1 day 1 us,-999 hours}'::interval[]) AS shift,
			streamcount.tumble(ts, size, shift)
		WHERE zone = 'UTC' AND ts < '290000-01-01') AS t
	WHERE window_start <> binned},
	'and shifted, too');

# hop() and cumulate() by their definitions.
none(q{
	SELECT * FROM (SELECT ts, size, slide FROM times,
			(VALUES ('1 hour'::interval, '5 minutes'::interval), ('1 day', '1 hour'), ('30 s', '10 s'),
				('7 days', '1 day')) AS t (size, slide)
		WHERE zone = 'UTC' AND ts BETWEEN '0001-01-01' AND '9999-01-01' AND ts::text ~ '7\+00$') AS t
	WHERE (SELECT array_agg((window_start, window_end) ORDER BY window_start)
			FROM streamcount.hop(ts, size, slide)) IS DISTINCT FROM
		(SELECT array_agg((s, s + size) ORDER BY s)
			FROM date_bin(slide, ts, '2000-01-01 00:00+00') AS last,
				generate_series(last - size + slide, last, slide) AS s)},
	'hop() gives every window of its size that begins with a slide');
none(q{
	SELECT * FROM (SELECT ts, size, step FROM times,
			(VALUES ('1 hour'::interval, '5 minutes'::interval), ('1 day', '1 hour'), ('30 s', '10 s'))
				AS t (size, step)
		WHERE zone = 'UTC' AND ts BETWEEN '0001-01-01' AND '9999-01-01' AND ts::text ~ '7\+00$') AS t
	WHERE (SELECT array_agg((window_start, window_end) ORDER BY window_end)
			FROM streamcount.cumulate(ts, size, step)) IS DISTINCT FROM
		(SELECT array_agg((first, e) ORDER BY e)
			FROM date_bin(size, ts, '2000-01-01 00:00+00') AS first,
				generate_series(date_bin(step, ts, '2000-01-01 00:00+00') + step, first + size, step) AS e)},
	'cumulate() ends with every step up to its size');

# Over a change of the clocks, too: so many slides, in a row.
none(q{
	SELECT * FROM (
		SELECT zone, ts, count(*) AS n, bool_and(window_start <= ts AND ts < window_end) AS inside,
			count(DISTINCT window_start) AS starts, min(window_end) AS first_end
		FROM times, streamcount.hop(ts, '4 hours', '1 hour', time_zone => zone)
		WHERE ts BETWEEN '1840-01-01' AND '2045-01-01'
		GROUP BY zone, ts) AS t,
		streamcount.tumble(ts, '1 hour', time_zone => zone) AS slide
	WHERE n <> 4 OR starts <> 4 OR NOT inside OR first_end <> slide.window_end},
	'everywhere a time is in size / slide windows');
none(q{
	SELECT * FROM (
		SELECT zone, ts, min(window_start) AS cumulated_start, max(window_start) AS last_start,
			min(window_end) AS first_end, max(window_end) AS cumulated_end
		FROM times, streamcount.cumulate(ts, '1 day', '6 hours', time_zone => zone)
		WHERE ts BETWEEN '1840-01-01' AND '2045-01-01'
		GROUP BY zone, ts) AS t,
		streamcount.tumble(ts, '1 day', time_zone => zone) AS size,
		streamcount.tumble(ts, '6 hours', time_zone => zone) AS step
	WHERE cumulated_start <> size.window_start OR last_start <> cumulated_start
		OR cumulated_end <> size.window_end OR first_end <> step.window_end},
	'everywhere steps end with their window');

$node->stop;
done_testing();
