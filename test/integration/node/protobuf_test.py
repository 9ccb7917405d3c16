"""Ingest of payloads in Protobuf: the descriptor and the messages are protoc's own."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import clients
import node

PROTO = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
enum Status { NEW = 0; PAID = 3; }
message Line { string sku = 1; int32 count = 2; }
message Address { string city = 1; }
message OrderCreated {
  uint64 id = 1;
  string customer = 2;
  sint64 total_cents = 3;
  Status status = 4;
  Address address = 5;
  repeated Line lines = 6;
  repeated string tags = 7;
  map<string, string> labels = 8;
  bytes proof = 9;
  google.protobuf.Timestamp at = 10;
  optional string note = 11;
  oneof pay { string card = 12; int64 cash = 13; }
  double weight = 14;
}
"""
# The same, with fields that the rule's descriptor does not know.
NEWER = PROTO.replace("double weight = 14;", "double weight = 14; string later = 99;"
                      " repeated Line more = 100;")

CONFIG = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop]}
    nats: {publish: ["orders.>"], headers: ["Nats-Msg-Id"]}
  order_writer:
    postgres: {databases: [shop]}
ingest:
  orders:
    subject: orders.created
    role: order_writer
    key: "{customer}"
    format: protobuf
    descriptor_set: orders.pb
    message: shop.OrderCreated
    sql: |
      INSERT INTO orders (id, customer, total_cents, status, status_number, city, first_sku, tags, labels, colour, lines, proof,
        at, note, card, cash, weight, placed_by)
      VALUES ({id}, {customer}, {total_cents}, {status}, {status.number}, {address.city?}, {lines[0].sku?}, {tags}, {labels},
        {labels.colour?}, {lines}, {proof}, {at?}, {note?}, {card?}, {cash?}, {weight}, {meridian.subject})
"""

SCHEMA = """
CREATE TABLE orders (
  id numeric PRIMARY KEY, customer text NOT NULL, total_cents bigint NOT NULL, status text NOT NULL, status_number int NOT NULL,
  city text, first_sku text, tags text[] NOT NULL, labels jsonb NOT NULL, colour text, lines json NOT NULL, proof bytea NOT NULL,
  at timestamptz, note text, card text, cash bigint, weight float8 NOT NULL, placed_by text NOT NULL);
