"""The network between a node and its servers is cut, without a word to either side: each message is
one row, and each row one message of the outbox, whether the connections of before come to life
again or never do."""

import json
import select
import socket
import subprocess
import threading
import time
import unittest

import clients
import node
import serve_test
from ingest_faults_test import Producer

CONFIG = """
timeline: {{url: "postgres://owner@127.0.0.1:{postgres}/shop", password_file: owner.password, manage_roles: true}}
redis: {{url: "redis://127.0.0.1:{redis}"}}
nats: {{url: "nats://127.0.0.1:{nats}", password_file: nats.token}}
roles:
  writer:
    postgres: {{databases: [shop]}}
publish:
  events: {{subject: shop.events.n}}
ingest:
  events:
    subject: events.>
    stream: EVENTS
    role: writer
    key: "{{k}}"
    workers: 3
    batch: 200
    ack_wait: 2s
    statement_timeout: 3s
    sql: "INSERT INTO events (n, k, place) VALUES ({{n}}, {{k}}, {{meridian.sequence}})"
outbox: {{duplicate_window: 100ms}}
"""


class Wire:
    """A network between a node and a server that can be cut: then nothing comes through, and nobody
    hears of it."""

    def __init__(self, case, target):
        self.target = target
        self.whole = threading.Event()
        self.whole.set()
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []
        self.over = False
        case.addCleanup(self.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def cut(self, for_ever=False):
        """`for_ever`: the connections of now stay dead when the network is mended."""
        self.whole.clear()
        if for_ever:
            self.cuts += 1

    def mend(self):
        self.whole.set()

    def accept(self):
        while not self.over:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client, self.cuts), daemon=True).start()

    def serve(self, client, made_at):
        self.whole.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        self.open += [client, server]
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self.copy, args=(source, sink, made_at), daemon=True).start()

    def copy(self, source, sink, made_at):
        """The end of a connection does not come through a cut network either."""
        try:
            while not self.over:
                select.select([source], [], [])
                if not self.wait_whole(made_at):
                    return
                some = source.recv(65_536)
                if not self.wait_whole(made_at):
                    return
                if not some:
                    break
                sink.sendall(some)
        except (OSError, ValueError):
            pass
        if self.wait_whole(made_at):
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def wait_whole(self, made_at):
        if made_at != self.cuts:
            return False
        self.whole.wait()
        return made_at == self.cuts

    def close(self):
        self.over = True
        self.cuts += 1
        self.whole.set()
        self.listener.close()
        for each in self.open:
            each.close()


