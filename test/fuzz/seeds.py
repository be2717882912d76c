#!/usr/bin/python3
#
# test/fuzz/seeds.py DIRECTORY [DATA]
#		What each fuzz target begins with: DIRECTORY/target/*, one input a
#		file, and DIRECTORY/target.dict, the words that inputs are made of.
#
# DATA is a directory of public corpora; without it there are the seeds that
# are written down here.

import glob
import gzip
import hashlib
import json
import os
import re
import struct
import sys

TABLE_OPTIONS = ["topic", "format", "start", "on_error", "reject_limit", "on_gap"]
COLUMN_OPTIONS = ["path", "metadata", "time_format", "time_zone"]
FORBIDDEN = ["plugin.library.paths", "auto.offset.reset", "debug", "group.id", "isolation.level"]


def allowed_properties():
    """librdkafka's that a server or a user mapping may have: the source's own table"""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../src/source_conf.c")
    with open(path, encoding="utf-8") as source:
        names = re.findall(r'^\t\{"([a-z.]+)", IN_', source.read(), re.MULTILINE)
    assert len(names) > 40, "src/source_conf.c has another look"
    return names


PROPERTIES = allowed_properties()
OPTION_NAMES = TABLE_OPTIONS + COLUMN_OPTIONS + PROPERTIES + FORBIDDEN
OPTION_VALUES = [
    "json", "text", "earliest", "latest", "reject", "halt", "skip", "null", "2014-09-21 13:05:00+00",
    '{"0": 17}', '{"0":"17","2147483648":1}', "{a,b}", "a.b.c", "{a,NULL}", "topic", "timestamp",
    "headers", "value", "epoch_ms", "twitter", "iso8601", "Europe/Berlin", "localhost:9092", "sasl_ssl",
    "sasl_plaintext", "SCRAM-SHA-256", "PLAIN", "1000000", "v4", "now", "infinity", "today",
]
NUMBERS = [
    "0", "-0", "1", "-1", "32767", "-32768", "2147483648", "9223372036854775807",
    "-9223372036854775808", "9223372036854775808", "1.5", "0.1", "1e5", "1E-7", "123456.785",
    "9007199254740993", "1e22", "1e23", "1e400", "16777217", "0.000001", "1e-45", "NaN", "00", "+1",
    "1.", ".5", "1e1000", "99999999999999999999999999999999999999.9",
]
TIMES = [
    "2014-09-21T13:05:00Z", "2014-09-21 13:05:00.123456+02", "2014-09-21T13:05:00.1234567Z",
    "2014-10-26 02:30:00", "2014-03-30T02:30:00", "2016-12-31T23:59:60Z", "2014-09-21T24:00:00Z",
    "2014-09-21", "2014-02-29", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+15:59",
    "2014-09-21T13:05:00-0330", "2014-09-21T13:05:00 +05:45", "Wed Aug 27 13:08:45 +0000 2008",
    "Sun Feb 29 23:59:59 -1200 2004", "1411304700", "1411304700.123456", "1411304700123", "-1",
    "-62135596800", "253402300800", "1411304700123.4567", "now", "today", "infinity", "epoch",
    "2014-09-21T13:05:00 BC", "294276-12-31T23:59:59Z", "4714-11-24 BC",
]
WORDS = ["true", "false", "t", "yes", "null", "'", "1", "on"]
TEXTS = [
    "#hashtag @user $GOOG http://example.com/a?b=c word's", "\uff03\u6771\u4eac #\u65e5\u672c\u8a9e_1",
    "a#b #1 #a1 #_ #\u00df\u00e9 \u0130\u0131 #\u03a3\u03c3\u03c2", "@user/list @a @_b \uff20c .@d e@f.com",
    "$A $ab.c $TOOLONGX $", "www.example.co.uk/path_(x)?q=%20#frag t.co/abc example.\u4e2d\u56fd",
    "http://\u4f8b\u3048.jp/\u30d1\u30b9 https://user:pw@host.com:8080/ ftp://no.org", "l'aigua d\u2019or col\u00b7lecci\u00f3 x\u200dy",
    "#tag://x #a#b ##c &#123; #\U0001f600 #a\u0301\u0308", "\U0001d538\U0001f468\u200d\U0001f469 \u0e44\u0e17\u0e22 #\u0e44\u0e17\u0e22",
]
SIZES = [
    "second", "minute", "hour", "day", "week", "month", "quarter", "year", "ALL", "15 minutes",
    "36 hours", "0.25 seconds", "P1Y2M", "PT1H30M", "1:30", "7 days", "60 minutes", "18 months",
    "10000 years", "-1 day", "2 weeks 3 days", "@ 1 hour ago", "1 fortnight", "infinity",
]
DOCUMENT = {
    "text": "#caf\u00e9 \"q\" \\ /", "id_str": "17", "c": "abc", "b": True, "i": 42, "id": 9007199254740993,
    "f": 1.5, "n": 1234.56, "user": {"screen_name": "ann", "a": {"": [1]}}, "entities": [{"text": "x"}],
    "list": [1, 2], "created_at": "Wed Aug 27 13:08:45 +0000 2008", "d": "2014-09-21", 'a"\\\n': "quoted",
    "\u00e9": "letter",
}


