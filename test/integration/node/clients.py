"""Clients that show every byte: what a driver would hide is what these tests are about."""

import json
import os
import re
import secrets
import socket
import struct


class Ended(Exception):
    """The node closed the connection."""


def connect(address, timeout=30.0):
    return socket.create_connection(address, timeout)


def read_to_end(stream):
    """All that comes until the node closes; a reset ends it too."""
    received = b""
    try:
        while True:
            some = stream.recv(65536)
            if not some:
                return received
            received += some
    except ConnectionResetError:
        return received


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def startup(user, database, **settings):
    body = struct.pack("!I", 3 << 16)
    for name, value in {"user": user, "database": database, **settings}.items():
        body += name.encode() + b"\0" + value.encode() + b"\0"
    return struct.pack("!I", len(body) + 5) + body + b"\0"


class PostgresError(Exception):
    def __init__(self, fields):
        self.fields = fields
        self.code = fields["C"]
        self.severity = fields["V"]
        super().__init__(f"{fields['V']} {fields['C']}: {fields['M']} {fields.get('D', '')}")


class Postgres:
    """A session at the Postgres door."""

    def __init__(self, node, token, role, database="shop", timeout=30.0, **settings):
        self.stream = connect(node.doors["postgres"], timeout)
        self.received = b""
        self.parameters = {}
        self.notices = []
        self.key = None
        self.status = None
        self.stream.sendall(startup(role, database, **settings))
        self.stream.settimeout(timeout)
        try:
            self._log_in(token)
        except BaseException:
            self.stream.close()
            raise

    def _log_in(self, token):
        kind, body = self.read()
        if kind == b"E":
            raise PostgresError(fields_of(body))
        assert kind == b"R" and body == struct.pack("!I", 3), (kind, body)
        self.stream.sendall(message(b"p", token.encode() + b"\0"))
        self.finish()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def read(self):
        """The next message."""
        while len(self.received) < 5 or len(self.received) < 1 + self._size():
            try:
                some = self.stream.recv(65536)
            except (ConnectionResetError, BrokenPipeError) as error:
                raise Ended from error
            if not some:
                raise Ended
            self.received += some
        end = 1 + self._size()
        kind, body = self.received[:1], self.received[5:end]
        self.received = self.received[end:]
        return kind, body

    def _size(self):
        return struct.unpack("!I", self.received[1:5])[0]

    def send(self, sql):
        try:
            self.stream.sendall(message(b"Q", sql.encode() + b"\0"))
        except (ConnectionResetError, BrokenPipeError):
            pass  # What it said before it closed is still to be read.

    def query(self, sql):
        """The rows, as tuples of texts."""
        self.send(sql)
        return self.finish()

    def finish(self):
        """Reads up to readiness; raises the first error that came."""
        rows = []
        failed = None
        while True:
            try:
                kind, body = self.read()
            except Ended:
                if failed:
                    raise failed from None
                raise
            if kind == b"Z":
                self.status = body.decode()
                if failed:
                    raise failed
                return rows
            if kind == b"E":
                failed = failed or PostgresError(fields_of(body))
            elif kind == b"N":
                self.notices.append(fields_of(body))
            elif kind == b"S":
                name, value, _ = body.split(b"\0")
                self.parameters[name.decode()] = value.decode()
            elif kind == b"K":
                self.key = body
            elif kind == b"D":
                rows.append(row_of(body))

    def value(self, sql):
        return self.query(sql)[0][0]

    def wait_for_end(self):
        """The error with which the node ends the session, or None where it said nothing."""
        said = None
        while True:
            try:
                kind, body = self.read()
            except Ended:
                return said
            if kind == b"E":
                said = PostgresError(fields_of(body))
            elif kind == b"N":
                self.notices.append(fields_of(body))


def fields_of(body):
    fields = {}
    for field in body.split(b"\0"):
        if field:
            fields[field[:1].decode()] = field[1:].decode()
    return fields


