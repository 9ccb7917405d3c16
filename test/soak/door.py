"""Visits that do what no good client does, thousands of them; then the node is as it was before them."""

import random
import struct
import threading
import time

from node import PRESET, Node, SoakError
from wire import Closed, Connection, Nats, Postgres, Redis, Refused, message, startup, tag

# What allocators may keep, and the shapes of statements, of which each visit that sets something brings a new one.
MEMORY_SLACK_KIB = 24 * 1024
DESCRIPTORS_SLACK = 8
SETTLE_SECONDS = 60


class Crowd:
    def __init__(self, node, seed):
        self.node = node
        self.seed = seed
        self.stop = False
        self.findings = []
        self.counts = {}
        self.refused = {}  # By kind of visit: how often, and how the last one.
        self.lock = threading.Lock()
        self.tokens = {}

    def renew(self):
        self.tokens = {subject: self.node.token(subject, "--ttl", "1h") for subject in ("checkout", "storefront")}

    def find(self, what):
        with self.lock:
            if len(self.findings) < 20:
                self.findings.append(what)

    def run(self, number):
        source = random.Random(self.seed * 1000 + number)
        while not self.stop:
            visit = source.choice(VISITS)
            try:
                visit(self, source)
            except (Closed, Refused, OSError, TimeoutError) as error:
                # Servers die meanwhile. What is never right is an answer that is late without end.
                if isinstance(error, TimeoutError):
                    self.find(f"{visit.__name__}: no answer in 30 s")
                with self.lock:
                    self.refused[visit.__name__] = (self.refused.get(visit.__name__, (0, ""))[0] + 1, str(error))
            except AssertionError as error:
                self.find(f"{visit.__name__}: {error}")
            with self.lock:
                self.counts[visit.__name__] = self.counts.get(visit.__name__, 0) + 1

    def find_never_served(self):
        """Servers die, so some visits are refused. A kind that mostly is has proven nothing."""
        for name in (visit.__name__ for visit in SERVED):
            count, last = self.refused.get(name, (0, ""))
            if count > self.counts.get(name, 0) / 2:
                self.find(f"{name}: {count} of {self.counts[name]} visits were refused, the last: {last}")

    def postgres(self):
        return Postgres(self.node.ports["postgres"], "checkout", self.tokens["checkout"])

    def redis(self):
        return Redis(self.node.ports["redis"], self.tokens["storefront"])

    def nats(self):
        return Nats(self.node.ports["nats"], self.tokens["checkout"])


def same(got, wanted):
    if got != wanted:
        raise AssertionError(f"asked for {str(wanted)[:100]}, got {str(got)[:100]}")


def same_refusal(refused, wanted):
    """A server that dies just then has its own codes, which count as a refused visit."""
    if refused.code.startswith(("57P", "08")):
        raise refused
    same(refused.code, wanted)


def ask_well(crowd, source):
    with crowd.postgres() as client:
        mine = tag()
        client.query(f"SET application_name = '{mine}'")
        for _ in range(source.randrange(1, 8)):
            text = tag() * source.randrange(1, 300)
            same(client.query(f"SELECT '{text}', current_setting('application_name')"), [[text, mine]])


def leave_state(crowd, source):
    """What a session leaves behind must not be seen by the next one on the same backend."""
    with crowd.postgres() as client:
        same(client.query("SELECT current_setting('soak.tag', true)")[0][0] or "", "")
        same(client.query("SELECT count(*) FROM pg_prepared_statements"), [["0"]])
        same(client.query("SELECT to_regclass('pg_temp.soak_mine') IS NULL"), [["t"]])
        client.query(f"SET soak.tag = '{tag()}'")
        client.query("PREPARE soak_statement AS SELECT 1")
        if source.random() < 0.5:
            client.query("CREATE TEMPORARY TABLE soak_mine (x int)")
        if source.random() < 0.3:
            client.query("BEGIN")
            client.query(f"SET LOCAL soak.tag = '{tag()}'")
        if source.random() < 0.3:
            client.vanish()


def keep_keys(crowd, source):
    with crowd.redis() as client:
        mine = {f"session:{tag()}": tag() * source.randrange(1, 200) for _ in range(source.randrange(1, 8))}
        for key, value in mine.items():
            client.send(client.encode("SET", key, value, "EX", "20") + client.encode("GET", key))
        for value in mine.values():
            same(client.answer(), "OK")
            same(client.answer(), value.encode())


def read_views(crowd, source):
    with crowd.redis() as client:
        ids = [source.randrange(1, 2000) for _ in range(20)]
        client.send(b"".join(client.encode("GET", f"order:{number}") for number in ids))
        for number in ids:
            try:
                answer = client.answer()
            except Refused:
                continue
            if not answer.startswith(f'{{"id":{number},'.encode()):
                raise AssertionError(f"asked for order {number}, got {answer[:80]!r}")


