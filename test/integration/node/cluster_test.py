"""A cluster of three nats-servers, two nodes of Meridian on one database: whoever is killed, each message is
one row and each row one message of the outbox, in order. And two installations that share a NATS, which
are no nodes of each other."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import clients
import node
from serve_test import Servers, free_port, nats_program

TOKEN = "a-token-of-the-cluster"
CONFIG = """
timeline: {{url: "postgres://owner@127.0.0.1:{postgres}/shop", password_file: owner.password, manage_roles: true}}
redis: {{url: "redis://127.0.0.1:{redis}"}}
nats: {{url: "{nats}", password_file: nats.password}}
roles:
  checkout:
    bind: [{{issuer: meridian, subject: checkout}}]
    postgres: {{databases: [shop]}}
    nats: {{publish: ["orders.created", "orders.returned"], headers: ["Nats-Msg-Id"]}}
  order_writer:
    postgres: {{databases: [shop]}}
ingest:
  orders:
    subject: orders.created
    replicas: {replicas}
    role: order_writer
    require: {{roles: [checkout]}}
    key: "{{customer}}"
    batch: 50
    sql: "INSERT INTO orders (id, customer, place) VALUES ({{id}}, {{customer}}, {{meridian.sequence}})"
  returns:
    subject: orders.returned
    replicas: {replicas}
    role: order_writer
    sql: "INSERT INTO returns (id) VALUES ({{id}})"
publish:
  changes:
    table: orders
    subject: "{subject}.{{customer}}"
    columns: [id, customer, place]
outbox: {{stream: {stream}, replicas: {replicas}}}
"""
# No column is unique: what comes twice is seen.
SCHEMA = """
CREATE TABLE orders (seq bigserial, id bigint, customer int, place bigint);
CREATE TABLE returns (id bigint);
"""
GRANTS = """
GRANT INSERT ON orders, returns TO order_writer;
GRANT USAGE ON SEQUENCE orders_seq_seq TO order_writer;
"""
CUSTOMERS = 7


class NatsServers:
    """One nats-server, or a cluster of them."""

    def __init__(self, case, count):
        self.program = nats_program()
        if not pathlib.Path(self.program).exists():
            raise unittest.SkipTest("no nats-server is installed")
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="meridian-test-"))
        case.addCleanup(shutil.rmtree, self.root)
        self.ports = [free_port() for _ in range(count)]
        routes = [free_port() for _ in range(count)]
        self.processes = [None] * count
        case.addCleanup(self.stop)
        for index in range(count):
            text = (
                f"host: 127.0.0.1\nport: {self.ports[index]}\nserver_name: n{index}\n"
                f'authorization {{ token: "{TOKEN}" }}\n'
                f'jetstream {{ store_dir: "{self.root}/store{index}" }}\n'
            )
            if count > 1:
                others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
                text += (f"cluster {{ name: c, host: 127.0.0.1, port: {routes[index]},"
                         f" no_advertise: true, routes: [ {others} ] }}\n")
            (self.root / f"{index}.conf").write_text(text)
            self.start(index)
        self.wait_until_answering()

    def start(self, index):
        with open(self.root / f"{index}.log", "ab") as log:
            self.processes[index] = subprocess.Popen(
                [self.program, "-c", self.root / f"{index}.conf"], stdout=log, stderr=log)

    def kill(self, index):
        self.processes[index].kill()
        self.processes[index].wait()

    def stop(self):
        for process in self.processes:
            if process and process.poll() is None:
                process.kill()
                process.wait()

    def url(self):
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)

    def connect(self, timeout=30.0):
        """Past the doors, to any that answers."""
        for port, process in zip(self.ports, self.processes):
            if process and process.poll() is None:
                with contextlib.suppress(OSError, clients.Ended):
                    return clients.NatsProducer(("127.0.0.1", port), TOKEN, timeout)
        raise OSError("no nats-server answers")

    def ask(self, request, body=None):
        """JetStream's answer; None while it has none."""
        with contextlib.suppress(OSError, clients.Ended, ValueError), self.connect(2.0) as client:
            client.subscribe(client.inbox)
            client.publish("$JS.API." + request, json.dumps(body or {}), reply=client.inbox)
            return json.loads(client.next()[2])
        return None

    def answer(self, request):
        """JetStream's answer, as soon as it has one."""
        return node.wait_until(lambda: self.ask(request), f"JetStream answers {request}")

    def wait_until_answering(self):
        def answers():
            told = self.ask("INFO")
            return told and "error" not in told

        node.wait_until(answers, "JetStream has a leader")

    def wait_until_whole(self, *streams):
        """All replicas have all messages: then one more may die."""
        def whole():
            for stream in streams:
                told = self.ask("STREAM.INFO." + stream)
                if not told or "cluster" not in told or not told["cluster"].get("leader"):
                    return False
                replicas = told["cluster"].get("replicas", [])
                if len(replicas) != len(self.ports) - 1:
                    return False
                if not all(each["current"] and not each.get("offline") for each in replicas):
                    return False
            return True

        node.wait_until(whole, f"all replicas of {streams} are current", patience=90)

    def read(self, stream):
        """All messages: headers as a dictionary, the payload."""
        count = self.answer("STREAM.INFO." + stream)["state"]["messages"]
        with self.connect() as client:
            to = client.inbox + ".read"
            client.subscribe(to)
            config = {"deliver_subject": to, "ack_policy": "none", "deliver_policy": "all"}
            client.publish(f"$JS.API.CONSUMER.CREATE.{stream}",
                           json.dumps({"stream_name": stream, "config": config}))
            messages = []
            while len(messages) < count:
                _, head, payload = client.next()
                lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
                messages.append((dict(lines), payload))
            return messages


