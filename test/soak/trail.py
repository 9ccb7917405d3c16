"""kill -9 under load, again and again, and a look at what is left on the trail.

Most kills are of a small program that appends as a node does (test/integration/trail_crash.cc), which takes milliseconds; the
others are of the whole node, with clients at both doors that note what was acknowledged to them.
"""

import json
import random
import re
import subprocess
import threading
import time

from node import TESTS, Node, SoakError
from wire import Closed, Postgres, Redis, Refused, tag

CRASH = TESTS / "trail_crash"


class Load:
    """Clients at both doors; each notes what was answered."""

    def __init__(self, node, clients, tokens):
        self.stop = False
        self.statements = set()  # Request ids, which the statements themselves gave.
        self.keys = set()
        self.problem = None
        self.threads = []
        for number in range(clients):
            for work, door, subject in ((self.write, "postgres", "checkout"), (self.keep, "redis", "storefront")):
                thread = threading.Thread(target=self.run, args=(work, node.ports[door], tokens[subject], number), daemon=True)
                thread.start()
                self.threads.append(thread)

    def run(self, work, port, token, number):
        try:
            while not self.stop:
                try:
                    work(port, token, number)
                except (Closed, Refused, OSError):
                    time.sleep(0.01)  # The node is gone, as it should be now and then.
        except Exception as error:  # pylint: disable=broad-except
            self.problem = error

    def write(self, port, token, number):
        with Postgres(port, "checkout", token) as client:
            while not self.stop:
                rows = client.query(f"UPDATE orders SET revision = revision + 1 WHERE id = {number + 1} RETURNING meridian.request_id()")
                self.statements.add(rows[0][0])

    def keep(self, port, token, number):
        source = random.Random(number)
        with Redis(port, token) as client:
            while not self.stop:
                # One alone, or a pipeline, whose writes are a record or a few.
                keys = [f"session:{tag()}" for _ in range(source.choice((1, 1, 1, 7, 90)))]
                client.send(b"".join(client.encode("SET", key, "1", "EX", "10") for key in keys))  # Redis must not fill up.
                for key in keys:
                    client.answer()
                    self.keys.add(key)

    def end(self):
        self.stop = True
        for thread in self.threads:
            thread.join(60)
        if any(thread.is_alive() for thread in self.threads):
            raise SoakError("a client waits for an answer that does not come")
        if self.problem:
            raise self.problem


def look(node, load, since):
    """What is wrong with the trail, after a kill."""
    findings = []
    verified = node.meridian("audit", "verify", check=False)
    if verified.returncode != 0:
        findings.append(f"audit verify: {verified.stdout[-500:]}{verified.stderr[-500:]}")
    exported = node.meridian("audit", "export", "--since", since, check=False)
    if exported.returncode != 0:
        findings.append(f"audit export: {exported.stderr[-500:]}")
    statements, keys = set(), set()
    for line in exported.stdout.splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            findings.append(f"a torn record: {line[:200]}")
            continue
        if record["kind"] == "statement":
            statements.add(record["request"])
        elif record["kind"] == "key_write":
            keys.update(write["key"] for write in (record, *record["further"]))
    for what, acknowledged, found in (("statement", load.statements, statements), ("key", load.keys, keys)):
        missing = acknowledged - found
        if missing:
            findings.append(f"{len(missing)} of {len(acknowledged)} acknowledged actions ({what}) are not on the trail, one is {min(missing)}")
    return findings


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))


def kill_node(kills, seed, clients, say):
    source = random.Random(seed)
    findings, statements, keys, done, idle = [], 0, 0, 0, 0
    with Node("trail:\n  segment: 1MiB\nengines:\n  postgres:\n    max_connections: 200\n") as node:
        node.start()
        node.load_shop()
        node.wait_for_views()
        for done in range(1, kills + 1):
            tokens = {subject: node.token(subject) for subject in ("checkout", "storefront")}
            since = now()
            load = Load(node, clients, tokens)
            time.sleep(source.uniform(0.2, 3))
            node.kill()
            load.end()
            findings += look(node, load, since)  # As it was left,
            node.start()
            findings += look(node, load, since)  # and as the next run goes on with it.
            statements += len(load.statements)
            keys += len(load.keys)
            idle += not load.statements or not load.keys
            if findings:
                break
            if done % 10 == 0 or done == kills:
                say(f"  {done} kills of the node, {statements} statements and {keys} keys acknowledged")
    # Some kills come before the servers behind are up again.
    if idle > done / 2:
        findings.append(f"before {idle} of {done} kills nothing was acknowledged at one of the doors")
    return {"kills": done, "statements": statements, "keys": keys, "idle": idle}, findings


def run(options, say):
    of_node = options.node_kills if options.node_kills is not None else max(1, options.kills // 10)
    of_program = options.kills - of_node
    report, findings = {}, []
    if of_program > 0:
        say(f"{of_program} kills of a program that appends")
        crash = subprocess.run([str(CRASH), "--kills", str(of_program), "--seed", str(options.seed)], capture_output=True, text=True, check=False)
        last = (crash.stdout.strip().splitlines() or [""])[-1]
        say("  " + last)
        report["program"] = {"kills": of_program, "result": last}
        if crash.returncode != 0:
            findings.append(re.sub(r"\s+", " ", f"trail_crash: {crash.stdout[-800:]}{crash.stderr[-400:]}"))
    if of_node > 0:
        say(f"{of_node} kills of the node")
        report["node"], found = kill_node(of_node, options.seed, options.clients, say)
        findings += found
    return report, findings, (f"{max(of_program, 0)} kills of the program and {report.get('node', {}).get('kills', 0)} of the node, "
                              f"{len(findings)} findings")
