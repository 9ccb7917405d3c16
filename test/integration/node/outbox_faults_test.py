"""The outbox while things die: every committed row is in the stream exactly once, in order, after
any of Meridian, PostgreSQL and nats-server was killed, and what NATS has lost is said and asked
about."""

import os
import pathlib
import random
import signal
import threading
import time
import unittest

import clients
import node
from outbox_test import CONFIG as SHOP_CONFIG
from outbox_test import wait_published

# Without the rule for a table, so that all there is comes from these tests.
CONFIG = SHOP_CONFIG.replace(
    '  order_changes:\n    table: orders\n    subject: "orders.changed.{id}"\n', ""
)


class Load:
    """Writers that publish the values of one counter, which makes them commit in its order."""

    def __init__(self, running, writers=3):
        self.running = running
        self.stopping = False
        self.done = [0] * writers
        running.owner(
            "CREATE TABLE turns (n bigint); INSERT INTO turns VALUES (0);"
            "GRANT SELECT, UPDATE ON turns TO checkout"
        )
        self.threads = [threading.Thread(target=self.write, args=(each,)) for each in range(writers)]
        for thread in self.threads:
            thread.start()

    def write(self, writer):
        while not self.stopping:
            try:
                token = self.running.token("checkout")
                with clients.Postgres(self.running, token, "checkout") as session:
                    while not self.stopping:
                        session.query(
                            "WITH t AS (UPDATE turns SET n = n + 1 RETURNING n)"
                            " SELECT meridian.publish('shop.events.turn', n::text) FROM t"
                        )
                        self.done[writer] += 1
            except Exception:
                # The node or its database is down; what became of the statement the counter says.
                time.sleep(0.05)

    def wait_for_more(self, count):
        then = sum(self.done)
        node.wait_until(lambda: sum(self.done) >= then + count, f"{count} more are committed")

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def check_stream(case, running):
    """Returns how many there are."""
    total = int(running.owner("SELECT n FROM turns"))
    told = wait_published(running, total)
    case.assertEqual(told["numbered"], total)
    with clients.Nats(running, running.token("checkout")) as visit:
        got = visit.replay("OUTBOX", total, node.PATIENCE)
    case.assertEqual([int(payload) for _, _, payload in got], list(range(1, total + 1)))
    case.assertEqual(
        [headers["Nats-Msg-Id"].split(".")[::2] for _, headers, _ in got],
        [["outbox", str(number)] for number in range(1, total + 1)],
    )
    case.assertEqual(len({headers["Nats-Msg-Id"].split(".")[1] for _, headers, _ in got}), 1)
    return total


def nats_server(running):
    """The process id of the owned nats-server."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"nats-server" in words[0] and str(running.data).encode() in b" ".join(words):
                return int(entry)
    return None


class KillsTest(unittest.TestCase):
    def kill_under_load(self, what, times, seed):
        running = node.use_node(self, CONFIG)
        load = Load(running)
        self.addCleanup(load.stop)
        chance = random.Random(seed)
        for _ in range(times):
            load.wait_for_more(20)
            time.sleep(chance.uniform(0.2, 0.9))
            what(running)
        load.wait_for_more(20)
        load.stop()
        total = check_stream(self, running)
        self.assertGreater(total, 50)

    def kill_meridian(self, running):
        running.kill()
        running.start()

    def kill_nats(self, running):
        os.kill(node.wait_until(lambda: nats_server(running), "nats-server runs"), signal.SIGKILL)

    def kill_postgres(self, running):
        os.kill(running.postmaster(), signal.SIGKILL)
        node.wait_until(lambda: "1" == running.run(
            "psql", "--owner", "--database", "shop", "--", "-X", "-A", "-t", "-c", "SELECT 1",
            code=None).stdout.strip(), "PostgreSQL is back")

    def test_meridian_is_killed(self):
        self.kill_under_load(self.kill_meridian, 4, 1)

    def test_nats_is_killed(self):
        self.kill_under_load(self.kill_nats, 4, 2)

    def test_postgres_is_killed(self):
        self.kill_under_load(self.kill_postgres, 3, 3)


if __name__ == "__main__":
    node.main()
