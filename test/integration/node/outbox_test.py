"""The outbox of a whole node: committed rows become messages of a real nats-server, in the order of
the commits, each once, whatever dies meanwhile."""

import json
import threading
import unittest

import clients
import node

PUBLISH = """
publish:
  order_changes:
    table: orders
    subject: "orders.changed.{id}"
  events:
    subject: "shop.events.>"
outbox: {keep: 1s, duplicate_window: 100ms}
"""
CONFIG = node.SHOP.replace(
    'subscribe: ["orders.changed.>"]', 'subscribe: ["orders.changed.>", "shop.events.>"]'
).replace('publish: ["orders.>"]', 'publish: ["orders.>", "shop.events.>"]') + PUBLISH


class OutboxTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, CONFIG)

    def session(self):
        session = clients.Postgres(self.node, self.node.token("checkout"), "checkout")
        self.addCleanup(session.close)
        return session

    def subscriber(self, subject):
        visit = clients.Nats(self.node, self.node.token("checkout"))
        self.addCleanup(visit.close)
        visit.subscribe(subject)
        return visit

    def test_what_a_transaction_publishes_comes_when_it_commits(self):
        visit = self.subscriber("shop.events.>")
        session = self.session()
        session.query("BEGIN")
        session.query("SELECT meridian.publish('shop.events.lost', 'never')")
        session.query("ROLLBACK")
        session.query("BEGIN")
        session.query("SELECT meridian.publish('shop.events.a', 'one', '{\"Kind\": \"greeting\"}')")
        session.query("SELECT meridian.publish('shop.events.b', '{\"n\": 2}'::jsonb)")
        session.query("SELECT meridian.publish('shop.events.c', '\\x0001ff'::bytea)")
        session.query("COMMIT")
        got = visit.messages(3)
        self.assertEqual([each[0] for each in got],
                         ["shop.events.a", "shop.events.b", "shop.events.c"])
        self.assertEqual([each[2] for each in got], [b"one", b'{"n": 2}', b"\x00\x01\xff"])
        self.assertEqual(got[0][1]["Kind"], "greeting")
        numbers = [int(each[1]["Nats-Msg-Id"].removeprefix("outbox.")) for each in got]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 3)))
        identity = got[0][1]["Meridian-Identity"]
        self.assertRegex(identity, r"^sub=checkout;role=checkout;req=[0-9a-f]{32}$")


if __name__ == "__main__":
    node.main()
