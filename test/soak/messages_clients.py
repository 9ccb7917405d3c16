"""The processes around a node in the soak of messages: producers, a reader of the outbox, a writer of SQL.

They share numbers with their parent, and files in its folder, of one byte for each message.
"""

import collections
import ctypes
import json
import mmap
import multiprocessing
import os
import random
import re
import select
import socket
import struct
import time

from wire import Closed, Postgres, Refused

WINDOW = 500
LAG_MAX = 40_000  # Rows under way.
ANSWER_SECONDS = 5
LATE_SECONDS = 0.3  # The stream's own window for duplicates is shorter.
KEYS = 64
ORDERED_KEY, SQL_KEY = 1000, 2000

# What is known of a message: it was sent, the stream has acknowledged it.
SENT, ACKNOWLEDGED = 1, 2
# Kinds of messages that become dead letters, and what may be said of them.
DEAD = {"broken": "unreadable", "missing": "unreadable", "wrong type": "poison|unreadable", "refused": "poison"}


class Shared:
    def __init__(self, producers):
        def number():
            return multiprocessing.Value(ctypes.c_int64, 0, lock=False)

        self.allowed = number()  # So many may be sent.
        self.stop = number()  # 1: nothing new, 2: the reader ends too.
        self.rows = number()  # Rows of ingest that the reader has seen.
        self.place = number()  # Where it is in the stream.
        self.version = number()
        self.cut = multiprocessing.Array(ctypes.c_int64, producers, lock=False)
        self.acknowledged = multiprocessing.Array(ctypes.c_int64, producers, lock=False)
        self.wanted_rows = multiprocessing.Array(ctypes.c_int64, producers, lock=False)

    def sent(self):
        """By the producers, without the intruder."""
        return sum(self.acknowledged[:-1])

    def lag(self):
        """Acknowledged messages whose rows the reader has not seen."""
        return sum(self.wanted_rows) - self.rows.value


def draw(seed, n):
    """64 bits that follow from both."""
    x = (n * 0x9E3779B97F4A7C15 + seed * 0xBF58476D1CE4E5B9 + 0x2545F4914F6CDD1D) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return x ^ (x >> 31)


KINDS = ("broken",) * 5 + ("missing",) * 5 + ("wrong type",) * 5 + ("refused",) * 5 + ("conflict",) * 5


def kind_of(seed, n):
    chance = draw(seed, n) % 10_000
    return KINDS[chance] if chance < len(KINDS) else "good"