GRANT INSERT ON orders TO order_writer;
"""

WHOLE = r"""
id: 18446744073709551615 customer: "B\303\244r" total_cents: -9223372036854775808 status: PAID address { city: "Trier" }
lines { sku: "a" count: 2 } lines { sku: "b" } tags: "x" tags: "y \"z\"" labels { key: "colour" value: "red" }
proof: "\000\377" at { seconds: 1767225600 nanos: 123456000 } note: "" cash: 7 weight: 0.1
"""


class Protoc:
    def __init__(self, case, text):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="meridian-test-"))
        case.addClassCleanup(shutil.rmtree, self.folder)
        (self.folder / "orders.proto").write_text(text)

    def run(self, *arguments, text=None):
        done = subprocess.run(["protoc", f"-I{self.folder}", *arguments, self.folder / "orders.proto"],
                              input=text, capture_output=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stderr.decode())
        return done.stdout

    def write_descriptor(self, file):
        self.run("--include_imports", f"--descriptor_set_out={file}")

    def encode(self, text):
        return self.run("--encode=shop.OrderCreated", text=text.encode())


class ProtobufTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.protoc = Protoc(cls, PROTO)
        cls.newer = Protoc(cls, NEWER)
        cls.node = node.Node(CONFIG)
        cls.addClassCleanup(cls.node.close)
        cls.protoc.write_descriptor(cls.node.root / "orders.pb")
        cls.node.start()
        cls.node.owner(SCHEMA)
        cls.checkout = cls.node.token("checkout", ttl="1h")
        cls.publisher = clients.NatsProducer(cls.node.doors["nats"], cls.checkout)
        cls.addClassCleanup(cls.publisher.close)

    def tearDown(self):
        told = json.loads(self.node.run("--json", "ingest", "status", code=None).stdout)
        self.assertEqual(told["rules"][0]["state"], "running", told)

    def row(self, number):
        found = json.loads(self.node.owner(
            "SELECT coalesce(json_agg(o), '[]') FROM (SELECT *, extract(epoch FROM at)::text AS seconds,"
            f" id::text AS digits FROM orders WHERE id = {number}) AS o"))
        return found[0] if found else None

    def publish(self, payload):
        self.publisher.publish("orders.created", payload)
        self.publisher.flush()

    def wait_row(self, number):
        return node.wait_until(lambda: self.row(number), f"row {number}")

    def dead(self, payload):
        return json.loads(self.node.owner(
            "SELECT coalesce(json_agg(json_build_array(reason, sqlstate, error)), '[]') FROM"
            f" meridian.dead_letters WHERE payload = '\\x{payload.hex()}'"))

    def wait_dead(self, payload):
        return node.wait_until(lambda: self.dead(payload), "the dead letter")[0]

    def test_every_kind_of_field(self):
        self.publish(self.protoc.encode(WHOLE))
        row = self.wait_row(18446744073709551615)
        self.assertEqual(row["digits"], "18446744073709551615")
        self.assertEqual(row["total_cents"], -9223372036854775808)
        self.assertEqual((row["customer"], row["city"], row["first_sku"]), ("Bär", "Trier", "a"))
        self.assertEqual((row["status"], row["status_number"]), ("PAID", 3))
        self.assertEqual(row["tags"], ["x", 'y "z"'])
        self.assertEqual((row["labels"], row["colour"]), ({"colour": "red"}, "red"))
        self.assertEqual(row["lines"], [{"sku": "a", "count": 2}, {"sku": "b", "count": 0}])
        self.assertEqual(row["proof"], "\\x00ff")
        self.assertEqual(row["seconds"], "1767225600.123456")
        self.assertEqual((row["note"], row["card"], row["cash"], row["weight"]), ("", None, 7, 0.1))
        self.assertEqual(row["placed_by"], "checkout")

    def test_what_is_not_set(self):
        self.publish(self.protoc.encode('id: 2 customer: "c"'))
        row = self.wait_row(2)
        self.assertEqual((row["total_cents"], row["status"], row["weight"]), (0, "NEW", 0))
        self.assertEqual((row["tags"], row["labels"], row["lines"], row["proof"]),
                         ([], {}, [], "\\x"))
        for name in ("city", "first_sku", "colour", "at", "note", "card", "cash"):
            self.assertIsNone(row[name], name)

    def test_fields_that_nobody_knows_here(self):
        self.publish(self.newer.encode('id: 3 later: "x" more { sku: "y" } customer: "c"'))
        self.assertEqual(self.wait_row(3)["customer"], "c")

    def test_poison_among_good_ones(self):
        good = [self.protoc.encode(f'id: {n} customer: "c"') for n in range(100, 140)]
        cut = good[0][:-1]
        foreign = json.dumps({"id": 1}).encode()
        twice = self.protoc.encode('id: 100 customer: "again"')
        for payload in (*good[:20], cut, foreign, twice, *good[20:]):
            self.publisher.publish("orders.created", payload)
        self.publisher.flush()
        node.wait_until(lambda: self.node.owner(
            "SELECT count(*) FROM orders WHERE id BETWEEN 100 AND 139") == "40", "the good ones")
        for payload in (cut, foreign):
            reason, _, error = self.wait_dead(payload)
            self.assertEqual(reason, "unreadable")
            self.assertIn("no message of shop.OrderCreated", error)
        self.assertEqual(self.wait_dead(twice)[:2], ["poison", "23505"])

    def test_a_descriptor_that_does_not_fit_is_refused_at_the_start(self):
        def refused(config, descriptor):
            other = node.Node(config)
            self.addCleanup(other.close)
            if descriptor is not None:
                (other.root / "orders.pb").write_bytes(descriptor)
            process = other.spawn()
            process.communicate(timeout=node.PATIENCE)
            self.assertNotEqual(process.returncode, 0)
            return other.log_text()

        good = (self.node.root / "orders.pb").read_bytes()
        for config, descriptor, wanted in (
            (CONFIG, None, "No such file"),
            (CONFIG, b"no descriptor", "it is no FileDescriptorSet"),
            (CONFIG.replace("shop.OrderCreated", "shop.Order"), good, "no message \"shop.Order\""),
            (CONFIG.replace("{weight}", "{wait}"), good, "shop.OrderCreated has no field \"wait\""),
            (CONFIG.replace('"{customer}"', '"{lines.sku}"'), good, "lines is a list"),
        ):
            with self.subTest(wanted=wanted):
                self.assertIn(wanted, refused(config, descriptor).replace('\\"', '"'))


if __name__ == "__main__":
    node.main()