def name_with_case(name):
    return json.dumps({name: 1, name.upper(): 2})


def own_json():
    yield json.dumps(DOCUMENT)
    yield json.dumps(DOCUMENT, ensure_ascii=False, indent=1)
    for text in NUMBERS + WORDS:
        yield text
        yield '{"i":%s,"f":%s,"n":%s,"id":"%s"}' % ((text,) * 4)
    for text in TIMES:
        yield json.dumps({"created_at": text, "d": text})
    for text in TEXTS:
        yield json.dumps({"text": text, "c": text[:4]})
    for name in DOCUMENT:
        yield name_with_case(name)
    yield '{"text":"\\ud83d\\ude00\\u0041\\/","text":"\\b\\f\\n\\r\\t"}'
    yield '{"user":{"screen_name":1},"user":[],"entities":{"0":{"text":null}},"list":{"-1":2}}'
    yield "[" * 90 + "]" * 90
    yield '{"":{"":""}}'
    # buffers grow by twice as much, or else to just what is needed
    for length in (300, 3000):
        yield json.dumps({"text": "x" * length, "c": "\u00e9" * length, "user": ["y" * length]})
        yield '{"n":%s,"quoted":"%s"}' % ("7" * length, "\\n" * length)


def own_options():
    # Each with options of its own, and some of another's: tables, columns,
    # servers and user mappings, and the latter two of a superuser
    for catalog in (0, 1, 2, 3, 130, 131):
        first = "topic\0t\0" if catalog == 0 else ""
        own = TABLE_OPTIONS + COLUMN_OPTIONS + PROPERTIES[:3] if catalog < 2 else PROPERTIES + FORBIDDEN + TABLE_OPTIONS[:1]
        for name in own:
            for value in OPTION_VALUES[:: 6 if catalog > 1 else 3]:
                yield bytes([catalog]) + ("%s%s\0%s\0" % (first, name, value)).encode()
    for word in ("reject", "halt", "skip", "null"):
        yield b"\0" + ("topic\0t\0on_gap\0%s\0on_error\0%s\0" % (word, word)).encode()
    for value in OPTION_VALUES + TIMES:
        yield b"\0" + ("topic\0t\0start\0%s\0" % value).encode()
        yield b"\1" + ("path\0%s\0" % value).encode()
    yield b"\2bootstrap.servers\0h:1\0security.protocol\0sasl_plaintext\0sasl.mechanism\0PLAIN\0"


def own_windows():
    """The zone, four times, a granularity, another one"""
    for zone in range(14):
        times = b"".join(
            bytes([kind]) + data
            for kind, data in (
                (0, struct.pack(">I", 468_000_000 + zone * 15_724_800)),
                (4, struct.pack(">I", 467_600_400)[:4] + b"\1\2\3"),
                (2, struct.pack(">I", 4_000_000_000)),
                (1, struct.pack(">q", 900_000_000_000_000_000)),
            )
        )
        for i, size in enumerate(SIZES):
            other = SIZES[(i * 7 + zone) % len(SIZES)]
            yield (bytes([zone]) + times + b"\1" + size.encode() + b"\0" + b"\1" +
                   other.encode() + b"\0")
        yield bytes([zone]) + times + bytes([32, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1])


