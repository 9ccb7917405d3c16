"""Ingest: each message that a verified producer publishes becomes one row, whatever happens."""

import datetime
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
  lines:
    subject: orders.line
    stream: ingest_lines
    role: order_writer
    key: "{order}"
    workers: 4
    batch: 50
    sql: |
      WITH kept AS (UPDATE counters SET sum = sum + {n}, last = {meridian.sequence}
        WHERE id = {order} AND last < {meridian.sequence} RETURNING id)
      INSERT INTO lines (order_id, n, tags, raw, doc, place) VALUES ({order}, {n}, {tags?},
        {meridian.payload}, {doc?}, {meridian.token[1]})
  mixed:
    subject: orders.mixed.*
    stream: mixed
    role: order_writer
    workers: 2
    sql: INSERT INTO mixed (id, place) VALUES ({id}, {meridian.sequence})
  returns:
    subject: orders.returned
    role: order_writer
    workers: 1
    rollback: "DELETE FROM returns WHERE id = {id}"
    sql: |
      INSERT INTO returns (id, note, place) VALUES ({id}, {note?}, {meridian.sequence})
      ON CONFLICT (id) DO UPDATE SET note = excluded.note
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
CREATE TABLE counters (id bigint PRIMARY KEY, sum bigint NOT NULL, last bigint NOT NULL);
INSERT INTO counters SELECT n, 0, 0 FROM generate_series(0, 9) AS n;
CREATE TABLE lines (seq bigserial, order_id bigint NOT NULL, n int NOT NULL, tags text[], raw bytea,
  doc jsonb, place text);
