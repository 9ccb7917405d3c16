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
message Line { string sku = 1; int32 count = 2; repeated Status states = 3; }
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
  repeated Status history = 15;
  map<string, Status> by_state = 16;
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
  states:
    subject: orders.states
    stream: states
    role: order_writer
    descriptor_set: orders.pb
    message: shop.OrderCreated
    sql: |
      INSERT INTO states (id, names, numbers, written, written_doc, deep, second, by_state, of_a)
      VALUES ({id}, {history}, {history?}, {history.number}, {history.number?}, {lines[0].states?}, {history[1]?}, {by_state},
        {by_state.a?})
  states_by_function:
    subject: orders.by_function
    role: order_writer
    descriptor_set: orders.pb
    message: shop.OrderCreated
    sql: "SELECT keep_states({id}, {history})"
  wrong_list: {subject: orders.wrong_list, role: order_writer, descriptor_set: orders.pb, message: shop.OrderCreated,
    sql: "INSERT INTO wrong (id, number) VALUES ({id}, {history})"}
  wrong_map: {subject: orders.wrong_map, role: order_writer, descriptor_set: orders.pb, message: shop.OrderCreated,
    sql: "INSERT INTO wrong (id, numbers) VALUES ({id}, {by_state})"}
  wrong_messages: {subject: orders.wrong_messages, role: order_writer, descriptor_set: orders.pb, message: shop.OrderCreated,
    sql: "INSERT INTO wrong (id, numbers) VALUES ({id}, {lines})"}
"""

# One field is one parameter of a statement, so each type of a column has a rule: its field, the type, and what becomes of it.
TYPES = {
    "small": ("{history}", "smallint[]", [3, 0, 9]),
    "exact": ("{history}", "numeric[]", [3, 0, 9]),
    "domained": ("{history}", "codes", [3, 0, 9]),
    "of_type": ("{history}", "state[]", ["PAID", "NEW", "9"]),
    "doc": ("{history}", "jsonb", ["PAID", "NEW", 9]),
    "deep_names": ("{lines[0].states?}", "varchar(9)[]", ["NEW", "PAID"]),
    "second_number": ("{history[1]?}", "int", 0),
    "of_a_number": ("{by_state.a?}", "int", 3),
}
for each, (taken, _, _) in TYPES.items():
    CONFIG += """
  type_%s:
    subject: orders.states
    stream: states
    workers: 1
    role: order_writer
    descriptor_set: orders.pb
    message: shop.OrderCreated
    sql: "INSERT INTO state_%s (id, value) VALUES ({id}, %s)"
""" % (each, each, taken)

SCHEMA = """
CREATE TABLE orders (
  id numeric PRIMARY KEY, customer text NOT NULL, total_cents bigint NOT NULL, status text NOT NULL, status_number int NOT NULL,
  city text, first_sku text, tags text[] NOT NULL, labels jsonb NOT NULL, colour text, lines json NOT NULL, proof bytea NOT NULL,
  at timestamptz, note text, card text, cash bigint, weight float8 NOT NULL, placed_by text NOT NULL);
CREATE DOMAIN codes AS int[] CHECK (cardinality(VALUE) < 5);
CREATE TYPE state AS ENUM ('NEW', 'PAID', '9');
CREATE TABLE states (
  id numeric PRIMARY KEY, names text[], numbers int[], written text[], written_doc jsonb, deep bigint[], second text,
  by_state jsonb, of_a text);
CREATE TABLE wrong (id numeric, number int, numbers int[]);
CREATE FUNCTION keep_states(id numeric, numbers int[]) RETURNS void LANGUAGE sql
  AS 'INSERT INTO states (id, numbers) VALUES (id, numbers)';