OWN = {
    "decode_json": own_json,
    "decode_text": lambda: NUMBERS + TIMES + WORDS + TEXTS,
    "option": own_options,
    "token": lambda: TEXTS + [" ".join(TEXTS)],
    "window": own_windows,
}
DICTIONARIES = {
    "decode_json": ['"%s":' % json.dumps(name)[1:-1] for name in DOCUMENT] + NUMBERS + TIMES +
    ["true", "false", "null", '\\u00e9', "\\ud83d\\ude00", '\\"', "{}", "[]", "[1,2]", '""', "\r\n\t "],
    "decode_text": NUMBERS + TIMES + ["T13:05:00", "Jan", "Sep", "Thu", ".000", "+00:00", "Z"],
    "option": [name + "\0" for name in OPTION_NAMES] + [value + "\0" for value in OPTION_VALUES],
    "token": ["http://", "https://", "www.", ".com", ".co.uk", "://", "/", "?q=", "\uff03", "\uff20", "#", "@",
              "$", "\u00b7", "\u200d", "\u0301", "\u3000", "\u0130", "\u4e2d", "&amp;", "_", "RT @"],
    "window": [size + "\0" for size in SIZES] + [" days", " hours", " ms", "P", "T", "0.000001 s"],
}


def load(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        return file.read()


def strings(value):
    """All texts in a JSON document"""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for child in value.values() if isinstance(value, dict) else value:
            yield from strings(child)


def data_seeds(data):
    """(target, input) of the corpora that are there"""
    for path in sorted(glob.glob(data + "/json/**/*.json", recursive=True)):
        content = load(path)
        if "/JSONTestSuite/" in path:
            yield "decode_json", content[:16384]
            yield "decode_text", content[:40]
            continue
        document = json.loads(content)
        for part in document["statuses"] if isinstance(document, dict) else document:
            yield "decode_json", json.dumps(part, ensure_ascii="escaped" in path)
            for text in strings(part):
                yield "decode_text", text[:40]
                yield "token", text
    for path in sorted(glob.glob(data + "/tokenizers/*.json")):
        for text in strings(json.loads(load(path))):
            yield "token", text
    for path in sorted(glob.glob(data + "/utf8/*.json")):
        for text in strings(json.loads(load(path))):
            yield "token", text
            yield "decode_text", text
            yield "decode_json", json.dumps({"text": text, "user": {"screen_name": text}})
            yield "option", b"\0" + ("topic\0t\0start\0%s\0" % text).encode()
            yield "option", b"\1" + ("path\0%s\0" % text).encode()
    for path in sorted(glob.glob(data + "/windows/**/*.json", recursive=True)):
        for text in strings(json.loads(load(path))):
            for word in text.split("WINDOW")[1:]:
                size = " ".join(word.split("SIZE")[-1].split()[:2]).strip("(),;")
                yield "window", bytes(20) + b"\1" + size.encode() + b"\0"


def write(directory, target, content):
    content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    name = hashlib.sha1(content).hexdigest()
    with open(os.path.join(directory, target, name), "wb") as out:
        out.write(content)


def write_dictionary(directory, target):
    with open(os.path.join(directory, target + ".dict"), "w", encoding="ascii") as out:
        for word in DICTIONARIES[target]:
            quoted = "".join("\\x%02x" % byte for byte in word.encode())
            out.write('"%s"\n' % quoted)


def main():
    directory = sys.argv[1]
    for target, seeds in OWN.items():
        os.makedirs(os.path.join(directory, target), exist_ok=True)
        for content in seeds():
            write(directory, target, content)
        write_dictionary(directory, target)
    if len(sys.argv) > 2:
        for target, content in data_seeds(sys.argv[2]):
            write(directory, target, content)


main()