def row_of(body):
    count, at, row = struct.unpack("!H", body[:2])[0], 2, []
    for _ in range(count):
        size = struct.unpack("!i", body[at : at + 4])[0]
        at += 4
        row.append(None if size < 0 else body[at : at + size].decode())
        at += max(size, 0)
    return tuple(row)


class RedisError(Exception):
    pass


def command(*parts):
    encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    text = b"*%d\r\n" % len(encoded)
    return text + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in encoded)


class Redis:
    """A session at the Redis door, in RESP2."""

    def __init__(self, node, token=None, role=None, timeout=30.0):
        self.stream = connect(node.doors["redis"], timeout)
        self.received = b""
        if token:
            try:
                self.call("AUTH", *([role] if role else []), token)
            except BaseException:
                self.stream.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def call(self, *parts):
        try:
            self.stream.sendall(command(*parts))
        except (ConnectionResetError, BrokenPipeError):
            pass
        return self.reply()

    def pipeline(self, commands):
        """Sends all, and gives their replies as they come."""
        commands = [command(*parts) for parts in commands]
        try:
            self.stream.sendall(b"".join(commands))
        except (ConnectionResetError, BrokenPipeError):
            pass
        for _ in commands:
            yield self.reply()

    def reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._take(size + 2)[:-2].decode()
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        raise AssertionError(f"no reply of RESP2: {line}")

    def _more(self):
        try:
            some = self.stream.recv(65536)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise Ended from error
        if not some:
            raise Ended
        self.received += some

    def _line(self):
        while b"\r\n" not in self.received:
            self._more()
        line, self.received = self.received.split(b"\r\n", 1)
        return line

    def _take(self, size):
        while len(self.received) < size:
            self._more()
        taken, self.received = self.received[:size], self.received[size:]
        return taken


