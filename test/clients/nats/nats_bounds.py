#!/usr/bin/env python3
"""The nats door's bounds and ways in, on a node of its own.

    nats_bounds.py MERIDIAN

Messages a second, idle clients, refusals that pile up, connections of an address; a token that is renewed, a policy
that changes, a node that stops; WebSocket's opening; TLS before INFO; the stamp's MAC. Nothing of it stays behind.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

import nats_clients
from nats_clients import PATIENCE, Client, Process, check, hpub, wait_for

CONFIG = """
listen:
  postgres: 127.0.0.1:0
  redis: 127.0.0.1:0
  http: 127.0.0.1:0
  nats: {nats}
  nats_websocket: 127.0.0.1:0
node: {{ loops: 1, name: test }}
tls: {{ certificate: server.pem, key: server.key, nats_handshake_first: 200ms }}
limits: {{ idle_timeout: 2s, visits_per_address: 4, unauthenticated_per_address: 2, failed_logins_per_minute: 1000 }}
nats: {{ stamp_key_file: stamp.key }}
roles:
  steady:
    bind: [{{ issuer: meridian, subject: steady }}]
    nats: {{ publish: ["a.>"], subscribe: [{subscribe}], messages_per_second: 100, pending_max: 64KiB }}
  other:
    bind: [{{ issuer: meridian, subject: other }}]
    nats: {{ publish: ["a.>"], subscribe: ["a.quiet"], visits_max: 1 }}
"""
KEY = "k" * 40


class Bounds:
    def __init__(self, meridian, root):
        self.meridian = meridian
        self.root = root
        self.data = root / "data"
        self.environment = {**os.environ, "MERIDIAN_DATA": str(self.data)}
        self.outside = outside_address()
        self.configure('"a.>"')
        with open(root / "out", "w") as out, open(root / "err", "w") as err:
            self.node = Process([meridian, "up", "--config", root / "meridian.yaml", "--data", self.data],
                                stdout=out, stderr=err)
        self.port = wait_for(lambda: self.port_of("nats"), "the node")
        self.token = self.mint("steady")

    def configure(self, subscribe):
        nats = "[127.0.0.1:0" + (f', "{self.outside}:0"' if self.outside else "") + "]"
        (self.root / "meridian.yaml").write_text(CONFIG.format(nats=nats, subscribe=subscribe))

    def port_of(self, door, address="127.0.0.1"):
        found = re.search(rf"^  {door} +{re.escape(address)}:(\d+)$", (self.root / "out").read_text(), re.M)
        if self.node.process.poll() is not None:
            raise RuntimeError((self.root / "err").read_text()[-2000:])
        return int(found[1]) if found else None

    def run(self, *arguments):
        return subprocess.run([self.meridian, *arguments], env=self.environment, check=True, capture_output=True,
                              text=True).stdout.strip()

    def mint(self, subject, ttl="5m"):
        return self.run("token", "--subject", subject, "--ttl", ttl)

    def metric(self, name):
        url = f"http://127.0.0.1:{self.port_of('http')}/metrics"
        text = urllib.request.urlopen(url).read().decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.M))

    def client(self, options=',"verbose":false', token=None):
        return Client(self.port, f'"auth_token":"{token or self.token}"', options)


def outside_address():
    """An address of this machine that is not loopback; None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Sends nothing: only asks which way it would go.
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


def rate(door):
    client = door.client()
    client.say(b"SUB a.b 1\r\n" + b"PUB a.b 1\r\nx\r\n" * 150 + b"PING\r\n")
    got = client.until(b"PONG\r\n")
    refusals = got.count(b"-ERR 'maximum messages per second exceeded'\r\n")
    check("messages beyond a second's are refused", refusals + got.count(b"HMSG a.b 1") == 150 and 40 <= refusals <= 50,
          (refusals, got.count(b"HMSG")))
    check("and counted", door.metric("meridian_nats_rate_refused_total") == refusals)
    time.sleep(0.3)
    client.say(b"PUB a.b 1\r\nx\r\nPING\r\n")
    check("after a pause they pass", b"HMSG a.b 1" in client.until(b"PONG\r\n"))
    client.close()


