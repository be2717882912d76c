#!/usr/bin/env python3
"""Count hashtags in a Kafka topic without streamcount, for comparison.

usage: count.py BROKERS TOPIC [--granularities minute,day,ALL]
                [--span PARTITION:FIRST:END ...] [--books]

Reads the topic with kcat and prints "hashtag interval mentions", separated by
tabs and sorted by bytes: what the README's rollup must hold.  A message is
{"created_at": "2014-09-21T00:00:00Z", "text": "the #tag27"}; its hashtags are
ASCII words, as in generated tweets.  What is no such object counts as left
out.  With --span, only those partitions' messages from FIRST to before END;
it fails if the topic does not have them within a minute.
--books prints "partition read left_out next_offset" lines instead.
"""

import argparse
import collections
import datetime
import functools
import json
import re
import subprocess
import sys
import tempfile
import time

REACHED_END = re.compile(r"^% Reached end of topic .* \[(\d+)\] at offset (\d+)", re.M)
HASHTAG = re.compile(r"(?<![A-Za-z0-9_&])#([A-Za-z0-9_]*[A-Za-z_][A-Za-z0-9_]*)")


def label(moment, granularity):
    if granularity == "ALL":
        return "ALL"
    if granularity == "week":
        year, week, _ = moment.isocalendar()
        return f"{year:04d}-W{week:02d}"
    if granularity == "quarter":
        return f"{moment.year:04d}-Q{(moment.month + 2) // 3}"
    length = {"year": 4, "month": 7, "day": 10, "hour": 13, "minute": 16, "second": 19}
    return moment.isoformat()[: length[granularity]]


def messages(brokers, topic, ends):
    """(partition, offset, payload or None), in no order between partitions;
    fills ends with where kcat found the end of each partition."""
    told = tempfile.TemporaryFile()
    kcat = subprocess.Popen(
        ["kcat", "-C", "-e", "-b", brokers, "-t", topic, "-o", "beginning",
         "-X", "isolation.level=read_committed", "-X", "check.crcs=true",
         "-X", "auto.offset.reset=error", "-X", "fetch.wait.max.ms=50", "-f", "%p %o %S\n%s\n"],
        stdout=subprocess.PIPE, stderr=told, bufsize=1 << 20)
    try:
        while header := kcat.stdout.readline():
            partition, offset, size = map(int, header.split())
            payload = kcat.stdout.read(max(size, 0)) if size >= 0 else None
            if kcat.stdout.read(1) != b"\n":
                sys.exit(f"count.py: cannot follow kcat after {header!r}")
            yield partition, offset, payload
        status = kcat.wait()
        told.seek(0)
        text = told.read().decode(errors="replace")
        if status != 0:
            sys.exit(f"count.py: kcat ended with status {status}: {text}")
        ends.update((int(p), int(offset)) for p, offset in REACHED_END.findall(text))
    finally:
        kcat.kill()
        kcat.wait()


@functools.lru_cache(maxsize=100000)
def labels(created_at, granularities):
    moment = datetime.datetime.fromisoformat(created_at.replace("Z", "+00:00"))
    moment = moment.astimezone(datetime.timezone.utc)
    return [label(moment, granularity) for granularity in granularities]


def event(payload, granularities):
    """(labels, hashtags), or None for what cannot be counted."""
    try:
        document = json.loads(payload.decode("utf-8"))
        text = document["text"]
        intervals = labels(document["created_at"], granularities)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
    if not isinstance(text, str) or "\0" in text:
        return None
    return intervals, ["#" + tag.lower() for tag in HASHTAG.findall(text)]


def read(brokers, topic, granularities, spans):
    """What is in the topic or, if there are any, in the spans: counts, books,
    and which span could not be read to its end, if any."""
    counts = collections.defaultdict(int)
    books = collections.defaultdict(lambda: [0, 0, 0])
    ends = {}
    # While messages keep coming, kcat finds no end: stop behind the last span.
    unread = {partition for partition, span in spans.items() if span}
    reader = messages(brokers, topic, ends) if unread or not spans else iter(())
    for partition, offset, payload in reader:
        if spans and offset not in spans.get(partition, ()):
            if partition in unread and offset >= spans[partition].stop:
                unread.discard(partition)
            if not unread:
                break
            continue
        if spans and offset == spans[partition].stop - 1:
            unread.discard(partition)
        book = books[partition]
        found = event(payload, granularities)
        book[0] += 1
        book[1] += found is None
        book[2] = max(book[2], offset + 1)
        if found:
            intervals, hashtags = found
            for tag in hashtags:
                for interval in intervals:
                    counts[tag, interval] += 1
        if spans and not unread:
            break
    if hasattr(reader, "close"):
        reader.close()
    # The last of a span may be a mark of a transaction, which nobody is given.
    short = [f"partition {p} ends at {ends.get(p)}, before {spans[p].stop}"
             for p in sorted(unread) if ends.get(p, -1) < spans[p].stop]
    return counts, books, ", ".join(short)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("brokers")
    parser.add_argument("topic")
    parser.add_argument("--granularities", default="day,ALL")
    parser.add_argument("--span", action="append", default=[])
    parser.add_argument("--books", action="store_true")
    args = parser.parse_args()
    granularities = tuple(args.granularities.split(","))
    spans = {}
    for span in args.span:
        partition, first, end = map(int, span.split(":"))
        spans[partition] = range(first, end)

    # Just after an election the leader may know of less than was read before,
    # until its followers have answered it (Kafka's KIP-207).
    until = time.monotonic() + 60
    while True:
        counts, books, short = read(args.brokers, args.topic, granularities, spans)
        if not short:
            break
        if time.monotonic() > until:
            sys.exit(f"count.py: {short}")
        print(f"count.py: {short}; reading again", file=sys.stderr)
        time.sleep(0.5)

    if args.books:
        lines = (" ".join(map(str, (p, *books[p]))) for p in sorted(books))
    else:
        lines = sorted(f"{tag}\t{interval}\t{n}" for (tag, interval), n in counts.items())
    sys.stdout.writelines(line + "\n" for line in lines)


if __name__ == "__main__":
    main()
