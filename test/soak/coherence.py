"""Writers and readers of every kind while everything fails, and no read is stale."""

import json
import os
import queue
import random
import shlex
import signal
import subprocess
import threading
import time
import urllib.request

from node import MERIDIAN, ROOT, TESTS, Node, SoakError

MUTATIONS = ("no-fence", "last-pending-only", "naive-join", "no-token", "position-first", "no-wait")
BULK_ROWS = 1_000_000
# Kinds of commit, as the checker names them; a phase of this length has all of them, and all faults.
KINDS = ("through the door", "around the door", "synchronous_commit=off", "partition moved", "table truncated", "column rewritten",
         "large transaction")
SECONDS_FOR_ALL = 200
MUTATION_SECONDS = 180

VIEWS = """
  pair:
    key: "pair:{id}"
    query: "SELECT l.id, l.revision, r.other FROM soak_left AS l JOIN soak_right AS r ON r.left_id = l.id WHERE l.id = {id}"
    as: view_reader
    database: shop
  group:
    key: "group:{id}"
    query: "SELECT group_id, array_agg(revision ORDER BY id) AS revisions FROM soak_members WHERE group_id = {id} GROUP BY group_id"
    as: view_reader
    database: shop
  part:
    key: "part:{id}"
    query: "SELECT id, revision FROM soak_parts WHERE id = {id}"
    as: view_reader
    database: shop
  side:
    key: "side:{id}"
    query: "SELECT id, revision FROM soak_side WHERE id = {id}"
    as: view_reader
    database: shop
  defined:
    key: "defined:{id}"
    query: "SELECT id, revision FROM soak_defined WHERE id = {id}"
    as: view_reader
    database: shop
  bulk:
    key: "bulk:{id}"
    query: "SELECT id, revision FROM soak_bulk WHERE id = {id}"
    as: view_reader
    database: shop
"""
READS = tuple(f"{view}:*" for view in ("pair", "group", "part", "side", "defined", "bulk"))


class Checker:
    """The checker, and its answers to commands."""

    def __init__(self, node, seconds, seed, clients, *words, orders=6000):
        token = shlex.quote(str(MERIDIAN)) + " token --subject "
        self.errors = open(node.home / "checker.log", "ab")
        self.process = subprocess.Popen(
            [str(TESTS / "coherence_checker"), "--postgres", node.address("postgres"), "--redis", node.address("redis"), "--http", node.address("http"),
             "--direct", node.direct(), "--writer-token", token + "checkout", "--reader-token", token + "storefront",
             "--seconds", str(seconds), "--seed", str(seed), "--readers", str(clients), "--orders", str(orders), "--soak", "--json",
             "--faults", *words],
            env=node.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.log = node.home / "checker.log"
        self.lines = queue.Queue()
        self.result = None
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                self.result = json.loads(line)
            else:
                self.lines.put(line.strip())

    def tell(self, command, seconds=90):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            return self.lines.get(timeout=seconds)
        except (BrokenPipeError, queue.Empty):
            raise SoakError(f"the checker did not answer {command!r}: somebody waits for an answer that does not come") from None

    def finish(self, seconds=120):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise SoakError("the checker did not end: somebody waits for an answer that does not come") from None
        for _ in range(50):
            if self.result is not None:
                return self.result
            time.sleep(0.1)
        raise SoakError(f"the checker ended with {self.process.returncode}: {self.log.read_text()[-500:]}")

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.errors.close()


def with_safe_commits(checker, fault):
    """PostgreSQL may forget what was committed with synchronous_commit=off: no such commits around its crash."""
    return checker.tell("calm") == "calm" and fault() is not False


def backends(node, random_source):
    """Ends half of the sessions, in the middle of whatever they do."""
    node.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
             f"pid <> pg_backend_pid() AND (pid + {random_source.randrange(2)}) % 2 = 0")


def feed(node, _):
    node.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'walsender'")


def statements(node, _):
    """Cancels what runs, past the door nothing: a cancelled wait for the standby is an acknowledgement (PostgreSQL, 27.2.8)."""
    node.sql("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND "
             "usename = 'checkout' AND state = 'active'")


def suspend(node, random_source):
    node.suspend()
    time.sleep(random_source.uniform(0.05, 2.5))
    node.go_on()


def signal_postgres(node, pid, number):
    """False when that process is not there any more: its number may be another's."""
    try:
        if os.readlink(f"/proc/{pid}/cwd") != str(node.data / "postgres"):
            return False
        os.kill(pid, number)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def slow_feed(node, random_source):
    """The walsender sleeps: commits go on, the feed is late, and the valve has to shut."""
    pids = node.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'").split()
    stopped = [pid for pid in pids if signal_postgres(node, int(pid), signal.SIGSTOP)]
    time.sleep(random_source.uniform(0.1, 1.5))
    for pid in stopped:
        signal_postgres(node, int(pid), signal.SIGCONT)
    return bool(stopped)