GRANT INSERT ON orders, states, wrong TO order_writer;
""" + "".join(
    f"CREATE TABLE state_{name} (id numeric PRIMARY KEY, value {of});"
    f"GRANT INSERT ON state_{name} TO order_writer;" for name, (_, of, _) in TYPES.items())

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
        cls.node.wait_for_ingest()
        cls.checkout = cls.node.token("checkout", ttl="1h")
        cls.publisher = clients.NatsProducer(cls.node.doors["nats"], cls.checkout)
        cls.addClassCleanup(cls.publisher.close)

    def tearDown(self):
        # One that was stopped by a message would stay so.
        self.node.wait_for_ingest()

    def row(self, number, table="orders"):
        found = json.loads(self.node.owner(
            "SELECT coalesce(json_agg(o), '[]') FROM"
            " (SELECT *, extract(epoch FROM (to_jsonb(t) ->> 'at')::timestamptz)::text AS seconds,"
            f" id::text AS digits FROM {table} AS t WHERE id = {number}) AS o"))
        return found[0] if found else None

    def publish(self, payload, subject="orders.created"):
        self.publisher.publish(subject, payload)
        self.publisher.flush()

    def wait_row(self, number, table="orders"):
        return node.wait_until(lambda: self.row(number, table), f"row {number}")

    def dead(self, payload, rule="%"):
        return json.loads(self.node.owner(
            "SELECT coalesce(json_agg(json_build_array(reason, sqlstate, error)), '[]') FROM"
            " meridian.dead_letters AS d JOIN meridian.ingest_rules AS r ON r.id = d.rule"
            f" WHERE r.name LIKE '{rule}' AND payload = '\\x{payload.hex()}'"))

    def wait_dead(self, payload, rule="%"):
        return node.wait_until(lambda: self.dead(payload, rule), "the dead letter")[0]

    def test_every_kind_of_field(self):
        self.publish(self.protoc.encode(WHOLE))
        row = self.wait_row(18446744073709551615)
        self.assertEqual(row["digits"], "18446744073709551615")
        self.assertEqual(row["total_cents"], -9223372036854775808)
        self.assertEqual((row["customer"], row["city"], row["first_sku"]), ("Bär", "Trier", "a"))
        self.assertEqual((row["status"], row["status_number"]), ("PAID", 3))
        self.assertEqual(row["tags"], ["x", 'y "z"'])
        self.assertEqual((row["labels"], row["colour"]), ({"colour": "red"}, "red"))
        self.assertEqual(row["lines"], [{"sku": "a", "count": 2, "states": []}, {"sku": "b", "count": 0, "states": []}])
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

    def test_lists_of_enums_follow_the_column(self):
        self.publish(self.protoc.encode(
            'id: 50 history: PAID history: NEW history: 9 lines { states: NEW states: PAID }'
            ' by_state { key: "a" value: PAID } by_state { key: "b" value: 7 }'), "orders.states")
        row = self.wait_row(50, "states")
        self.assertEqual((row["names"], row["numbers"]), (["PAID", "NEW", "9"], [3, 0, 9]))
        self.assertEqual((row["written"], row["written_doc"]), (["3", "0", "9"], [3, 0, 9]))
        self.assertEqual((row["deep"], row["second"]), ([0, 3], "NEW"))
        self.assertEqual((row["by_state"], row["of_a"]), ({"a": "PAID", "b": 7}, "PAID"))
        for name, (_, _, wanted) in TYPES.items():
            self.assertEqual(self.wait_row(50, f"state_{name}")["value"], wanted, name)
        # Not one of them.
        self.publish(self.protoc.encode("id: 51"), "orders.states")
        row = self.wait_row(51, "states")
        for column in ("names", "numbers", "written", "written_doc"):
            self.assertEqual(row[column], [], column)
        for column in ("deep", "second", "of_a"):
            self.assertIsNone(row[column], column)
        for name, (field, _, _) in TYPES.items():
            self.assertEqual(
                self.wait_row(51, f"state_{name}")["value"], None if "?" in field else [], name)
        # A statement for each message.
        self.publish(self.protoc.encode("id: 52 history: PAID history: -5"), "orders.by_function")
        self.assertEqual(self.wait_row(52, "states")["numbers"], [3, -5])

    def test_lists_of_enums_that_do_not_fit(self):
        # A number that the type does not hold, a name that it does not have.
        for rule, text, state in (("type_small", "id: 60 history: 70000", "22003"), ("type_of_type", "id: 61 history: 5", "22P02"),
                                  ("type_domained", "id: 65" + 5 * " history: 9", "23514")):
            payload = self.protoc.encode(text)
            self.publish(payload, "orders.states")
            self.assertEqual(self.wait_dead(payload, rule)[:2], ["poison", state])
        for subject, text, wanted in (
            ("orders.wrong_list", "id: 62 history: PAID", '"history" is an array, and the column takes a plain value'),
            ("orders.wrong_map", 'id: 63 by_state { key: "a" value: NEW }', '"by_state" is an object, and the column takes an array'),
            ("orders.wrong_messages", "id: 64 lines { states: PAID }", "lines: an element of the array is no plain value"),
        ):
            with self.subTest(subject=subject):
                payload = self.protoc.encode(text)
                self.publish(payload, subject)
                reason, state, error = self.wait_dead(payload)
                self.assertEqual((reason, state), ("unreadable", None))
                self.assertEqual(error.replace('\\"', '"'), wanted)

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
            (CONFIG.replace("{history.number}", "{history.name}"), good, "history is a list"),
            (CONFIG.replace("{by_state.a?}", "{by_state.a.name?}"), good, "is no message"),
        ):
            with self.subTest(wanted=wanted):
                self.assertIn(wanted, refused(config, descriptor).replace('\\"', '"'))


if __name__ == "__main__":
    node.main()
