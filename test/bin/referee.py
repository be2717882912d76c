#!/usr/bin/env python3
"""Keep what rollups of a topic must hold, without streamcount, and compare.

usage: referee.py FOLLOW BROKERS TOPIC GRANULARITIES

Reads the topic by the program FOLLOW while it grows, and keeps for each rollup
what it must hold at the offsets at which it was last seen.  A message is
{"n": 7, "created_at": "2014-09-21T00:00:00Z", "text": "the #tag27"}.  There
are two kinds of rollups:

  tags     hashtag, interval, count: what count.py counts
  numbers  n / 20, sum(8 ^ (n % 20)), count of the messages that are not "nothing":
           each octal digit says how often the message with this number was
           counted, so that one that is lost and one that is counted twice
           cannot make up for each other

For each line of stdin, "compare FILE", it answers with one line of JSON.  FILE
holds one snapshot of the rollups, by lines of fields separated by tabs:

  rollup  NAME KIND SCOPE           tags: "all", or those that are in FILE;
                                    numbers: "all", or the lowest key n / 20
  offsets NAME PARTITION START NEXT COUNTED FILTERED REJECTED
  tags    NAME HASHTAG INTERVAL COUNT
  look    NAME HASHTAG              in the scope, with rows or without
  numbers NAME KEY SUM COUNT
  reject  NAME PARTITION OFFSET     all of them, where the scope is "all"

The answer's members: differ, rows and books that are not equal; lost and
duplicated, messages that a rollup of numbers counts too seldom and too often;
low, by rollup the lowest number that is worth a look the next time;
messages, in the topic up to the furthest rollup; lines, the first differences.
"""

import collections
import json
import queue
import subprocess
import sys
import threading
import time

import count

BUCKET = 20
MARGIN = 20000          # messages may come so late by their number
PATIENCE = 20           # seconds without news until the reader is begun anew

Message = collections.namedtuple("Message", "offset number is_taken labels tags")


def number_of(payload):
    """The number of a message, None for what cannot be counted, and whether a rollup of numbers takes it."""
    try:
        document = json.loads(payload.decode("utf-8"))
        number, text = document["n"], document["text"]
        is_sure = isinstance(number, int) and "\0" not in text
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None, False
    return number if is_sure else None, text != "nothing"


class Topic:
    """Messages by partition, from where the last rollup stands."""

    def __init__(self, command, granularities):
        self.command = command
        self.granularities = granularities
        self.messages = collections.defaultdict(collections.deque)
        self.known = collections.defaultdict(int)     # all before is known
        self.news = queue.Queue(200000)
        self.reader = None

    def begin(self):
        positions = [f"{p}:{offset}" for p, offset in self.known.items()]
        if self.reader:
            self.reader.kill()
            self.reader.wait()
        self.news = queue.Queue(200000)
        self.reader = subprocess.Popen(self.command + positions, stdout=subprocess.PIPE, bufsize=1 << 18)
        threading.Thread(target=self.read, args=(self.reader, self.news), daemon=True).start()

    @staticmethod
    def read(reader, news):
        while header := reader.stdout.readline():
            partition, offset, size = header.split()
            payload = None
            if size != b"end" and int(size) >= 0:
                payload = reader.stdout.read(int(size))
            if size != b"end" and reader.stdout.read(1) != b"\n":
                sys.exit(f"referee.py: cannot follow after {header!r}")
            news.put((int(partition), int(offset), size == b"end", payload))
        news.put(None)

    def take(self, timeout):
        """One piece of news; False when there is none within the time."""
        try:
            news = self.news.get(timeout=timeout) if timeout else self.news.get_nowait()
        except queue.Empty:
            return False
        if news is None:
            time.sleep(0.2)
            self.begin()
            return False
        partition, offset, is_end, payload = news
        if is_end:
            self.known[partition] = max(self.known[partition], offset)
        elif offset >= self.known[partition]:
            self.known[partition] = offset + 1
            self.messages[partition].append(self.parsed(offset, payload))
        else:
            sys.exit(f"referee.py: offset {offset} of partition {partition} came again")
        return True

    def parsed(self, offset, payload):
        labels, tags = count.event(payload, self.granularities) or (None, ())
        return Message(offset, *number_of(payload), labels, tags)

    def wait_for(self, offsets):
        heard = time.monotonic()
        while missing := [p for p, offset in offsets.items() if self.known[p] < offset]:
            if self.take(1):
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE:
                sys.stderr.write(f"referee.py: no news of partitions {missing}, reading anew\n")
                self.begin()
                heard = time.monotonic()

    def forget(self, offsets):
        for partition, messages in self.messages.items():
            while messages and messages[0].offset < offsets.get(partition, 0):
                messages.popleft()


