SET timezone = 'UTC';
SET datestyle = 'ISO';

-- A label for every granularity.
SELECT * FROM streamcount.windows('2014-09-21 13:05:09.123456+00',
	'{second,minute,hour,day,week,month,quarter,year,ALL}');
SELECT * FROM streamcount.windows('2014-09-21 13:05:09.123456+00',
	'{second,minute,hour,day,week,month,quarter,year,ALL}', 'America/New_York');

-- Of several units, the duration belongs to the label.
SELECT * FROM streamcount.windows('2014-09-21 13:05:09.123456+00',
	ARRAY['15 minutes', '90 minutes', '2 hours', '36 hours', '30 seconds', '1.5 seconds',
		  '250 milliseconds', '1 microsecond', '3 days', '2 weeks', '2 months', '6 months',
		  '18 months', '5 years', '1 century', 'P2D', 'PT20M']);
SELECT granularity, "interval" FROM streamcount.windows('2014-09-21 13:05:09.123456+00',
	ARRAY['15 minutes', '36 hours', '2 days', '2 weeks', '6 months', '5 years'], 'Asia/Kathmandu');

-- One size has one name, and one row.
SELECT granularity FROM streamcount.windows('2014-09-21',
	ARRAY['Hour', '1 hour', '60 minutes', '1:00', 'PT3600S', 'all', 'ALL', '24 hours', 'day',
		  '7 days', '1 week', '1:30', '90 minutes', '3 months', 'QUARTER', '12 months', '1 year',
		  '1 day 12 hours', '36:00']);

-- Its type and its order.
SELECT pg_typeof(w), pg_typeof(w."interval"), pg_collation_for(w."interval")
FROM streamcount.windows('2014-09-21', '{ALL}') AS w;
SELECT granularity, "interval", count(*)
FROM generate_series('2013-12-28'::timestamptz, '2014-01-15', '1 day') AS ts,
	 streamcount.windows(ts, '{week,month,ALL}')
GROUP BY granularity, "interval" ORDER BY "interval" DESC;

-- An hour that the clocks show twice is two, and an hour less is left out.
CREATE FUNCTION around(change timestamptz, zone text, granularities text[],
					   step interval DEFAULT '30 minutes')
	RETURNS TABLE ("interval" text, utc timestamptz, length interval, seen bigint)
	LANGUAGE sql AS $$
	SELECT w."interval", window_start, window_end - window_start, count(*)
	FROM generate_series(change - 4 * step, change + 4 * step, step) AS ts,
		 streamcount.windows(ts, granularities, zone) AS w
	GROUP BY w."interval", window_start, window_end ORDER BY window_start
$$;
SELECT * FROM around('2014-11-02 06:00+00', 'America/New_York', '{hour}');
SELECT * FROM around('2014-03-09 07:00+00', 'America/New_York', '{hour}');
SELECT * FROM around('2014-10-26 01:00+00', 'Europe/Berlin', '{hour}');
SELECT * FROM around('2014-11-02 06:00+00', 'America/New_York', '{30 minutes}', '20 minutes');
SELECT * FROM around('2014-11-02 06:00+00', 'America/New_York', '{2 hours}');
-- Half an hour on Lord Howe Island, a quarter in Nepal in 1986.
SELECT * FROM around('2014-04-05 15:00+00', 'Australia/Lord_Howe', '{hour}', '15 minutes');
SELECT * FROM around('2014-10-04 15:30+00', 'Australia/Lord_Howe', '{hour}', '15 minutes');
SELECT * FROM around('1985-12-31 18:30+00', 'Asia/Kathmandu', '{hour}', '15 minutes');

-- Days of 23 and 25 hours; midnight missing, shown twice, left again; no day at all.
SELECT * FROM around('2014-11-02 12:00+00', 'America/New_York', '{day}', '6 hours');
SELECT * FROM around('2014-03-30 12:00+00', 'Europe/Berlin', '{day}', '6 hours');
SELECT * FROM around('2014-10-19 03:00+00', 'America/Sao_Paulo', '{day}');
SELECT * FROM around('2014-02-16 02:00+00', 'America/Sao_Paulo', '{day}');
SELECT * FROM around('2014-11-02 05:00+00', 'America/Havana', '{day}');
SELECT * FROM around('2009-11-01 02:31+00', 'America/St_Johns', '{day}', '30 seconds');
SELECT * FROM around('2011-12-30 10:00+00', 'Pacific/Apia', '{day,week,month}', '6 hours');
SELECT * FROM around('2014-11-02 12:00+00', 'America/New_York', '{36 hours}', '9 hours');

