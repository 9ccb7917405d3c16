"""Where stamps have a MAC, ingest believes none that lacks it: whoever reaches nats-server itself can
write what he likes, and nobody's identity."""

import base64
import hashlib
import hmac
import json
import unittest

import clients
import node

KEY = "a key that the doors and the ingest share"
CONFIG = """
nats: {stamp_key_file: stamp.key}
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    nats: {publish: ["orders.>"], headers: ["Nats-Msg-Id"]}
  order_writer:
    postgres: {databases: [shop]}
ingest:
  orders:
    subject: "orders.>"
    stream: orders
    role: order_writer
    workers: 1
    require: {roles: [checkout]}
    sql: "INSERT INTO orders (id, placed_by) VALUES ({id}, {meridian.subject})"
  anybody:
    subject: "orders.>"
    stream: orders
    role: order_writer
    workers: 1
    require: {identity: false}
    sql: "INSERT INTO anybody (id, placed_by) VALUES ({id}, {meridian.subject})"
"""


def sign(key, subject, message_id, payload, identity):
    digest = hmac.new(key.encode(), digestmod=hashlib.sha256)
    for part in (subject.encode(), message_id.encode(), hashlib.sha256(payload.encode()).digest(),
                 identity.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    mac = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()
    return {"Meridian-Identity": f"{identity};mac={mac}",
            **({"Nats-Msg-Id": message_id} if message_id else {})}


class StampTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.Node(CONFIG)
        cls.addClassCleanup(cls.node.close)
        key = cls.node.root / "stamp.key"
        key.write_text(KEY + "\n")
        key.chmod(0o600)
        cls.node.start()
        cls.node.owner(
            "CREATE TABLE orders (id bigint, placed_by text); CREATE TABLE anybody (LIKE orders);"
            "GRANT INSERT ON orders, anybody TO order_writer"
        )
        cls.node.wait_for_ingest()

    def rows(self, table, condition):
        return self.node.owner(f"SELECT id, placed_by FROM {table} WHERE {condition} ORDER BY id").split()

    def refused(self):
        return json.loads(self.node.owner(
            "SELECT coalesce(json_agg(json_build_array(convert_from(payload, 'UTF8')::json->'id', reason,"
            " error)), '[]') FROM meridian.dead_letters"))

    def test_only_what_a_door_has_sealed_has_an_identity(self):
        door = clients.NatsProducer(self.node.doors["nats"], self.node.token("checkout"))
        self.addCleanup(door.close)
        door.publish("orders.created", '{"id": 1}')
        door.publish("orders.created", '{"id": 2}', {"Nats-Msg-Id": "two"})
        door.flush()
        node.wait_until(lambda: self.rows("orders", "id < 3") == ["1|checkout", "2|checkout"],
                        "what came by the door has become rows")
        self.assertEqual(self.refused(), [])

        identity = "iss=meridian;sub=checkout;role=checkout;req=" + "ab" * 16
        sealed = sign(KEY, "orders.created", "", '{"id": 10}', identity)
        other = sign("another key of as many characters", "orders.created", "", '{"id": 16}', identity)
        admin = {"Meridian-Identity": sealed["Meridian-Identity"].replace("sub=checkout", "sub=admin")}
        forged = [
            (11, "orders.created", None),
            (12, "orders.created", {"Meridian-Identity": identity}),
            (13, "orders.created", {"Meridian-Identity": identity + ";mac="}),
            (14, "orders.created", sealed),
            (15, "orders.created", sealed | {"Nats-Msg-Id": "checkout:x"}),
            (16, "orders.created", other),
            (10, "orders.created", admin),
            (10, "orders.elsewhere", sealed),
        ]
        with self.node.nats() as server:
            # Made as the documentation says, past the door.
            server.publish("orders.created", '{"id": 10}', sealed)
            for number, subject, headers in forged:
                server.publish(subject, json.dumps({"id": number}), headers)
            server.publish("orders.created", '{"id": 20}',
                           sign(KEY, "orders.created", "checkout:20", '{"id": 20}', identity))
            server.flush()
        node.wait_until(lambda: self.rows("orders", "id >= 10") == ["10|checkout", "20|checkout"],
                        "what has the MAC has become rows")
        refused = self.refused()
        self.assertEqual([each[:2] for each in refused],
                         [[number, "unauthorised"] for number, _, _ in forged])
        self.assertIn("no verified identity", refused[0][2])
        for each in refused[1:3]:
            self.assertIn("nats.stamp_key_file", each[2])
            self.assertIn("has no MAC", each[2])
        for each in refused[3:]:
            self.assertIn("of another message", each[2])

        # A rule that takes anybody's messages takes these as nobody's.
        node.wait_until(lambda: len(self.rows("anybody", "true")) == 12, "they are there")
        self.assertCountEqual(
            self.rows("anybody", "true"),
            [f"{number}|" for number, _, _ in forged]
            + ["1|checkout", "2|checkout", "10|checkout", "20|checkout"],
        )


if __name__ == "__main__":
    node.main()