class NamedNode(node.Node):
    def __init__(self, name, servers, config):
        self.name = name
        super().__init__(config)
        shutil.copy(servers.password, self.root / "owner.password")
        (self.root / "nats.password").write_text(TOKEN + "\n")
        for secret in ("owner.password", "nats.password"):
            os.chmod(self.root / secret, 0o600)

    def write_config(self, text):
        super().write_config(text)
        self.config_file.write_text(
            self.config_file.read_text().replace("{name: test,", "{name: " + self.name + ","))

    def made_rows(self):
        """How many of the messages that are rows now it has brought in since it was started."""
        with contextlib.suppress(OSError, clients.Ended), clients.connect(self.doors["http"]) as stream:
            stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            text = clients.read_to_end(stream).decode()
            return sum(int(n) for n in re.findall(
                r'^meridian_ingest_messages_total\{[^}]*outcome="row"[^}]*\} (\d+)', text, re.M))
        return 0

    def outbox(self):
        done = self.run("--json", "outbox", "status", code=None)
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}


def config_of(servers, nats, replicas=1, stream="OUTBOX", subject="changed"):
    return CONFIG.format(postgres=servers.port, redis=servers.redis_port, nats=nats.url(),
                         replicas=replicas, stream=stream, subject=subject)


def make_database(case, servers):
    servers.sql("ALTER SYSTEM SET wal_level = 'logical'")
    servers.restart()
    servers.sql(SCHEMA)


def let_rows_in(servers):
    """From when on the outbox has all of them: ingest needs no more than the rights to begin."""
    node.wait_until(lambda: servers.sql(
        "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'meridian_publish_%' AND tgtype & 4 <> 0") != "0",
        "the table's new rows are published")
    servers.sql(GRANTS)


class Producer:
    """Publishes the numbers one after the other through the doors of all nodes in turn, each again, by its
    id, until the stream has acknowledged it."""

    BATCH = 20

    def __init__(self, nodes, subject, name):
        self.nodes, self.subject, self.name = nodes, subject, name
        self.acknowledged = 0
        self.sent_again = 0
        self.stopping = self.given_up = False
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def stop(self):
        self.stopping = True
        self.thread.join()
        return self.acknowledged

    def give_up(self):
        self.given_up = True
        self.stop()

    def work(self):
        turn = 0
        waiting = []
        while not self.given_up and (waiting or not self.stopping):
            turn += 1
            index = turn % len(self.nodes)
            try:
                # Of now: a node that was started again has another address.
                token, address = self.nodes[index].token("checkout"), self.nodes[index].doors["nats"]
                with clients.NatsProducer(address, token, 5.0) as client:
                    client.subscribe(client.inbox + ".*")
                    # Now and then the other door.
                    for _ in range(50):
                        if self.stopping and not waiting:
                            break
                        self.sent_again += len(waiting)
                        waiting = self.round(client, waiting)
                        time.sleep(0.02)
            except (OSError, KeyError, AssertionError, subprocess.TimeoutExpired, clients.Ended):
                time.sleep(0.05)

    def round(self, client, waiting):
        """Sends what waits and some more; returns what waits then. So does `waiting` when it fails."""
        first = self.acknowledged + len(waiting) + 1
        waiting.extend(range(first, first + (0 if self.stopping else self.BATCH - len(waiting))))
        for number in waiting:
            client.publish(self.subject, json.dumps({"id": number, "customer": number % CUSTOMERS}),
                           {"Nats-Msg-Id": f"{self.name}-{number}"}, f"{client.inbox}.{number}")
        for _ in list(waiting):
            subject, head, payload = client.next()
            number = int(subject.rpartition(".")[2])
            if number in waiting and "503" not in head[:20] and b'"error"' not in payload:
                waiting.remove(number)
                self.acknowledged += 1
        return waiting