-- Leap days, and weeks at the ends of years.
SELECT ts::date, "interval", window_start::date, window_end::date
FROM unnest('{2012-02-29,2013-02-28,2000-02-29,1900-02-28,2100-03-01}'::timestamptz[]) AS ts,
	 streamcount.windows(ts, '{day,month}');
SELECT ts::date, "interval", window_start::date, to_char(ts, 'IYYY-"W"IW') AS postgres
FROM unnest('{2004-12-31,2005-01-01,2005-01-02,2005-01-03,2007-12-31,2008-12-28,2008-12-29,
			  2009-12-31,2010-01-03,2010-01-04,2012-01-01,2020-12-31,2021-01-03}'::timestamptz[]) AS ts,
	 streamcount.windows(ts, '{week}');

-- The ends of what there is: year 1, before Christ, five digits, the range's own.
SELECT ts, "interval", window_start, window_end
FROM unnest('{0001-01-01,0001-12-31 BC,0002-06-15 BC,9999-12-31 23:59:59,10000-01-01,
			  4714-11-24 BC,294276-12-31 23:59:59.999999}'::timestamptz[]) AS ts,
	 streamcount.windows(ts, '{minute,day,week,quarter,year,1000 years}');
SELECT ts, "interval", window_start, window_end
FROM unnest('{0001-01-01,4714-11-24 BC,294276-12-31 23:59:59.999999}'::timestamptz[]) AS ts,
	 streamcount.windows(ts, '{hour,day,year}', 'America/New_York');

-- What is no time is in ALL alone.
SELECT ts, w.* FROM (VALUES (NULL), ('infinity'::timestamptz), ('-infinity')) AS t (ts),
	streamcount.windows(ts, '{day,ALL,hour}') AS w;
SELECT * FROM streamcount.windows('2014-09-21', '{day,ALL}', NULL);
SELECT * FROM streamcount.windows(NULL, '{day}');
SELECT * FROM streamcount.windows('2014-09-21', NULL);
SELECT * FROM streamcount.windows('2014-09-21', '{}');

-- All arguments may differ from row to row.
SELECT zone, w.* FROM (VALUES
	('{hour}'::text[], 'UTC'), ('{hour}', 'Europe/Berlin'), ('{day,ALL}', 'Europe/Berlin'),
	('{day,ALL}', NULL), ('{day,ALL}', 'UTC'), ('{day,ALL}', 'Europe/Berlin')) AS t (granularities, zone),
	streamcount.windows('2014-09-21 22:30+00', granularities, zone) AS w;
-- As a function of the select list, too.
SELECT n, (streamcount.windows('2014-09-21 22:30+00', '{day,ALL}')).* FROM generate_series(1, 2) AS n;
SELECT streamcount.hop('2014-09-21 22:30+00', '1 hour', '20 minutes') LIMIT 2;

-- tumble: aligned to local 2000-01-01, weeks to Monday, and shifted.
SELECT size, shift, window_start, window_end
FROM (VALUES ('10 minutes'::interval, '0'::interval), ('1 hour', '5 minutes'), ('1 hour', '-5 minutes'),
			 ('1 hour', '25 hours 5 minutes'), ('1 day', '6 hours'), ('7 hours', '0'), ('1 week', '0'),
			 ('1 week', '-1 day'), ('14 days', '0'), ('10 days', '0'), ('1 month', '0'), ('1 month', '9 days'),
			 ('1 month', '-1 day 12 hours'), ('1 year', '3 months'), ('1 year', '-9 months'),
			 ('5 months', '0'), ('4 years', '0'), ('10000 years', '0')) AS t (size, shift),
	 streamcount.tumble('2014-09-21 13:05:09+00', size, shift);
