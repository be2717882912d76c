#!/usr/bin/env python3
"""A steady load of tweets, as input of `kafka_tool produce`.

usage: load.py RATE PARTITIONS SEED [--first N] [--count N] [--odd N] [--total FILE]

Until it is ended, or --count messages are written, RATE messages a second, for
so many partitions (0: whichever the producer likes).  Most have exactly two
hashtags, in any case of letters, and a time in an hour that moves on, often
late and sometimes early.  Of --odd messages (100) one has no hashtag, one is no
JSON and one has a time that is none.  Each has its number, counted up from
--first.  The payloads are what count.py understands.  --total is written at the
end: the number that would come next.
"""

import argparse
import datetime
import random
import signal
import sys
import time

TAGS = 300
START = datetime.datetime(2014, 9, 21, tzinfo=datetime.timezone.utc)


def tag(random_source):
    number = int(TAGS ** random_source.random())
    return random_source.choice(("#tag%d", "#Tag%d", "#TAG%d")) % number


def payload(random_source, number, rate, odd):
    hours = number / (rate * 10) + random_source.choice((0, 0, 0, -1, -5, 2))
    moment = START + datetime.timedelta(hours=hours)
    created_at = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    text = f"{tag(random_source)} or {tag(random_source)}, number {number}"
    kind = random_source.randrange(odd)
    if kind == 0:
        text = "nothing"
    elif kind == 1:
        return '{"n": %d, "created_at": "%s", "text": "%s' % (number, created_at, text)
    elif kind == 2:
        created_at = "soon"
    return '{"n": %d, "created_at": "%s", "text": "%s"}' % (number, created_at, text)


class Load:
    def __init__(self, args):
        self.args = args
        self.written = 0
        self.ended = False

    def end(self, *_):
        self.ended = True

    def is_over(self):
        return self.ended or self.written == self.args.count

    def write(self):
        args = self.args
        random_source = random.Random(args.seed)
        begin = time.monotonic()
        while not self.is_over():
            due = int((time.monotonic() - begin) * args.rate)
            while self.written < due and not self.is_over():
                partition = str(random_source.randrange(args.partitions)) if args.partitions else "\\N"
                sys.stdout.write("%s\t\\N\t\\N\t%s\n" % (
                    partition, payload(random_source, args.first + self.written, args.rate, args.odd)))
                self.written += 1
            sys.stdout.flush()
            time.sleep(0.01)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rate", type=int)
    parser.add_argument("partitions", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int)
    parser.add_argument("--odd", type=int, default=100)
    parser.add_argument("--total")
    args = parser.parse_args()
    load = Load(args)
    # Not in the middle of a line
    signal.signal(signal.SIGTERM, load.end)
    load.write()
    if args.total:
        with open(args.total, "w", encoding="ascii") as total:
            total.write(f"{args.first + load.written}\n")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        sys.exit("load.py: the producer has ended")
