#!/usr/bin/env -S python3 -B
"""A broker that speaks Kafka's protocol and serves what a real one would not.

usage: fake_broker.py

Prints its address on the first line of stdout, then answers each line of
stdin, a JSON object, by "ok", "ok VALUE" or "error: ...".  Ends with stdin,
so that it never outlives whoever started it.

  {"do": "create", "topic": T, "partitions": N}
  {"do": "grow", "topic": T, "partitions": N, "led": true}
      the new ones of its N partitions have a leader, or have none
  {"do": "understate", "topic": T, "partitions": N, "times": K}
      so many answers about the topic know only of so many partitions
  {"do": "delete", "topic": T}
  {"do": "append", "topic": T, "partition": P, "records": [RECORD ...], ...}
      one batch.  RECORD: {"value": V, "key": K, "offset": O, "timestamp": MS}
      of which all may be left out: NULL, the next offset, the present.  Also
      "codec": "gzip"; "log_append_time": MS; "last": O, where compaction has
      left less than the batch once had
  {"do": "trim", "topic": T, "partition": P, "oldest": O}
  {"do": "fault", "topic": T, "partition": P, "offset": O, "kind": KIND,
   "times": N}
      misbehave in so many responses (without "times": in all) to fetches
      that reach the batch with this offset
  {"do": "heal", "topic": T}          its faults are over
  {"do": "slow", "topic": T, "seconds": S}
      each fetch gives no more than one batch of it, after so long, and what is
      asked on the same connection has to wait for that
  {"do": "lead", "topic": T, "partition": P, "leader": N}
      1: by the broker whose address is printed, as at first; 2: by the second
      one; 0: by none
  {"do": "cluster", "id": ID}         it is of another cluster from now on
  {"do": "second"}                    from now on there is a second broker
  {"do": "certify", "broker": N, "file": F}
      from now on it speaks TLS, with the key and the certificate in this file
  {"do": "refuse", "topic": T, "what": REQUEST, "partition": P, "error": N}
      "metadata", or "list offsets" of a partition (without it: of all): this
      error is the answer; 0: no longer
  {"do": "deaf", "is": true}          connections are accepted, and nothing is
      answered; until it is not
  {"do": "count", "what": WHAT}       how often: a fault by its kind, a request
      by its name ("fetch", "metadata", ...), "metadata T" and "list offsets T"
      of a topic, "accept"

fake_log.py says what KIND can be.

The versions of requests are those that every librdkafka since 2.0 knows.
"""

import socket
import ssl
import struct
import threading
import time

import commanded
from fake_log import Fault, Log, Partition

FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, API_VERSIONS = 1, 2, 3, 10, 18
NAMES = {FETCH: "fetch", LIST_OFFSETS: "list offsets", METADATA: "metadata",
         FIND_COORDINATOR: "find coordinator", API_VERSIONS: "api versions"}
# Produce is named for clients that ask by it which format of batches there is.
VERSIONS = {0: (0, 7), FETCH: (4, 4), LIST_OFFSETS: (1, 2), METADATA: (1, 4),
            FIND_COORDINATOR: (0, 1), API_VERSIONS: (0, 3)}
UNKNOWN_TOPIC, LEADER_NOT_AVAILABLE, NOT_LEADER, UNSUPPORTED_VERSION = 3, 5, 6, 35
LARGE = 1900000000


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def string(self):
        length = self.take("h")
        if length < 0:
            return None
        text = self.data[self.at:self.at + length].decode()
        self.at += length
        return text

    def array(self, read):
        return [read() for _ in range(max(self.take("i"), 0))]


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