SELECT * FROM streamcount.tumble('2014-09-21 13:05:09+00', '1 day', time_zone => 'Asia/Kathmandu');
SELECT * FROM streamcount.tumble('2014-09-21 13:05:09+00', '1 year', '3 months', 'Asia/Kathmandu');
-- hop: of so many slides, also over a change of the clocks and at the end of time.
SELECT * FROM streamcount.hop('2014-09-21 13:05:09+00', '15 minutes', '5 minutes');
SELECT * FROM streamcount.hop('2014-09-21 13:05:09+00', '15 minutes', '5 minutes', '1 minute');
SELECT * FROM streamcount.hop('2014-09-21 13:05:09+00', '3 months', '1 month');
SELECT * FROM streamcount.hop('2014-11-02 06:30+00', '2 hours', '1 hour', time_zone => 'America/New_York');
SELECT * FROM streamcount.hop('2014-11-02 12:00+00', '3 days', '1 day', time_zone => 'America/New_York');
SELECT * FROM streamcount.hop('294276-12-31 12:00+00', '3 days', '1 day');
SELECT * FROM streamcount.hop('4714-11-24 12:00+00 BC', '3 days', '1 day');
-- cumulate: steps counted from where its window begins.
SELECT * FROM streamcount.cumulate('2014-09-21 13:05:09+00', '1 hour', '15 minutes');
SELECT * FROM streamcount.cumulate('2014-09-21 13:25:09+00', '1 hour', '15 minutes', '20 minutes');
SELECT * FROM streamcount.cumulate('2014-09-21 13:05:09+00', '7 days', '84 hours');
SELECT * FROM streamcount.cumulate('2014-02-26 13:05:09+00', '1 month', '1 day');
SELECT * FROM streamcount.cumulate('2014-09-21 13:05:09+00', '1 year', '3 months', '1 month');
SELECT * FROM streamcount.cumulate('2015-03-31 13:05:09+00', '1 year', '6 hours', '3 months');
SELECT * FROM streamcount.cumulate('2014-11-03 03:30+00', '1 day', '1 hour', time_zone => 'America/New_York');
-- No time, no window.
SELECT * FROM streamcount.tumble(NULL, '1 day');
SELECT * FROM streamcount.tumble('infinity', '1 day');
SELECT * FROM streamcount.hop('-infinity', '1 day', '1 hour');
SELECT * FROM streamcount.cumulate('infinity', '1 day', '1 hour');

-- What cannot be.
SELECT * FROM streamcount.windows('2014-09-21', '{fortnight}');
SELECT * FROM streamcount.windows('2014-09-21', ARRAY['']);
SELECT * FROM streamcount.windows('2014-09-21', '{day,0 minutes}');
SELECT * FROM streamcount.windows('2014-09-21', '{-1 hour}');
SELECT * FROM streamcount.windows('2014-09-21', '{1 day -1 hour}');
SELECT * FROM streamcount.windows('2014-09-21', '{1 month 1 day}');
SELECT * FROM streamcount.windows('2014-09-21', '{10001 years}');
SELECT * FROM streamcount.windows('2014-09-21', '{2147483647 days}');
SELECT * FROM streamcount.windows('2014-09-21', '{day,NULL}');
SELECT * FROM streamcount.windows(NULL, '{fortnight}');
SELECT * FROM streamcount.windows('2014-09-21', '{day}', 'Atlantis/Poseidonis');
SELECT * FROM streamcount.windows('2014-09-21', '{day}', 'CEST');
SELECT * FROM streamcount.tumble('2014-09-21', '0');
SELECT * FROM streamcount.tumble('2014-09-21', '-1 day');
SELECT * FROM streamcount.tumble('2014-09-21', '1 day', '1 month');
SELECT * FROM streamcount.tumble('2014-09-21', '1 month', '32 days');
SELECT * FROM streamcount.tumble('2014-09-21', '1 day', '2147483647 days');
SELECT * FROM streamcount.hop('2014-09-21', '1 hour', '25 minutes');
SELECT * FROM streamcount.hop('2014-09-21', '1 hour', '2 hours');
SELECT * FROM streamcount.hop('2014-09-21', '1 month', '1 day');
SELECT * FROM streamcount.hop('2014-09-21', '1 hour', '-1 hour');
SELECT * FROM streamcount.cumulate('2014-09-21', '1 hour', '40 minutes');
SELECT * FROM streamcount.cumulate('2014-09-21', '1 month', '1 week');
SELECT * FROM streamcount.cumulate('2014-09-21', '1 day', '1 month');

DROP FUNCTION around;
