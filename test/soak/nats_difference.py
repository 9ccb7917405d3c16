"""Says the same bytes to the nats door and to a nats-server with the same permissions, and compares what comes of it.

The bytes are drawn from a seed: valid operations and broken ones, split anywhere, too large, oddly spaced and spelt, with headers,
with subjects that are none, before and after CONNECT. What is compared is all that the client is answered and in which order,
whether and when it is closed, and what a second client received meanwhile. Both must be the same but for what LISTED says.
"""

import collections
import contextlib
import itertools
import json
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from node import Node, SoakError

# The differences that are meant. Each is undone here, by rules of its own, before the two are compared; how often each was met is
# in the report, so that one that is never met is seen.
LISTED = {
    "stamp": "each message has the header Meridian-Identity, and is an HMSG by it",
    "reserved header": "headers that begin with Meridian- are taken away",
    "message id": "Nats-Msg-Id begins with the role's name, since ids are compared across a stream",
    "refused headers": "a block of headers that readers may understand differently, or with a control header that the role may not"
    " set, is refused as a denied publish; nats-server does not look at it",
    "refused reply": "a reply subject that the client may not receive on is refused; nats-server does not look at it",
    "strict CONNECT": "a CONNECT whose JSON readers may understand differently (a name twice, no UTF-8) ends the visit without a word",
    "user": "the token alone says who it is: a CONNECT without a user is let in",
    "counts": "what the door refused and nats-server delivered counts for nats-server where deliveries are counted (UNSUB sid n)",
    "by its split": "nats-server's verdict depends on how the bytes were split; the door's is one of them, and always the same",
}
PAYLOAD_MAX = 4_096
RESERVE = 1_024  # What the door keeps for its header.
PATIENCE = 30
SHOWN_MAX = 5

ROLES = """
  difference:
    bind: [{issuer: meridian, subject: difference}]
    nats:
      publish: ["orders.>", "svc.echo"]
      publish_deny: ["orders.audit.>"]
      subscribe: ["orders.>", "svc.echo"]
      subscribe_deny: ["orders.secret.>"]
      allow_responses: 1
  difference_watch:
    bind: [{issuer: meridian, subject: watch}]
    nats: {subscribe: [">"]}
"""
DIRECT = """
host: 127.0.0.1
port: -1
ports_file_dir: "%(folder)s"
max_payload: %(payload)d
authorization { timeout: 10, users: [
  { user: difference, password: "%(token)s", permissions: {
    publish: { allow: ["orders.>", "svc.echo"], deny: ["orders.audit.>"] }
    subscribe: { allow: ["orders.>", "svc.echo"], deny: ["orders.secret.>"] }
    allow_responses: { max: 1, expires: "2m" } } }
  { user: difference_watch, password: "%(watch)s", permissions: { publish: { deny: ">" }, subscribe: { allow: ">" } } }
] }
"""

SUBJECTS = [b"orders.a", b"orders.b.c", b"svc.echo", b"orders.audit.x", b"orders.secret.x", b"other", b"ORDERS.a"]
PATTERNS = [b"orders.>", b"orders.*", b"orders.*.c", b"*.a", b">", b"*", b"orders.secret.>", b"orders.secret.*"]
ODD_SUBJECTS = [
    b"orders..a", b"orders.", b".orders", b".", b"..", b"orders.>.a", b"orders.a*", b"orders.a>", b"orders.*b", b"orders.\xc3\xa9",
    b"\xc3\xa9", b"orders.\xff\xfe", b"\xff", b"orders.\x01", b"other\x07\x08\x0b\x0c\x1b", b'oth"er', b"oth\\er", b"other'", b"\x7f",
    b"other\xc2\x85", b"other\xc2\xa0", b"other\xe2\x80\x8b", b"other\xef\xbb\xbf", b"other\xe2\x82\xac", b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80", b"$SYS.x", b"$JS.API.INFO", b"orders", b"orders.a\x00b", b"other\x00", b"_INBOX.x", b"orders.%s%d", b"other%d",
]
SIZES = [b"0", b"1", b"01", b"000000001", b"0000000001", b"4096", b"4097", b"999999999", b"9999999999", b"-1", b"+1", b"x", b"1x",
         b"0x1", b"1e1", b"1.0"]