class Rollup:
    """What one rollup must hold."""

    def __init__(self, kind):
        self.kind = kind
        self.offsets = {}
        self.rows = collections.defaultdict(int)
        self.books = collections.defaultdict(lambda: [0, 0, 0])
        self.rejects = set()
        self.highest = 0

    def advance(self, topic, offsets):
        for partition, offset in offsets.items():
            begin = self.offsets.get(partition, 0)
            for message in topic.messages[partition]:
                if message.offset >= offset:
                    break
                if message.offset >= begin:
                    self.add(partition, message)
            self.offsets[partition] = max(offset, begin)

    def add(self, partition, message):
        book = self.books[partition]
        if self.kind == "tags":
            is_sure, is_taken = message.labels is not None, bool(message.tags)
        else:
            is_sure, is_taken = message.number is not None, message.is_taken
        if not is_sure:
            book[2] += 1
            self.rejects.add((partition, message.offset))
        elif not is_taken:
            book[1] += 1
        elif self.kind == "tags":
            book[0] += 1
            for tag in message.tags:
                for label in message.labels:
                    self.rows[tag, label] += 1
        else:
            book[0] += 1
            self.rows[message.number // BUCKET] += 1 << 3 * (message.number % BUCKET)
            self.highest = max(self.highest, message.number % 10**9)


class Comparison:
    """One snapshot, beside what it must be."""

    def __init__(self, path):
        self.scope, self.kinds, self.lines = {}, {}, []
        self.offsets = collections.defaultdict(dict)
        self.books = collections.defaultdict(dict)
        self.rows = collections.defaultdict(dict)
        self.counts = collections.defaultdict(dict)
        self.look = collections.defaultdict(set)
        self.rejects = collections.defaultdict(set)
        self.differ = self.lost = self.duplicated = 0
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                kind, name, *fields = line.rstrip("\n").split("\t")
                getattr(self, "take_" + kind)(name, *fields)

    def take_rollup(self, name, kind, scope):
        self.kinds[name] = kind
        self.scope[name] = scope

    def take_offsets(self, name, partition, start, following, *books):
        if int(start) != 0:
            sys.exit(f"referee.py: {name} does not begin at 0")
        self.offsets[name][int(partition)] = int(following)
        self.books[name][int(partition)] = [int(number) for number in books]

    def take_tags(self, name, tag, interval, mentions):
        self.rows[name][tag, interval] = int(mentions)

    def take_look(self, name, tag):
        self.look[name].add(tag)

    def take_numbers(self, name, key, total, messages):
        self.rows[name][int(key)] = int(total)
        self.counts[name][int(key)] = int(messages)

    def take_reject(self, name, partition, offset):
        self.rejects[name].add((int(partition), int(offset)))

    def differs(self, *what):
        self.differ += 1
        if len(self.lines) < 20:
            self.lines.append(" ".join(map(str, what)))

    def compare(self, name, rollup):
        for partition, book in self.books[name].items():
            if book != rollup.books[partition]:
                self.differs(name, "partition", partition, "has counted, filtered, rejected",
                             book, "instead of", rollup.books[partition])
        if self.scope[name] == "all" and self.rejects[name] != rollup.rejects:
            for place in sorted(self.rejects[name] ^ rollup.rejects):
                self.differs(name, "reject", place, "only", "here" if place in self.rejects[name] else "there")
        self.compare_rows(name, rollup)

    def in_scope(self, name, rollup):
        scope = self.scope[name]
        if scope == "all":
            return rollup.rows
        if rollup.kind == "tags":
            return (key for key in rollup.rows if key[0] in self.look[name])
        return (key for key in rollup.rows if key >= int(scope))

    def compare_rows(self, name, rollup):
        rows = self.rows[name]
        for key in self.in_scope(name, rollup):
            if rows.get(key, 0) != rollup.rows[key]:
                self.row_differs(name, rollup.kind, key, rows.get(key, 0), rollup.rows[key])
            elif rollup.kind == "numbers" and digits(rollup.rows[key]) != self.counts[name][key]:
                self.differs(name, key, "has count", self.counts[name][key], "beside its sum")
        for key in rows.keys() - rollup.rows.keys():
            self.row_differs(name, rollup.kind, key, rows[key], 0)

    def row_differs(self, name, kind, key, found, expected):
        self.differs(name, key, "is", found, "instead of", expected)
        if kind != "numbers":
            return
        for place in range(BUCKET):
            surplus = (found >> 3 * place & 7) - (expected >> 3 * place & 7)
            self.lost += max(0, -surplus)
            self.duplicated += max(0, surplus)


def digits(number):
    """How many messages an octal sum stands for."""
    return sum(number >> 3 * place & 7 for place in range(BUCKET))


def answer(topic, rollups, path):
    snapshot = Comparison(path)
    for name, kind in snapshot.kinds.items():
        rollup = rollups.setdefault(name, Rollup(kind))
        topic.wait_for(snapshot.offsets[name])
        rollup.advance(topic, snapshot.offsets[name])
        snapshot.compare(name, rollup)
    known = [rollup.offsets for rollup in rollups.values()]
    topic.forget({p: min(offsets.get(p, 0) for offsets in known) for p in topic.known})
    return {
        "differ": snapshot.differ, "lost": snapshot.lost, "duplicated": snapshot.duplicated,
        "low": {name: max(0, rollup.highest - MARGIN) // BUCKET for name, rollup in rollups.items()},
        "messages": max(sum(map(sum, rollup.books.values())) for rollup in rollups.values()),
        "lines": snapshot.lines,
    }


def main():
    follow, brokers, name, granularities = sys.argv[1:]
    topic = Topic([follow, brokers, name], tuple(granularities.split(",")))
    topic.begin()
    rollups = {}
    orders = queue.Queue()
    threading.Thread(target=lambda: [orders.put(line) for line in sys.stdin] + [orders.put("")], daemon=True).start()
    while True:
        # Nothing is put off until somebody asks.
        try:
            order = orders.get_nowait()
        except queue.Empty:
            topic.take(0.02)
            continue
        if not order:
            break
        print(json.dumps(answer(topic, rollups, order.split(" ", 1)[1].strip())), flush=True)
    topic.reader.kill()


if __name__ == "__main__":
    main()
