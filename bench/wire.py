"""The least of the Postgres and Redis protocols that the measures speak themselves.

Where the stock clients can do it they are used instead; these are for what they cannot: timing one
login or one answer, holding thousands of connections, and reading a result without keeping it.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct


class PostgresError(Exception):
    pass


def connect(address):
    """`address` is (host, port) or the path of a Unix socket."""
    if isinstance(address, str):
        made = socket.socket(socket.AF_UNIX)
        made.connect(address)
    else:
        made = socket.create_connection(address)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Postgres:
    """One session of the Postgres protocol, logged in."""

    def __init__(self, address, user, database, password="", **settings):
        self.socket = connect(address)
        self.buffer = b""
        words = {"user": user, "database": database, **settings}
        body = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in words.items())
        body = struct.pack("!I", 196608) + body + b"\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self._log_in(password)

    def _log_in(self, password):
        scram = None
        while True:
            kind, body = self.message()
            if kind == b"Z":
                return
            if kind != b"R":
                continue
            method = struct.unpack_from("!I", body)[0]
            if method == 3:
                self.send(b"p", password.encode() + b"\0")
            elif method == 10:
                scram = Scram(password)
                first = scram.first()
                self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
            elif method == 11:
                self.send(b"p", scram.final(body[4:]))
            elif method not in (0, 12):
                raise PostgresError(f"authentication method {method}")

    def send(self, kind, body):
        self.socket.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def message(self):
        """The next message; an error of the server's is raised."""
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack_from("!I", self.buffer, 1)[0]:
            got = self.socket.recv(65536)
            if not got:
                raise PostgresError("the server hung up")
            self.buffer += got
        size = 1 + struct.unpack_from("!I", self.buffer, 1)[0]
        kind, body, self.buffer = self.buffer[:1], self.buffer[5:size], self.buffer[size:]
        if kind == b"E":
            fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
            raise PostgresError(fields.get(b"M", "?"))
        return kind, body

    def query(self, sql):
        """Runs `sql` and returns its rows, as lists of text or None."""
        self.send(b"Q", sql.encode() + b"\0")
        rows = []
        while True:
            kind, body = self.message()
            if kind == b"Z":
                return rows
            if kind == b"D":
                rows.append(to_row(body))

    def drain(self, sql):
        """Runs `sql`, reads its result and keeps none of it. Returns the bytes that came."""
        self.send(b"Q", sql.encode() + b"\0")
        chunk = bytearray(1 << 20)
        total, tail = 0, b""
        while tail != b"Z\0\0\0\5I":
            size = self.socket.recv_into(chunk)
            if not size:
                raise PostgresError("the server hung up within a result")
            total += size
            tail = (tail + bytes(chunk[max(0, size - 6) : size]))[-6:]
        return total

    def close(self):
        try:
            self.send(b"X", b"")
        except OSError:
            pass  # It is gone already, which is what was wanted.
        self.socket.close()


def to_row(body):
    row, at = [], 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        size = struct.unpack_from("!i", body, at)[0]
        at += 4
        if size < 0:
            row.append(None)
        else:
            row.append(body[at : at + size].decode())
            at += size
    return row


class Scram:
    """A client's side of SCRAM-SHA-256 (RFC 5802, 7677)."""

    def __init__(self, password):
        self.password = password.encode()
        self.bare = b"n=,r=" + base64.b64encode(os.urandom(18))

    def first(self):
        return b"n,," + self.bare

    def final(self, challenge):
        parts = dict(part.split(b"=", 1) for part in challenge.split(b","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", self.password, base64.b64decode(parts[b"s"]), int(parts[b"i"])
        )
        key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = b"c=biws,r=" + parts[b"r"]
        text = b",".join((self.bare, challenge, without_proof))
        signature = hmac.digest(hashlib.sha256(key).digest(), text, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        return without_proof + b",p=" + base64.b64encode(proof)


class Redis:
    """One connection of the Redis protocol; logged in where a token is given."""

    def __init__(self, address, user="", token=""):
        self.socket = connect(address)
        self.stream = self.socket.makefile("rb", buffering=4096)
        if token:
            self.call("AUTH", user, token)

    def send(self, *words):
        coded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(
            b"*%d\r\n" % len(coded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in coded)
        )

    def reply(self):
        line = self.stream.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.stream.read(size + 2)[:-2]
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"+":
            return rest
        raise RuntimeError(f"unexpected reply {line!r}")

    def call(self, *words):
        self.send(*words)
        return self.reply()

    def close(self):
        self.stream.close()
        self.socket.close()
