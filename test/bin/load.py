#!/usr/bin/env python3
"""A steady load of tweets, as input of `kafka_tool produce`.

usage: load.py RATE PARTITIONS SEED

Until it is ended, RATE messages a second.  Most have exactly two hashtags, in
any case of letters, and a time in an hour that moves on, often late and
sometimes early.  Of a hundred messages one has no hashtag, one is no JSON and
one has a time that is none.  The payloads are what count.py understands.
"""

import datetime
import random
import sys
import time

TAGS = 300
START = datetime.datetime(2014, 9, 21, tzinfo=datetime.timezone.utc)


def tag(random_source):
    number = int(TAGS ** random_source.random())
    return random_source.choice(("#tag%d", "#Tag%d", "#TAG%d")) % number


def payload(random_source, number, rate):
    hours = number / (rate * 10) + random_source.choice((0, 0, 0, -1, -5, 2))
    moment = START + datetime.timedelta(hours=hours)
    created_at = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"{tag(random_source)} or {tag(random_source)}, number {number}"
    kind = random_source.randrange(100)
    if kind == 0:
        text = "nothing"
    elif kind == 1:
        return '{"created_at": "' + created_at + '", "text": "' + text
    elif kind == 2:
        created_at = "soon"
    return '{"created_at": "%s", "text": "%s"}' % (created_at, text)


def main():
    rate, partitions, seed = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    random_source = random.Random(seed)
    begin = time.monotonic()
    number = 0
    while True:
        due = int((time.monotonic() - begin) * rate)
        while number < due:
            number += 1
            sys.stdout.write("%d\t\\N\t\\N\t%s\n" % (
                random_source.randrange(partitions), payload(random_source, number, rate)))
        sys.stdout.flush()
        time.sleep(0.01)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit("load.py: the producer has ended")
