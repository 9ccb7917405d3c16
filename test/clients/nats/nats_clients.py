#!/usr/bin/env python3
"""The nats door on a node of its own, with a real nats-server behind it.

    nats_clients.py MERIDIAN

Runs nats.js (nats_js.js), then says the same bytes to the door and to a nats-server with the same
permissions and compares what they answer; then the ends of a visit (expiry, revocation, a bad
payload, TLS, drain), the trail and the metrics. Nothing of it stays behind.
"""

import itertools
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 30
# Debian has it where the path of users does not lead.
NATS_SERVER = shutil.which("nats-server") or "/usr/sbin/nats-server"
failures = 0


def check(name, holds, seen=None):
    global failures
    print(f"{'ok' if holds else 'FAILED'}: {name}" + ("" if holds else f": {seen!r}"))
    failures += not holds


class Client:
    """A connection on which bytes are said as they are."""

    def __init__(self, port, credentials, options=""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.read = b""
        self.info = json.loads(self.line().removeprefix(b"INFO "))
        self.say(f'CONNECT {{{credentials},"pedantic":false,"headers":true{options}}}\r\n'.encode())

    def say(self, data):
        self.socket.sendall(data)

    def line(self):
        while b"\n" not in self.read:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(self.read)
            self.read += more
        line, self.read = self.read.split(b"\n", 1)
        return line

    def until(self, mark):
        """All up to these bytes, or up to the end of the connection."""
        while mark not in self.read:
            more = self.socket.recv(65536)
            if not more:
                got, self.read = self.read + b"<closed>", b""
                return got
            self.read += more
        at = self.read.index(mark) + len(mark)
        got, self.read = self.read[:at], self.read[at:]
        # The server's own PING comes when it likes: on a busy machine in the middle of anything.
        return re.sub(rb"(?m)^PING\r\n", b"", got)

    def to_end(self):
        try:
            return self.until(b"\0never\0")
        except ConnectionResetError:
            got, self.read = self.read + b"<closed>", b""
            return got

    def close(self):
        self.socket.close()


class Process:
    def __init__(self, command, **options):
        self.process = subprocess.Popen(command, **options)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        return self.process.returncode


def wait_for(found, what):
    until = time.monotonic() + PATIENCE * 2
    while time.monotonic() < until:
        if (result := found()) is not None:
            return result
        time.sleep(0.05)
    raise TimeoutError(what)


def start_direct(folder):
    """A nats-server with the permissions of the role checkout."""
    folder.mkdir()
    (folder / "nats.conf").write_text(f"""
host: 127.0.0.1
port: -1
ports_file_dir: "{folder}"
authorization {{ users: [ {{ user: u, password: p, permissions: {{
  publish: {{ allow: ["orders.>", "svc.echo"], deny: ["orders.audit.>"] }}
  subscribe: {{ allow: ["orders.>", "svc.echo", "_INBOX.>"], deny: ["orders.secret.>"] }}
  allow_responses: {{ max: 1, expires: "2m" }}
}} }} ] }}
max_subscriptions: 20
max_payload: {1048576 - 1024}
""")
    server = Process(
        [NATS_SERVER, "-c", folder / "nats.conf"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )

    def port():
        for file in folder.glob("*.ports"):
            text = file.read_text()
            if text:
                return int(json.loads(text)["nats"][0].rsplit(":", 1)[1])
        return None

    return server, wait_for(port, "the direct nats-server")


# Said after CONNECT; what follows is compared up to the last PONG, or to the end.
SAME = {
    "nothing": b"",
    "verbs in any case and with tabs": b"sub orders.a 1\r\nSub\torders.b \t q   2\r\nunsub 1\r\n",
    "a message to oneself": b"SUB orders.a 1\r\nPUB orders.a 0\r\n\r\n",
    "a reply subject": b"SUB orders.a 1\r\nPUB orders.a orders.r 2\r\nhi\r\n",
    "a denied publish": b"PUB other 2\r\nhi\r\nPUB orders.audit.x 2\r\nhi\r\n",
    "a denied subject to be quoted": b'PUB oth"er\\x 2\r\nhi\r\n',
    "a denied subscription": b"SUB other 1\r\nSUB > 2\r\nSUB orders.secret.x 3\r\nSUB *.x 4\r\n",
    "a denied queue subscription": b"SUB other q 1\r\n",
    "a denied part": b"SUB orders.> 1\r\nPUB orders.secret.x 1\r\na\r\nPUB orders.x 1\r\nb\r\n",
    "a count of deliveries": b"SUB orders.a 1\r\nUNSUB 1 2\r\n" + b"PUB orders.a 0\r\n\r\n" * 3,
    "a count with withheld ones": b"SUB orders.> 1\r\nUNSUB 1 2\r\n"
    + b"PUB orders.secret.x 0\r\n\r\nPUB orders.x 0\r\n\r\n" * 3,
    "a count that has passed": b"SUB orders.a 1\r\nPUB orders.a 0\r\n\r\nPUB orders.a 0\r\n\r\n"
    b"PING\r\nUNSUB 1 1\r\nPUB orders.a 0\r\n\r\n",
    "a number used twice": b"SUB orders.a 1\r\nSUB orders.b 1\r\nPUB orders.b 0\r\n\r\n",
    "a subscription that is no subject": b"SUB orders..a 1\r\nSUB orders.>.a 2\r\n",
    "too many subscriptions": b"".join(b"SUB orders.a %d\r\n" % i for i in range(22)),
    "unsubscribing what is not there": b"UNSUB 77\r\n",
    "pings in between": b"PING\r\nPUB other 0\r\n\r\nPING\r\nSUB other 1\r\nPING\r\n",
    "an unknown operation": b"SUB orders.a 1\r\nFOO\r\n",
    "an unknown operation after a message": b"SUB orders.a 1\r\nPUB orders.a 0\r\n\r\nPUB other 0\r\n\r\nFOO\r\n",
    "a wrong payload length": b"PUB orders.a 1\r\nhello\r\n",
    "a payload too large": b"PUB orders.a 1048000\r\n",
    "a payload far too large": b"PUB orders.a 999999999\r\n",
    "a bad size": b"PUB orders.a x\r\n",
    "too few arguments": b"SUB orders.a\r\n",
    "too long a line": b"SUB orders." + b"a" * 5000 + b" 1\r\n",
}


def compare(door_port, direct_port, token):
    for verbose in ("false", "true"):
        for name, said in SAME.items():
            answers = []
            for port, credentials in (
                (direct_port, '"user":"u","pass":"p"'),
                (door_port, f'"auth_token":"{token}"'),
            ):
                client = Client(port, credentials, f',"verbose":{verbose}')
                client.say(said + b"PING\r\nPUB no.more 0\r\n\r\nPING\r\n")
                answer = client.until(b'"no.more"\'\r\nPONG\r\n')
                # The stamp apart, a message is the same.
                answer = re.sub(
                    rb"HMSG (\S+ \S+(?: \S+)?) (\d+) (\d+)\r\nNATS/1.0\r\nMeridian-Identity: [^\r]*\r\n\r\n",
                    lambda m: b"MSG %s %d\r\n" % (m[1], int(m[3]) - int(m[2])), answer)
                answers.append(answer)
                client.close()
            check(f"as nats-server: {name} (verbose {verbose})", answers[0] == answers[1], answers)


# Of these a random visit says some; each lets the connection live, so all of the answers are compared.
SUBJECTS = (b"orders.q7", b"orders.a", b"orders.b.c", b"svc.echo", b"other", b"orders.audit.x", b"orders.secret.x", b"orders..a",
            b"orders.>", b"orders.*", b"*.a", b">", b"orders.>.a", b"$SYS.x")


def random_operation(chance):
    subject = chance.choice(SUBJECTS)
    kind = chance.randrange(8)
    if kind == 0:
        # Which member of a queue group has a message is the server's choice: here each group has one.
        if chance.randrange(4) == 0:
            number = chance.randrange(6, 10)
            return b"SUB orders.q%d @ %d\r\n" % (number, number)
        queue = chance.choice((b"", b" q")) if subject in (b"other", b"orders..a") else b""
        return b"%s %s%s %d\r\n" % (chance.choice((b"SUB", b"sub", b"SUB\t")), subject, queue, chance.randrange(6))
    if kind == 1:
        return b"UNSUB %d%s\r\n" % (chance.randrange(6), chance.choice((b"", b" 1", b" 3", b" x")))
    if kind == 2:
        return b"PING\r\n"
    payload = b"x" * chance.choice((0, 1, 10, 300))
    reply = b" " + chance.choice((b"orders.r", b"svc.echo")) if chance.randrange(4) == 0 else b""
    # A message goes to a subject: as one with wildcards the two treat it alike, but not its subscribers.
    while b"*" in subject or b">" in subject:
        subject = chance.choice(SUBJECTS)
    if kind == 3:
        headers = b"NATS/1.0\r\nA: %d\r\nb:  c \r\n\r\n" % chance.randrange(100)
        return b"HPUB %s%s %d %d\r\n%s%s\r\n" % (subject, reply, len(headers), len(headers) + len(payload), headers,
                                                  payload)
    return b"PUB %s%s %d\r\n%s\r\n" % (subject, reply, len(payload), payload)


def without_stamp(answer):
    """Messages as they would have been without ours."""
    def replaced(match):
        rest = match[4].replace(match[5], b"", 1)
        headers_size, size = int(match[2]), int(match[3])
        ours = len(match[5])
        # What had no headers of its own comes as a MSG.
        if headers_size - ours == len(b"NATS/1.0\r\n\r\n"):
            return b"MSG %s %d\r\n" % (match[1], size - headers_size)
        return b"HMSG %s %d %d\r\n%s" % (match[1], headers_size - ours, size - ours, rest)

    stamped = re.compile(
        rb"HMSG (\S+ \S+(?: \S+)?) (\d+) (\d+)\r\n(NATS/1.0\r\n(Meridian-Identity: [^\r]*\r\n)(?:[^\r]+\r\n)*\r\n)")
    return stamped.sub(replaced, answer)


def in_order(answer):
    """Copies of one message come to a client's subscriptions in the order that the server likes."""
    operation = re.compile(rb"(H?MSG) (\S+) (\d+)([^\r]* )(\d+)\r\n")
    parts, at = [], 0
    while at < len(answer):
        found = operation.match(answer, at)
        end = found.end() + int(found[5]) + 2 if found else answer.index(b"\n", at) + 1
        parts.append((found and (found[1], found[2], answer[found.start(4):end]), answer[at:end]))
        at = end
    ordered = []
    for _, copies in itertools.groupby(parts, key=lambda part: part[0] or part[1]):
        ordered += sorted(text for _, text in copies)
    return b"".join(ordered)


def compare_at_random(door_port, direct_port, token, rounds, seed):
    """The same random visits to both; to the door also in pieces, which changes nothing."""
    different = []
    for number in range(rounds):
        chance = random.Random(f"{seed} {number}")
        said = b"".join(random_operation(chance) for _ in range(chance.randrange(1, 40)))
        verbose = chance.choice(("false", "true"))
        answers = []
        for port, credentials, pieces in ((direct_port, '"user":"u","pass":"p"', False),
                                          (door_port, f'"auth_token":"{token}"', False),
                                          (door_port, f'"auth_token":"{token}"', True)):
            client = Client(port, credentials, f',"verbose":{verbose}')
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # No member of a visit before is still in the group.
            left = said.replace(b" @ ", b" %d.%d " % (number, len(answers))) + b"PING\r\nPUB no.more 0\r\n\r\nPING\r\n"
            while left:
                size = chance.randrange(1, 200) if pieces else len(left)
                client.say(left[:size])
                left = left[size:]
            answer = without_stamp(client.until(b'"no.more"\'\r\nPONG\r\n'))
            answers.append(in_order(answer))
            client.close()
        if not answers[0] == answers[1] == answers[2]:
            # All up to a little before the first difference is of no interest.
            at = len(os.path.commonprefix(answers))
            different.append((number, [answer[max(0, at - 80):at + 120] for answer in answers], said[:2000]))
    check(f"as nats-server: {rounds} random visits, seed {seed}", not different, (len(different), different[:2]))


def before_login(door_port, direct_port):
    for said in (b"PING\r\n", b"PUB orders.a 0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
                 b'CONNECT {"auth_token":"x"}\r\n', b"CONNECT {\r\n",
                 b"CONNECT " + b"x" * 70000 + b"\r\n"):
        answers = []
        for port in (direct_port, door_port):
            connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            got = b""
            try:
                connection.sendall(said)
                while more := connection.recv(65536):
                    got += more
            except (ConnectionResetError, BrokenPipeError):
                pass
            answers.append(got.split(b"\r\n", 1)[1])
            connection.close()
        check(f"before the login: {said[:30]!r}", answers[0] == answers[1], answers)


def headers_of(client, said):
    """The header lines that arrive, and what else is answered."""
    client.say(said + b"PING\r\n")
    return client.until(b"PONG\r\n")


def hpub(subject, headers, payload=b""):
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (
        subject, len(headers), len(headers) + len(payload), headers, payload)


def forged(port, token):
    client = Client(port, f'"auth_token":"{token}"', ',"verbose":false')
    client.say(b"SUB orders.h 1\r\n")
    for lines in (b"Meridian-Identity: evil", b"MERIDIAN-IDENTITY:evil", b"meridian-other : evil",
                  b" Meridian-Identity: evil", b"\tMeridian-Identity: evil",
                  b"Meridian-Identity: a\r\n evil", b"Meridian-Identity", b"Meridian_Identity: evil"):
        got = headers_of(client, hpub(b"orders.h", b"NATS/1.0\r\n" + lines + b"\r\n\r\n", b"x"))
        ours = re.findall(rb"(?i)meridian[-_ ]\w+", got)
        check(f"taken away: {lines!r}", ours == [b"Meridian-Identity"] and b"evil" not in got, got)
    for block in (b"NATS/1.0\r\nA: b\nMeridian-Identity: evil\r\n\r\n",
                  b"NATS/1.0\r\nA: b\rMeridian-Identity: evil\r\n\r\n",
                  b"NATS/1.0\r\nA: \0\r\n\r\n", b"A: b\r\n\r\n", b"NATS/1.0\r\n",
                  b"NATS/1.0\r\n\r\nMeridian-Identity: evil\r\n\r\n",
                  b"NATS/1.0\r\nNats-Rollup: all\r\n\r\n", b"NATS/1.0\r\n nats-rollup: all\r\n\r\n"):
        got = headers_of(client, hpub(b"orders.h", block))
        check(f"refused: {block!r}",
              got == b"-ERR 'Permissions Violation for Publish to \"orders.h\"'\r\nPONG\r\n", got)
    trace = b"0af7651916cd43dd8448eb211c80319c"
    got = headers_of(client, hpub(b"orders.h", b"NATS/1.0\r\ntraceparent: 00-" + trace
                                  + b"-b7ad6b7169203331-01\r\n\r\n"))
    check("a request id of the message's own", b";req=" + trace in got, got)
    plain = Client(port, f'"auth_token":"{token}"', ',"verbose":false').socket
    plain.close()
    silent = Client(port, f'"auth_token":"{token}","headers":false', ',"verbose":false')
    silent.close()
    client.say(b"PUB orders.h other.reply 0\r\n\r\nPING\r\n")
    got = client.until(b"PONG\r\n")
    check("no reply subject of others",
          b"Permissions Violation for Publish with Reply of \"other.reply\"" in got, got)
    client.close()


def without_headers(port, token):
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    connection.sendall(f'CONNECT {{"auth_token":"{token}","verbose":false}}\r\n'.encode()
                       + b"SUB orders.p 1\r\nPUB orders.p 2\r\nhi\r\nPING\r\n")
    got = b""
    while b"PONG" not in got:
        got += connection.recv(65536)
    check("a client without headers gets none", b"MSG orders.p 1 2\r\nhi\r\n" in got
          and b"Meridian" not in got.split(b"\r\n", 1)[1], got)
    connection.sendall(hpub(b"orders.p", b"NATS/1.0\r\n\r\n"))
    check("and may send none", connection.recv(65536) == b"")
    connection.close()


def wide(port, token, auditor):
    """A subscription to everything is to everything but the server's own and others' inboxes."""
    spy = Client(port, f'"auth_token":"{auditor}"', ',"verbose":false')
    spy.say(b"SUB > 1\r\nPING\r\n")
    spy.until(b"PONG\r\n")
    one = Client(port, f'"auth_token":"{token}"', ',"verbose":false')
    one.say(b"SUB svc.echo 1\r\nPUB svc.echo _INBOX.%s.1 2\r\nhi\r\nPING\r\n" % (b"z" * 22))
    one.until(b"PONG\r\n")
    one.say(b"PUB _INBOX.%s.1 2\r\nre\r\nPUB $JS.API.INFO 0\r\n\r\nPUB orders.end 0\r\n\r\nPING\r\n" % (b"z" * 22))
    one.until(b"PONG\r\n")
    got = spy.until(b" 1 ") + spy.until(b"orders.end")
    check("a wide subscription sees messages", b"HMSG svc.echo 1" in got, got)
    check("but no inbox and nothing of the server's",
          b"MSG _INBOX" not in got and b"MSG $JS" not in got, got)
    spy.close()
    one.close()


def slow_consumer(port, token, metric):
    """Who does not read is cut; others do not notice."""
    slow = Client(port, f'"auth_token":"{token}"', ',"verbose":false')
    slow.say(b"SUB orders.slow 1\r\nPING\r\n")
    slow.until(b"PONG\r\n")
    busy = Client(port, f'"auth_token":"{token}"', ',"verbose":false')
    payload = b"PUB orders.slow 65536\r\n" + b"x" * 65536 + b"\r\n"
    until = time.monotonic() + PATIENCE * 2
    while metric("meridian_nats_slow_consumers_total") == 0 and time.monotonic() < until:
        busy.say(payload * 16 + b"PING\r\n")
        busy.until(b"PONG\r\n")
        time.sleep(0.05)
    check("a slow consumer is cut", metric("meridian_nats_slow_consumers_total") == 1)
    busy.say(b"PING\r\n")
    check("who publishes goes on", busy.until(b"PONG\r\n") == b"PONG\r\n")
    busy.close()
    slow.close()


def nats_processes(data):
    """Those that work in the folder of the engine."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == data / "nats":
                found.append(int(process.name))
        except OSError:
            pass
    return found


def killed_server(port, token, data):
    """The server behind dies: visits end, and clients that come again are served."""
    before = Client(port, f'"auth_token":"{token}"', ',"verbose":false')
    before.say(b"PING\r\n")
    before.until(b"PONG\r\n")
    (process,) = nats_processes(data)
    os.kill(process, signal.SIGKILL)
    check("the visit ends with the server", before.to_end() == b"<closed>")

    def again():
        try:
            client = Client(port, f'"auth_token":"{token}"', ',"verbose":false')
            client.say(b"SUB orders.k 1\r\nPUB orders.k 0\r\n\r\nPING\r\n")
            return True if b"HMSG orders.k 1" in client.until(b"PONG\r\n") else None
        except OSError:
            return None
        except EOFError:
            return None

    check("and clients come again", wait_for(again, "the server's return"))


def by_url(meridian, root, direct_port):
    """A nats-server that exists, as a user with a password; its own limits show through."""
    data = root / "by_url"
    (root / "nats.password").write_text("p\n")
    os.chmod(root / "nats.password", 0o600)
    config = (HERE / "meridian.yaml.in").read_text() + (
        f'nats: {{ url: "nats://u@127.0.0.1:{direct_port}", password_file: nats.password }}\n')
    (root / "by_url.yaml").write_text(config)
    with open(root / "by_url.out", "w") as out:
        node = Process([meridian, "up", "--config", root / "by_url.yaml", "--data", data],
                       stdout=out, stderr=subprocess.DEVNULL)
    try:
        found = wait_for(lambda: re.search(r"^  nats +127.0.0.1:(\d+)$", (root / "by_url.out").read_text(), re.M),
                         "the node by URL")
        token = subprocess.run([meridian, "token", "--subject", "checkout"], check=True, text=True,
                               capture_output=True, env={**os.environ, "MERIDIAN_DATA": str(data)}).stdout.strip()
        client = Client(int(found[1]), f'"auth_token":"{token}"', ',"verbose":false')
        check("the server's own limit, less ours", client.info["max_payload"] == 1048576 - 2048, client.info)
        check("nothing of the server behind", "connect_urls" not in client.info
              and client.info["port"] == int(found[1]), client.info)
        client.say(b"SUB orders.u 1\r\nPUB orders.u 2\r\nhi\r\nPING\r\n")
        got = client.until(b"PONG\r\n")
        check("a server by URL", b"HMSG orders.u 1" in got and b"sub=checkout" in got, got)
        check("owns no nats-server", nats_processes(data) == [])
        client.close()
    finally:
        node.stop()


def outlived(meridian, root):
    """No nats-server outlives a node that is killed."""
    data = root / "killed"
    node = Process([meridian, "up", "--config", root / "meridian.yaml", "--data", data],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: nats_processes(data) or None, "the node's nats-server")
    finally:
        node.process.kill()
        node.process.wait(PATIENCE)
    until = time.monotonic() + PATIENCE
    while nats_processes(data) and time.monotonic() < until:
        time.sleep(0.05)
    check("no nats-server outlives its node", nats_processes(data) == [])


def main():
    meridian = pathlib.Path(sys.argv[1]).resolve()
    if not (HERE / "node_modules/nats.ws").exists():
        subprocess.run(["npm", "ci", "--silent"], cwd=HERE, check=True)
    root = pathlib.Path(tempfile.mkdtemp(prefix="meridian-nats-"))
    os.chmod(root, 0o711)
    processes = []
    try:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", root / "server.key",
                        "-out", root / "server.pem"], check=True, capture_output=True)
        shutil.copy(HERE / "meridian.yaml.in", root / "meridian.yaml")
        data = root / "data"
        environment = {**os.environ, "MERIDIAN_DATA": str(data)}

        def run(*arguments):
            return subprocess.run([meridian, *arguments], env=environment, check=True,
                                  capture_output=True, text=True).stdout.strip()

        with open(root / "out", "w") as out, open(root / "err", "w") as err:
            node = Process([meridian, "up", "--config", root / "meridian.yaml", "--data", data],
                           stdout=out, stderr=err)
        processes.append(node)

        def port_of(door):
            found = re.search(rf"^  {door} +127.0.0.1:(\d+)$", (root / "out").read_text(), re.M)
            if node.process.poll() is not None:
                raise RuntimeError((root / "err").read_text()[-2000:])
            return int(found[1]) if found else None

        port = wait_for(lambda: port_of("nats"), "the node")
        direct, direct_port = start_direct(root / "direct")
        processes.append(direct)
        token = run("token", "--subject", "checkout")
        other = run("token", "--subject", "reporting")

        done = subprocess.run(["node", HERE / "nats_js.js", str(port), token, other],
                              capture_output=True, text=True, timeout=120,
                              env={**os.environ, "NODE_EXTRA_CA_CERTS": str(root / "server.pem")})
        print(done.stdout, end="")
        check("nats.js", done.returncode == 0, done.stderr[-1000:])

        done = subprocess.run(["node", HERE / "nats_ws.js", str(port_of("nats_websocket")), token],
                              capture_output=True, text=True, timeout=120,
                              env={**os.environ, "NODE_EXTRA_CA_CERTS": str(root / "server.pem"),
                                   "NODE_OPTIONS": "--dns-result-order=ipv4first"})
        print(done.stdout, end="")
        check("nats.js over WebSocket", done.returncode == 0, done.stderr[-1000:])

        compare(port, direct_port, token)
        compare_at_random(port, direct_port, token, int(os.environ.get("ROUNDS", "60")), os.environ.get("SEED", "1"))
        before_login(port, direct_port)
        forged(port, token)
        without_headers(port, token)
        wide(port, token, run("token", "--subject", "auditor"))

        refused = Client(port, f'"auth_token":"{run("token", "--subject", "nobody")}"').to_end()
        check("a role without NATS has no way in", refused == b"-ERR 'Authorization Violation'\r\n<closed>", refused)
        credentials = f'"auth_token":"{other}"'
        visits = [Client(port, credentials) for _ in range(2)]
        for each in visits:
            check("within visits_max", each.until(b"+OK\r\n") == b"+OK\r\n")
        third = Client(port, credentials).to_end()
        check("beyond visits_max", third == b"-ERR 'maximum connections exceeded'\r\n<closed>", third)
        for each in visits:
            each.close()

        # TLS: taken up after INFO by who begins it.
        plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        info = plain.recv(65536)
        check("TLS is offered", b'"tls_available":true' in info, info)
        context = ssl.create_default_context(cafile=root / "server.pem")
        context.check_hostname = False
        secure = context.wrap_socket(plain)
        secure.sendall(f'CONNECT {{"auth_token":"{token}","verbose":true}}\r\nPING\r\n'.encode())
        got = b""
        while not got.endswith(b"PONG\r\n"):
            got += secure.recv(65536)
        check("TLS", got == b"+OK\r\nPONG\r\n", got)
        secure.close()

        # Who begins TLS and does not go on hurts nobody.
        broken = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        broken.recv(65536)
        broken.sendall(b"\x16\x03\x01\x00\x05hello")
        while broken.recv(65536):
            pass
        broken.close()
        check("after a broken handshake", Client(port, f'"auth_token":"{token}"').until(b"+OK\r\n") == b"+OK\r\n")

        # Ends of a visit.
        # As brief as it can be, and long enough to log in with.
        for ttl in ("1s", "4s", "16s"):
            brief = run("token", "--subject", "checkout", "--ttl", ttl)
            expiring = Client(port, f'"auth_token":"{brief}"', ',"verbose":false')
            try:
                expiring.say(b"SUB orders.e 1\r\nPING\r\n")
                got = expiring.until(b"PONG\r\n")
            except OSError as error:
                got = error
            if got == b"PONG\r\n":
                break
            expiring.close()
        check("before it expires", got == b"PONG\r\n", got)
        check("a token's expiry ends the visit",
              expiring.to_end() == b"-ERR 'User Authentication Expired'\r\n<closed>")
        revoked = Client(port, f'"auth_token":"{other}"', ',"verbose":false')
        revoked.say(b"PING\r\n")
        check("before it is revoked", revoked.until(b"PONG\r\n") == b"PONG\r\n")
        run("revoke", "--subject", "reporting")
        check("revocation ends the visit",
              revoked.to_end() == b"-ERR 'User Authentication Revoked'\r\n<closed>")

        context = ssl.create_default_context(cafile=root / "server.pem")
        http = port_of("http")

        def metric(name):
            url = f"http://127.0.0.1:{http}/metrics"
            text = urllib.request.urlopen(url).read().decode()
            values = re.findall(rf"^{name} (\S+)$", text, re.M)
            return sum(float(value) for value in values) if values else None

        slow_consumer(port, token, metric)
        killed_server(port, token, data)
        for name in ("meridian_nats_published_total", "meridian_nats_delivered_total",
                     "meridian_nats_denied_total", "meridian_nats_withheld_total",
                     "meridian_nats_connects_total"):
            check(f"counted: {name}", metric(name) > 0, metric(name))
        wait_for(lambda: metric("meridian_nats_subscriptions") == 0 or None, "the last subscription's end")

        last = Client(port, f'"auth_token":"{token}"', ',"verbose":false')
        last.say(b"PUB orders.last 0\r\n\r\nPING\r\n")
        last.until(b"PONG\r\n")
        code = node.stop()
        farewell = last.to_end()
        check("a stopping node says so", b'"ldm":true' in farewell and farewell.endswith(b"<closed>"), farewell)
        check("the node stops in order", code == 0, code)
        trail = run("audit", "export")
        for wanted in ('"subscription"', '"publications"', '"denied"', "orders.audit.x", "orders.last",
                       "admitted", "refused"):
            check(f"on the trail: {wanted}", wanted in trail)
        for secret in (token, (data / "keys" / "nats.token").read_text().strip()):
            check("no secret on the trail or in the log",
                  secret not in trail and secret not in (root / "err").read_text())
        by_url(meridian, root, direct_port)
        outlived(meridian, root)
    finally:
        for process in processes:
            if process.process.poll() is None:
                process.stop()
        if failures:
            print((root / "err").read_text()[-3000:] if (root / "err").exists() else "")
        shutil.rmtree(root, ignore_errors=True)
    print("all checks hold" if failures == 0 else f"{failures} checks failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