class ClusterTest(unittest.TestCase):
    STREAMS = ("ingest_orders", "ingest_returns", "OUTBOX")

    def setUp(self):
        self.nats = NatsServers(self, 3)
        self.servers = Servers(self)
        make_database(self, self.servers)
        config = config_of(self.servers, self.nats, replicas=3)
        self.nodes = []
        for name in ("a", "b"):
            running = NamedNode(name, self.servers, config)
            self.addCleanup(running.close)
            self.nodes.append(running.start(command="serve"))
        let_rows_in(self.servers)
        self.producers = []

    def rows(self):
        return int(self.servers.sql("SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM returns)"))

    def wait_for_progress(self, what):
        """Acknowledgements and rows go on."""
        before = [producer.acknowledged for producer in self.producers]
        rows = self.rows()
        node.wait_until(
            lambda: all(producer.acknowledged > then + 100
                        for producer, then in zip(self.producers, before)) and self.rows() > rows + 200,
            f"messages go on while {what}", patience=90)

    def test_whoever_is_killed_nothing_is_lost_or_doubled(self):
        self.nats.wait_until_whole(*self.STREAMS)
        for subject, name in (("orders.created", "o"), ("orders.returned", "r")):
            producer = Producer(self.nodes, subject, name)
            self.producers.append(producer)
            self.addCleanup(producer.give_up)
        self.wait_for_progress("all are there")
        worked = [0, 0]
        published_by = set()
        for round_, servers in enumerate(((0, 1), (2,))):
            for index in servers:
                self.nats.kill(index)
                self.wait_for_progress(f"nats-server {index} is dead")
                self.nats.start(index)
                self.nats.wait_until_whole(*self.STREAMS)
            dead = self.nodes[round_]
            alive = 1 - round_
            dead.kill()
            rows = self.nodes[alive].made_rows()
            self.wait_for_progress("a node is dead")
            node.wait_until(lambda: self.nodes[alive].made_rows() > rows + 100, "the other has taken over")
            node.wait_until(lambda: self.nodes[alive].outbox().get("owner"), "the outbox too")
            published_by.add(alive)
            worked[alive] += self.nodes[alive].made_rows()
            dead.start(command="serve")
        self.assertGreater(min(worked), 100, "each of the nodes has brought rows in")
        self.assertEqual(published_by, {0, 1})
        # Without a majority nothing is acknowledged, and with it all goes on.
        self.nats.kill(0)
        self.nats.kill(1)
        self.nodes[0].kill()
        self.nats.start(0)
        self.nodes[0].start(command="serve")
        self.nats.start(1)
        self.wait_for_progress("all of them come back")

        counts = [producer.stop() for producer in self.producers]
        self.assertGreater(sum(producer.sent_again for producer in self.producers), 0)
        node.wait_until(lambda: self.rows() >= sum(counts), "all rows are there", patience=90)
        for table, count in zip(("orders", "returns"), counts):
            self.assertEqual(
                self.servers.sql(f"SELECT count(*), count(DISTINCT id), min(id), max(id) FROM {table}"),
                f"{count}|{count}|1|{count}")
        self.assertEqual(self.servers.sql("SELECT count(*) FROM meridian.dead_letters"), "0")
        self.assertEqual(
            self.servers.sql("SELECT count(*) FROM (SELECT place - lag(place) OVER"
                             " (PARTITION BY customer ORDER BY seq) AS step FROM orders) AS s WHERE step <= 0"),
            "0", "messages of one key were committed in order")
        self.check_outbox(counts[0])

    def check_outbox(self, count):
        node.wait_until(
            lambda: any(each.outbox().get("owner") and each.outbox()["published"] == count
                        for each in self.nodes), "all of it is published", patience=90)
        messages = self.nats.read("OUTBOX")
        ids = [headers["Nats-Msg-Id"].split(".") for headers, _ in messages]
        self.assertEqual([int(number) for _, _, number in ids], list(range(1, count + 1)))
        self.assertEqual(len({installation for _, installation, _ in ids}), 1)
        rows = [json.loads(payload)["after"] for _, payload in messages]
        self.assertEqual(sorted(row["id"] for row in rows), list(range(1, count + 1)))
        last = {}
        for row in rows:
            self.assertGreater(row["place"], last.get(row["customer"], 0))
            last[row["customer"]] = row["place"]