class Connection:
    def __init__(self, log, sock, node):
        self.log = log
        self.sock = sock
        self.node = node

    def receive(self, length):
        data = b""
        while len(data) < length:
            part = self.sock.recv(length - len(data))
            if not part:
                raise ConnectionError("the client has gone")
            data += part
        return data

    def serve(self):
        try:
            if self.node in self.log.tls:
                self.sock = self.log.tls[self.node].wrap_socket(self.sock, server_side=True)
            while True:
                request = Reader(self.receive(*struct.unpack(">i", self.receive(4))))
                api, version, correlation = request.take("hhi")
                request.string()
                with self.log.changed:
                    self.log.count(NAMES.get(api, str(api)))
                    while self.log.deaf:
                        self.log.changed.wait()
                answer = self.answer(api, version, request)
                if answer is None:
                    continue
                if answer == LARGE:
                    self.sock.sendall(struct.pack(">ii", LARGE, correlation))
                    continue
                answer = struct.pack(">i", correlation) + answer
                self.sock.sendall(struct.pack(">i", len(answer)) + answer)
        except OSError:
            self.sock.close()

    def answer(self, api, version, request):
        if api == API_VERSIONS:
            return self.api_versions(version)
        if api == METADATA:
            return self.metadata(version, request)
        if api == LIST_OFFSETS:
            return self.list_offsets(version, request)
        if api == FIND_COORDINATOR:
            return self.find_coordinator(version)
        if api == FETCH:
            return self.fetch(request)
        raise ConnectionError(f"request {api} is not known")

    def api_versions(self, version):
        if version > VERSIONS[API_VERSIONS][1]:
            version, error = 0, UNSUPPORTED_VERSION
        else:
            error = 0
        ranges = [struct.pack(">hhh", api, *span) for api, span in VERSIONS.items()]
        if version < 3:
            return struct.pack(">h", error) + array(ranges) + (struct.pack(">i", 0) if version else b"")
        return (struct.pack(">hb", error, len(ranges) + 1) + b"".join(r + b"\0" for r in ranges)
                + struct.pack(">ib", 0, 0))

    def metadata(self, version, request):
        count = request.take("i")
        asked = [request.string() for _ in range(count)] if count >= 0 else None
        with self.log.changed:
            names = list(self.log.topics) if asked is None else asked
            topics = [self.metadata_of(name) for name in names]
        brokers = array([struct.pack(">i", node) + string("127.0.0.1") + struct.pack(">i", port) + string(None)
                         for node, port in enumerate(self.log.ports, 1)])
        cluster = string(self.log.cluster) if version >= 2 else b""
        throttle = struct.pack(">i", 0) if version >= 3 else b""
        return throttle + brokers + cluster + struct.pack(">i", 1) + array(topics)

    def metadata_of(self, name):
        self.log.count(f"metadata {name}")
        partitions = self.log.topics.get(name, [])
        known, times = self.log.understated.get(name, (0, 0))
        if times > 0:
            partitions = partitions[:known]
            self.log.understated[name] = (known, times - 1)
        error = self.log.refused.get(("metadata", name, None), 0) if name in self.log.topics else UNKNOWN_TOPIC
        return (struct.pack(">h", error) + string(name) + b"\0"
                + array([struct.pack(">hii", 0 if partition.leader else LEADER_NOT_AVAILABLE, i, partition.leader or -1)
                         + struct.pack(">iiii", 1, 1, 1, 1)
                         for i, partition in enumerate(partitions)]))

    def list_offsets(self, version, request):
        request.take("i")
        if version >= 2:
            request.take("b")
        topics = request.array(lambda: (request.string(), request.array(lambda: request.take("iq"))))
        out = []
        with self.log.changed:
            for name, asked in topics:
                self.log.count(f"list offsets {name}")
                refused = self.log.refused.get(("list offsets", name, None), 0)
                answers = []
                for number, timestamp in asked:
                    partition = self.log.partition(name, number)
                    error = (UNKNOWN_TOPIC if not partition else NOT_LEADER if partition.leader != self.node
                             else self.log.refused.get(("list offsets", name, number), refused))
                    offset = -1 if not partition else partition.end if timestamp == -1 else partition.oldest
                    answers.append(struct.pack(">ihqq", number, error, -1, offset))
                out.append(string(name) + array(answers))
        return (struct.pack(">i", 0) if version >= 2 else b"") + array(out)

    def find_coordinator(self, version):
        node = struct.pack(">i", 1) + string("127.0.0.1") + struct.pack(">i", self.log.ports[0])
        if version == 0:
            return struct.pack(">h", 0) + node
        return struct.pack(">ih", 0, 0) + string(None) + node

    def fetch(self, request):
        _, wait_ms, _, most, _ = request.take("iiiib")
        topics = request.array(lambda: (request.string(), request.array(lambda: request.take("iqi"))))
        until = time.monotonic() + wait_ms / 1000
        with self.log.changed:
            slow = max([0] + [self.log.slow.get(name, 0) for name, _ in topics])
            while True:
                answer, some = self.fetch_now(topics, 0 if slow else most)
                left = until - time.monotonic()
                if some and slow:
                    break
                if some or left <= 0:
                    return answer
                self.log.changed.wait(left)
        time.sleep(slow)
        return answer

    def fetch_now(self, topics, most):
        """The answer, and whether there is more in it than ends."""
        out = []
        some = False
        for name, asked in topics:
            answers = []
            for number, offset, most_here in asked:
                partition = self.log.partition(name, number)
                if partition is None:
                    error, data, end = UNKNOWN_TOPIC, b"", -1
                elif partition.leader != self.node:
                    error, data, end = NOT_LEADER, b"", partition.end
                else:
                    error, data, large = self.log.fetch(partition, offset, min(most, most_here))
                    end = partition.end
                    if data is None:
                        return None, True
                    if large:
                        return LARGE, True
                some = some or error != 0 or data != b""
                answers.append(struct.pack(">ihqqi", number, error, end, end, -1)
                               + struct.pack(">i", len(data)) + data)
            out.append(string(name) + array(answers))
        return struct.pack(">i", 0) + array(out), some