GRANT SELECT, INSERT, UPDATE ON counters, lines TO order_writer;
GRANT USAGE ON SEQUENCE lines_seq_seq TO order_writer;
CREATE TABLE mixed (id bigint NOT NULL, place bigint NOT NULL);
GRANT INSERT ON mixed TO order_writer;
CREATE TABLE returns (id bigint PRIMARY KEY, note text, place bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON returns TO order_writer;
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
        cls.node.wait_for_ingest()
        cls.checkout = cls.node.token("checkout", ttl="1h")

    def publisher(self, token=None):
        client = clients.NatsProducer(self.node.doors["nats"], token or self.checkout)
        self.addCleanup(client.close)
        return client

    def status(self, rule="orders"):
        def told():
            # Nothing while a server is away.
            said = self.node.run("--json", "ingest", "status", code=None).stdout
            rules = json.loads(said)["rules"] if said.startswith("{") else []
            return next((each for each in rules if each["rule"] == rule), None)

        return node.wait_until(told, f"the state of rule {rule}")

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

    def test_duplicates_and_conflicts_of_message_ids(self):
        publisher = self.publisher()
        window = {"Nats-Msg-Id": "a"}
        before = self.status()["duplicates"]
        publisher.publish("orders.created", order(100), window)
        publisher.flush()
        self.wait(1, "id = 100")
        # The stream's own window is not what is tested: a message id of long ago comes again.
        self.forget_window(publisher)
        publisher.publish("orders.created", order(100), window)
        publisher.flush()
        node.wait_until(lambda: self.status()["duplicates"] > before, "it is found")
        self.forget_window(publisher)
        publisher.publish("orders.created", order(101), window)
        publisher.publish("orders.created", order(102))
        publisher.flush()
        self.wait(1, "id = 102")
        # One of two workers has done it, and the other need not be through yet.
        conflict = node.wait_until(lambda: self.dead("reason = 'id conflict'"), "the other is a dead letter")
        self.assertEqual([json.loads(each["payload"])["id"] for each in conflict], [101])
        self.assertEqual(self.count("id = 101"), 0)

    def forget_window(self, publisher):
        """Restarting the server is what makes it forget ids of messages that are gone; a purge of
        the one that bore it does the same."""
        self.jetstream("STREAM.PURGE.ingest_orders")
        self.node.kill_engine("nats")
        publisher.close()
        publisher.__init__(self.node.doors["nats"], self.checkout)

    def test_poison_in_the_middle_of_a_batch(self):
        publisher = self.publisher()
        wrong = {
            300: order("x"),                       # Wrong type.
            301: "{not json",
            302: json.dumps({"id": 302, "total": 1}),  # A member is missing.
            303: order(303, total="1e400"),
            304: order(304, customer=None),        # NOT NULL.
            305: order(305, customer={"a": 1}),
            306: order(200),                       # Its key is taken.
            307: order(307, customer="a\u0000b"),
        }
        texts = ", ".join("'" + text.replace("'", "''") + "'" for text in wrong.values())
        mine = f"convert_from(payload, 'UTF8') IN ({texts})"
        for n in range(200, 500):
            publisher.publish("orders.created", wrong.get(n, order(n)))
        publisher.flush()
        self.wait(300 - len(wrong), "id >= 200 AND id < 500")
        node.wait_until(
            lambda: len(self.dead(mine)) == len(wrong),
            "the others are dead letters",
        )
        found = {each["payload"]: each for each in self.dead(mine)}
        self.assertEqual(set(found), set(wrong.values()))
        self.assertEqual(found[wrong[300]]["sqlstate"], "22P02")
        self.assertEqual(found[wrong[306]]["sqlstate"], "23505")
        self.assertIn("customer", found[wrong[302]]["error"])
        self.assertEqual(self.status()["state"], "running")

    def test_whoever_is_not_required_becomes_no_row(self):
        stranger = self.publisher(self.node.token("stranger", ttl="1h"))
        stranger.publish("orders.created", order(600))
        stranger.publish("orders.created", order(601), {"Meridian-Identity": "iss=a;sub=b;role=checkout"})
        stranger.flush()
        node.wait_until(lambda: len(self.dead("reason = 'unauthorised'")) == 2, "both are refused")
        self.assertEqual(self.count("id IN (600, 601)"), 0)
        self.assertIn("stranger", self.dead("reason = 'unauthorised'")[0]["error"])

    def test_a_rule_that_cannot_run_waits_and_drops_nothing(self):
        publisher = self.publisher()
        for breaking, mending in (
            ("REVOKE INSERT ON orders FROM order_writer", "GRANT INSERT ON orders TO order_writer"),
            ("ALTER TABLE orders RENAME COLUMN total TO sum", "ALTER TABLE orders RENAME COLUMN sum TO total"),
            ("ALTER TABLE orders RENAME TO orders_away", "ALTER TABLE orders_away RENAME TO orders"),
        ):
            with self.subTest(breaking):
                dead = len(self.dead())
                rows = self.count()
                self.node.owner(breaking)
                first = 700 + rows
                for n in range(first, first + 20):
                    publisher.publish("orders.created", order(n))
                publisher.flush()
                failing = node.wait_until(
                    lambda: (told := self.status())["state"] == "failing" and told, "it says so")
                self.assertNotEqual(failing["why"], "")
                self.node.owner(mending)
                self.node.run("ingest", "resume", "orders")
                self.wait(rows + 20)
                self.assertEqual(len(self.dead()), dead)

    def test_paused_by_an_operator(self):
        publisher = self.publisher()
        self.node.run("ingest", "pause", "orders", "--why", "a test")
        # The rule may see that it is paused before it is told why.
        node.wait_until(lambda: (told := self.status())["state"] == "paused" and told["why"] == "a test",
                        "it is paused, and says why")
        publisher.publish("orders.created", order(900))
        publisher.flush()
        self.assertEqual(self.count("id = 900"), 0)
        self.node.run("ingest", "resume", "orders")
        self.wait(1, "id = 900")

    def test_one_by_one_and_in_order_by_key(self):
        publisher = self.publisher()
        count = 600
        for n in range(count):
            line = {"order": n % 10, "n": n, "tags": ["a b", None, str(n)], "doc": {"n": [n]}}
            if n == 77:
                line["n"] = "poison"
            publisher.publish("orders.line", json.dumps(line))
        publisher.flush()
        rows = "SELECT count(*) FROM lines"
        node.wait_until(lambda: int(self.node.owner(rows)) == count - 1, "all but one are there")
        self.assertIn("no INSERT", self.status("lines")["one_by_one"] + "it is no INSERT")
        self.assertEqual(self.node.owner(
            "SELECT sum(sum), sum(n) - 77 + 77 FROM counters, (SELECT sum(n) AS n FROM lines) AS l"
            " GROUP BY l.n").split("|")[0], str(sum(range(count)) - 77))
        # Within a key rows went in in the order in which they were published.
        self.assertEqual(self.node.owner(
            "SELECT count(*) FROM (SELECT n < lag(n) OVER (PARTITION BY order_id ORDER BY seq) AS back"
            " FROM lines) AS x WHERE back"), "0")
        self.assertEqual(self.node.owner(
            "SELECT tags::text || doc::text || place FROM lines WHERE n = 5"),
            '{"a b",NULL,5}{"n": [5]}line')
        self.assertEqual(json.loads(self.node.owner(
            "SELECT convert_from(raw, 'UTF8') FROM lines WHERE n = 5"))["n"], 5)

    def test_dead_letters_are_retried(self):
        publisher = self.publisher()
        for n in range(20):
            publisher.publish("orders.created", order(2000 + n, customer=None))
        publisher.flush()
        rule = "rule = (SELECT id FROM meridian.ingest_rules WHERE name = 'orders')"
        mine = f"{rule} AND convert_from(payload, 'UTF8') LIKE '%\"id\": 20__,%'"
        node.wait_until(lambda: len(self.dead(mine)) == 20, "all are dead")
        letters = json.loads(self.node.run("--json", "ingest", "dead-letters", "list", "orders",
                                           "--limit", "1000"))["letters"]
        ids = [str(each["id"]) for each in letters if 'id\": 20' in each["payload"]
               or '"id": 20' in each["payload"]]
        ids = [each for each in ids][:20]
        self.assertEqual(len(ids), 20)
        self.node.owner("ALTER TABLE orders ALTER customer DROP NOT NULL")
        try:
            half = json.loads(self.node.run(
                "--json", "ingest", "dead-letters", "retry", "orders", *ids[:10]))
            self.assertEqual((half["rows"], half["dead"]), (10, 0))
            # Those are settled; only the others have an effect.
            rest = json.loads(self.node.run(
                "--json", "ingest", "dead-letters", "retry", "orders", *ids))
            self.assertEqual((rest["rows"], rest["others"]), (10, 10))
        finally:
            self.node.owner("DELETE FROM orders WHERE customer IS NULL;"
                            "ALTER TABLE orders ALTER customer SET NOT NULL")
        publisher.publish("orders.created", order("never"))
        publisher.flush()
        bad = f"{rule} AND convert_from(payload, 'UTF8') LIKE '%never%' AND state = 'dead'"
        node.wait_until(lambda: len(self.dead(bad)) == 1, "it is dead")
        number = self.node.owner(f"SELECT id FROM meridian.dead_letters WHERE {bad}")
        again = self.node.run("ingest", "dead-letters", "retry", "orders", number, code=1)
        self.assertIn("1 are dead again", again)
        self.assertEqual(
            self.node.owner(f"SELECT attempt FROM meridian.dead_letters WHERE id = {number}"), "2")
        self.node.run("ingest", "dead-letters", "discard", "orders", number)
        self.assertEqual(self.dead(bad), [])

    def test_replay_and_rollback(self):
        publisher = self.publisher()
        for n in range(1, 301):
            publisher.publish("orders.returned", json.dumps({"id": n, "note": f"note {n}"}),
                              {"Nats-Msg-Id": f"return {n}"})
        publisher.flush()
        rows = lambda table="returns": int(self.node.owner(f"SELECT count(*) FROM {table}"))
        node.wait_until(lambda: rows() == 300, "all are there")

        refused = self.node.run("replay", "orders", "--from", "1", code=None)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("ON CONFLICT", refused.stderr)

        self.node.owner("UPDATE returns SET note = 'lost' WHERE id <= 100")
        self.node.run("replay", "returns", "--from", "1", "--to", "50")
        self.assertEqual(
            self.node.owner("SELECT count(*) FROM returns WHERE note = 'lost'"), "50")
        self.node.run("replay", "returns", "--from", "2020-01-01T00:00")
        self.assertEqual(self.node.owner("SELECT count(*) FROM returns WHERE note = 'lost'"), "0")
        self.assertEqual(rows(), 300)
        self.node.run("replay", "returns", "--from", "11", "--to", "60", "--into", "returns_again")
        self.assertEqual(rows("returns_again"), 50)

        place = self.node.owner("SELECT place FROM returns WHERE id = 250")
        said = self.node.run("ingest", "rollback", "returns", "--to", place)
        self.assertIn("50 messages", said)
        self.assertEqual(rows(), 250)
        self.assertIn("0 messages", self.node.run("ingest", "rollback", "returns", "--to", place))
        # Up to a time: of what came after it, the row that was made last is the one that goes.
        publisher.publish("orders.returned", json.dumps({"id": 298}))
        publisher.flush()
        node.wait_until(lambda: rows() == 251, "it is there")
        then = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        for n in (299, 300):
            publisher.publish("orders.returned", json.dumps({"id": n}))
        publisher.flush()
        node.wait_until(lambda: rows() == 253, "these too")
        self.assertIn("2 messages", self.node.run("ingest", "rollback", "returns", "--to", then))
        self.assertEqual(self.node.owner("SELECT max(id) FROM returns"), "298")
        self.assertIn("1 messages", self.node.run("ingest", "rollback", "returns", "--to", place))
        no_time = self.node.run("ingest", "rollback", "returns", "--to", "yesterday", code=None)
        self.assertNotEqual(no_time.returncode, 0)
        self.assertIn("is no time", no_time.stderr)
        self.assertEqual(rows(), 250)
        node.wait_until(lambda: self.status("returns")["state"] == "running", "it goes on")
        # What was undone may come again, also under its id.
        publisher.publish("orders.returned", json.dumps({"id": 300, "note": "again"}),
                          {"Nats-Msg-Id": "return 300 again"})
        publisher.flush()
        node.wait_until(lambda: rows() == 251, "the new one is there")
        self.node.run("replay", "returns", "--from", str(int(place) + 1), "--to", str(int(place) + 49))
        self.assertEqual(rows(), 300)
        self.assertIn(
            "rollback statement",
            self.node.run("ingest", "rollback", "orders", "--to", "1", code=None).stderr,
        )

    def test_the_story_of_a_message(self):
        publisher = self.publisher()
        trace = "0af7651916cd43dd8448eb211c80319c"
        publisher.publish("orders.created", order(950), {"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        publisher.flush()
        self.wait(1, "id = 950")
        # The row can be seen before its batch is on the trail.
        node.wait_until(lambda: "committed by ingest orders" in self.node.run("trace", trace, code=None).stdout,
                        "its story is told")

    def test_what_waits_beside_other_subjects_becomes_rows_and_the_others_do_not(self):
        # Read without a filter at first (streams/ingest_position.cc), and with one in the end.
        node.wait_until(lambda: self.status("mixed")["state"] == "running", "the rule runs")
        publisher = self.publisher()
        publisher.publish("orders.mixed.a", order(-1))
        publisher.flush()
        count = "SELECT count(*), count(DISTINCT id) FROM mixed"
        node.wait_until(lambda: self.node.owner(count) == "1|1", "the first row")
        self.node.run("ingest", "pause", "mixed", "--why", "a test")
        config = self.jetstream("STREAM.INFO.mixed")["config"]
        config["subjects"].append("orders.beside")
        self.jetstream("STREAM.UPDATE.mixed", json.dumps(config).encode())
        node.wait_until(lambda: self.status("mixed")["state"] == "paused", "the pause")
        for n in range(3000):
            publisher.publish(f"orders.mixed.{n % 50}", order(n))
            if n % 2 == 0:
                publisher.publish("orders.beside", order(n))
        publisher.flush()
        node.wait_until(lambda: self.jetstream("STREAM.INFO.mixed")["state"]["messages"] == 4501, "all of them wait")
        self.node.run("ingest", "resume", "mixed")
        node.wait_until(lambda: self.node.owner(count) == "3001|3001", "all rows, each once")
        begins_anew = 'a rule is starting  rule=mixed reason="what waited is done"'
        node.wait_until(lambda: begins_anew in self.node.log_text(), "it goes on with a filter")

        def consumer():
            return self.jetstream("CONSUMER.INFO.mixed." + self.node.consumer("mixed", "mixed"))
        node.wait_until(lambda: consumer().get("config", {}).get("filter_subject") == "orders.mixed.*", "a filter")
        publisher.publish("orders.mixed.b", order(3000))
        publisher.flush()
        node.wait_until(lambda: self.node.owner(count) == "3002|3002", "the last row")
        self.assertEqual(self.dead("rule = (SELECT id FROM meridian.ingest_rules WHERE name = 'mixed')"), [])

    def jetstream(self, request, body=b"{}"):
        """Past the door, as the server's operator."""
        return self.node.jetstream(request, body)


if __name__ == "__main__":
    node.main()