def hear_oneself(crowd, source):
    """Messages under a subject of one's own, and nobody else's."""
    with crowd.nats() as client:
        subject = f"orders.changed.{tag()}"
        client.send(f"SUB {subject} 1\r\n".encode())
        said = [(subject, (tag() * source.randrange(1, 300)).encode()) for _ in range(source.randrange(1, 20))]
        for place, payload in said:
            client.publish(place, payload)
        heard = client.messages_to_pong()
        while len(heard) < len(said):
            more = client.messages_to_pong()
            heard += more
            if not more:
                time.sleep(0.01)
        same(heard, said)


def overhear(crowd, source):
    """A wide subscription, which its client then does not read: it has to be cut rather than kept in memory."""
    with crowd.nats() as client:
        client.send(b"SUB orders.changed.> 1\r\n")
        payload = b"x" * 65536
        for _ in range(source.randrange(1, 100)):
            client.publish(f"orders.changed.{tag()}", payload)
        if source.random() < 0.5:
            client.vanish()


def log_in_wrongly(crowd, source):
    wrong = source.choice(("", "secret", crowd.tokens["checkout"][:-5] + "AAAAA", tag() * 2000, crowd.tokens["storefront"]))
    try:
        door = source.choice(("postgres", "redis", "nats"))
        if door == "postgres":
            Postgres(crowd.node.ports["postgres"], "checkout", wrong).socket.close()
        elif door == "nats" and wrong not in crowd.tokens.values():
            Nats(crowd.node.ports["nats"], wrong).socket.close()
        elif door == "nats":
            return
        elif wrong != crowd.tokens["storefront"]:
            Redis(crowd.node.ports["redis"], wrong).socket.close()
        else:
            return
    except (Refused, Closed):
        return
    raise AssertionError("a wrong password was believed")


def cancel(crowd, source):
    with crowd.postgres() as client:
        mine = tag()
        client.send(message(b"Q", f"SELECT pg_sleep(10), '{mine}'".encode() + b"\0"))
        time.sleep(source.uniform(0, 0.1))
        client.cancel(crowd.node.ports["postgres"])
        began = time.monotonic()
        try:
            same(client.answer()[0][1], mine)
            # The cancel came before the statement: nothing to cancel, which is PostgreSQL's way.
            if time.monotonic() - began < 9:
                raise AssertionError("the statement neither ran nor was cancelled")
        except Refused as refused:
            if refused.code != "57014":
                raise
        text = tag()
        same(client.query(f"SELECT '{text}'"), [[text]])


def cancel_another(crowd, _):
    """A made-up key ends nobody's statement."""
    with Connection(crowd.node.ports["postgres"]) as client:
        body = struct.pack("!iii", 80877102, random.getrandbits(31), random.getrandbits(31))
        client.send(struct.pack("!i", len(body) + 4) + body)


def vanish(crowd, source):
    """In the middle of a message, at any place."""
    place = source.choice(("postgres", "redis", "nats"))
    if place == "nats":
        with crowd.nats() as client:
            data = f"SUB orders.changed.{tag()} 1\r\nPUB orders.changed.{tag()} 1000\r\n{'x' * 1000}\r\n".encode() * 3
            client.send(data[:source.randrange(1, len(data))])
            client.vanish()
    elif place == "postgres":
        with crowd.postgres() as client:
            data = message(b"Q", b"SELECT repeat('x', 1000000) FROM generate_series(1, 20)\0")
            client.send(data[:source.randrange(1, len(data) + 1)])
            time.sleep(source.choice((0, 0, 0.01, 0.1)))
            client.vanish()
    else:
        with crowd.redis() as client:
            data = client.encode("SET", f"session:{tag()}", tag() * 1000, "EX", "20") * 3
            client.send(data[:source.randrange(1, len(data))])
            client.vanish()


def vanish_early(crowd, source):
    with Connection(crowd.node.ports[source.choice(("postgres", "redis", "http", "nats"))]) as client:
        data = startup("checkout", "shop") + message(b"p", crowd.tokens["checkout"].encode() + b"\0")
        client.send(data[:source.randrange(0, len(data))])
        client.vanish()


def stall(crowd, source):
    """Connects and says nothing, or half of something: the door has to end it."""
    with Connection(crowd.node.ports[source.choice(("postgres", "redis", "nats"))]) as client:
        client.send(startup("checkout", "shop")[:source.randrange(0, 12)])
        patience = source.choice((0.2, 0.5, 20))
        client.socket.settimeout(patience)
        try:
            while True:
                client.more()
        except TimeoutError:
            if patience >= 20:
                raise AssertionError("a visit that says nothing was not ended in 20 s") from None


def stall_while_answered(crowd, source):
    """Asks for much and reads nothing: the answer must not pile up in the node."""
    with crowd.postgres() as client:
        client.send(message(b"Q", b"SELECT repeat('x', 1000000) FROM generate_series(1, 50)\0"))
        time.sleep(source.uniform(0.1, 1.5))
        client.vanish()


def flood(crowd, source):
    """Requests without waiting for answers, then all of them in order."""
    with crowd.redis() as client:
        keys = [f"session:{tag()}" for _ in range(source.randrange(100, 600))]
        client.send(b"".join(client.encode("GET", key) + client.encode("ECHO", key) for key in keys))
        for key in keys:
            for wanted in (None, key.encode()):
                try:
                    same(client.answer(), wanted)
                except Refused as refused:
                    if "ECHO" in str(refused) or refused.code == "NOPERM":
                        continue
                    raise