def pending(door):
    """Refusals of 4 KiB each, faster than the server can answer the PINGs between them."""
    client = door.client()
    said = memoryview((b"PUB b." + b"x" * 3000 + b" 0\r\n\r\nPING\r\n") * 4000)
    client.socket.settimeout(0.2)
    until = time.monotonic() + PATIENCE
    at = 0
    while at < len(said) and time.monotonic() < until:
        try:
            at += client.socket.send(said[at:at + 65536])
        except TimeoutError:
            # Held back, or only slow.
            if door.metric("meridian_nats_held_back_total") > 0:
                break
    check("who reads none of his refusals is not read on", at < len(said), at)
    check("which is counted", door.metric("meridian_nats_held_back_total") > 0)
    client.close()


def idle(door):
    lazy = door.client()
    busy = door.client()
    busy.say(b"SUB a.b 1\r\n")
    # It asks all the while.
    until = time.monotonic() + PATIENCE
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while time.monotonic() < until:
            time.sleep(0.5)
            lazy.say(b"PING\r\n")
    check("an idle client is told and ended", b"-ERR 'Stale Connection'\r\n<closed>" in lazy.to_end())
    check("and counted", door.metric("meridian_nats_idle_ended_total") == 1)
    busy.say(b"PING\r\n")
    check("who waits for messages is not idle", busy.until(b"PONG\r\n").endswith(b"PONG\r\n"))
    busy.close()


def address(door):
    """Connections of one address that is not this machine's loopback."""
    port = door.port_of("nats", door.outside) if door.outside else None
    if not port:
        print("SKIPPED connections of an address: this machine has none but loopback")
        return
    waiting = [socket.create_connection((door.outside, port), timeout=PATIENCE) for _ in range(2)]
    for each in waiting:
        check("a place to log in", each.recv(65536).startswith(b"INFO "))
    third = socket.create_connection((door.outside, port), timeout=PATIENCE)
    got = b""
    while more := third.recv(65536):
        got += more
    check("none for a third, which reads why",
          got.startswith(b"INFO ") and got.endswith(b"-ERR 'maximum connections exceeded'\r\n"), got)
    context = ssl.create_default_context(cafile=door.root / "server.pem")
    context.check_hostname = False
    secure = context.wrap_socket(waiting[0])
    secure.sendall(f'CONNECT {{"auth_token":"{door.token}","verbose":true}}\r\n'.encode())
    check("who logs in makes room", secure.recv(65536) == b"+OK\r\n")
    fourth = socket.create_connection((door.outside, port), timeout=PATIENCE)
    check("for the next one", fourth.recv(65536).startswith(b"INFO "))
    plain = waiting[1]
    plain.sendall(f'CONNECT {{"auth_token":"{door.token}"}}\r\n'.encode())
    check("no token in clear from elsewhere", plain.recv(65536) == b"")
    for each in (third, secure, fourth, plain):
        each.close()


def renewed(door):
    fresh = door.mint("other")
    brief = door.mint("other", "8s")
    expired = time.monotonic() + 9
    client = door.client(token=brief, options=',"verbose":true')
    # With a subscription nobody is idle, however long the pauses are.
    client.say(b"SUB a.quiet 1\r\n")
    check("with a token that will expire", client.until(b"+OK\r\n+OK\r\n") == b"+OK\r\n+OK\r\n")
    client.say(f'PUB a.b 0\r\n\r\nCONNECT {{"auth_token":"{fresh}","pedantic":false,"headers":true,"verbose":true}}\r\n'
               "PUB a.b 0\r\n\r\nPING\r\n".encode())
    got = client.until(b"PONG\r\n")
    check("a second CONNECT is answered in its turn", got == b"+OK\r\n+OK\r\n+OK\r\nPONG\r\n", got)
    over = False
    while not over:
        over = time.monotonic() > expired
        client.say(b"PUB a.b 0\r\n\r\nPING\r\n")
        got = client.until(b"PONG\r\n")
        time.sleep(0.3)
    check("and outlives the first token", got == b"+OK\r\nPONG\r\n", got)
    client.say(f'CONNECT {{"auth_token":"{door.token}","pedantic":false,"headers":true,"verbose":true}}\r\n'.encode())
    got = client.to_end()
    check("nobody becomes somebody else", got == b"-ERR 'Authorization Violation'\r\n<closed>", got)