ODD_LINES = [
    b"FOO", b"", b" PING", b"PING x", b"PINGx", b"PONG", b"PONG PONG", b"PIN", b"SUB", b"SUB ", b"SUB orders.a", b"SUB  \t ", b"PUB",
    b"PUB ", b"PUB orders.a", b"PUB orders.a 1 2 3", b"PUB a b c d 0", b"HPUB orders.a 12", b"HPUB orders.a r 1 2 3", b"UNSUB 1 1 1", b"UNSUB",
    b"UNSUB ", b"UNSUB 1 2 3", b"SUB a b c d", b"SUBX a 1", b"MSG orders.a 1 0", b"SUB\torders.a\t1\t",
    b"\tPING", b"A+ x", b"RS+ x orders.a", b"LS+ x", b"GET / HTTP/1.1", b"\x16\x03\x01\x02", b"*1", b"CONNECT", b"CONNECT ",
    b"CONNECT {", b"CONNECT []", b"CONNECT null", b"CONNECT {} x", b"PUB orders.a 0 ", b"\x00", b"PI\x00NG", b"+OKAY", b"INF {}", b"+OK", b"+ok\t", b"-ERR", b"INFO {}",
    b"INFO []", b"INFO", b"INFOx", b"CONNECT{}", b"CONNECTx",
]
HEADER_LINES = [b"A: b", b"A:  b  ", b"a-b:", b": x", b"no colon", b"A: \xc3\xa9", b"A: \xff", b" folded", b"X: 1\r\n folded",
                b"Nats-Msg-Id: one", b"nats-msg-id:two", b"Meridian-Identity: evil", b"MERIDIAN-x: evil", b"Nats-Rollup: all",
                b"Nats-Expected-Stream: S", b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
HEADER_STARTS = [b"NATS/1.0"] * 12 + [b"NATS/1.0 503", b"NATS/1.0 x y", b"NATS/1.1", b"nats/1.0", b"", b"NATS/1.0x"]
HEADER_ENDS = [b"\r\n\r\n"] * 12 + [b"\r\n", b"", b"\n\n", b"\r\n\r\nA: b\r\n\r\n", b"\r\n\r\n\r\n"]


Message = collections.namedtuple("Message", "subject sid reply headers payload")

# Differences that are meant too, of bytes that a random visit never says: name, what is said behind CONNECT, nats-server's answer,
# the door's.
UNKNOWN = b"-ERR 'Unknown Protocol Operation'"
ONE_BY_ONE = (
    ("a bare CR inside of a line is bad arguments", b"SUB orders.a\rb 1\r\nPING\r\n", [b"PONG", UNKNOWN], []),
    ("an LF in the place of the arguments is bad arguments, not their first byte",
     b"SUB \norders.a 1\r\nPUB orders.a 0\r\n\r\n", [Message(b"orders.a", b"1", b"", b"", b""), UNKNOWN], []),
    ("HMSG of a client is unknown, not a message without a subject", b"HMSG orders.a 1 0 0\r\n\r\n",
     [b"-ERR 'Permissions Violation for Publish to \"\"'", UNKNOWN], [UNKNOWN]),
    ("what follows an operation without arguments is bounded", b"PING" + b"x" * 5_000 + b"\r\n", [b"PONG", UNKNOWN],
     [b"-ERR 'maximum control line exceeded'"]),
    ("so is white space before arguments", b"UNSUB" + b" " * 10_000 + b"1\r\nPING\r\n", [b"PONG", UNKNOWN],
     [b"-ERR 'maximum control line exceeded'"]),
    ("what follows the -ERR of a client is not looked at", b"-ERR 'x'\r\nPUB other 0\r\n\r\n", [], []),
    ("a second CONNECT may not want another kind of connection", b'CONNECT {"verbose":true}\r\nPING\r\n', [b"+OK", b"PONG", UNKNOWN],
     [b"-ERR 'Authorization Violation'"]),
    ("a CONNECT may be as long as a token is", b'CONNECT {"name":"' + b"x" * 5_000 + b'"}\r\nPING\r\n',
     [b"-ERR 'maximum control line exceeded'"], [b"PONG", UNKNOWN]),
)


# ---- What is said.


def operation(chance, number, refusable):
    """One operation; mostly one that is right. `refusable`: also what the door alone refuses, and else counts of deliveries, since
    what is refused would not count."""
    kind = chance.randrange(100)
    if kind < 4:
        return chance.choice(ODD_LINES) + b"\r\n"
    if kind < 14:
        return chance.choice((b"PING\r\n", b"ping\r\n", b"PiNg\r\n", b"PONG\r\n", b"PING\n"))
    end = b"\n" if chance.randrange(12) == 0 else b"\r\n"
    space = chance.choice((b" ",) * 8 + (b"\t", b"  ", b" \t "))
    odd = chance.randrange(7) == 0
    subject = chance.choice(ODD_SUBJECTS if odd else SUBJECTS)
    if kind < 36:
        if chance.randrange(3) == 0 and not odd:
            subject = chance.choice(PATTERNS)
        if chance.randrange(40) == 0:
            subject = b"orders." + b"s" * (4_096 - len(b"orders. 1") - chance.randrange(-1, 9))
        verb = chance.choice((b"SUB", b"SUB", b"sub", b"Sub"))
        # Which member of a group has a message is the server's choice: so each group has one.
        queue = b""
        if chance.randrange(5) == 0:
            queue = b"q%d.%d" % (number, chance.randrange(10**9)) + space
        sid = chance.choice((b"1", b"2", b"3", b"4", b"x", b"12345678901234567890", b"-1")) if chance.randrange(8) == 0 else \
            b"%d" % chance.randrange(5)
        return verb + space + subject + space + queue + sid + chance.choice((b"", b"", b"", b" ", b"\t")) + end
    if kind < 44:
        most = chance.choice((b"", b" x", b" -1", b" 0", b" 99999999999") if refusable else (b"", b"", b" 1", b" 2", b" 5"))
        return b"UNSUB" + space + b"%d" % chance.randrange(6) + most + end
    payload = chance.choice((b"", b"x", b"hello", b"\r\n", b"PING\r\n", b"\x00\xff\xfe", b"y" * 300, b"\r", b"-ERR 'x'\r\n"))
    if chance.randrange(25) == 0:
        payload = b"z" * (PAYLOAD_MAX - chance.randrange(-1, 3))
    reply = b""
    if chance.randrange(4) == 0:
        reply = chance.choice((b"orders.r", b"svc.echo", b"orders.b.c", *((b"other.reply", b"orders..r") * refusable))) + space
    if kind < 56:
        block = headers(chance) if refusable else b"NATS/1.0\r\nA: b\r\nc:  d \r\n\r\n"
        sizes = [b"%d" % len(block), b"%d" % (len(block) + len(payload))]
        if chance.randrange(12) == 0:
            sizes[chance.randrange(2)] = chance.choice(SIZES)
        verb = chance.choice((b"HPUB", b"HPUB", b"hpub", b"HpUb"))
        return verb + space + subject + space + reply + sizes[0] + space + sizes[1] + end + block + payload + b"\r\n"
    size = b"%d" % len(payload)
    if chance.randrange(12) == 0:
        size = chance.choice(SIZES)
    verb = chance.choice((b"PUB", b"PUB", b"pub", b"pUb"))
    return verb + space + subject + space + reply + size + chance.choice((b"", b"", b" ")) + end + payload + b"\r\n"


def headers(chance):
    lines = [chance.choice(HEADER_LINES) for _ in range(chance.randrange(4))] if chance.randrange(3) else [b"A: b", b"c:  d "]
    begin = chance.choice(HEADER_STARTS)
    last = chance.choice(HEADER_ENDS)
    return b"\r\n".join([begin, *lines]) + last


def connect(chance, token):
    members = [("user", "difference"), ("pass", token)]
    for name in ("verbose", "pedantic", "echo", "headers", "no_responders", "tls_required"):
        if chance.randrange(4) != 0:
            likely = {"verbose": 0.4, "pedantic": 0.3, "echo": 0.8, "headers": 0.85, "no_responders": 0.3, "tls_required": 0.05}
            members.append((name, chance.random() < likely[name]))
    if chance.randrange(2) == 0:
        members.append(("protocol", chance.choice((0, 1))))
    if chance.randrange(3) == 0:
        members.append(("name", chance.choice(("n", "é", "", 'a"b', "\u2028", "x" * 200))))
    if chance.randrange(6) == 0:
        members.append(chance.choice((("unknown", [1, {"a": None}]), ("jwt", None), ("lang", "py"), ("sig", ""), ("nkey", ""))))
    if chance.randrange(30) == 0:
        members.append(chance.choice((("verbose", 1), ("protocol", 2), ("protocol", "1"), ("name", 7), ("echo", "x"),
                                      ("protocol", 1.5), ("protocol", -1), ("VERBOSE", True), ("Pass", "wrong"), ("user", "other"),
                                      ("headers", []), ("lang", None), ("protocol", None))))
    chance.shuffle(members)
    text = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members) + "}"
    verb = chance.choice((b"CONNECT ",) * 6 + (b"connect ", b"Connect\t", b"CONNECT   "))
    return verb + text.encode() + chance.choice((b"\r\n",) * 6 + (b" \r\n", b"\n", b"\t\r\n"))