class Faults(unittest.TestCase):
    """A node before servers of its own, under a load that must come through."""

    def prepare(self):
        """Before the node is there."""

    def start_nats(self):
        self.nats_server = subprocess.Popen(
            [serve_test.nats_program(), "-a", "127.0.0.1", "-p", str(self.nats_port), "-js", "-sd",
             self.jetstream, "--auth", "not-guessed"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

    def stop_nats(self):
        self.nats_server.terminate()
        try:
            self.nats_server.wait(10)
        except subprocess.TimeoutExpired:
            # 2.9.10 that has found its disk full does not come to its end.
            self.nats_server.kill()
            self.nats_server.wait()

    def setUp(self):
        self.servers = serve_test.Servers(self)
        self.servers.sql("ALTER SYSTEM SET wal_level = 'logical'")
        self.servers.restart()
        self.jetstream = self.servers.root / "jetstream"
        self.prepare()
        self.servers.sql(
            "CREATE TABLE events (seq bigserial, n int NOT NULL, k int NOT NULL, place bigint)"
        )
        self.nats_port = serve_test.free_port()
        self.start_nats()
        self.addCleanup(self.stop_nats)
        self.to_postgres = Wire(self, self.servers.port)
        self.to_nats = Wire(self, self.nats_port)
        self.node = node.Node(CONFIG.format(
            postgres=self.to_postgres.port, redis=self.servers.redis_port, nats=self.to_nats.port
        ))
        self.addCleanup(self.node.close)
        for name in ("owner.password", "nats.token"):
            (self.node.root / name).write_text("not-guessed")
            (self.node.root / name).chmod(0o600)
        self.node.start(command="serve")
        self.servers.sql("GRANT INSERT ON events TO writer;"
                         "GRANT USAGE ON SEQUENCE events_seq_seq TO writer")
        node.wait_until(lambda: self.state()["state"] == "running", "the rule runs")
        # A network that is cut at the end would keep the node from its end.
        self.addCleanup(self.to_postgres.mend)
        self.addCleanup(self.to_nats.mend)

    def nats(self):
        """Past the network that is cut."""
        return clients.NatsProducer(("127.0.0.1", self.nats_port), "not-guessed")

    def state(self):
        told = self.node.run("--json", "ingest", "status", code=None).stdout
        return json.loads(told)["rules"][0] if told.startswith("{") else {"state": "none"}

    def numbers(self, sql):
        return [int(each or 0) for each in self.servers.sql(sql).split("|")]

    def load(self, seconds_each, *cuts, poison=None):
        """Messages into the stream and rows into the outbox, past the cut network, all the time."""
        producer = Producer(self, 100_000, poison=poison, pause=0.05)
        writing = threading.Event()
        writing.set()
        published, failures = [], []

        def write():
            try:
                while writing.is_set():
                    first = len(published) + 1
                    self.servers.sql("SELECT meridian.publish('shop.events.n', n::text) FROM"
                                     f" generate_series({first}, {first + 19}) AS n")
                    published.extend(range(first, first + 20))
                    time.sleep(0.05)
            except AssertionError as error:
                failures.append(error)

        writer = threading.Thread(target=write)
        producer.start()
        writer.start()
        try:
            time.sleep(0.5)
            for cut in cuts:
                cut()
                time.sleep(seconds_each)
            node.wait_until(lambda: len(producer.acknowledged) > 100 and len(published) > 100,
                            "there is enough of both")
        finally:
            producer.stopped = True
            writing.clear()
            producer.join()
            writer.join()
        self.assertIsNone(producer.failure)
        self.assertEqual(failures, [])
        return producer.acknowledged, published

    def check_exact(self, acknowledged, published, dead=None):
        self.assertGreater(len(acknowledged), 100)
        self.assertGreater(len(published), 100)
        # What the producer was not told of may be there too.
        last = self.stream_last("EVENTS")
        if dead:
            last -= -(-last // dead)  # From 0 on, which is one of them.
            acknowledged = {n for n in acknowledged if n % dead}
        node.wait_until(lambda: self.numbers("SELECT count(*) FROM events")[0] >= last,
                        f"{last} rows", patience=120)
        self.assertEqual(self.numbers("SELECT count(*), count(DISTINCT n) FROM events"),
                         [last, last])
        there = set(self.servers.sql("SELECT string_agg(n::text, ' ') FROM events").split())
        self.assertEqual({str(n) for n in acknowledged} - there, set())
        if not dead:
            self.assertEqual(self.numbers("SELECT count(*) FROM meridian.dead_letters"), [0])
        self.assertEqual(self.numbers(
            "SELECT count(*) FROM (SELECT place < lag(place) OVER (PARTITION BY k ORDER BY seq)"
            " AS back FROM events) AS x WHERE back"), [0])
        node.wait_until(lambda: self.stream_last("OUTBOX") >= len(published),
                        f"{len(published)} messages of the outbox", patience=120)
        self.assertEqual(self.outbox_payloads(), published)

    def stream_last(self, stream):
        told = self.ask(f"STREAM.INFO.{stream}")
        return told["state"]["last_seq"] if "state" in told else 0

    def ask(self, request, body=b"{}"):
        with self.nats() as client:
            client.subscribe(client.inbox)
            client.publish("$JS.API." + request, body, reply=client.inbox)
            return json.loads(client.next()[2])

    def outbox_payloads(self):
        """All there is, in the stream's order."""
        count = self.stream_last("OUTBOX")
        with self.nats() as client:
            client.subscribe(client.inbox + ".m", "2")
            config = {"deliver_subject": client.inbox + ".m", "ack_policy": "none",
                      "deliver_policy": "all"}
            client.subscribe(client.inbox)
            client.publish("$JS.API.CONSUMER.CREATE.OUTBOX",
                           json.dumps({"stream_name": "OUTBOX", "config": config}),
                           reply=client.inbox)
            found = []
            while len(found) < count:
                subject, _, body = client.next()
                if subject == "shop.events.n":
                    found.append(int(body))
            return found


class NetworkFaultTest(Faults):
    def test_each_is_cut_off_for_a_while(self):
        self.check_exact(*self.load(
            3, self.to_nats.cut, self.to_nats.mend, self.to_postgres.cut, self.to_postgres.mend))

    def test_nats_is_cut_off_and_its_connections_stay_dead(self):
        self.check_exact(*self.load(3, lambda: self.to_nats.cut(True), self.to_nats.mend))

    def test_a_transaction_that_the_network_took_away_comes_to_its_end(self):
        """The server still waits for its next statement, with the rule's lease locked: without an end
        to that nobody could take the rule any more."""
        def cut():
            for _ in range(1_000):
                self.to_postgres.cut()
                time.sleep(0.02)
                if self.numbers("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in"
                                " transaction' AND application_name = 'meridian ingest events'")[0]:
                    self.to_postgres.cut(True)
                    return
                self.to_postgres.mend()
                time.sleep(0.01)
            self.fail("no transaction was open at any cut")

        # With one in each batch that is none, so that batches take several statements.
        done = self.load(1, cut, self.to_postgres.mend, poison=lambda n: n % 50 == 0)
        self.check_exact(*done, dead=50)

    def test_statements_that_may_take_minutes_are_given_up_when_nobody_works_on_them(self):
        """Numbering rows without the feed, and making a slot, wait for other transactions as long as
        those take: only the server can say that it no longer works on them."""
        def cut():
            self.wait_for_outbox_feed()
            end_writer = self.servers.hold(self, "SELECT pg_current_xact_id()")
            self.servers.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
            # That of the views too: until then the feed of before may have something to number.
            node.wait_until(lambda: self.waits("^CREATE_REPLICATION_SLOT") == 2, "slots are made")
            # Not the table of batches: those who read it would keep the numbering from coming there.
            end_lock = self.servers.hold(self, "SELECT FROM meridian.outbox_state FOR UPDATE")
            node.wait_until(lambda: self.waits("number_outbox_backlog"), "the table is read")
            self.to_postgres.cut(True)
            end_lock()
            end_writer()

        self.check_exact(*self.load(5, cut, self.to_postgres.mend))
        self.wait_for_outbox_feed()

    def wait_for_outbox_feed(self):
        node.wait_until(
            lambda: node.metric(self.node, 'meridian_feed_connected{feed="outbox"}') == 1,
            "the outbox has its feed")

    def waits(self, pattern):
        return self.numbers("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND"
                            f" wait_event_type = 'Lock' AND query ~ '{pattern}'")[0]

    def test_both_are_cut_off_longer_than_anybody_waits(self):
        def cut():
            self.to_nats.cut()
            self.to_postgres.cut()

        def mend():
            self.to_postgres.mend()
            self.to_nats.mend()

        self.check_exact(*self.load(12, cut, mend))


if __name__ == "__main__":
    node.main()
