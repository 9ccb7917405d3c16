"""What the outbox does while NATS is away, after a long rest, and where messages or numbers are
missing: it says so, and waits for the operator's word."""

import os
import shutil
import signal
import time
import unittest

import clients
import node
from outbox_faults_test import CONFIG, nats_server
from outbox_test import status_of_now, wait_published


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
            node.wait_until(
                lambda: (now := status_of_now(running)).get("alarm") and now["waiting"] > 50,
                "the alarm is raised, and says so many",
            )
            self.assertEqual(node.metric(running, "meridian_outbox_alarm"), 1)
        finally:
            os.kill(victim, signal.SIGCONT)
        self.assertEqual(wait_published(running, 300)["published"], 300)
        self.assertEqual(self.payloads(running, 300), list(range(1, 301)))
        node.wait_until(lambda: not status_of_now(running).get("alarm", True), "the alarm is over")

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
            lambda: status_of_now(running).get("numbered") == 150, "the rows have their numbers"
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
