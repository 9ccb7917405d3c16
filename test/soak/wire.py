"""Clients in a few lines, so that they can do wrong what a library would not."""

import os
import socket
import struct


class Closed(Exception):
    """The other side ended the connection."""


class Refused(Exception):
    """An error that the server says, with its code."""

    def __init__(self, code, text):
        super().__init__(f"{code} {text}")
        self.code = code


class Connection:
    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Closed("while sending") from None

    def take(self, size):
        while len(self.buffer) < size:
            self.more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def take_line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed("by the server")
        self.buffer += data

    def vanish(self):
        """Resets the connection, as a machine that died would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def startup(user, database):
    body = struct.pack("!i", 196608)
    for name, value in (("user", user), ("database", database)):
        body += name.encode() + b"\0" + value.encode() + b"\0"
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


class Postgres(Connection):
    def __init__(self, port, user, password, database="shop", timeout=30):
        super().__init__(port, timeout)
        self.key = None
        try:
            self.send(startup(user, database))
            while True:
                kind, body = self.receive()
                if kind == b"R":
                    method = struct.unpack("!i", body[:4])[0]
                    if method == 3:
                        self.send(message(b"p", password.encode() + b"\0"))
                    elif method != 0:
                        raise AssertionError(f"authentication method {method}")
                elif kind == b"K":
                    self.key = body
                elif kind == b"E":
                    raise refusal(body)
                elif kind == b"Z":
                    return
        except BaseException:
            self.socket.close()
            raise

    def receive(self):
        kind = self.take(1)
        size = struct.unpack("!i", self.take(4))[0]
        return kind, self.take(size - 4)

    def query(self, statement):
        self.send(message(b"Q", statement.encode() + b"\0"))
        return self.answer()

    def answer(self):
        """All rows up to ReadyForQuery."""
        rows, error = [], None
        while True:
            kind, body = self.receive()
            if kind == b"D":
                rows.append(row_of(body))
            elif kind == b"E":
                error = refusal(body)
                if error.code.startswith("57P") or error.code.startswith("08"):
                    raise error  # The server ends the session without ReadyForQuery.
            elif kind == b"Z":
                if error:
                    raise error
                return rows

    def cancel(self, port):
        with Connection(port) as other:
            body = struct.pack("!i", 80877102) + self.key
            other.send(struct.pack("!i", len(body) + 4) + body)


def row_of(body):
    count = struct.unpack("!h", body[:2])[0]
    at, row = 2, []
    for _ in range(count):
        size = struct.unpack("!i", body[at:at + 4])[0]
        at += 4
        if size < 0:
            row.append(None)
        else:
            row.append(body[at:at + size].decode())
            at += size
    return row


def refusal(body):
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return Refused(fields.get(b"C", "?????"), fields.get(b"M", ""))


class Redis(Connection):
    def __init__(self, port, token, timeout=30):
        super().__init__(port, timeout)
        if token is None:
            return
        try:
            self.command("AUTH", token)
        except BaseException:
            self.socket.close()
            raise

    @staticmethod
    def encode(*words):
        parts = [f"*{len(words)}\r\n".encode()]
        for word in words:
            data = word if isinstance(word, bytes) else word.encode()
            parts.append(f"${len(data)}\r\n".encode() + data + b"\r\n")
        return b"".join(parts)

    def command(self, *words):
        self.send(self.encode(*words))
        return self.answer()

    def answer(self):
        line = self.take_line()
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            text = rest.decode(errors="replace")
            raise Refused(text.split(" ", 1)[0], text)
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.take(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.answer() for _ in range(int(rest))]
        raise AssertionError(f"a reply of kind {kind!r}")


class Nats(Connection):
    """Takes messages with their headers, and gives them without."""

    def __init__(self, port, token, timeout=30):
        super().__init__(port, timeout)
        try:
            self.take_line()  # INFO
            options = '"verbose":false,"pedantic":false,"headers":true'
            self.send(f'CONNECT {{"auth_token":"{token}",{options}}}\r\n'.encode())
            if self.messages_to_pong():
                raise AssertionError("a message before any subscription")
        except BaseException:
            self.socket.close()
            raise

    def publish(self, subject, payload):
        self.send(f"PUB {subject} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def messages_to_pong(self):
        """What was delivered up to the answer to a PING: pairs of subject and payload."""
        self.send(b"PING\r\n")
        found = []
        while True:
            words = self.take_line().decode().split(" ")
            if words[0] == "PONG":
                return found
            if words[0] == "PING":
                self.send(b"PONG\r\n")
            elif words[0] == "-ERR":
                raise Refused("-ERR", " ".join(words[1:]))
            elif words[0] in ("MSG", "HMSG"):
                data = self.take(int(words[-1]) + 2)[:-2]
                found.append((words[1], data[int(words[-2]):] if words[0] == "HMSG" else data))
            elif words[0] not in ("INFO", "+OK"):
                raise AssertionError(f"a message {words[0]!r}")


def tag():
    return os.urandom(8).hex()
