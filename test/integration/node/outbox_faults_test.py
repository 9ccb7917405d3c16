"""The outbox while things die: every committed row is in the stream exactly once, in order, after
any of Meridian, PostgreSQL and nats-server was killed, and what NATS has lost is said and asked
about."""

import os
import pathlib
import random
import shutil
import signal
import threading
import time
import unittest

import clients
import node
from outbox_test import CONFIG as SHOP_CONFIG
from outbox_test import status_of_now, wait_published

# Without the rule for a table, so that all there is comes from these tests.
CONFIG = SHOP_CONFIG.replace(
    '  order_changes:\n    table: orders\n    subject: "orders.changed.{id}"\n', ""
)

ROLE_TIMEOUT = 10.0


class Load:
    """Writers that publish the values of one counter, which makes them commit in its order."""

    def __init__(self, running, writers=3):
        self.running = running
        self.stopping = False
        running.owner(
            "CREATE TABLE turns (n bigint); INSERT INTO turns VALUES (0);"
            "GRANT SELECT, UPDATE ON turns TO checkout"
        )
        self.threads = [threading.Thread(target=self.write) for _ in range(writers)]
        for thread in self.threads:
            thread.start()

    def write(self):
        while not self.stopping:
            try:
                token = self.running.token("checkout")
                with clients.Postgres(
                    self.running, token, "checkout", timeout=ROLE_TIMEOUT
                ) as session:
                    while not self.stopping:
                        session.query(
                            "WITH t AS (UPDATE turns SET n = n + 1 RETURNING n)"
                            " SELECT meridian.publish('shop.events.turn', n::text) FROM t"
                        )
            except Exception:
                # The node or its database is down; what became of the statement the counter says.
                time.sleep(0.05)

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
        [headers["Nats-Msg-Id"] for _, headers, _ in got],
        [f"outbox.{number}" for number in range(1, total + 1)],
    )
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
            time.sleep(chance.uniform(0.2, 0.9))
            what(running)
        time.sleep(0.5)
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


class AwayTest(unittest.TestCase):
    def publish(self, running, first, last):
        with clients.Postgres(running, running.token("checkout"), "checkout") as session:
            session.query(
                "SELECT meridian.publish('shop.events.n', n::text)"
                f" FROM generate_series({first}, {last}) AS n"
            )

    def payloads(self, running, count):
        with clients.Nats(running, running.token("checkout")) as visit:
            return [int(payload) for _, _, payload in visit.replay("OUTBOX", count)]

    def test_a_restart_long_after_the_window_repeats_nothing(self):
        running = node.use_node(self, CONFIG)
        self.publish(running, 1, 500)
        wait_published(running, 500)
        # As if it had died before it wrote down how far it was.
        self.assertEqual(running.stop(), 0)
        time.sleep(0.5)  # The window is 100 ms.
        running.start()
        running.owner("UPDATE meridian.outbox_state SET published = 100, stream_sequence = 100")
        running.kill()
        time.sleep(0.5)
        running.start()
        self.publish(running, 501, 600)
        told = wait_published(running, 600)
        self.assertEqual(told["published"], 600)
        self.assertEqual(self.payloads(running, 600), list(range(1, 601)))

    def test_rows_wait_for_nats_and_somebody_is_told(self):
        running = node.use_node(
            self, CONFIG.replace("outbox: {", "outbox: {alarm_rows: 50, alarm_age: 200ms, ")
        )
        self.publish(running, 1, 10)
        wait_published(running, 10)
        victim = nats_server(running)
        os.kill(victim, signal.SIGSTOP)
        try:
            self.publish(running, 11, 300)
            told = node.wait_until(
                lambda: (now := status_of_now(running)).get("alarm") and now, "the alarm is raised"
            )
            self.assertGreater(told["waiting"], 50)
            self.assertEqual(node.metric(running, "meridian_outbox_alarm"), 1)
        finally:
            os.kill(victim, signal.SIGCONT)
        self.assertEqual(wait_published(running, 300)["published"], 300)
        self.assertEqual(self.payloads(running, 300), list(range(1, 301)))
        node.wait_until(lambda: not status_of_now(running)["alarm"], "the alarm is over")

    def lose_tail(self, running):
        """The stream loses its last messages, as after a failure of power."""
        self.publish(running, 1, 100)
        wait_published(running, 100)
        # A stop in order writes down how far it is.
        self.assertEqual(running.stop(), 0)
        stores = [path for path in (running.data / "nats").rglob("streams/OUTBOX")]
        self.assertEqual(len(stores), 1)
        return stores[0]

    def test_a_stream_that_is_made_anew_is_a_gap_until_the_operator_decides(self):
        running = node.use_node(self, CONFIG.replace("keep: 1s", "keep: 1h"))
        store = self.lose_tail(running)
        shutil.rmtree(store)
        running.start()
        told = node.wait_until(
            lambda: (now := status_of_now(running)).get("state") == "gap" and now,
            "the gap is stated",
        )
        self.assertIn("messages 1 to 100 had been acknowledged", told["problem"])
        self.assertEqual(node.metric(running, "meridian_outbox_gap"), 1)
        # What is committed meanwhile waits, with its numbers.
        self.publish(running, 101, 150)
        node.wait_until(
            lambda: status_of_now(running)["numbered"] == 150, "the rows have their numbers"
        )
        running.run("outbox", "resume", "--republish")
        self.assertEqual(wait_published(running, 150)["published"], 150)
        self.assertEqual(self.payloads(running, 150), list(range(1, 151)))
        self.assertEqual(node.metric(running, "meridian_outbox_gap"), 0)
        done = running.run("outbox", "resume", "--skip", code=None)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no gap", done.stderr)

    def test_a_gap_can_be_left_behind(self):
        running = node.use_node(self, CONFIG)
        store = self.lose_tail(running)
        shutil.rmtree(store)
        running.start()
        node.wait_until(
            lambda: status_of_now(running).get("state") == "gap", "the gap is stated"
        )
        running.run("outbox", "resume", "--skip")
        wait_published(running)
        self.publish(running, 101, 110)
        self.assertEqual(wait_published(running, 110)["published"], 110)
        self.assertEqual(self.payloads(running, 10), list(range(101, 111)))

    def test_a_database_that_was_set_back_is_a_gap(self):
        running = node.use_node(self, CONFIG)
        self.publish(running, 1, 100)
        wait_published(running, 100)
        running.kill()
        running.start()
        running.owner("UPDATE meridian.outbox_state SET numbered = 60, published = 60,"
                      " stream_sequence = 60; DELETE FROM meridian.outbox_batches")
        running.kill()
        running.start()
        told = node.wait_until(
            lambda: (now := status_of_now(running)).get("state") == "gap" and now,
            "the gap is stated",
        )
        self.assertIn("it was set back", told["problem"])


if __name__ == "__main__":
    node.main()