def policy(door):
    """What a role loses it loses at once, also what it has under way."""
    client = door.client()
    client.say(b"SUB a.b 1\r\nSUB a.c 2\r\nPUB a.b 1\r\nx\r\nPING\r\n")
    client.until(b"PONG\r\n")
    door.configure('"a.c"')
    door.node.process.send_signal(signal.SIGHUP)
    got = client.until(b"\r\n")
    check("a subscription that is not allowed any more ends",
          got == b"-ERR 'Permissions Violation for Subscription to \"a.b\"'\r\n", got)
    client.say(b"PUB a.b 1\r\nx\r\nPUB a.c 1\r\ny\r\nPING\r\n")
    got = client.until(b"PONG\r\n")
    check("and the others go on", b" a.b " not in got and b"HMSG a.c 2" in got, got)
    client.close()


def websocket_request(port, **changed):
    headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade",
               "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **changed}
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items() if value]
    connection.sendall(("GET /any HTTP/1.1\r\n" + "".join(lines) + "\r\n").encode())
    return connection


def frame(payload, first=0x82):
    mask = os.urandom(4)
    size = len(payload)
    head = bytes([first, 0x80 | size]) if size < 126 else bytes([first, 0x80 | 126]) + struct.pack(">H", size)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def websocket(door):
    port = door.port_of("nats_websocket")
    connection = websocket_request(port, **{"Sec-WebSocket-Extensions": "permessage-deflate"})
    got = b""
    while b"INFO " not in got:
        got += connection.recv(65536)
    head = got.split(b"\r\n\r\n", 1)[0]
    check("the opening is accepted", head.startswith(b"HTTP/1.1 101 ")
          and b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head)
    check("extensions are declined", b"Sec-WebSocket-Extensions" not in head and b"Sec-WebSocket-Protocol" not in head, head)
    connect = f'CONNECT {{"auth_token":"{door.token}","verbose":false,"headers":true}}\r\n'.encode()
    connection.sendall(frame(connect[:10], 0x02) + frame(b"are you there", 0x89) + frame(connect[10:] + b"PI", 0x80)
                       + frame(b"NG\r\n"))
    got = b""
    while b"PONG\r\n" not in got:
        got += connection.recv(65536)
    check("messages in pieces, and a ping between them", b"\x8a\x0dare you there" in got and b"\x82\x06PONG\r\n" in got, got)
    connection.sendall(frame(struct.pack(">H", 1000), 0x88))
    got = b""
    while more := connection.recv(65536):
        got += more
    check("a goodbye is answered", b"\x88\x02\x03\xe8" in got, got)
    unmasked = websocket_request(port)
    unmasked.sendall(b"\x82\x06PING\r\n")
    got = b""
    while more := unmasked.recv(65536):
        got += more
    check("frames that are not masked end it", got.endswith(b"\x88\x02\x03\xea"), got[-20:])
    chosen = websocket_request(port, **{"Sec-WebSocket-Protocol": "mqtt, nats"})
    check("a subprotocol is named", b"Sec-WebSocket-Protocol: nats\r\n" in chosen.recv(65536))
    chosen.close()
    for changed in ({"Upgrade": ""}, {"Connection": "close"}, {"Sec-WebSocket-Version": "8"},
                    {"Sec-WebSocket-Key": "short"}, {"Sec-WebSocket-Key": ""}):
        refused = websocket_request(port, **changed)
        got = refused.recv(65536)
        check(f"refused: {changed}", got.startswith(b"HTTP/1.1 426 "), got)
        refused.close()
    context = ssl.create_default_context(cafile=door.root / "server.pem")
    context.check_hostname = False
    secure = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
    secure.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    check("over TLS too", secure.recv(65536).startswith(b"HTTP/1.1 101 "))
    secure.close()