def obey(log, command):
    """Do what a line of stdin says; what to print, or None."""
    what = command["do"]
    if what == "create":
        log.topics[command["topic"]] = [Partition() for _ in range(command["partitions"])]
    elif what == "grow":
        partitions = log.topics[command["topic"]]
        partitions.extend(Partition(1 if command["led"] else 0) for _ in range(command["partitions"] - len(partitions)))
    elif what == "understate":
        log.understated[command["topic"]] = (command["partitions"], command["times"])
    elif what == "delete":
        del log.topics[command["topic"]]
    elif what == "remake":
        # Of its batches some would be read before the others were there.
        partition = Partition()
        for records in command["batches"]:
            log.append(partition, {"records": records})
        log.topics[command["topic"]] = [partition]
    elif what == "heal":
        for partition in log.topics[command["topic"]]:
            partition.faults = []
    elif what == "slow":
        log.slow[command["topic"]] = command["seconds"]
    elif what == "refuse":
        log.refused[command["what"], command["topic"], command.get("partition")] = command["error"]
    elif what == "cluster":
        log.cluster = command["id"]
    elif what == "second":
        listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        threading.Thread(target=accept, args=(log, listener), daemon=True).start()
        while len(log.ports) < 2:
            log.changed.wait()
    elif what == "certify":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(command["file"])
        log.tls[command["broker"]] = context
    elif what == "deaf":
        log.deaf = command["is"]
    elif what == "count":
        return log.counts.get(command["what"], 0)
    else:
        partition = log.partition(command["topic"], command["partition"])
        if partition is None:
            raise ValueError("there is no such partition")
        if what == "append":
            log.append(partition, command)
        elif what == "trim":
            partition.oldest = command["oldest"]
        elif what == "lead":
            partition.leader = command["leader"]
        elif what == "fault":
            partition.faults.append(Fault(command["kind"], command["offset"], command.get("times", -1)))
        else:
            raise ValueError("there is no such command")
    return None


def accept(log, listener):
    with log.changed:
        log.ports.append(listener.getsockname()[1])
        node = len(log.ports)
        log.changed.notify_all()
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with log.changed:
            log.count("accept")
        threading.Thread(target=Connection(log, sock, node).serve, daemon=True).start()


if __name__ == "__main__":
    commanded.serve(Log(), accept, obey)
