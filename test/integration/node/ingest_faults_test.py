"""Ingest under faults: whatever is killed, lost or set back, each message is one row."""

import json
import os
import random
import shutil
import subprocess
import threading
import time
import unittest

import clients
import node
import serve_test


FAULTS = """
roles:
  writer:
    postgres: {databases: [shop]}
ingest:
  events:
    subject: events.>
    stream: EVENTS
    role: writer
    key: "{k}"
    workers: 3
    batch: 200
    ack_wait: 2s
    sql: "INSERT INTO events (n, k, place) VALUES ({n}, {k}, {meridian.sequence})"
"""
STAMP = "iss=meridian;sub=producer;role=producer;req=0193a1c2d3e47f5a8b9c0d1e2f3a4b5c"


class Producer(threading.Thread):
    """Publishes n = 0, 1, ... straight to the server, each until the stream has acknowledged it."""

    def __init__(self, running, count, poison=None, pause=0.0):
        super().__init__(daemon=True)
        self.node = running
        self.count = count
        self.pause = pause  # Before each window of messages.
        self.limit = count  # Goes on when it is raised.
        self.poison = poison or (lambda n: False)
        self.acknowledged = set()
        self.failure = None
        self.stopped = False

    def run(self):
        try:
            while len(self.acknowledged) < self.count and not self.stopped:
                try:
                    with self.node.nats() as client:
                        self.publish(client)
                except (OSError, clients.Ended, StopIteration, AssertionError, FileNotFoundError,
                        json.JSONDecodeError):
                    time.sleep(0.02)
        except BaseException as error:  # pylint: disable=broad-except
            self.failure = error

    def publish(self, client):
        client.subscribe(client.inbox + ".*")
        for begin in range(0, self.count, 250):
            time.sleep(self.pause)
            while len(self.acknowledged) >= self.limit and not self.stopped:
                time.sleep(0.01)
            wanted = [n for n in range(begin, min(begin + 250, self.count))
                      if n not in self.acknowledged]
            while wanted and not self.stopped:
                for n in wanted:
                    body = json.dumps({"n": "x" if self.poison(n) else n, "k": n % 7, "of": n})
                    client.publish(f"events.{n % 3}", body,
                                   {"Nats-Msg-Id": f"p:{n}", "Meridian-Identity": STAMP},
                                   reply=f"{client.inbox}.{n}")
                for _ in wanted:
                    subject, head, body = client.next()
                    if "503" not in head.split("\r\n")[0] and b"error" not in body:
                        self.acknowledged.add(int(subject.rsplit(".", 1)[1]))
                wanted = [n for n in wanted if n not in self.acknowledged]
                if wanted:
                    time.sleep(0.05)


