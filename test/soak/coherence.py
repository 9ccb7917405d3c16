"""Writers and readers of every kind while everything fails, and no read is stale."""

import json
import queue
import random
import shlex
import subprocess
import threading
import time

from node import CHECKER, MERIDIAN, ROOT, Node, SoakError

MUTATIONS = ("no-fence", "last-pending-only", "naive-join", "no-token", "position-first", "no-wait")
BULK_ROWS = 1_000_000

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
            [str(CHECKER), "--postgres", node.address("postgres"), "--redis", node.address("redis"), "--http", node.address("http"),
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
    if checker.tell("calm") != "calm":
        return False
    fault()
    return True


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


def slow_feed(node, random_source):
    """The walsender sleeps: commits go on, the feed is late, and the valve has to shut."""
    import os
    import signal
    pids = [int(pid) for pid in node.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'").split()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(random_source.uniform(0.1, 1.5))
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


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
    node.kill_postmaster()


def crash_session(node, _):
    """Its death is one of PostgreSQL as a whole."""
    import os
    import signal
    pid = int(node.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = 'checkout' LIMIT 1"))
    os.kill(pid, signal.SIGKILL)


# Each with its weight, and whether PostgreSQL may lose commits that did not wait for the disk.
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
    try:
        end = time.monotonic() + seconds
        compare_next = time.monotonic() + 25
        while time.monotonic() < end and checker.process.poll() is None:
            time.sleep(source.uniform(0.3, 2.5))
            fault, _, loses = source.choices(FAULTS, [weight for _, weight, _ in FAULTS])[0]
            say(f"  {fault.__name__} (at {time.time() * 1000:.0f} ms)")
            try:
                if loses:
                    if with_safe_commits(checker, lambda chosen=fault: chosen(node, source)):
                        done.append(fault.__name__)
                        wait_until_serving(node)
                    checker.tell("wild")
                else:
                    fault(node, source)
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
        checker.tell("stop")
        result = checker.finish()
    except SoakError as error:
        raise SoakError(f"{error}\n{diagnose(node)}") from None
    finally:
        checker.end()
    result["stale_reads"] = checker.log.read_text().splitlines()[:50]
    result["faults"] = {name: done.count(name) for name in sorted(set(done))}
    result["commit_wait"] = wait
    return result


def run_mutation(name, seconds, seed, clients, say):
    """The checker has to find it within the time."""
    with Node(settings("door"), VIEWS, READS, mutations=[name]) as node:
        prepare(node, bulk=1000)
        spent = 0
        while spent < seconds:
            checker = Checker(node, 10, seed + spent, clients, "--writers", "8", "--async-writers", "1", orders=64)
            try:
                result = checker.finish()
            finally:
                checker.end()
            spent += 10
            found = result["stale"] + result["poisoned"]
            if found:
                say(f"  {name}: found after {spent} s: {result['stale']} stale, {result['poisoned']} poisoned; {result['first_fault']}")
                return {"mutation": name, "found": True, "seconds": spent, "first": result["first_fault"]}
    say(f"  {name}: NOT FOUND in {spent} s")
    return {"mutation": name, "found": False, "seconds": spent}


def run(options, say):
    report = {"phases": [], "mutations": []}
    findings = []
    if not options.only_mutations:
        for at, wait in enumerate(options.commit_wait or ("door", "database")):
            say(f"commit_wait: {wait}")
            with Node(settings(wait), VIEWS, READS) as node:
                prepare(node)
                result = run_phase(node, wait, options.seconds / len(options.commit_wait or (1, 2)), options.seed + at, options.clients, say)
            report["phases"].append(result)
            say(f"  {result['reads']} reads, {result['stale']} stale, {result['poisoned']} of {result['compared']} compared poisoned, "
                f"{result['commits']} commits, {result['errors']} errors, the first: {result['first_error']}")
            if result["stale"] or result["poisoned"]:
                findings.append(result["first_fault"])
            if result["compare_given_up"]:
                findings.append(f"{result['compare_given_up']} comparisons at rest did not come about: {result['first_error']}")
            if not result["compared"]:
                findings.append("nothing was compared at rest")
    if options.mutations or options.only_mutations:
        say("mutations")
        for name in options.mutation or MUTATIONS:
            found = run_mutation(name, 60, options.seed, options.clients, say)
            report["mutations"].append(found)
            if not found["found"]:
                findings.append(f"the mutation {name} was not found")
    reads, stale, poisoned = (sum(phase[name] for phase in report["phases"]) for name in ("reads", "stale", "poisoned"))
    report |= {"reads": reads, "stale": stale, "poisoned": poisoned}
    return report, findings, f"{reads:,} checked reads, {stale:,} stale, {poisoned:,} poisoned"
