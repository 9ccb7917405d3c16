"""Visits that do what no good client does, thousands of them; then the node is as it was before them."""

import random
import struct
import threading
import time

from node import Node, SoakError
from wire import Closed, Connection, Postgres, Redis, Refused, message, startup, tag

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
        self.refusals = 0
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
                    self.refusals += 1
            except AssertionError as error:
                self.find(f"{visit.__name__}: {error}")
            with self.lock:
                self.counts[visit.__name__] = self.counts.get(visit.__name__, 0) + 1

    def postgres(self):
        return Postgres(self.node.ports["postgres"], "checkout", self.tokens["checkout"])

    def redis(self):
        return Redis(self.node.ports["redis"], self.tokens["storefront"])


def same(got, wanted):
    if got != wanted:
        raise AssertionError(f"asked for {str(wanted)[:100]}, got {str(got)[:100]}")


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


def log_in_wrongly(crowd, source):
    wrong = source.choice(("", "secret", crowd.tokens["checkout"][:-5] + "AAAAA", tag() * 2000, crowd.tokens["storefront"]))
    try:
        if source.random() < 0.5:
            Postgres(crowd.node.ports["postgres"], "checkout", wrong).socket.close()
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
    if source.random() < 0.5:
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
    with Connection(crowd.node.ports[source.choice(("postgres", "redis", "http"))]) as client:
        data = startup("checkout", "shop") + message(b"p", crowd.tokens["checkout"].encode() + b"\0")
        client.send(data[:source.randrange(0, len(data))])
        client.vanish()


def stall(crowd, source):
    """Connects and says nothing, or half of something: the door has to end it."""
    with Connection(crowd.node.ports[source.choice(("postgres", "redis"))]) as client:
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
    with Connection(crowd.node.ports[source.choice(("postgres", "redis", "http"))]) as client:
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
            same(refused.code, "22012")
        if source.random() < 0.5:
            return
        try:
            client.query("SELECT 1")
            raise AssertionError("a failed transaction went on")
        except Refused as refused:
            same(refused.code, "25P02")


VISITS = (ask_well, ask_well, leave_state, keep_keys, keep_keys, read_views, log_in_wrongly, cancel, cancel_another, vanish, vanish, vanish_early,
          stall, stall_while_answered, flood, flood_garbage, fail_in_transaction)


def numbers(node):
    memory, descriptors = node.process_numbers()
    backends = int(node.sql("SELECT count(*) FROM pg_stat_activity WHERE usename IN ('checkout', 'storefront')"))
    busy = int(node.sql("SELECT count(*) FROM pg_stat_activity WHERE usename IN ('checkout', 'storefront') AND state <> 'idle'"))
    return {"memory_kib": memory, "descriptors": descriptors, "backends": backends, "busy": busy}


def gather(node, seed, clients, seconds, say, faults):
    crowd = Crowd(node, seed)
    crowd.renew()
    source = random.Random(seed)
    threads = [threading.Thread(target=crowd.run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    killed = {"postgres": 0, "redis": 0}
    fault_next = time.monotonic() + 5
    while time.monotonic() < end:
        time.sleep(0.2)
        if faults and time.monotonic() > fault_next and end - time.monotonic() > 10:
            name = source.choice(("postgres", "redis"))
            say(f"  kills {name}")
            if node.kill_postmaster() if name == "postgres" else node.kill_redis():
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
        findings = list(crowd.findings)
        if not node.is_up():
            findings.append(f"the node died:\n{node.last_log()}")
        for name, slack in (("memory_kib", MEMORY_SLACK_KIB), ("descriptors", DESCRIPTORS_SLACK), ("busy", 0)):
            if after[name] > before[name] + slack:
                findings.append(f"{name} went from {before[name]} to {after[name]}")
        if after["backends"] > before["backends"] + 4:
            findings.append(f"backends went from {before['backends']} to {after['backends']}")
    visits = sum(crowd.counts.values())
    report = {"visits": crowd.counts, "refused": crowd.refusals, "killed": killed, "before": before, "after": after}
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
        if last and last["busy"] == 0 and (before is None or last["descriptors"] <= before["descriptors"] + DESCRIPTORS_SLACK) and \
                time.monotonic() > end - SETTLE_SECONDS + 6:
            return last
        if time.monotonic() > end:
            if last is None:
                raise SoakError(f"the node is not what it was: {why}\n{node.last_log()}")
            return last