class IngestFaultTest(unittest.TestCase):
    def setUp(self):
        self.node = node.use_node(self, FAULTS, shop=False)
        self.node.owner(
            "CREATE TABLE events (seq bigserial, n int NOT NULL, k int NOT NULL, place bigint);"
            "GRANT INSERT ON events TO writer; GRANT USAGE ON SEQUENCE events_seq_seq TO writer"
        )
        node.wait_until(lambda: self.state()["state"] == "running", "the rule runs")

    def state(self):
        told = self.node.run("--json", "ingest", "status", code=None)
        if not told.stdout.startswith("{"):
            return {"state": "none", "why": told.stderr}
        return json.loads(told.stdout)["rules"][0]

    def all_acknowledged(self):
        """The rule has acknowledged all that the stream has, so all of it is committed."""
        last = self.node.jetstream("STREAM.INFO.EVENTS")["state"]["last_seq"]
        told = self.node.jetstream("CONSUMER.INFO.EVENTS." + self.node.consumer("EVENTS", "events"))
        return "error" not in told and told["num_pending"] == 0 and told["ack_floor"]["stream_seq"] == last

    def numbers(self, sql):
        return [int(each or 0) for each in self.node.owner(sql).split("|")]

    def check_exact(self, count, dead=0):
        """Every message is one row or one dead letter, and within a key in order."""
        def all_there():
            return self.numbers("SELECT count(*) FROM events")[0] >= count - dead

        node.wait_until(all_there, f"{count - dead} rows", patience=90)
        self.assertEqual(
            self.numbers("SELECT count(*), count(DISTINCT n) FROM events"),
            [count - dead, count - dead],
        )
        node.wait_until(
            lambda: self.numbers("SELECT count(*) FROM meridian.dead_letters")[0] == dead,
            f"{dead} dead letters",
        )
        self.assertEqual(self.numbers(
            "SELECT count(*) FROM (SELECT place < lag(place) OVER (PARTITION BY k ORDER BY seq)"
            " AS back FROM events) AS x WHERE back"), [0])

    def test_everything_is_killed_under_load(self):
        random.seed(4)
        count = 30_000
        producer = Producer(self.node, count, poison=lambda n: n % 1_000 == 17, pause=0.02)
        producer.limit = 1
        producer.start()
        self.addCleanup(setattr, producer, "stopped", True)
        kills = []
        while producer.is_alive() and len(kills) < 9:
            # Published and worked on while it happens.
            producer.limit = (len(kills) + 1) * count // 10
            time.sleep(random.uniform(0.05, 0.4))
            target = ("meridian", "nats", "postgres")[len(kills) % 3]
            kills.append(target)
            if target == "meridian":
                self.node.kill()
                node.wait_until(lambda: not self.node.engine_processes(), "the engines end")
                self.node.start()
            else:
                self.node.kill_engine(target)
        producer.limit = count
        producer.join(90)
        self.assertIsNone(producer.failure)
        self.assertEqual(len(producer.acknowledged), count)
        self.assertEqual(len(kills), 9)
        self.check_exact(count, dead=30)

    def test_a_bug_that_acknowledges_before_the_commit_would_be_found(self):
        self.node.stop()
        self.node.start("--test-mutation", "ack-before-commit")
        node.wait_until(lambda: self.state()["state"] == "running", "the rule runs")
        # The kill comes between the two: no batch is committed before it.
        self.node.owner(
            "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;"
            "CREATE TRIGGER rest BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION rest()"
        )
        count = 150  # No more than one worker takes at once.
        self.publish(0, count)
        node.wait_until(self.all_acknowledged, "all is acknowledged")
        self.node.kill()
        node.wait_until(lambda: not self.node.engine_processes(), "the engines end")
        self.node.start("--test-mutation", "ack-before-commit")
        self.node.owner("DROP TRIGGER rest ON events")
        self.publish(count, 1)
        node.wait_until(lambda: self.numbers(f"SELECT count(*) FROM events WHERE n = {count}") == [1],
                        "it goes on after them")
        self.assertLess(self.numbers("SELECT count(DISTINCT n) FROM events")[0], count + 1)

    def publish(self, first, count):
        producer = Producer(self.node, first + count)
        producer.acknowledged = set(range(first))
        producer.run()
        self.assertIsNone(producer.failure)

    def test_the_database_is_restored_to_an_earlier_point(self):
        self.publish(0, 500)
        self.check_exact(500)
        tables = ("events", "meridian.ingest_batches", "meridian.ingest_ids", "meridian.leases",
                  "meridian.ingest_rules")
        for table in tables:
            self.node.owner(f"CREATE TABLE kept_{table.replace('.', '_')} AS SELECT * FROM {table}")
        self.publish(500, 500)
        self.check_exact(1_000)
        self.node.run("ingest", "pause", "events")
        node.wait_until(lambda: self.state()["state"] == "paused", "it is paused")
        self.node.owner(
            "BEGIN; DELETE FROM events; INSERT INTO events SELECT * FROM kept_events;"
            "DELETE FROM meridian.ingest_batches;"
            "INSERT INTO meridian.ingest_batches SELECT * FROM kept_meridian_ingest_batches;"
            "DELETE FROM meridian.ingest_ids;"
            "INSERT INTO meridian.ingest_ids SELECT * FROM kept_meridian_ingest_ids;"
            "UPDATE meridian.ingest_rules r SET floor = k.floor, floor_time = k.floor_time,"
            " paused = false FROM kept_meridian_ingest_rules k; COMMIT"
        )
        self.check_exact(1_000)
        self.assertIn("the database lost commits", self.node.log_text())

    def test_a_stream_that_was_made_again_waits_for_an_operator(self):
        self.publish(0, 300)
        self.check_exact(300)
        self.node.jetstream("STREAM.DELETE.EVENTS")
        self.node.run("ingest", "resume", "events")
        node.wait_until(lambda: "is gone" in self.state()["why"], "it says so")
        created = self.node.jetstream(
            "STREAM.CREATE.EVENTS",
            json.dumps({"name": "EVENTS", "subjects": ["events.>"], "storage": "file",
                        "retention": "limits"}).encode(),
        )
        self.assertNotIn("error", created)
        self.node.run("ingest", "resume", "events")
        node.wait_until(lambda: "deleted" in self.state()["why"], "it says so")
        node.wait_until(lambda: self.state()["state"] == "blocked", "it is blocked")
        self.assertIn("deleted and made again", self.state()["why"])
        self.publish(300, 300)
        self.assertEqual(self.numbers("SELECT count(*) FROM events"), [300])
        self.node.run("ingest", "resume", "events", "--accept-stream")
        self.check_exact_without_order(600)

    def check_exact_without_order(self, count):
        node.wait_until(
            lambda: self.numbers("SELECT count(*), count(DISTINCT n) FROM events")
            == [count, count],
            f"{count} rows",
        )

    def test_a_purged_stream_is_a_gap_and_nothing_stops(self):
        self.publish(0, 300)
        self.check_exact(300)
        self.node.run("ingest", "pause", "events")
        node.wait_until(lambda: self.state()["state"] == "paused", "it is paused")
        self.publish(300, 100)
        self.node.jetstream("STREAM.PURGE.EVENTS")
        self.publish(400, 100)
        self.node.run("ingest", "resume", "events")
        self.check_exact(400)
        self.assertIn("retention gap", self.node.log_text())
        self.assertEqual(self.state()["gap"], "301 to 400")

    def test_ids_within_a_batch_are_judged_by_whose_they_are(self):
        config = self.node.jetstream("STREAM.INFO.EVENTS")["config"]
        config["duplicate_window"] = 100_000_000
        updated = self.node.jetstream("STREAM.UPDATE.EVENTS", json.dumps(config).encode())
        self.assertNotIn("error", updated)

        def publish(*bodies):
            """In one batch: the rule rests meanwhile. The stream's own window is over."""
            self.node.run("ingest", "pause", "events")
            node.wait_until(lambda: self.state()["state"] == "paused", "it is paused")
            with self.node.nats() as client:
                client.subscribe(client.inbox)
                for body, name in bodies:
                    node.wait_until(lambda: stored(client, body, name), "it is no duplicate to the stream")  # noqa: B023
            self.node.run("ingest", "resume", "events")
            node.wait_until(self.all_acknowledged, "all is done")

        def stored(client, body, name):
            client.publish("events.0", body, {"Nats-Msg-Id": name, "Meridian-Identity": STAMP}, reply=client.inbox)
            answer = json.loads(client.next()[2])
            self.assertNotIn("error", answer)
            return not answer.get("duplicate")

        first, other = '{"n": 1, "k": 1}', '{"n": 2, "k": 1}'
        publish((first, "a"))
        publish((other, "a"), (first, "a"), ("{", "b"), ("{", "b"))
        self.assertEqual(self.node.owner("SELECT string_agg(n::text, ' ') FROM events"), "1")
        self.assertEqual(
            self.node.owner("SELECT string_agg(reason || ' ' || convert_from(payload, 'UTF8'), ', '"
                            " ORDER BY reason) FROM meridian.dead_letters"),
            f"id conflict {other}, unreadable {{",
        )

    def test_a_consumer_that_is_deleted_is_made_again(self):
        self.publish(0, 300)
        self.check_exact(300)
        deleted = self.node.jetstream("CONSUMER.DELETE.EVENTS." + self.node.consumer("EVENTS", "events"))
        self.assertTrue(deleted.get("success"), deleted)
        self.publish(300, 300)
        self.check_exact(600)

    def test_a_stream_that_lost_its_end_and_uses_its_numbers_again(self):
        self.publish(0, 300)
        self.check_exact(300)
        kept = self.node.root / "kept"
        store = self.node.data / "nats" / "jetstream"
        self.node.stop()
        shutil.copytree(store, kept)
        self.node.start()
        node.wait_until(lambda: self.state()["state"] == "running", "the rule runs")
        self.publish(300, 300)
        self.check_exact(600)
        self.node.stop()
        for path in [store, *store.rglob("*")]:
            owner = path.stat()
        shutil.rmtree(store)
        shutil.copytree(kept, store)
        for path in [store, *store.rglob("*")]:
            os.chown(path, owner.st_uid, owner.st_gid)
        # As of before: 300 messages. What is published now takes the numbers of those that are gone.
        self.node.start()
        node.wait_until(lambda: self.state()["state"] == "blocked", "it is blocked")
        self.assertIn("lost its end", self.state()["why"])
        self.publish(600, 400)
        self.node.run("ingest", "resume", "events")
        self.check_exact_without_order(1_000)
        self.assertIn("sequence re-use", self.node.log_text())