def spoil(chance, said):
    """A few bytes changed, anywhere."""
    said = bytearray(said)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(said) + 1)
        kind = chance.randrange(5)
        if kind == 0:
            del said[at:at + chance.randrange(1, 6)]
        elif kind == 1:
            said[at:at] = bytes(chance.choice(b" \t\n01x.*>\x00\xff+-{}\"'PSUB") for _ in range(chance.randrange(1, 4)))
        elif kind == 2 and at < len(said):
            said[at] = chance.choice(b" \t\n09xA.*>\x00\xff")
        elif kind == 3:
            other = chance.randrange(len(said) + 1)
            said[at:at] = said[other:other + chance.randrange(1, 30)]
        elif at < len(said):
            said[at] ^= 1 << chance.randrange(8)
    return bytes(said)


class Visit:
    def __init__(self, number, seed, token):
        chance = self.chance = random.Random(f"{seed} {number}")
        first = b"" if chance.randrange(25) == 0 else connect(chance, token)
        refusable = chance.randrange(2) == 0
        rest = b"".join(operation(chance, number, refusable) for _ in range(chance.randrange(0, 30)))
        if first and chance.randrange(30) == 0:
            rest += first + b"".join(operation(chance, number, refusable) for _ in range(3))
        if chance.randrange(3) == 0:
            rest = spoil(chance, rest)
        if chance.randrange(12) == 0:
            first = spoil(chance, first)
        # A CR that no LF follows is one of the listed differences wherever it stands in a line: see ONE_BY_ONE.
        self.spoken = re.sub(rb"\r(?!\n)", b"r", first + rest) if chance.randrange(8) else first + rest
        self.spoken = without_bare_cr_in_lines(self.spoken)
        # Something that answers, whatever state this is in: then what no state takes, so that each visit comes to its end.
        mark = b"PING\r\nPUB no.more 0\r\n\r\nPING\r\n"
        self.said = self.spoken + mark + b"\r\n" * (PAYLOAD_MAX // 2 + 64)

    def pieces(self, chance):
        """The same bytes in pieces, with a rest here and there."""
        largest = chance.choice((1, 3, 20, 200))
        left, rests = self.said, 12
        head = len(self.spoken) + 40
        at = 0
        while at < head:
            size = chance.randrange(1, largest + 1)
            rest = rests > 0 and chance.randrange(max(1, head // size // 12)) == 0
            rests -= rest
            yield left[at:at + size], rest
            at += size
        yield left[at:], False


def without_bare_cr_in_lines(said):
    """Lines are told from payloads as the sizes tell them."""
    out, at = [], 0
    while at < len(said):
        end = said.find(b"\n", at)
        if end < 0:
            out.append(said[at:].replace(b"\r", b"r"))
            break
        line = said[at:end + 1]
        body, last = (line[:-2], b"\r\n") if line.endswith(b"\r\n") else (line[:-1], b"\n")
        # To the server, an LF in the place of the arguments is their first byte.
        if re.fullmatch(rb"(?i)(H?PUB|(UN)?SUB|-ERR)[ \t]+|(CONNECT|INFO)[ \t]*", body):
            last = b"\r\n"
        # And what follows the -ERR of a client counts as far as it came with it.
        if re.match(rb"(?i)-ERR[ \t]", body):
            body = b"_" + body[1:]
        out.append(body.replace(b"\r", b"r") + last)
        at = end + 1
        words = body.split()
        if words and words[0].upper() in (b"PUB", b"HPUB") and re.fullmatch(rb"\d{1,9}", words[-1]) and len(words) > 2:
            size = int(words[-1])
            if size <= PAYLOAD_MAX:
                out.append(said[at:at + size])
                at += size
                # Whatever stands where CR LF should: no CR alone.
                if said[at:at + 2] != b"\r\n" and said[at:at + 1] == b"\r":
                    out.append(b"r")
                    at += 1
    return b"".join(out)


# ---- What is answered.


def connect_to(port):
    stream = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def say(port, pieces):
    """All that is answered until the end of the connection."""
    answer = b""
    with connect_to(port) as stream:
        try:
            for piece, rest in pieces:
                stream.sendall(piece)
                if rest:
                    time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It closed before all was said.
        try:
            while more := stream.recv(65_536):
                answer += more
        except ConnectionResetError:
            pass  # Closed with something unread.
    return answer


def operations(answer):
    """What the server said, as lines and messages; INFO and the server's own PING apart."""
    found, at = [], 0
    while at < len(answer):
        end = answer.find(b"\r\n", at)
        if end < 0:
            found.append(b"(cut) " + answer[at:])
            break
        line = answer[at:end]
        at = end + 2
        words = line.split(b" ")
        if words[0] in (b"MSG", b"HMSG"):
            headers_size = int(words[-2]) if words[0] == b"HMSG" else 0
            size = int(words[-1])
            data = answer[at:at + size]
            at += size + 2
            reply = words[3] if len(words) == (6 if words[0] == b"HMSG" else 5) else b""
            found.append(Message(words[1], words[2], reply, data[:headers_size], data[headers_size:]))
        elif words[0] not in (b"INFO", b"PING"):
            found.append(line)
    return found


class Watch:
    """The second client: it receives whatever anybody may."""

    def __init__(self, port, token):
        self.stream = connect_to(port)
        self.received = b""
        self.stream.sendall(b'CONNECT {"user":"difference_watch","pass":"%s","verbose":false,"headers":true}\r\nSUB > 1\r\n' % token.encode())
        self.take()

    def take(self):
        """What came since the last time."""
        self.stream.sendall(b"PING\r\n")
        while not self.received.endswith(b"PONG\r\n"):
            more = self.stream.recv(65_536)
            if not more:
                raise SoakError(f"the second client was closed: {self.received[-200:]}")
            self.received += more
        # Payloads are told from lines by their sizes; so one that ends like this is not taken for the answer.
        found = operations(self.received)
        self.received = b""
        if found[-1] != b"PONG":
            return found + self.take()
        if any(isinstance(each, bytes) and each.startswith(b"-ERR") for each in found):
            raise SoakError(f"the second client was refused: {found}")
        return found[:-1]

    def close(self):
        self.stream.close()


# ---- What is meant.


def header_lines(block):
    """The lines of a block of headers without the first and the last; None when readers may understand it differently."""
    if not block.endswith(b"\r\n\r\n") or re.search(rb"\0|\r(?!\n)|(?<!\r)\n", block):
        return None
    first, *lines = block[:-4].split(b"\r\n")
    if not re.fullmatch(rb"NATS/1\.0( .*)?", first, re.DOTALL) or b"" in lines:
        return None
    return [first, *lines]


def as_through_the_door(message, met):
    """The message that nats-server delivered as the door delivers it; None when it refuses it."""
    if not message.headers:
        return message
    lines = header_lines(message.headers)
    if lines is None:
        return None
    kept, dropped, ids = [lines[0]], False, 0
    for line in lines[1:]:
        folded = line[:1] in (b" ", b"\t", b"\v", b"\f")
        name, _, value = line.partition(b":")
        name, value = name.strip(b" \t\v\f").lower(), value.strip(b" \t\v\f")
        dropped = bool(re.match(rb"meridian([-_ ]|$)", name)) or (folded and dropped)
        if dropped:
            met["reserved header"] += 1
            continue
        if re.match(rb"nats-(rollup|ttl|expected-|schedule|incr|batch-|marker-)", name):
            return None
        if name == b"nats-msg-id":
            met["message id"] += 1
            ids += 1
            if ids > 1:
                return None
            if not value:
                continue
            line = b"Nats-Msg-Id: difference:" + value
        kept.append(line)
    return message._replace(headers=b"\r\n".join(kept) + b"\r\n\r\n")


def unstamped(each, met):
    if not isinstance(each, Message):
        return each
    block, count = re.subn(rb"\r\nMeridian-Identity: iss=meridian;sub=difference;role=difference;req=[0-9a-f]{32}(?=\r\n)", b"",
                           each.headers)
    met["stamp"] += count
    # Of what had no headers, or none in the block.
    return each._replace(headers=b"" if block == b"NATS/1.0\r\n\r\n" else block)


def without_empty_block(each):
    return each._replace(headers=b"") if isinstance(each, Message) and each.headers == b"NATS/1.0\r\n\r\n" else each


def in_order(found):
    """Copies of one message come to a client's subscriptions in the order that the server likes."""
    ordered = []
    for _, copies in itertools.groupby(found, key=lambda each: each[:1] + each[2:] if isinstance(each, Message) else id(each)):
        ordered += sorted(copies)
    return ordered


class Server:
    """nats-server with the permissions of the role, on a port of its own."""

    def __init__(self, token, watch):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="meridian-difference."))
        config = self.folder / "nats.conf"
        config.write_text(DIRECT % {"folder": self.folder, "payload": PAYLOAD_MAX, "token": token, "watch": watch})
        self.process = subprocess.Popen([shutil.which("nats-server") or "/usr/sbin/nats-server", "-c", str(config)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port = self.wait_for_port()

    def wait_for_port(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for file in self.folder.glob("*.ports"):
                with contextlib.suppress(ValueError):
                    return int(json.loads(file.read_text())["nats"][0].rsplit(":", 1)[1])
            time.sleep(0.02)
        raise SoakError("nats-server did not come up")

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        shutil.rmtree(self.folder)


class Comparison:
    def __init__(self, door_port, direct_port, token, watch_token):
        self.ports = {"door": door_port, "direct": direct_port}
        self.token = token
        self.watches = {name: Watch(port, watch_token) for name, port in self.ports.items()}
        self.met = collections.Counter()
        self.counts = collections.Counter()
        self.findings = []

    def close(self):
        for watch in self.watches.values():
            watch.close()

    def outcome(self, name, pieces):
        said = operations(say(self.ports[name], pieces))
        return said, self.watches[name].take()

    def explain(self, spoken, direct, door):
        """Why the two differ, where they may not; None when they are the same but for what is listed."""
        met = collections.Counter()
        if door == ([], []) and direct != door and not is_strict(spoken):
            self.met["strict CONNECT"] += 1
            return None
        if direct == ([b"-ERR 'Authorization Violation'"], []) and names_no_user(spoken):
            self.met["user"] += 1
            return None
        said, seen = direct
        door_said = in_order([unstamped(each, met) for each in door[0]])
        door_seen = in_order([unstamped(each, met) for each in door[1]])
        refused, expected_seen = collections.Counter(), []
        for message in seen:
            kept = as_through_the_door(message, met)
            if refused_reply(message):
                refused[message.subject, message.reply] += 1
            elif kept is None:
                refused[message.subject] += 1
            else:
                expected_seen.append(without_empty_block(kept))
        if refused and re.search(rb"(?i)unsub[ \t]+[^ \t]+[ \t]+[1-9]", spoken):
            self.met["counts"] += 1
            return None
        expected_seen = in_order(expected_seen)
        if expected_seen != door_seen:
            return first_difference("the second client received", expected_seen, door_seen)
        expected = []
        for each in said:
            if isinstance(each, Message):
                each = as_through_the_door(each, met)
                if each is None or refused_reply(each):
                    continue
                each = without_empty_block(each)
            expected.append(each)
        expected = in_order(expected)
        if refused:
            expected, door_said = self.without_refusals(expected, door_said, refused, met)
        if expected != door_said and said_once(expected) == said_once(door_said):
            met["by its split"] += 1
        elif expected != door_said:
            return first_difference("the client was answered", expected, door_said)
        self.met += met
        return None

    @staticmethod
    def without_refusals(expected, door_said, refused, met):
        """Both without what is there since the door refused what nats-server passed on."""
        kept_expected, kept_door = [], []
        left = list(expected)
        for each in door_said:
            if isinstance(each, bytes) and (not left or each != left[0]):
                key = refusal_of(each, refused)
                if key is not None:
                    refused[key] -= 1
                    met["refused reply" if isinstance(key, tuple) else "refused headers"] += 1
                    # In verbose mode it stands in the place of an +OK.
                    if left and left[0] == b"+OK":
                        left.pop(0)
                    continue
            kept_door.append(each)
            if left:
                kept_expected.append(left.pop(0))
        return kept_expected + left, kept_door

    def compare(self, number, seed):
        visit = Visit(number, seed, self.token)
        self.compare_bytes(f"visit {number} of seed {seed}", visit.spoken, [(visit.said, False)], list(visit.pieces(visit.chance)))

    def compare_one_by_one(self):
        begin = b'CONNECT {"user":"difference","pass":"%s","verbose":false,"headers":true}\r\n' % self.token.encode()
        for name, said, direct, door in ONE_BY_ONE:
            for server, expected in (("direct", direct), ("door", door)):
                found = self.outcome(server, [(begin + said + b"\r\n", False)])[0]
                found = [unstamped(each, self.met) for each in found]
                if found != expected:
                    self.findings.append(f"{name}: {server} answered {shown(found)}, not {shown(expected)}")
            self.counts["differences looked at one by one"] += 1

    def compare_bytes(self, name, spoken, whole, pieces):
        direct = self.outcome("direct", whole)
        self.counts["visits"] += 1
        self.counts["lived to the end"] += direct[0].count(b"-ERR 'Permissions Violation for Publish to \"no.more\"'")
        self.counts["answers"] += len(direct[0])
        self.counts["messages seen by the second client"] += len(direct[1])
        other = None
        for form, said in (("whole", whole), ("in pieces", pieces)):
            door = self.outcome("door", said)
            why = self.explain(spoken, direct, door)
            if why is None:
                continue
            # The server itself, when the bytes come like this.
            other = other or self.outcome("direct", pieces)
            if other != direct and self.explain(spoken, other, door) is None:
                self.met["by its split"] += 1
                continue
            self.findings.append(f"{name}, {form}: {why}; said: {shown(spoken.replace(self.token.encode(), b'TOKEN'))}")
            return


def options_of(spoken):
    """What the first line asks for, names in small letters. Raises ValueError where readers may understand it differently."""
    def members(pairs):
        names = [name.lower() for name, _ in pairs]
        if len(names) != len(set(names)):
            raise ValueError("a name twice")
        return {name.lower(): value for name, value in pairs}

    found = re.match(rb"(?i)connect[ \t]*([^\n]*?)[ \t]*\r?\n", spoken)
    return json.loads(found[1].decode(), object_pairs_hook=members) if found else None


def is_strict(spoken):
    with contextlib.suppress(ValueError):
        options_of(spoken)
        return True
    return False


def names_no_user(spoken):
    with contextlib.suppress(ValueError):
        options = options_of(spoken)
        return isinstance(options, dict) and not options.get("user")
    return False


def refused_reply(message):
    """Whether the role may not receive there."""
    return bool(message.reply) and not re.fullmatch(rb"svc\.echo|orders(?!\.secret\.)(\.[^.]+)+", message.reply, re.DOTALL)


def refusal_of(line, refused):
    for key, count in refused.items():
        if count == 0:
            continue
        subject, words = (key[1], b"Publish with Reply of") if isinstance(key, tuple) else (key, b"Publish to")
        if line.startswith(b"-ERR 'Permissions Violation for " + words + b' "') and (
                b'"' + subject + b'"' in line or not subject.isascii() or b"\\" in line):
            return key
    return None


def said_once(found):
    """The server reads a line again when the payload comes later, and says again what is wrong with it."""
    return [each for each, before in zip(found, [None, *found]) if each != before or each != b"-ERR 'Invalid Publish Subject'"]


def first_difference(what, expected, got):
    at = next((i for i, (one, other) in enumerate(zip(expected, got)) if one != other), min(len(expected), len(got)))
    return f"{what} at {at}: nats-server {shown(expected[max(0, at - 1):at + 3])}, the door {shown(got[max(0, at - 1):at + 3])}"


def shown(thing, most=900):
    text = re.sub(r"([yz])\1{20,}", r"\1...", repr(thing))
    return text if len(text) <= most else text[:most] + "..."


def compare_many(seed, visits, seconds, say_line):
    """So many visits, or for so long."""
    settings = f"engines:\n  nats: {{max_payload: {(PAYLOAD_MAX + RESERVE) // 1024}KiB}}\ntoken: {{ttl_default: 1h}}\n"
    with Node(settings, roles=ROLES) as node:
        node.start()
        token, watch = node.token("difference"), node.token("watch")
        server = Server(token, watch)
        try:
            comparison = Comparison(node.ports["nats"], server.port, token, watch)
            with contextlib.closing(comparison):
                comparison.compare_one_by_one()
                began = said = time.monotonic()
                number = 0
                while (number < visits if visits else time.monotonic() < began + seconds) and len(comparison.findings) < SHOWN_MAX:
                    comparison.compare(number, seed)
                    number += 1
                    if time.monotonic() > said + 30:
                        said = time.monotonic()
                        say_line(f"{number} visits")
        finally:
            server.close()
        if not node.is_up():
            comparison.findings.append(f"the node died:\n{node.last_log()}")
    return comparison


def run(options, say_line):
    comparison = compare_many(options.seed, None, options.seconds, say_line)
    report = {"counts": comparison.counts, "listed": {LISTED[name]: count for name, count in comparison.met.items()}}
    say_line(", ".join(f"{count:,} {what}" for what, count in comparison.counts.items()))
    for name, text in LISTED.items():
        say_line(f"{comparison.met[name]:8,}  {text}")
    return report, comparison.findings, f"{comparison.counts['visits']:,} visits, {len(comparison.findings)} findings"