def schema(node, _):
    """The view's own table, under everybody."""
    node.sql("SET lock_timeout = '5s'; ALTER TABLE orders ADD COLUMN IF NOT EXISTS soak_note text DEFAULT 'x'")
    node.sql("SET lock_timeout = '5s'; ALTER TABLE orders DROP COLUMN IF EXISTS soak_note")


def crash_node(node, _):
    node.kill()
    node.start()


def restart_node(node, _):
    node.process.terminate()
    node.process.wait(60)
    node.start()


def crash_postgres(node, _):
    return node.kill_postmaster()


def crash_session(node, _):
    """Its death is one of PostgreSQL as a whole."""
    pid = node.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = 'checkout' LIMIT 1")
    return bool(pid) and signal_postgres(node, int(pid), signal.SIGKILL)


# Each with its weight, and whether PostgreSQL may lose commits that did not wait for the disk. One that returns False did not
# happen.
FAULTS = (
    (backends, 4, False),
    (feed, 4, False),
    (statements, 2, False),
    (suspend, 3, False),
    (slow_feed, 3, False),
    (schema, 2, False),
    (crash_node, 2, True),
    (restart_node, 1, True),
    (crash_postgres, 2, True),
    (crash_session, 1, True),
)


def deal(source):
    """All faults, each as often as its weight says, in an order of its own; again and again."""
    while True:
        cards = [fault for fault in FAULTS for _ in range(fault[1])]
        source.shuffle(cards)
        yield from cards


# What the node says it did, of which at least some is wanted.
COUNTED = ("cache_hits_total", "cache_misses_total", "cache_evictions", "cache_joins_total", "cache_escalations_total",
           "feed_restarts_total", "commit_waits_total", "commit_wait_nudges_total", "commit_wait_given_up_total")


class Numbers:
    """The node's own counts over all its lives: a process that is killed takes those since the last look with it."""

    def __init__(self, node):
        self.node = node
        self.before = dict.fromkeys(COUNTED, 0)
        self.last = dict(self.before)
        self.lives = node.starts

    def look(self):
        try:
            with urllib.request.urlopen(f"http://{self.node.address('http')}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return
        if self.lives != self.node.starts:
            self.lives = self.node.starts
            self.before = self.sums()
        now = dict.fromkeys(COUNTED, 0)
        for line in lines:
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0].removeprefix("meridian_")
            if name in now:
                now[name] += int(float(value))
        self.last = now

    def sums(self):
        return {name: self.before[name] + self.last[name] for name in COUNTED}


def wait_until_serving(node, seconds=60):
    end = time.monotonic() + seconds
    while True:
        done = node.meridian("redis", "--subject", "storefront", "--", "GET", "order:1", check=False, timeout=30)
        if done.returncode == 0 and "revision" in done.stdout:
            return
        if time.monotonic() > end:
            raise SoakError(f"the node does not serve again: {done.stdout}{done.stderr}\n{node.last_log()}")
        time.sleep(0.2)


def prepare(node, bulk=BULK_ROWS):
    node.start()
    node.load_shop()
    # At once: views are registered as soon as their tables are there, and that changes these tables too.
    node.sql_file(ROOT / "test/soak/coherence.sql", "-1", "-v", f"bulk={bulk}")
    node.wait_for_views()


def settings(wait):
    return (f"timeline:\n  commit_wait: {wait}\ncache:\n  bytes_max: 1MiB\nengines:\n  postgres:\n    max_connections: 200\n"
            "token:\n  ttl_default: 1h\n")


def diagnose(node):
    """Who waits for what, for whoever looks for the reason."""
    try:
        sessions = node.sql("SELECT pid, usename, application_name, backend_type, state, wait_event, now() - state_change, left(query, 60) "
                            "FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()")
        waits = node.sql("SELECT setting FROM pg_file_settings WHERE name = 'synchronous_standby_names'")
        sockets = subprocess.run(["ss", "-tnp"], capture_output=True, text=True, check=False).stdout
        ours = [line for line in sockets.splitlines() if any(f":{port} " in line for port in node.ports.values())]
        return "\n".join([sessions, f"synchronous_standby_names: {waits}", *ours[:40], node.last_log(30)])
    except SoakError as error:
        return f"{error}\n{node.last_log(30)}"