def flood_garbage(crowd, source):
    with Connection(crowd.node.ports[source.choice(("postgres", "redis", "http", "nats"))]) as client:
        try:
            for _ in range(50):
                client.send(source.randbytes(20_000))
        except OSError:
            pass


def fail_in_transaction(crowd, source):
    with crowd.postgres() as client:
        client.query("BEGIN")
        try:
            client.query("SELECT 1/0")
        except Refused as refused:
            same_refusal(refused, "22012")
        if source.random() < 0.5:
            return
        try:
            client.query("SELECT 1")
            raise AssertionError("a failed transaction went on")
        except Refused as refused:
            same_refusal(refused, "25P02")


# What a good client may ask for: it is answered, unless a server died just then.
SERVED = (ask_well, leave_state, keep_keys, read_views, hear_oneself, overhear, cancel, flood, fail_in_transaction)
VISITS = (ask_well, ask_well, leave_state, keep_keys, keep_keys, read_views, hear_oneself, hear_oneself, overhear, log_in_wrongly, cancel, cancel_another, vanish, vanish, vanish_early,
          stall, stall_while_answered, flood, flood_garbage, fail_in_transaction)


def numbers(node):
    memory, descriptors = node.process_numbers()
    backends = int(node.sql("SELECT count(*) FROM pg_stat_activity WHERE usename IN ('checkout', 'storefront')"))
    busy = int(node.sql("SELECT count(*) FROM pg_stat_activity WHERE usename IN ('checkout', 'storefront') AND state <> 'idle'"))
    return {"memory_kib": memory, "descriptors": descriptors, "backends": backends, "busy": busy,
            "pooled": node.metric("meridian_pool_backends"), "in_use": node.metric("meridian_pool_backends_in_use"),
            "visits": node.metric("meridian_visits")}


def gather(node, seed, clients, seconds, say, faults):
    crowd = Crowd(node, seed)
    crowd.renew()
    source = random.Random(seed)
    threads = [threading.Thread(target=crowd.run, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    killed = {"postgres": 0, "redis": 0, "nats": 0}
    fault_next = time.monotonic() + 5
    while time.monotonic() < end:
        time.sleep(0.2)
        if faults and time.monotonic() > fault_next and end - time.monotonic() > 10:
            name = source.choice(tuple(killed))
            say(f"  kills {name}")
            if node.kill_postmaster() if name == "postgres" else node.kill_engine(name):
                killed[name] += 1
            fault_next = time.monotonic() + source.uniform(6, 12)
    crowd.stop = True
    for thread in threads:
        thread.join(60)
    if any(thread.is_alive() for thread in threads):
        crowd.find("a visit did not end in 60 s")
    return crowd, killed


def run(options, say):
    with Node("engines:\n  postgres:\n    max_connections: 200\n") as node:
        node.start()
        node.load_shop()
        node.wait_for_views()
        # Once through everything, so that pools and allocators are warm and what is compared is growth.
        gather(node, options.seed + 1, options.clients * 8, 15, say, faults=True)
        before = settle(node, None)
        say(f"before: {before}")
        crowd, killed = gather(node, options.seed, options.clients * 8, options.seconds, say, faults=True)
        after = settle(node, before)
        say(f"after:  {after}")
        crowd.find_never_served()
        findings = list(crowd.findings)
        if not node.is_up():
            findings.append(f"the node died:\n{node.last_log()}")
        # A sanitizer keeps freed memory, and finds leaks by itself.
        slack = MEMORY_SLACK_KIB if PRESET == "release" else float("inf")
        # A pool keeps idle backends for a while, each with a descriptor: no more than it knows of.
        descriptors = DESCRIPTORS_SLACK + max(0, after["backends"] - before["backends"])
        for name, slack in (("memory_kib", slack), ("descriptors", descriptors), ("busy", 0), ("in_use", 0), ("visits", 0)):
            if after[name] > before[name] + slack:
                findings.append(f"{name} went from {before[name]} to {after[name]}")
        if after["backends"] > after["pooled"]:
            findings.append(f"PostgreSQL has {after['backends']} backends, of which the pools know {after['pooled']}")
    visits = sum(crowd.counts.values())
    report = {"visits": crowd.counts, "refused": crowd.refused, "killed": killed, "before": before, "after": after}
    return report, findings, f"{visits:,} visits, {len(findings)} findings"


def settle(node, before):
    """Waits until the node is at rest, or for as long as that may take."""
    end = time.monotonic() + SETTLE_SECONDS
    last, why = None, None
    while True:
        time.sleep(2)
        try:
            last = numbers(node)
        except (SoakError, FileNotFoundError) as error:
            last, why = None, error
        if last and last["busy"] == last["in_use"] == 0 and (before is None or last["descriptors"] <= before["descriptors"] + DESCRIPTORS_SLACK) and \
                time.monotonic() > end - SETTLE_SECONDS + 6:
            return last
        if time.monotonic() > end:
            if last is None:
                raise SoakError(f"the node is not what it was: {why}\n{node.last_log()}")
            return last