class Nats:
    """A connection to the NATS door: what is subscribed to comes in order."""

    def __init__(self, node, token, timeout=30.0, address=None):
        self.stream = connect(address or node.doors["nats"], timeout)
        self.received = b""
        self.kept = []
        self.inboxes = 0
        self.inbox_name = "_INBOX." + secrets.token_hex(11)
        self.info = json.loads(self._line().removeprefix(b"INFO "))
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True,
                   "protocol": 1, "auth_token": token}
        self._send(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def subscribe(self, subject, sid=1):
        self._send(f"SUB {subject} {sid}\r\n".encode())
        self.flush()

    def publish(self, subject, payload=b"", reply=""):
        self._send(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def flush(self):
        """Returns when the server has seen all of it; what is said instead of PONG is raised."""
        self._send(b"PING\r\n")
        while True:
            line = self._line()
            if line == b"PONG":
                return
            if line.startswith(b"-ERR"):
                raise NatsError(line.decode())
            if line.startswith((b"MSG", b"HMSG")):
                self.kept.append(self._message(line))
            elif line.startswith(b"PING"):
                self._send(b"PONG\r\n")

    def message(self, timeout=30.0):
        """The next one: subject, headers, payload."""
        if self.kept:
            return self.kept.pop(0)
        self.stream.settimeout(timeout)
        while True:
            line = self._line()
            if line.startswith((b"MSG", b"HMSG")):
                return self._message(line)
            if line.startswith(b"PING"):
                self._send(b"PONG\r\n")
            elif line.startswith(b"-ERR"):
                raise NatsError(line.decode())

    def messages(self, count, timeout=30.0):
        return [self.message(timeout) for _ in range(count)]

    def request(self, subject, payload=b""):
        """The payload of the one answer."""
        self.inboxes += 1
        inbox = f"{self.inbox_name}.{self.inboxes}"
        self.subscribe(inbox, 1000 + self.inboxes)
        self.publish(subject, payload, inbox)
        others = []
        while True:
            message = self.message()
            if message[0] == inbox:
                self.kept[:0] = others
                return message[2]
            others.append(message)

    def replay(self, stream, count, timeout=30.0):
        """The first messages of a stream, as it keeps them."""
        to = self.inbox_name + ".replay"
        self.subscribe(to, 999)
        config = {"deliver_subject": to, "ack_policy": "none", "deliver_policy": "all"}
        answer = self.request(f"$JS.API.CONSUMER.CREATE.{stream}",
                              json.dumps({"stream_name": stream, "config": config}).encode())
        if "error" in json.loads(answer):
            raise NatsError(answer.decode())
        return self.messages(count, timeout)

    def _message(self, line):
        words = line.decode().split()
        size = int(words[-1])
        headers_size = int(words[-2]) if words[0] == "HMSG" else 0
        while len(self.received) < size + 2:
            self._more()
        body, self.received = self.received[:size], self.received[size + 2 :]
        headers = {}
        for each in body[:headers_size].decode().split("\r\n")[1:]:
            if each:
                name, value = each.split(": ", 1)
                headers[name] = value
        return words[1], headers, body[headers_size:]

    def _send(self, data):
        self.stream.sendall(data)

    def _more(self):
        some = self.stream.recv(1 << 16)
        if not some:
            raise Ended()
        self.received += some

    def _line(self):
        while b"\r\n" not in self.received:
            self._more()
        line, self.received = self.received.split(b"\r\n", 1)
        return line


class NatsError(Exception):
    """What the server refuses."""


def request_id_of(session):
    """The request id that the session's present transaction has in the database."""
    text = session.value("SELECT current_setting('meridian.request_id')")
    assert re.fullmatch(r"[0-9a-f-]{36}", text), text
    return text


class NatsProducer:
    """A client at the NATS door: publishes, and subscribes with what came kept in order."""

    def __init__(self, address, token, timeout=30.0):
        self.stream = connect(address, timeout)
        self.received = b""
        self.messages = []
        self.errors = []
        self.inbox = "_INBOX." + os.urandom(12).hex()
        self.asked = 0
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True,
                   "auth_token": token, "protocol": 1, "echo": True}
        try:
            assert self._line().startswith(b"INFO ")
            self.stream.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
            self.flush()
        except BaseException:
            self.stream.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.stream.close()

    def _line(self):
        while b"\r\n" not in self.received:
            self._more()
        line, self.received = self.received.split(b"\r\n", 1)
        return line

    def _bytes(self, size):
        while len(self.received) < size:
            self._more()
        taken, self.received = self.received[:size], self.received[size:]
        return taken

    def _more(self):
        some = self.stream.recv(65536)
        if not some:
            raise Ended
        self.received += some

    def publish(self, subject, payload, headers=None, reply=""):
        """Without waiting; `headers` is a dictionary."""
        payload = payload if isinstance(payload, bytes) else payload.encode()
        self.stream.sendall(self.bytes_of(subject, payload, headers, reply))

    @staticmethod
    def bytes_of(subject, payload, headers=None, reply=""):
        to = f"{subject} {reply}".strip()
        if not headers:
            return f"PUB {to} {len(payload)}\r\n".encode() + payload + b"\r\n"
        block = "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        block = block.encode()
        sizes = f"{len(block)} {len(block) + len(payload)}"
        return f"HPUB {to} {sizes}\r\n".encode() + block + payload + b"\r\n"

    def subscribe(self, subject, sid="1"):
        self.stream.sendall(f"SUB {subject} {sid}\r\n".encode())
        self.flush()

    def step(self):
        """Takes one operation; False for a PONG."""
        line = self._line()
        words = line.split()
        kind = words[0].upper()
        if kind == b"PONG":
            return False
        if kind == b"PING":
            self.stream.sendall(b"PONG\r\n")
        elif kind == b"-ERR":
            self.errors.append(line.decode())
        elif kind in (b"MSG", b"HMSG"):
            total = int(words[-1])
            head = int(words[-2]) if kind == b"HMSG" else 0
            body = self._bytes(total + 2)[:-2]
            self.messages.append((words[1].decode(), body[:head].decode(), body[head:]))
        return True

    def flush(self):
        """Until the server has seen everything; raises what it refused."""
        self.stream.sendall(b"PING\r\n")
        while self.step():
            pass
        if self.errors:
            raise AssertionError(self.errors.pop(0))

    def next(self):
        """The next message: subject, headers, payload."""
        while not self.messages:
            self.step()
        return self.messages.pop(0)
