"""What ingest remembers outlives the clocks: a jump of the database's clock, either way, forgets no message and stops no rule."""

import json
import unittest

import node
from ingest_faults_test import STAMP

CONFIG = """
roles:
  writer:
    postgres: {databases: [shop]}
ingest:
  events:
    subject: events.>
    stream: EVENTS
    role: writer
    rollback: "DELETE FROM events WHERE n = {n}"
    sql: "INSERT INTO events (n, place) VALUES ({n}, {meridian.sequence})"
"""
SCHEMA = """
CREATE TABLE events (n int NOT NULL, place bigint NOT NULL);
GRANT SELECT, INSERT, DELETE ON events TO writer;
"""
ROTATE = "SELECT meridian.ingest_rotate('3 days', '30 days', '15 minutes')"


class IngestClockTest(unittest.TestCase):
    def setUp(self):
        self.node = node.use_node(self, CONFIG, shop=False)
        self.node.owner(SCHEMA)
        self.node.wait_for_ingest()
        # The stream itself knows an id no longer than that.
        stream = self.node.jetstream("STREAM.INFO.EVENTS")["config"]
        stream["duplicate_window"] = 100_000_000
        changed = self.node.jetstream("STREAM.UPDATE.EVENTS", json.dumps(stream).encode())
        self.assertNotIn("error", changed)

    def publish(self, n, number=None):
        """Until the stream has it; with a message id where there is a number for one."""
        def stored():
            with self.node.nats() as client:
                client.subscribe(client.inbox)
                headers = {"Meridian-Identity": STAMP}
                if number is not None:
                    headers["Nats-Msg-Id"] = f"p:{number}"
                client.publish("events.a", json.dumps({"n": n}), headers, reply=client.inbox)
                answer = json.loads(client.next()[2])
                self.assertNotIn("error", answer)
                return not answer.get("duplicate")

        node.wait_until(stored, "the stream takes it as a new one")

    def rows(self):
        told = self.node.owner("SELECT json_object_agg(n, c) FROM"
                               " (SELECT n, count(*) AS c FROM events GROUP BY n) AS e")
        return {int(n): count for n, count in json.loads(told or "{}").items()}

    def wait_rows(self, wanted):
        node.wait_until(lambda: self.rows().keys() >= wanted.keys(), f"rows {sorted(wanted)}")
        self.assertEqual(self.rows(), wanted)

    def restart(self):
        self.assertEqual(self.node.stop(), 0)
        self.node.start()
        self.node.wait_for_ingest()

    def set_clock(self, away):
        """Sets the database's clock; sessions that are open may still go by the old one."""
        self.node.owner(
            "CREATE OR REPLACE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz"
            " LANGUAGE sql VOLATILE STRICT PARALLEL SAFE"
            f" AS $$ SELECT timeofday()::timestamptz + interval '{away}' $$")
        off = float(self.node.owner(
            f"SELECT extract(epoch FROM clock_timestamp() - (now() + interval '{away}'))"))
        self.assertLess(abs(off), 60)
        self.restart()

    def generations(self):
        return [int(n) for n in self.node.owner(
            "SELECT generation FROM meridian.ingest_generations ORDER BY 1").split()]

    def test_jumps_forget_nothing(self):
        wanted = {}
        for turn, away in enumerate(("0", "1 year", "0", "2 years", "-1 year", "3 years", "0")):
            if turn > 0:
                self.set_clock(away)
            # One with an id and one without; all earlier ids come again.
            self.publish(2 * turn, number=turn)
            self.publish(2 * turn + 1)
            wanted |= {2 * turn: 1, 2 * turn + 1: 1}
            for earlier in range(turn):
                self.publish(2 * earlier, number=earlier)
            marker = 1_000 + turn
            self.publish(marker)
            wanted[marker] = 1
            with self.subTest(away=away):
                self.wait_rows(wanted)
        self.assertEqual(self.generations(), [1])

    def test_a_rollback_knows_what_came_last(self):
        self.set_clock("1 year")
        for n in (1, 2, 3):
            self.publish(n)
        self.wait_rows({1: 1, 2: 1, 3: 1})
        self.node.run("ingest", "rollback", "events", "--to", "1")
        self.assertEqual(self.rows(), {1: 1})
        self.set_clock("0")
        # Done again earlier than it was undone, if one believes the clock.
        self.node.run("replay", "events", "--from", "2", "--force")
        self.assertEqual(self.rows(), {1: 1, 2: 1, 3: 1})
        self.node.run("ingest", "rollback", "events", "--to", "1")
        self.assertEqual(self.rows(), {1: 1})

    def test_a_clock_that_jumped_is_said(self):
        self.set_clock("-1 year")
        node.wait_until(lambda: "the database's clock has jumped" in self.node.log_text(), "it is said")
        self.assertEqual(node.metric(self.node, "meridian_ingest_clock_jumps_total"), 1)

    def test_ids_go_when_their_time_has_really_passed(self):
        self.publish(1, number=1)
        self.wait_rows({1: 1})
        self.set_clock("1 year")
        self.set_clock("0")
        for newest in (2, 3):
            # Not a moment early, and one generation at a time.
            self.node.owner("UPDATE meridian.ingest_clock SET counted = (SELECT max(opened_at) FROM"
                            " meridian.ingest_generations) + interval '3 days' - interval '20 minutes'")
            self.node.owner(ROTATE)
            self.assertEqual(self.generations()[-1], newest - 1)
            self.node.owner("UPDATE meridian.ingest_clock SET counted = counted + interval '20 minutes'")
            for _ in range(2):
                self.node.owner(ROTATE)
            self.assertEqual(self.generations(), [newest - 1, newest])
            if newest == 2:
                self.publish(1, number=1)
                known = "SELECT count(*) FROM meridian.ingest_batches WHERE messages = 1 AND fresh = 0"
                node.wait_until(lambda: self.node.owner(known) == "1", "it is known")
        self.publish(1, number=1)
        node.wait_until(lambda: self.rows() == {1: 2}, "it is a new one")

    def test_a_look_counts_what_has_passed_and_no_more(self):
        def counted(looked_at, most):
            self.node.owner("UPDATE meridian.ingest_clock SET counted = '2026-01-01Z',"
                            f" looked_at = clock_timestamp() {looked_at}")
            self.node.owner(f"SELECT meridian.ingest_rotate('3 days', '30 days', '{most}')")
            return float(self.node.owner(
                "SELECT extract(epoch FROM counted - '2026-01-01Z'::timestamptz) FROM meridian.ingest_clock"))

        self.assertEqual(counted("- interval '1 year'", "15 minutes"), 900)
        self.assertEqual(counted("+ interval '1 year'", "15 minutes"), 0)
        self.assertEqual(counted("- interval '1 year'", "0"), 0)
        passed = counted("- interval '10 minutes'", "15 minutes")
        self.assertTrue(600 <= passed < 660, passed)

    def test_a_rule_that_rests_longer_than_the_ledger_is_kept(self):
        for n in range(5):
            self.publish(n)
        wanted = dict.fromkeys(range(5), 1)
        self.wait_rows(wanted)
        for rest in range(3):
            days = "SELECT count(*) FILTER (WHERE day < '{0}'), count(*) FROM meridian.ingest_batches"
            today = self.node.owner("UPDATE meridian.ingest_clock SET counted = counted + interval '40 days'"
                                    " RETURNING (counted AT TIME ZONE 'UTC')::date")
            self.restart()
            # What says where the rule goes on is still there, and nothing else is.
            old, kept = self.node.owner(days.format(today)).split("|")
            self.assertEqual(int(old), 0)
            self.assertLessEqual(int(kept), 2)
            self.publish(100 + rest)
            wanted[100 + rest] = 1
            self.wait_rows(wanted)


if __name__ == "__main__":
    node.main()