def handshake_first(door):
    context = ssl.create_default_context(cafile=door.root / "server.pem")
    context.check_hostname = False

    def begin():
        try:
            return context.wrap_socket(socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE))
        except ssl.SSLError:
            return None  # It did not begin within the 200 ms, and INFO came before.

    secure = wait_for(begin, "a handshake before INFO")
    check("INFO comes over TLS", secure.recv(65536).startswith(b"INFO "))
    secure.sendall(f'CONNECT {{"auth_token":"{door.token}","verbose":true}}\r\n'.encode())
    check("and so does the rest", secure.recv(65536) == b"+OK\r\n")
    secure.close()
    early = socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE)
    early.sendall(f'CONNECT {{"auth_token":"{door.token}","verbose":true}}\r\nPING\r\n'.encode())
    got = b""
    while b"PONG\r\n" not in got:
        got += early.recv(65536)
    check("who speaks before INFO is heard behind it", got.startswith(b"INFO ") and got.endswith(b"+OK\r\nPONG\r\n"), got)
    early.close()


def mac(door):
    client = door.client()
    client.say(b"SUB a.c 1\r\n" + hpub(b"a.c", b"NATS/1.0\r\nNats-Msg-Id: 7\r\n\r\n", b"payload") + b"PING\r\n")
    got = client.until(b"PONG\r\n")
    identity, said = re.search(rb"Meridian-Identity: ([^\r]*);mac=([^\r]*)\r\n", got).groups()
    parts = [b"a.c", b"steady:7", hashlib.sha256(b"payload").digest(), identity]
    wanted = hmac.new(KEY.encode(), b"".join(struct.pack(">Q", len(part)) + part for part in parts), hashlib.sha256)
    check("the MAC is what the documentation says",
          base64.urlsafe_b64encode(wanted.digest()).rstrip(b"=") == said, got)
    client.close()


def stops(door):
    """Clients hear of it, and what they have under way is finished."""
    client = door.client()
    client.say(b"SUB a.c 1\r\nPING\r\n")
    client.until(b"PONG\r\n")
    door.node.process.send_signal(signal.SIGTERM)
    said = client.until(b"\r\n")
    check("a node that stops says so", b'"ldm":true' in said, said)
    client.say(b"PUB a.c 2\r\nhi\r\nPING\r\n")
    got = client.until(b"PONG\r\n")
    check("and still serves for a moment", b"HMSG a.c 1" in got, got)
    check("before it goes", client.to_end() == b"<closed>")
    door.node.process.wait(PATIENCE)
    check("the node stops in order", door.node.process.returncode == 0, door.node.process.returncode)


def main():
    root = pathlib.Path(tempfile.mkdtemp(prefix="meridian-nats-bounds-"))
    os.chmod(root, 0o711)
    door = None
    try:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", root / "server.key", "-out",
                        root / "server.pem"], check=True, capture_output=True)
        (root / "stamp.key").write_text(KEY + "\n")
        os.chmod(root / "stamp.key", 0o600)
        door = Bounds(pathlib.Path(sys.argv[1]).resolve(), root)
        for part in (rate, pending, idle, address, renewed, websocket, handshake_first, policy, mac, stops):
            part(door)
    finally:
        if door and door.node.process.poll() is None:
            door.node.stop()
        if nats_clients.failures:
            print((root / "err").read_text()[-3000:] if (root / "err").exists() else "")
        shutil.rmtree(root, ignore_errors=True)
    print("all checks hold" if nats_clients.failures == 0 else f"{nats_clients.failures} checks failed")
    return 1 if nats_clients.failures else 0


if __name__ == "__main__":
    sys.exit(main())
