"""`meridian trace` tells of a message as one story, from the NATS door to what its row set off."""

import json
import os
import unittest

import clients
import node

CONFIG = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    nats: {publish: ["orders.created"], subscribe: ["orders.changed.>"]}
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
    query: "SELECT id, total FROM orders WHERE id = {id}"
    as: view_reader
    database: shop
ingest:
  orders:
    subject: orders.created
    role: order_writer
    workers: 1
    sql: "INSERT INTO orders (id, total) VALUES ({id}, {total})"
publish:
  order_changes:
    table: orders
    subject: "orders.changed.{id}"
"""


class StoryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, CONFIG, shop=False)
        cls.node.owner(
            "CREATE TABLE orders (id bigint PRIMARY KEY, total bigint NOT NULL);"
            "GRANT INSERT, SELECT ON orders TO order_writer; GRANT SELECT ON orders TO view_reader"
        )
        cls.node.wait_for_views()
        node.wait_until(
            lambda: "order_changes" in cls.node.owner(
                "SELECT coalesce(string_agg(tgname, ' '), '') FROM pg_trigger"
                " WHERE tgrelid = 'orders'::regclass"),
            "the table's changes are published",
        )
        cls.node.wait_for_ingest()

    def connect(self):
        client = clients.NatsProducer(self.node.doors["nats"], self.node.token("checkout"))
        self.addCleanup(client.close)
        return client

    def read(self, number):
        token = self.node.token("storefront")
        with clients.Redis(self.node, token, "storefront") as reader:
            return reader.call("GET", f"order:{number}")

    def steps(self, request, *kinds):
        """What the trail tells of it, once there are steps of all these kinds: each loop writes its own."""
        def told():
            done = self.node.run("--json", "trace", request, code=None)
            if done.returncode:
                return None
            steps = json.loads(done.stdout)["steps"]
            return steps if {step["kind"] for step in steps}.issuperset(kinds) else None

        return node.wait_until(told, f"the trail tells of {kinds}")

    def check_order(self, steps, kinds):
        """These kinds of steps are there, the first of each in this order."""
        found = [step["kind"] for step in steps]
        self.assertEqual([kind for kind in dict.fromkeys(found) if kind in kinds], kinds, steps)
        self.assertEqual([step["time"] for step in steps], sorted(step["time"] for step in steps))

    STORY = ["visit_opened", "admitted", "publications", "ingest_batch", "outbox_publication"]

    def test_a_message_is_one_story_from_its_publication_to_what_it_set_off(self):
        self.assertIsNone(self.read(1))
        subscriber = self.connect()
        subscriber.subscribe("orders.changed.>")
        publisher = self.connect()
        request = os.urandom(16).hex()
        # Said at once, so that the door counts them together.
        publisher.stream.sendall(
            publisher.bytes_of("orders.created", b'{"id": 1, "total": 42}',
                               {"traceparent": f"00-{request}-00f067aa0ba902b7-01"})
            + publisher.bytes_of("orders.created", b'{"id": 2, "total": 42}'))
        publisher.flush()
        changed = sorted(subscriber.next()[:2] for _ in range(2))
        self.assertEqual(changed[0][0], "orders.changed.1")
        steps = self.steps(request, *self.STORY, "invalidation")
        self.check_order(steps, self.STORY)
        kinds = {step["kind"]: step for step in steps}
        self.assertEqual(kinds["admitted"]["what"], "admitted as checkout")
        # The door counts, and says so.
        self.assertEqual(kinds["publications"]["what"], "published one or more of 2 messages")
        self.assertIn("orders.created", kinds["publications"]["detail"])
        # The other one may be in the same batch.
        self.assertRegex(kinds["ingest_batch"]["detail"], "messages? 1(?: to 2)?: ")
        self.assertIn("then acknowledged", kinds["ingest_batch"]["detail"])
        self.assertIn("order:1", kinds["invalidation"]["what"])
        self.assertIn("orders.changed.1", kinds["outbox_publication"]["what"])
        self.assertIn('"total":42', self.read(1).replace(" ", ""))

        # The message of the outbox leads into the story as well.
        carried = changed[0][1].split("req=")[1].split("\r\n")[0]
        self.check_order(self.steps(carried, *self.STORY[3:]), self.STORY[3:])

    def test_messages_of_several_requests_in_one_transaction(self):
        # What comes together is one batch, and nothing makes the server send all in one go.
        for attempt in range(10):
            requests = self.publish_while_paused(100 + 3 * attempt, 3)
            stories = [self.steps(request, *self.STORY[3:]) for request in requests]
            batches = [step["detail"] for steps in stories for step in steps
                       if step["kind"] == "ingest_batch"]
            if all("3 rows" in detail for detail in batches):
                break
        else:
            self.fail(f"never one batch, and at last {batches}")
        for request, steps in zip(requests, stories):
            self.check_order(steps, [kind for kind in self.STORY if kind in
                                     {step["kind"] for step in steps}])
            self.check_order(self.steps(request, *self.STORY), self.STORY)

    def publish_while_paused(self, first, count):
        """The requests of so many orders, all of them in the stream when the rule goes on."""
        self.node.run("ingest", "pause", "orders", "--why", "the test")
        node.wait_until(lambda: "paused" in self.node.run("ingest", "status", code=None).stdout, "it is")
        before = self.stored()
        publisher = self.connect()
        requests = [os.urandom(16).hex() for _ in range(count)]
        for number, request in enumerate(requests):
            publisher.publish("orders.created", json.dumps({"id": first + number, "total": 7}),
                              {"traceparent": f"00-{request}-00f067aa0ba902b7-01"})
        publisher.flush()
        node.wait_until(lambda: self.stored() == before + count, "all are stored")
        self.node.run("ingest", "resume", "orders")
        return requests

    def stored(self):
        return self.node.jetstream("STREAM.INFO.ingest_orders")["state"]["last_seq"]

    def test_a_request_that_nobody_made(self):
        self.assertIn("knows nothing", self.node.run("trace", os.urandom(16).hex(), code=1))


if __name__ == "__main__":
    node.main()