TWO = """
timeline: {{url: "postgres://owner@127.0.0.1:{postgres}/shop", password_file: owner.password, manage_roles: {manages}}}
redis: {{url: "redis://127.0.0.1:{redis}"}}
nats: {{url: "nats://127.0.0.1:{nats}", password_file: nats.token}}
"""


class TwoNodesTest(unittest.TestCase):
    """Two nodes before one database and one NATS."""

    def setUp(self):
        self.servers = serve_test.Servers(self)
        self.servers.sql("ALTER SYSTEM SET wal_level = 'logical'")
        self.servers.sql("ALTER SYSTEM SET max_replication_slots = 20")
        self.servers.restart()
        self.servers.sql(
            "CREATE TABLE events (seq bigserial, n int NOT NULL, k int NOT NULL, place bigint)"
        )
        store = self.servers.root / "jetstream"
        self.port = serve_test.free_port()
        self.nats_server = subprocess.Popen(
            [serve_test.nats_program(), "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", store,
             "--auth", "not-guessed"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.nats_server.wait)
        self.addCleanup(self.nats_server.terminate)
        self.nodes = []
        for _ in range(2):
            running = node.Node(
                TWO.format(postgres=self.servers.port, redis=self.servers.redis_port,
                           nats=self.port, manages="true") + FAULTS
            )
            self.addCleanup(running.close)
            for name, text in (("owner.password", "not-guessed"), ("nats.token", "not-guessed")):
                (running.root / name).write_text(text)
                (running.root / name).chmod(0o600)
            running.start(command="serve")
            if not self.nodes:
                self.servers.sql("GRANT INSERT ON events TO writer;"
                                 "GRANT USAGE ON SEQUENCE events_seq_seq TO writer")
            self.nodes.append(running)

    def nats(self):
        return clients.NatsProducer(("127.0.0.1", self.port), "not-guessed")

    def states(self):
        found = []
        for running in self.nodes:
            told = running.run("--json", "ingest", "status", code=None).stdout
            found.append(json.loads(told)["rules"][0]["state"] if told.startswith("{") else "none")
        return sorted(found)

    def test_one_works_and_the_other_takes_over(self):
        node.wait_until(lambda: self.states() == ["running", "waiting"], "one works")
        count = 15_000
        producer = Producer(self, count, pause=0.02)
        producer.limit = 1
        producer.start()
        self.addCleanup(setattr, producer, "stopped", True)
        kills = 0
        while producer.is_alive() and kills < 4:
            producer.limit = (kills + 1) * count // 5
            time.sleep(0.5)
            owner = next((each for each in self.nodes if '"running"' in each.run(
                "--json", "ingest", "status", code=None).stdout), None)
            if not owner:
                continue
            owner.kill()
            owner.start(command="serve")
            kills += 1
        producer.limit = count
        producer.join(60)
        self.assertIsNone(producer.failure)
        self.assertEqual(kills, 4)
        rows = lambda: [int(each) for each in self.servers.sql(
            "SELECT count(*), count(DISTINCT n) FROM events").split("|")]
        node.wait_until(lambda: rows()[0] >= count, "all rows", patience=60)
        self.assertEqual(rows(), [count, count])
        self.assertEqual(self.servers.sql(
            "SELECT count(*) FROM (SELECT place < lag(place) OVER (PARTITION BY k ORDER BY seq)"
            " AS back FROM events) AS x WHERE back"), "0")


if __name__ == "__main__":
    node.main()
