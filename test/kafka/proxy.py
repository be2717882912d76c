#!/usr/bin/env -S python3 -B
"""A wire between a client and a server, which can be made a bad one.

usage: proxy.py [host [port]]

Prints its address on the first line of stdout, then answers each line of
stdin, a JSON object, by "ok", "ok VALUE" or "error: ...".  Ends with stdin,
so that it never outlives whoever started it.

  {"do": "target", "port": N}     of the server, on the loopback address
  {"do": "wire", ...}             from now on, both for connections that there
      are and for those that come: "delay": seconds, each way; "rate": bytes a
      second from the server, of all connections together; "freeze": true, no
      byte goes through; "refuse": true, connections are closed at once.  What
      is left out is as on a good wire
  {"do": "cut"}                   close all connections
  {"do": "cut", "after": N}       each, when so many more bytes have come
      through from the server
  {"do": "corrupt", "skip": N}    of what comes from the server next, and is
      longer than N bytes: turn over a bit of the byte behind them, once; where
      it is a text: of the byte behind this text
  {"do": "count", "what": WHAT}   "accept": connections; "bytes": from the
      server; "corrupt": bytes that were corrupted; "cut": connections
"""

import socket
import sys
import threading
import time

import commanded

# Small enough for a rate to be even
PIECE = 16384


class Wire:
    """How it is now; whoever uses it holds its lock."""

    def __init__(self):
        self.changed = threading.Condition()
        self.target = None
        self.connections = set()
        self.corrupt_behind = None
        self.free_at = 0
        self.counts = {"accept": 0, "bytes": 0, "corrupt": 0, "cut": 0}
        self.set({})

    def set(self, command):
        self.delay = command.get("delay", 0)
        self.rate = command.get("rate")
        self.freeze = command.get("freeze", False)
        self.refuse = command.get("refuse", False)

    def corrupt(self, data):
        at = self.corrupt_behind
        if isinstance(at, str):
            found = data.find(at.encode())
            at = found + len(at) if found >= 0 else None
        if at is None or len(data) <= at:
            return data
        self.corrupt_behind = None
        self.counts["corrupt"] += 1
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1:]

    def pass_at(self, length, from_server):
        """When so many bytes have come through, as far as the rate goes."""
        if not from_server or not self.rate:
            return 0
        self.free_at = max(self.free_at, time.monotonic()) + length / self.rate
        return self.free_at


class Connection:
    def __init__(self, wire, client):
        self.wire = wire
        self.client = client
        self.server = socket.create_connection(("127.0.0.1", wire.target), 10)
        self.server.settimeout(None)
        self.cut_after = None
        for sock in (client, self.server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for ends in ((client, self.server), (self.server, client)):
            queue = []
            threading.Thread(target=self.take, args=(*ends, queue), daemon=True).start()
            threading.Thread(target=self.give, args=(*ends, queue), daemon=True).start()

    def close(self):
        """With the lock held."""
        for sock in (self.client, self.server):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self in self.wire.connections:
            self.wire.connections.discard(self)
            self.wire.counts["cut"] += 1
        self.wire.changed.notify_all()

    def take(self, source, target, queue):
        """Read, as far as not too much waits already, and note when."""
        wire = self.wire
        while True:
            with wire.changed:
                while len(queue) > 16 and self in wire.connections:
                    wire.changed.wait()
            try:
                data = source.recv(PIECE)
            except OSError:
                data = b""
            with wire.changed:
                queue.append((time.monotonic(), data))
                wire.changed.notify_all()
            if not data:
                return

    def give(self, source, target, queue):
        wire = self.wire
        from_server = source is self.server
        while True:
            with wire.changed:
                while not queue or wire.freeze and self in wire.connections:
                    wire.changed.wait()
                arrived, data = queue.pop(0)
                wire.changed.notify_all()
                until = max(arrived + wire.delay, wire.pass_at(len(data), from_server))
                if from_server and data:
                    wire.counts["bytes"] += len(data)
                    data = wire.corrupt(data)
                if from_server and self.cut_after is not None:
                    data = data[:self.cut_after]
                    self.cut_after -= len(data)
            time.sleep(max(0, until - time.monotonic()))
            try:
                target.sendall(data)
            except OSError:
                data = b""
            if not data or from_server and self.cut_after == 0:
                with wire.changed:
                    self.close()
                return


def obey(wire, command):
    """Do what a line of stdin says; what to print, or None."""
    what = command["do"]
    if what == "target":
        wire.target = int(command["port"])
    elif what == "wire":
        wire.set(command)
    elif what == "cut":
        for connection in list(wire.connections):
            if "after" in command:
                connection.cut_after = command["after"]
            else:
                connection.close()
    elif what == "corrupt":
        wire.corrupt_behind = command["skip"]
    elif what == "count":
        return wire.counts[command["what"]]
    else:
        raise ValueError("there is no such command")
    return None


def accept(wire, listener):
    while True:
        client, _ = listener.accept()
        with wire.changed:
            wire.counts["accept"] += 1
            if wire.refuse:
                client.close()
                continue
            try:
                wire.connections.add(Connection(wire, client))
            except OSError:
                client.close()


if __name__ == "__main__":
    commanded.serve(Wire(), accept, obey, *sys.argv[1:])
