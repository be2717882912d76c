"""What a broker that misbehaves holds: batches, and the faults that it has.

KINDs:  crc       the checksum is another one
        flip      a bit of the payload has turned over; the checksum has not
        magic     a format of batches that nobody knows
        codec     a compression that nobody knows
        gzip      said to be gzip, and is not
        record    a record that is longer than its batch
        short     the batch, and the response, end in the middle
        old       the partition's first batch, once more, before the others
        back      the batch before the one that was asked for, instead of it
        large     a response that says that it is as long as 1.9 GB
        silence   no answer to the fetch
        empty     an answer without a message, though the end is not reached
        error N   this error code, for example "error 56"
"""

import gzip
import struct
import threading
import time

OFFSET_OUT_OF_RANGE = 1
GZIP, UNKNOWN_CODEC, LOG_APPEND_TIME = 1, 7, 8
UNKNOWN_MAGIC = 9


def crc32c(data, _table=[]):
    if not _table:
        for i in range(256):
            for _ in range(8):
                i = i >> 1 ^ (0x82F63B78 if i & 1 else 0)
            _table.append(i)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(number):
    number = (number << 1 ^ number >> 63) & 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(text):
    if text is None:
        return varint(-1)
    data = text.encode()
    return varint(len(data)) + data


class Batch:
    """Some records, and how they look on the wire."""

    def __init__(self, records, first, last, codec, log_append_time):
        self.records = records
        self.first = first
        self.last = last
        self.attributes = GZIP if codec == "gzip" else 0
        times = [record["timestamp"] for record in records] or [0]
        self.base_time = times[0]
        self.max_time = max(times)
        if log_append_time is not None:
            self.attributes |= LOG_APPEND_TIME
            self.max_time = log_append_time

    def payload(self, broken_record):
        out = b""
        for record in self.records:
            body = (b"\0" + varint(record["timestamp"] - self.base_time)
                    + varint(record["offset"] - self.first)
                    + field(record.get("key")) + field(record.get("value")) + varint(0))
            length = len(body) + (1000000 if broken_record and record is self.records[-1] else 0)
            out += varint(length) + body
        return gzip.compress(out) if self.attributes & GZIP else out

    def bytes(self, kind=None):
        attributes = self.attributes
        payload = self.payload(kind == "record")
        if kind == "codec":
            attributes |= UNKNOWN_CODEC
        elif kind == "gzip":
            attributes |= GZIP
            payload = b"\x1f\x8b" + bytes(i * 37 & 0xFF for i in range(len(payload)))
        checked = struct.pack(">hiqqqhii", attributes, self.last - self.first, self.base_time,
                              self.max_time, -1, -1, -1, len(self.records)) + payload
        crc = crc32c(checked)
        if kind == "crc":
            crc ^= 0x10101
        elif kind == "flip":
            middle = len(checked) - len(payload) // 2
            checked = checked[:middle] + bytes([checked[middle] ^ 4]) + checked[middle + 1:]
        magic = UNKNOWN_MAGIC if kind == "magic" else 2
        out = struct.pack(">qiibI", self.first, 9 + len(checked), 0, magic, crc) + checked
        return out[:len(out) * 2 // 3] if kind == "short" else out


class Partition:
    def __init__(self, leader=1):
        self.batches = []
        self.oldest = 0
        self.end = 0
        self.faults = []
        self.leader = leader


class Fault:
    def __init__(self, kind, offset, times):
        self.kind = kind
        self.offset = offset
        self.times = times


class Log:
    """All that there is; whoever uses it holds its lock."""

    def __init__(self):
        self.changed = threading.Condition()
        self.topics = {}
        self.slow = {}
        self.refused = {}
        self.understated = {}
        self.ports = []
        self.tls = {}
        self.deaf = False
        self.cluster = "fake"
        self.counts = {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def partition(self, topic, number):
        partitions = self.topics.get(topic, [])
        return partitions[number] if 0 <= number < len(partitions) else None

    def append(self, partition, command):
        records = [dict(record) for record in command["records"]]
        offset = partition.end
        for record in records:
            record["offset"] = offset = max(offset, record.get("offset", 0))
            record.setdefault("timestamp", int(time.time() * 1000))
            offset += 1
        last = command.get("last", offset - 1)
        first = command.get("first", records[0]["offset"] if records else partition.end)
        partition.batches.append(Batch(records, first, last, command.get("codec"),
                                       command.get("log_append_time")))
        partition.end = last + 1

    def fault_at(self, partition, batch):
        """The fault of this batch, or of the partition from an offset on."""
        for fault in partition.faults:
            if fault.times != 0 and batch.first <= fault.offset <= batch.last:
                fault.times -= 1
                self.count(fault.kind)
                return fault.kind
        return None

    def fetch(self, partition, offset, most):
        """(error, bytes of batches or None for no answer at all, is large)"""
        if offset < partition.oldest or offset > partition.end:
            return OFFSET_OUT_OF_RANGE, b"", False
        out = b""
        for i, batch in enumerate(partition.batches):
            if batch.last < offset or out and len(out) > most:
                continue
            kind = self.fault_at(partition, batch)
            if kind in ("silence", "large", "empty") or kind and kind.startswith("error "):
                # What is before it is answered first.
                if out:
                    return 0, out, False
                if kind.startswith("error "):
                    return int(kind[6:]), b"", False
                return 0, None if kind == "silence" else b"", kind == "large"
            if kind == "back":
                return 0, b"".join(b.bytes() for b in partition.batches[:i][-1:]), False
            if kind == "old":
                out += partition.batches[0].bytes()
            out += batch.bytes(kind)
            if kind == "short":
                break
        return 0, out, False