def run_phase(node, wait, seconds, seed, clients, say):
    """One way of waiting for the commit, with faults all the time."""
    source = random.Random(seed)
    words = ["--writers", "8", "--direct-writers", "2", "--async-writers", "2"]
    if wait == "database":
        words.append("--direct-floors")
    # It is told to stop: a fault under way may take longer than planned.
    checker = Checker(node, seconds + 600, seed, clients, *words)
    done = []
    numbers = Numbers(node)
    try:
        end = time.monotonic() + seconds
        cards = deal(source)
        compare_next = time.monotonic() + 25
        while time.monotonic() < end and checker.process.poll() is None:
            time.sleep(source.uniform(0.3, 2.5))
            fault, _, loses = next(cards)
            numbers.look()
            say(f"  {fault.__name__} (at {time.time() * 1000:.0f} ms)")
            try:
                if loses:
                    if with_safe_commits(checker, lambda chosen=fault: chosen(node, source)):
                        done.append(fault.__name__)
                        wait_until_serving(node)
                    checker.tell("wild")
                elif fault(node, source) is not False:
                    done.append(fault.__name__)
            except SoakError as error:
                # A fault may hit the session that makes the next one.
                if "psql --owner failed" not in str(error):
                    raise
                say(f"    {error}")
            if time.monotonic() > compare_next:
                wait_until_serving(node)
                say("  " + checker.tell("compare"))
                compare_next = time.monotonic() + 25
        wait_until_serving(node)
        numbers.look()
        checker.tell("stop")
        result = checker.finish()
    except SoakError as error:
        raise SoakError(f"{error}\n{diagnose(node)}") from None
    finally:
        checker.end()
    result["stale_reads"] = checker.log.read_text().splitlines()[:50]
    result["faults"] = {fault.__name__: done.count(fault.__name__) for fault, _, _ in FAULTS}
    result["bulk_rows"] = BULK_ROWS
    result["node"] = numbers.sums()
    result["commit_wait"] = wait
    return result


def run_mutation(name, seconds, seed, clients, say):
    """The checker has to find it within the time."""
    with Node(settings("door"), VIEWS, READS, mutations=[name]) as node:
        prepare(node, bulk=1000)
        began = time.monotonic()
        checker = Checker(node, seconds + 600, seed, clients, "--writers", "8", "--async-writers", "1", orders=64)
        try:
            compare_next = began + 10
            while checker.process.poll() is None and time.monotonic() < began + seconds and checker.tell("found") == "0":
                time.sleep(0.2)
                if time.monotonic() > compare_next:
                    checker.tell("compare")
                    compare_next = time.monotonic() + 10
            checker.tell("stop")
            result = checker.finish()
        finally:
            checker.end()
        spent = round(time.monotonic() - began, 1)
    found = result["stale"] + result["poisoned"] > 0
    say(f"  {name}: {'found' if found else 'NOT FOUND'} after {spent} s and {result['reads']} reads: {result['stale']} stale, "
        f"{result['poisoned']} poisoned; {result['first_fault']}")
    return {"mutation": name, "found": found, "seconds": spent, "reads": result["reads"], "stale": result["stale"],
            "poisoned": result["poisoned"], "first": result["first_fault"]}


def missing(result):
    """What a run of some length has to have in it, or it proves less than it says."""
    wanted = {"hits": result["node"]["cache_hits_total"], "misses": result["node"]["cache_misses_total"],
              "evictions": result["node"]["cache_evictions"], **result["faults"],
              **{kind: result["kinds"].get(kind, 0) for kind in KINDS}}
    return [name for name, count in wanted.items() if count == 0]


def run(options, say):
    report = {"phases": [], "mutations": []}
    findings = []
    if not options.only_mutations:
        waits = options.commit_wait or ("door", "database")
        seconds = options.seconds / len(waits)
        for at, wait in enumerate(waits):
            say(f"commit_wait: {wait}")
            with Node(settings(wait), VIEWS, READS) as node:
                prepare(node)
                result = run_phase(node, wait, seconds, options.seed + at, options.clients, say)
            report["phases"].append(result)
            say(f"  {result['reads']} reads, {result['stale']} stale, {result['poisoned']} of {result['compared']} compared poisoned, "
                f"{result['commits']} commits, {result['errors']} errors, the first: {result['first_error']}")
            if result["stale"] or result["poisoned"]:
                findings.append(result["first_fault"])
            if result["compare_given_up"]:
                findings.append(f"{result['compare_given_up']} comparisons at rest did not come about: {result['first_error']}")
            if not result["compared"]:
                findings.append("nothing was compared at rest")
            if seconds >= SECONDS_FOR_ALL:
                findings += [f"commit_wait {wait}: never happened: {name}" for name in missing(result)]
    if not options.without_mutations:
        say("mutations")
        for name in options.mutation or MUTATIONS:
            found = run_mutation(name, MUTATION_SECONDS, options.seed, options.clients, say)
            report["mutations"].append(found)
            if not found["found"]:
                findings.append(f"the mutation {name} was not found")
    reads, stale, poisoned = (sum(phase[name] for phase in report["phases"]) for name in ("reads", "stale", "poisoned"))
    report |= {"reads": reads, "stale": stale, "poisoned": poisoned}
    return report, findings, f"{reads:,} checked reads, {stale:,} stale, {poisoned:,} poisoned"
