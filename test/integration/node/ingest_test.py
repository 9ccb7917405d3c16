"""Ingest: each message that a verified producer publishes becomes one row, whatever happens."""

import json
import unittest

import clients
import node

CONFIG = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop]}
    nats: {publish: ["orders.>"], headers: ["Nats-Msg-Id"]}
  stranger:
    bind: [{issuer: meridian, subject: stranger}]
    nats: {publish: ["orders.>"]}
  storefront:
    bind: [{issuer: meridian, subject: storefront}]
    redis: {read: ["order:*"]}
  order_writer:
    postgres: {databases: [shop]}
  view_reader:
    postgres: {databases: [shop]}
views:
  order:
    key: "order:{id}"
    query: "SELECT id, customer, total, placed_by FROM orders WHERE id = {id}"
    as: view_reader
    database: shop
ingest:
  orders:
    subject: orders.created
    role: order_writer
    require: {roles: [checkout]}
    sql: |
      INSERT INTO orders (id, customer, total, placed_by)
      VALUES ({id}, {customer}, {total}, {meridian.subject})
"""

SCHEMA = """
CREATE TABLE orders (
  id bigint PRIMARY KEY, customer text NOT NULL, total numeric(20, 2) NOT NULL, placed_by text);
GRANT SELECT, INSERT ON orders TO order_writer;
GRANT SELECT ON orders TO view_reader, checkout;
"""


def order(n, **more):
    return json.dumps({"id": n, "customer": f"customer {n}", "total": 10.5, **more})


class IngestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, CONFIG, shop=False)
        cls.node.owner(SCHEMA)
        cls.node.wait_for_views()
        cls.checkout = cls.node.token("checkout", ttl="1h")

    def publisher(self, token=None):
        client = clients.Nats(self.node.doors["nats"], token or self.checkout)
        self.addCleanup(client.close)
        return client

    def status(self, rule="orders"):
        told = json.loads(self.node.run("--json", "ingest", "status", code=None).stdout)
        return next(each for each in told["rules"] if each["rule"] == rule)

    def count(self, condition="true"):
        return int(self.node.owner(f"SELECT count(*) FROM orders WHERE {condition}"))

    def dead(self, condition="true"):
        return json.loads(self.node.owner(
            "SELECT coalesce(json_agg(d), '[]') FROM (SELECT sequence, reason, sqlstate, error,"
            " convert_from(payload, 'UTF8') AS payload FROM meridian.dead_letters"
            f" WHERE {condition} ORDER BY sequence) AS d"
        ))

    def wait(self, count, condition="true"):
        node.wait_until(lambda: self.count(condition) == count, f"{count} rows")

    def test_a_message_becomes_a_row_that_is_read_at_once(self):
        publisher = self.publisher()
        publisher.publish("orders.created", order(1, total="12345678901234567.89"))
        publisher.flush()
        self.wait(1, "id = 1")
        row = self.node.owner("SELECT customer, total, placed_by FROM orders WHERE id = 1")
        self.assertEqual(row, "customer 1|12345678901234567.89|checkout")
        reader = clients.Redis(self.node, self.node.token("storefront", ttl="1h"), "storefront")
        self.addCleanup(reader.close)
        read = json.loads(reader.call("GET", "order:1"))
        self.assertEqual(read["placed_by"], "checkout")


if __name__ == "__main__":
    node.main()
