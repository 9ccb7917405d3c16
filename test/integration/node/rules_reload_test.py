"""Rules of ingest and of the outbox come, change and go with a reload, and no message is lost or doubled
by it; wrong ones leave everything as it was."""

import json
import signal
import threading
import unittest

import clients
import node

NO_RULES = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop]}
    nats: {publish: ["orders.>"], subscribe: ["changed.>"]}
"""
WITH_ROLE = NO_RULES + """
  order_writer:
    postgres: {databases: [shop]}
"""
RULE = """
  orders:
    subject: orders.created
    role: order_writer
    batch: 20
    sql: "INSERT INTO %s (id, rule) VALUES ({id}, '%s')"
"""
OTHER = """
  returns:
    subject: orders.returned
    role: order_writer
    sql: "INSERT INTO returns (id) VALUES ({id})"
"""
PUBLISH = """
publish:
  changes:
    table: orders
    subject: "changed.{id}"
"""
SCHEMA = """
CREATE TABLE orders (id bigint, rule text);
CREATE TABLE later (LIKE orders);
CREATE TABLE returns (id bigint);
"""


def config(*rules, publish=""):
    return WITH_ROLE + "ingest:" + "".join(rules) + publish


class RulesReloadTest(unittest.TestCase):
    def setUp(self):
        self.node = node.use_node(self, NO_RULES, shop=False)
        self.node.owner(SCHEMA)

    def reload(self, text, code=0):
        self.node.write_config(text)
        done = self.node.run("config", "reload", code=None)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def grant(self):
        def granted():
            try:
                self.node.owner("GRANT INSERT ON orders, later, returns TO order_writer")
                return True
            except AssertionError:
                return False

        node.wait_until(granted, "the role is there")

    def connect(self):
        client = clients.NatsProducer(self.node.doors["nats"], self.node.token("checkout"))
        self.addCleanup(client.close)
        return client

    def publish(self, numbers, subject="orders.created"):
        client = self.connect()
        for number in numbers:
            client.publish(subject, json.dumps({"id": number}))
        client.flush()

    def status(self):
        done = self.node.run("--json", "ingest", "status", code=None)
        rules = json.loads(done.stdout)["rules"] if done.stdout.startswith("{") else []
        return {rule["rule"]: rule for rule in rules}

    def wait_running(self, *names):
        def running():
            found = self.status()
            return set(found) == set(names) and all(r["state"] == "running" for r in found.values())

        node.wait_until(running, f"{names} run")

    def wait_triggers(self, count):
        """Of the table whose changes are published; they are made and removed one by one."""
        node.wait_until(lambda: self.node.owner(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass"
            " AND tgname LIKE 'meridian_publish_%'") == str(count), f"the table has {count} triggers")

    def ids(self, table):
        return [int(each) for each in self.node.owner(f"SELECT id FROM {table} ORDER BY id").split()]

    def test_a_node_without_rules_gets_some(self):
        self.assertIn("no ingest rules", self.node.run("ingest", "status", code=None).stderr)
        self.assertIn("nothing is published", self.node.run("outbox", "status", code=None).stderr)
        said = self.reload(config(RULE % ("orders", "first"), publish=PUBLISH))
        self.assertIn("ingest.orders: (not set) -> (entry) (at once)", said)
        self.assertIn("publish.changes: (not set) -> (entry) (at once)", said)
        self.grant()
        self.wait_running("orders")
        self.wait_triggers(4)
        subscriber = self.connect()
        subscriber.subscribe("changed.>")
        self.publish([7])
        self.assertEqual(subscriber.next()[0], "changed.7")
        self.assertEqual(self.ids("orders"), [7])
        # And all of them can go again.
        said = self.reload(NO_RULES)
        self.assertIn("ingest.orders: (entry) -> (not set) (at once)", said)
        node.wait_until(lambda: not self.status(), "the rule is gone")
        self.wait_triggers(0)

    def test_a_rule_changes_under_load_and_others_go_on(self):
        self.reload(config(RULE % ("orders", "0"), OTHER))
        self.grant()
        self.wait_running("orders", "returns")
        epochs = {name: rule["epoch"] for name, rule in self.status().items()}
        count, stop = 0, threading.Event()

        def load():
            nonlocal count
            client = self.connect()
            while not stop.is_set():
                for _ in range(10):
                    count += 1
                    client.publish("orders.created", json.dumps({"id": count}))
                client.flush()
                stop.wait(0.005)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for change in range(1, 7):
                seen = count
                node.wait_until(lambda: count > seen + 50, "it is being published")
                self.reload(config(RULE % ("later" if change % 2 else "orders", change), OTHER))
                node.wait_until(
                    lambda: self.node.owner("SELECT count(*) FROM (SELECT rule FROM orders UNION ALL"
                                            f" SELECT rule FROM later) AS r WHERE rule = '{change}'") != "0",
                    "the rule of now has made a row",
                )
        finally:
            stop.set()
            thread.join()
        node.wait_until(lambda: len(self.ids("orders")) + len(self.ids("later")) >= count, "all rows are there")
        self.assertEqual(sorted(self.ids("orders") + self.ids("later")), list(range(1, count + 1)))
        # In the stream's order one rule after the other.
        turns = self.node.owner(
            "SELECT count(*) FROM (SELECT rule, min(id) AS first, max(id) AS last FROM (SELECT * FROM orders"
            " UNION ALL SELECT * FROM later) AS r GROUP BY rule) AS a JOIN (SELECT rule, min(id) AS first"
            " FROM (SELECT * FROM orders UNION ALL SELECT * FROM later) AS r GROUP BY rule) AS b"
            " ON b.rule > a.rule AND b.first < a.first")
        self.assertEqual(turns, "0")
        found = self.status()
        self.assertEqual(found["returns"]["epoch"], epochs["returns"])
        self.assertGreater(found["orders"]["epoch"], epochs["orders"])

    def test_a_rule_that_comes_back_goes_on_where_it_was(self):
        self.reload(config(RULE % ("orders", "first"), OTHER))
        self.grant()
        self.wait_running("orders", "returns")
        self.publish([1, 2])
        node.wait_until(lambda: self.ids("orders") == [1, 2], "the rows are there")
        self.reload(config(OTHER))
        self.wait_running("returns")
        self.publish([3, 4])
        self.publish([30], "orders.returned")
        node.wait_until(lambda: self.ids("returns") == [30], "the other rule goes on")
        self.assertEqual(self.ids("orders"), [1, 2])
        self.assertIn("no ingest rule", self.node.run("ingest", "pause", "orders", code=None).stderr)
        self.reload(config(OTHER, RULE % ("orders", "second")))
        node.wait_until(lambda: self.ids("orders") == [1, 2, 3, 4], "what waited is there")

    def test_wrong_rules_change_nothing(self):
        self.reload(config(RULE % ("orders", "first"), publish=PUBLISH))
        self.grant()
        self.wait_running("orders")
        epoch = self.status()["orders"]["epoch"]
        for rules, word in (
            ((RULE % ("orders", "x")).replace("INSERT INTO", "INSERT IN"), "ingest.orders"),
            ((RULE % ("orders", "x")).replace("{id}", "{id"), "ingest.orders"),
            ((RULE % ("orders", "x")).replace("order_writer", "nobody"), "nobody"),
        ):
            said = self.reload(config(OTHER, rules), code=2)
            self.assertIn(word, said)
        said = self.reload(config(OTHER, publish=PUBLISH.replace("changed.{id}", "changed..{id}")), code=2)
        self.assertIn("publish.changes.subject", said)
        # By the signal as well.
        self.node.signal(signal.SIGHUP)
        node.wait_until(lambda: "the configuration of before stays" in self.node.log_text(), "it is said")
        self.wait_running("orders")
        self.assertEqual(self.status()["orders"]["epoch"], epoch)
        self.wait_triggers(4)
        subscriber = self.connect()
        subscriber.subscribe("changed.>")
        self.publish([1])
        self.assertEqual(subscriber.next()[0], "changed.1")


if __name__ == "__main__":
    node.main()