class InstallationsTest(unittest.TestCase):
    """Two that know nothing of each other and are configured alike."""

    def setUp(self):
        self.nats = NatsServers(self, 1)
        self.servers = [Servers(self), Servers(self)]
        self.nodes = []
        for name, servers in zip(("a", "b"), self.servers):
            make_database(self, servers)
            running = NamedNode(name, servers, config_of(servers, self.nats))
            self.addCleanup(running.close)
            self.nodes.append(running.start(command="serve"))
            let_rows_in(servers)
            if name == "a":
                # The stream of the outbox is its own from here on.
                for stream in ("ingest_orders", "OUTBOX"):
                    node.wait_until(lambda: "config" in self.nats.answer("STREAM.INFO." + stream), "it is made")
                self.publish(range(1, 11))
                node.wait_until(lambda: self.published(0) == 10, "its rows are published")

    def publish(self, numbers):
        with clients.NatsProducer(self.nodes[0].doors["nats"], self.nodes[0].token("checkout")) as client:
            for number in numbers:
                client.publish("orders.created", json.dumps({"id": number, "customer": number % CUSTOMERS}))
            client.flush()

    def published(self, index):
        return self.nodes[index].outbox().get("published")

    def ids(self, index):
        return [int(each) for each in self.servers[index].sql("SELECT id FROM orders ORDER BY id").split()]

    def installations(self, stream="OUTBOX"):
        ids = [headers["Nats-Msg-Id"].split(".") for headers, _ in self.nats.read(stream)]
        return [(installation, int(number)) for _, installation, number in ids]

    def wait_for(self, index, condition, what):
        """The state of that node's outbox that the condition is true of."""
        def told():
            outbox = self.nodes[index].outbox()
            return outbox and condition(outbox) and outbox

        return node.wait_until(told, what)

    @staticmethod
    def of_another(outbox):
        return "of another installation" in outbox.get("problem", "")

    def test_neither_takes_what_is_the_others(self):
        # Each has all messages as rows of its own, by a consumer of its own.
        self.publish(range(11, 21))
        for index in range(2):
            node.wait_until(lambda: self.ids(index) == list(range(1, 21)), "all messages are rows here")
        consumers = self.nats.answer("CONSUMER.NAMES.ingest_orders")["consumers"]
        self.assertEqual(len(consumers), 2, consumers)
        for consumer in consumers:
            self.assertRegex(consumer, r"^meridian_orders_[0-9a-f]{12}$")
        # One outbox has the stream. The other says what is wrong, and disturbs nobody.
        told = self.wait_for(1, self.of_another, "it is said")
        self.assertEqual(told["state"], "gap")
        self.assertRegex(told["problem"], r"of another installation, [0-9a-f]{12}; .* each needs its own")
        self.publish(range(21, 31))
        node.wait_until(lambda: self.published(0) == 30, "the first goes on")
        seen = self.installations()
        self.assertEqual([number for _, number in seen], list(range(1, 31)))
        self.assertEqual(len({installation for installation, _ in seen}), 1)

        # With a stream and subjects of its own the other publishes. What waited has the old subject.
        self.nodes[1].stop()
        self.nodes[1].write_config(config_of(self.servers[1], self.nats, stream="OTHERS", subject="others"))
        self.nodes[1].start(command="serve")
        node.wait_until(lambda: self.published(1) == 30, "its rows are dealt with")
        self.assertEqual(self.servers[1].sql("SELECT count(*) FROM meridian.outbox_dead_letters"), "30")
        self.publish([31])
        node.wait_until(lambda: self.published(1) == 31, "the next row is published")
        others = self.installations("OTHERS")
        self.assertEqual([number for _, number in others], list(range(1, 32)))
        self.assertNotEqual(others[0][0], seen[0][0])
        self.assertEqual(self.servers[1].sql("SELECT count(*) FROM meridian.outbox_dead_letters"), "30")

    def test_one_takes_the_others_place_when_the_operator_says_so(self):
        self.publish(range(11, 21))
        self.wait_for(1, self.of_another, "it is said")
        node.wait_until(lambda: self.published(0) == 20, "the first has published all")
        node.wait_until(lambda: self.nodes[1].outbox().get("numbered") == 20, "all rows wait here")
        self.nodes[0].stop()
        self.nodes[1].run("outbox", "resume", "--skip")
        told = self.wait_for(1, lambda outbox: outbox["state"] == "publishing", "it goes on")
        self.assertEqual(told["published"], 20)
        self.servers[1].sql("INSERT INTO orders (id, customer, place) VALUES (500, 1, 0)")
        node.wait_until(lambda: self.published(1) == 21, "it publishes")
        seen = self.installations()
        self.assertEqual(len(seen), 21)
        self.assertNotEqual(seen[-1][0], seen[0][0])
        # Who was there before does not take it back by itself.
        self.nodes[0].start(command="serve")
        self.wait_for(0, self.of_another, "the first says so now")


if __name__ == "__main__":
    node.main()