class Link:
    """A connection to the NATS door, or to nats-server itself."""

    def __init__(self, port, token, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.at = b"", 0
        self.inbox = "_INBOX." + os.urandom(12).hex()
        try:
            if not self.line().startswith(b"INFO "):
                raise Closed("no INFO")
            options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "protocol": 1, "auth_token": token}
            self.socket.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\n" + f"SUB {self.inbox}.* 1\r\nPING\r\n".encode())
            while (operation := self.operation()) != "PONG":
                if operation is None:
                    raise Closed("it says nothing")
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def more(self):
        data = self.socket.recv(262144)
        if not data:
            raise Closed("by the server")
        self.buffer = self.buffer[self.at:] + data
        self.at = 0

    def line(self):
        while (end := self.buffer.find(b"\r\n", self.at)) < 0:
            self.more()
        line = self.buffer[self.at:end]
        self.at = end + 2
        return line

    def operation(self):
        """"PONG", or a message: subject, head and payload. None when nothing comes in time."""
        while True:
            try:
                line = self.line()
            except TimeoutError:
                return None
            if line.startswith((b"MSG ", b"HMSG ")):
                words = line.split()
                total = int(words[-1])
                head = int(words[-2]) if line[0] == 72 else 0
                while len(self.buffer) < self.at + total + 2:
                    self.more()
                body = self.buffer[self.at:self.at + total]
                self.at += total + 2
                return words[1], body[:head], body[head:]
            if line == b"PONG":
                return "PONG"
            if line == b"PING":
                self.socket.sendall(b"PONG\r\n")
            elif line.startswith(b"-ERR"):
                raise Closed(line.decode(errors="replace"))

    def has_more(self):
        """Whether a whole line has been read already, or comes at once."""
        return self.buffer.find(b"\r\n", self.at) >= 0 or bool(select.select([self.socket], [], [], 0)[0])

    def request(self, subject, payload=b""):
        self.socket.sendall(f"PUB {subject} {self.inbox}.0 {len(payload)}\r\n".encode() + payload + b"\r\n")
        operation = self.operation()
        if operation is None or operation == "PONG":
            raise Closed("no answer")
        return operation[2]

    def vanish(self):
        """Resets the connection, as a machine that died would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Producer:
    """Sends its numbers, each until it is acknowledged, and some of them again."""

    def __init__(self, home, number, numbers, seed, shared):
        self.number, self.seed, self.shared = number, seed, shared
        self.next, self.end, self.step = numbers
        self.intruder = number == len(shared.cut) - 1
        with open(home / "sent", "r+b") as file:
            self.sent = mmap.mmap(file.fileno(), 0)
        self.again = []  # Without an acknowledgement so far.
        self.late = collections.deque()  # When to repeat what, or to use its id for another message.
        self.conflicts = {}  # Whether a message with the id of another was stored.
        self.told = {"repeated": 0, "again": 0, "connections": 0, "conflicts_stored": 0}

    def bytes_of(self, n, inbox, conflict=False):
        chance = draw(self.seed, n)
        kind = kind_of(self.seed, n)
        ordered = (chance >> 50) % 10 == 0
        key = ORDERED_KEY if ordered else (chance >> 40) % KEYS
        subject = "soak.ordered" if ordered else f"soak.keyed.{key}"
        if conflict:
            body = f'{{"of":{n},"n":{n},"k":{key},"weight":1,"note":"conflict"}}'
        elif kind == "broken":
            body = f'{{"of":{n},"n":{n},"k":'
        elif kind == "missing":
            body = f'{{"of":{n},"n":{n},"k":{key}}}'
        elif kind == "wrong type":
            body = f'{{"of":{n},"n":"x","k":{key},"weight":1}}'
        else:
            body = f'{{"of":{n},"n":{n},"k":{key},"weight":{0 if kind == "refused" else 7},"note":"{chance:016x}{chance:016x}"}}'
        head = f"NATS/1.0\r\nNats-Msg-Id: m{n}\r\n\r\n"
        reply = f" {inbox}.{'c' if conflict else ''}{n}" if inbox else ""
        return f"HPUB {subject}{reply} {len(head)} {len(head) + len(body)}\r\n{head}{body}\r\n".encode()

    def fresh(self, room):
        """The next numbers that may be sent."""
        limit = min(self.end, self.shared.allowed.value)
        if self.intruder:
            # As far with its share as the others with theirs.
            limit = min(self.end, self.next + 20) if self.shared.sent() > 110 * self.acknowledged() else 0
        numbers = []
        if self.shared.stop.value or self.shared.lag() > LAG_MAX:
            return numbers
        while len(numbers) < room and self.next < limit:
            numbers.append(self.next)
            self.next += self.step
        return numbers

    def acknowledged(self):
        return self.shared.acknowledged[self.number]

    def work(self, link):
        """Until all is sent, or the connection ends."""
        while True:
            numbers = self.again + self.fresh(WINDOW - len(self.again))
            self.told["again"] += len(self.again)
            parts, waiting = [], set(numbers)
            for n in numbers:
                if self.sent[n] == 0:
                    self.sent[n] = SENT
                    chance = (draw(self.seed, n) >> 20) % 10_000
                    if not self.intruder and chance < 200:
                        self.told["repeated"] += 1
                        if chance < 100:
                            self.late.append((time.monotonic() + LATE_SECONDS + chance * 0.05, n, False))
                        else:
                            parts.append(self.bytes_of(n, None))  # At once: the stream's window knows it.
                parts.append(self.bytes_of(n, link.inbox))
            for _ in range(len(self.late)):
                due, n, conflict = self.late.popleft()
                if time.monotonic() < due and not (self.shared.stop.value and not conflict):
                    self.late.append((due, n, conflict))
                elif conflict:
                    self.conflicts[n] = False  # Sent once, whatever comes of it.
                    waiting.add(f"c{n}")
                    parts.append(self.bytes_of(n, link.inbox, conflict=True))
                elif self.sent[n] == ACKNOWLEDGED:
                    parts.append(self.bytes_of(n, None))
            self.again = numbers
            if not parts:
                if self.through():
                    return
                time.sleep(0.01)
                if not link.has_more():
                    continue
            data = b"".join(parts)
            if self.shared.cut[self.number]:
                self.shared.cut[self.number] = 0
                link.socket.sendall(data[:len(data) // 2])
                link.vanish()
                raise Closed("cut")
            link.socket.sendall(data)
            try:
                self.collect(link, waiting)
            finally:
                self.again = sorted(n for n in waiting if isinstance(n, int))

    def through(self):
        return (self.shared.stop.value or self.next >= self.end) and not self.again and not self.late

    def collect(self, link, waiting):
        """Takes the acknowledgements out of `waiting`."""
        refused = 0
        end = time.monotonic() + ANSWER_SECONDS
        while (waiting and refused < len(waiting) and time.monotonic() < end) or link.has_more():
            operation = link.operation()
            if operation is None:
                break
            if operation == "PONG":
                continue
            subject, head, body = operation
            name = subject.rpartition(b".")[2].decode()
            if b"503" in head[:16] or b'"error"' in body:
                refused += 1
                continue
            if name.startswith("c"):
                waiting.discard(name)
                stored = b'"duplicate"' not in body
                self.conflicts[int(name[1:])] = stored
                self.told["conflicts_stored"] += stored
                continue
            n = int(name)
            waiting.discard(n)
            if self.sent[n] == ACKNOWLEDGED:
                continue
            self.sent[n] = ACKNOWLEDGED
            self.shared.acknowledged[self.number] += 1
            if self.intruder:
                continue
            kind = kind_of(self.seed, n)
            if kind not in DEAD:
                self.shared.wanted_rows[self.number] += 1
            if kind == "conflict":
                self.late.append((time.monotonic() + 2 * LATE_SECONDS, n, True))
        if refused:
            time.sleep(0.05)

    def give_some_up(self):
        """Of what was not acknowledged when the connection ended some are never sent again: they may be there once."""
        kept = []
        for n in self.again:
            if self.intruder or (draw(self.seed, n) >> 34) % 16 == 0:
                self.shared.acknowledged[self.number] += 1  # Nobody waits for it.
            else:
                kept.append(n)
        self.again = kept


def produce(home, port, subject, number, numbers, seed, shared):
    producer = Producer(home, number, numbers, seed, shared)
    while not producer.through():
        try:
            with Link(port, (home / f"token.{subject}").read_text()) as link:
                producer.told["connections"] += 1
                link.socket.settimeout(ANSWER_SECONDS)
                producer.work(link)
        except (OSError, Closed, ValueError):
            producer.give_some_up()
            time.sleep(0.05)
    (home / f"producer.{number}.json").write_text(json.dumps(producer.told | {"conflicts": producer.conflicts}))


ROW = re.compile(rb'"after":\{"n":(-?\d+),"k":(\d+),"place":(\d+),"version":(\d+|null)\}')
ID = re.compile(rb"Nats-Msg-Id: outbox\.[0-9a-f]{12}\.(\d+)\r\n")


class Reader:
    """Follows the outbox's stream from its first message, through whatever happens."""

    def __init__(self, home, shared):
        self.shared = shared
        with open(home / "seen", "r+b") as file:
            self.seen = mmap.mmap(file.fileno(), 0)
        self.place = 0  # In the stream.
        self.number = 0  # Of the outbox.
        self.version = 0
        self.last = collections.defaultdict(int)  # By key, where the row's message stood.
        self.found = {"out_of_order": 0, "messages": 0, "of_sql": 0, "samples": []}

    def disorder(self, what):
        self.found["out_of_order"] += 1
        if len(self.found["samples"]) < 50:
            self.found["samples"].append(f"outbox message {self.number}: {what}")

    def take(self, subject, head, body):
        self.found["messages"] += 1
        number = int(ID.search(head)[1])
        if number != self.number + 1:
            self.disorder(f"number {number} follows {self.number}")
        self.number = number
        if subject == b"soak.turns":
            self.turn(int(body))
            return
        row = ROW.search(body)
        n, key, place = int(row[1]), int(row[2]), int(row[3])
        if row[4] != b"null":
            self.turn(int(row[4]))
        if key == SQL_KEY:
            self.found["of_sql"] += 1
            return
        if place <= self.last[key]:
            self.disorder(f"of key {key}, place {place} follows {self.last[key]}")
        self.last[key] = place
        if self.seen[n] < 255:
            self.seen[n] += 1
        self.shared.rows.value += 1

    def turn(self, version):
        """Of the counter whose lock its transaction held to its end: no other order of commits is possible."""
        if version != self.version + 1:
            self.disorder(f"version {version} follows {self.version}")
        self.version = version
        self.shared.version.value = version

    def work(self, link):
        config = {"deliver_policy": "by_start_sequence", "opt_start_seq": self.place + 1, "ack_policy": "none",
                  "max_waiting": 8, "inactive_threshold": 30_000_000_000}
        made = json.loads(link.request("$JS.API.CONSUMER.CREATE.OUTBOX", json.dumps({"stream_name": "OUTBOX", "config": config}).encode()))
        if "error" in made:
            raise Closed(str(made["error"]))
        # nats-server 2.9 forgets without a word what expires while it delivers; this expires never.
        asked = json.dumps({"batch": 5000, "no_wait": True}).encode()
        request = f"PUB $JS.API.CONSUMER.MSG.NEXT.OUTBOX.{made['name']} {link.inbox}.1 {len(asked)}\r\n".encode() + asked + b"\r\n"
        while self.shared.stop.value < 2:
            link.socket.sendall(request)
            for _ in range(5000):
                operation = link.operation()
                if operation is None:
                    raise Closed("no answer")
                subject, head, body = operation
                if not subject.startswith(b"soak."):
                    if not head.startswith((b"NATS/1.0 404", b"NATS/1.0 408")):
                        raise Closed(head.decode(errors="replace"))
                    time.sleep(0.01)
                    break
                self.take(subject, head, body)
                self.place += 1
            self.shared.place.value = self.place


def follow(home, port, shared):
    reader = Reader(home, shared)
    while shared.stop.value < 2:
        try:
            with Link(port, (home / "token.reader").read_text()) as link:
                reader.work(link)
        except (OSError, Closed):
            time.sleep(0.1)
    (home / "reader.json").write_text(json.dumps(reader.found | {"version": reader.version}))


def write_sql(home, port, seed, shared):
    """Rows and messages of a client of SQL, whose transactions stand between those of ingest."""
    source = random.Random(seed)
    while not shared.stop.value:
        try:
            with Postgres(port, "soak_sql", (home / "token.sql").read_text()) as client:
                while not shared.stop.value:
                    if source.random() < 0.5:
                        client.query("WITH t AS (UPDATE soak_turn SET n = n + 1 RETURNING n) "
                                     f"INSERT INTO soak_rows SELECT -(2 * n + 1) * 1000 - 1, {SQL_KEY}, 1, n, n FROM t")
                    else:
                        client.query("WITH t AS (UPDATE soak_turn SET n = n + 1 RETURNING n) "
                                     "SELECT meridian.publish('soak.turns', n::text) FROM t")
                    time.sleep(0.02)
        except (OSError, Closed, Refused):
            time.sleep(0.1)
