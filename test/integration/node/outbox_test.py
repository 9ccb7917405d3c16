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
CONFIG = (
    node.SHOP.replace(
        'subscribe: ["orders.changed.>"]',
        'subscribe: ["orders.changed.>", "shop.events.>"]\n      consume: [OUTBOX]',
    ).replace(
        'publish: ["orders.>"]',
        'publish: ["orders.>", "shop.events.>"]\n      publish_deny: ["shop.events.secret"]',
    )
    + PUBLISH
)


def status_of_now(running):
    """Whatever it says; empty while nobody answers."""
    return json.loads(running.run("--json", "outbox", "status", code=None).stdout or "{}")


def wait_published(running, count=0):
    """Until everything that has a number is in the stream, and so much at least."""

    def published():
        told = status_of_now(running)
        good = told.get("owner") and told["state"] == "publishing" and told["waiting"] == 0
        return told if good and told["published"] >= count else None

    return node.wait_until(published, f"{count} messages or more are published")


def count_triggers(running, table=None):
    """Those that tell of changes. They come and go one by one."""
    of = f" AND tgrelid = '{table}'::regclass" if table else ""
    return int(running.owner(f"SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'meridian_publish_%'{of}"))


def wait_triggers(running, count):
    node.wait_until(lambda: count_triggers(running) == count, f"there are {count} triggers")


class OutboxTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, CONFIG)
        wait_triggers(cls.node, 4)

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
        self.assertEqual(
            [each[0] for each in got], ["shop.events.a", "shop.events.b", "shop.events.c"]
        )
        self.assertEqual([each[2] for each in got], [b"one", b'{"n": 2}', b"\x00\x01\xff"])
        self.assertEqual(got[0][1]["Kind"], "greeting")
        numbers = [int(each[1]["Nats-Msg-Id"].rpartition(".")[2]) for each in got]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + 3)))
        identity = got[0][1]["Meridian-Identity"]
        self.assertRegex(identity, r"^sub=checkout;role=checkout;req=[0-9a-f]{32}$")
        # One story: who connected, what was said, and what was published of it.
        request = identity.rpartition("=")[2]
        story = self.node.run("trace", request)
        self.assertIn("outbox published", story)
        self.assertIn("shop.events.a", story)

    def test_rows_that_change_are_told_of(self):
        visit = self.subscriber("orders.changed.>")
        session = self.session()
        session.query("INSERT INTO orders VALUES (1001, 1, 'open', 5, 0), (1002, 2, 'open', 6, 0)")
        session.query("UPDATE orders SET status = 'paid' WHERE id IN (1001, 1002)")
        session.query("UPDATE orders SET id = 1003 WHERE id = 1002")
        session.query("DELETE FROM orders WHERE id = 1001")
        got = [(subject, json.loads(payload)) for subject, _, payload in visit.messages(6)]
        self.assertEqual(
            [(subject, told["op"]) for subject, told in got],
            [
                ("orders.changed.1001", "insert"),
                ("orders.changed.1002", "insert"),
                ("orders.changed.1001", "update"),
                ("orders.changed.1002", "update"),
                ("orders.changed.1003", "update"),
                ("orders.changed.1001", "delete"),
            ],
        )
        self.assertEqual(got[0][1]["table"], "public.orders")
        self.assertEqual(
            got[0][1]["after"],
            {"id": 1001, "customer_id": 1, "status": "open", "total_cents": 5, "revision": 0},
        )
        self.assertNotIn("before", got[0][1])
        self.assertEqual(got[3][1]["before"]["status"], "open")
        self.assertEqual(got[3][1]["after"]["status"], "paid")
        self.assertEqual(got[4][1]["before"]["id"], 1002)
        self.assertEqual(got[5][1]["before"]["id"], 1001)
        self.assertNotIn("after", got[5][1])

    def test_rights_are_those_of_the_role(self):
        session = self.session()

        def refused(sql):
            with self.assertRaises(clients.PostgresError) as raised:
                session.query(sql)
            return raised.exception

        self.assertEqual(refused("SELECT meridian.publish('shop.events.secret', 'x')").code, "42501")
        error = refused("SELECT meridian.publish('orders.created', 'x')")
        self.assertEqual(error.code, "42501")
        self.assertIn("does not belong to the outbox", error.fields["M"])
        for subject in ("shop.events.*", "shop..events", "shop.events.>", "shop.events.a b", ""):
            self.assertEqual(refused(f"SELECT meridian.publish('{subject}', 'x')").code, "22023")
        for headers in ('{"Nats-Rollup": "all"}', '{"meridian-identity": "x"}', '{"a": 1}', "[]",
                        '{"a": "x\\r\\nNats-Rollup: all"}'):
            self.assertEqual(
                refused(f"SELECT meridian.publish('shop.events.a', 'x', '{headers}')").code, "22023"
            )
        for table in ("outbox", "outbox_state", "outbox_batches", "publishers", "leases"):
            self.assertEqual(refused(f"SELECT * FROM meridian.{table}").code, "42501")
        self.assertEqual(refused("SELECT meridian.fence('outbox', 1)").code, "42501")
        with clients.Postgres(self.node, self.node.token("storefront"), "storefront") as other:
            with self.assertRaises(clients.PostgresError) as raised:
                other.query("SELECT meridian.publish('shop.events.a', 'x')")
            self.assertIn("may not publish", raised.exception.fields["M"])
        # And nobody writes into the stream himself.
        visit = self.subscriber("shop.events.>")
        visit.publish("shop.events.a", b"forged")
        with self.assertRaises(clients.NatsError) as raised:
            visit.flush()
        self.assertIn("Permissions Violation for Publish", str(raised.exception))

    def test_the_order_is_that_of_the_commits(self):
        visit = self.subscriber("shop.events.order.>")
        self.node.owner(
            "CREATE TABLE turns (n bigint); INSERT INTO turns VALUES (0);"
            "GRANT SELECT, UPDATE ON turns TO checkout"
        )
        writers, rounds = 6, 60

        def write(writer):
            # The counter's row makes the transactions commit in the order of its values.
            with clients.Postgres(self.node, self.node.token("checkout"), "checkout") as session:
                for _ in range(rounds):
                    session.query("BEGIN")
                    session.query(f"SELECT meridian.publish('shop.events.order.early', '{writer}')")
                    session.query(
                        "WITH t AS (UPDATE turns SET n = n + 1 RETURNING n)"
                        " SELECT meridian.publish('shop.events.order.turn', n::text) FROM t"
                    )
                    session.query("COMMIT")

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
        for thread in threads:
            thread.start()
        got = visit.messages(2 * writers * rounds, node.PATIENCE)
        for thread in threads:
            thread.join()
        turns = [int(payload) for subject, _, payload in got if subject.endswith("turn")]
        self.assertEqual(turns, list(range(1, writers * rounds + 1)))
        # Transactions are whole: each early message is followed by its own turn.
        self.assertEqual([subject.endswith("turn") for subject, _, _ in got],
                         [False, True] * (writers * rounds))

    def test_a_large_transaction_is_published_whole(self):
        session = self.session()
        # Behind all that was committed before: when it has come, so has everything else.
        visit = self.subscriber("shop.events.before")
        session.query("SELECT meridian.publish('shop.events.before', '')")
        visit.message()
        before = wait_published(self.node)["published"]
        session.query(
            "INSERT INTO orders SELECT n, 1, 'open', 0, 0 FROM generate_series(100001, 130000) n"
        )
        told = wait_published(self.node, before + 30_000)
        self.assertEqual(told["published"], before + 30_000)
        visit = self.subscriber("orders.changed.>")
        session.query("DELETE FROM orders WHERE id > 100000")
        got = visit.messages(30_000, node.PATIENCE)
        self.assertEqual([int(subject.rpartition(".")[2]) for subject, _, _ in got],
                         list(range(100001, 130001)))

    def test_what_is_too_large_is_a_dead_letter_in_its_place(self):
        visit = self.subscriber("shop.events.large.>")
        session = self.session()
        session.query("BEGIN")
        session.query("SELECT meridian.publish('shop.events.large.a', 'before')")
        session.query("SELECT meridian.publish('shop.events.large.b', repeat('x', 3000000))")
        session.query("SELECT meridian.publish('shop.events.large.c', repeat('y', 100000))")
        session.query("COMMIT")
        got = visit.messages(3)
        self.assertEqual([each[0][-1] for each in got], ["a", "b", "c"])
        self.assertEqual(got[1][2], b"")
        self.assertIn("3000000 bytes", got[1][1]["Meridian-Dead-Letter"])
        self.assertEqual(len(got[2][2]), 100_000)
        letters = json.loads(self.node.run("--json", "outbox", "dead-letters"))["dead_letters"]
        self.assertEqual(letters[0]["subject"], "shop.events.large.b")
        self.assertEqual(letters[0]["payload_bytes"], "3000000")

    def test_published_rows_are_removed_by_partition(self):
        session = self.session()
        session.query("SELECT meridian.publish('shop.events.removed', 'x')")
        wait_published(self.node)
        node.wait_until(
            lambda: self.node.owner("SELECT count(*) FROM meridian.outbox") == "0",
            "the rows are removed",
            90,
        )
        node.wait_until(
            lambda: self.node.owner("SELECT count(*) FROM meridian.outbox_batches") == "0",
            "and what says their numbers",
            90,
        )


class RulesTest(unittest.TestCase):
    def test_triggers_come_and_go_with_their_rule(self):
        # The row is still there when it is looked for.
        config = CONFIG.replace("keep: 1s", "keep: 1h")
        running = node.use_node(self, config)
        wait_triggers(running, 4)
        running.write_config(config.replace("table: orders\n", "table: customers\n")
                             .replace("orders.changed.{id}", "shop.changed.{id}.{name}"))
        running.run("config", "reload")
        node.wait_until(lambda: count_triggers(running, "customers") == 4,
                        "the triggers are on the other table")
        wait_triggers(running, 4)
        running.owner("INSERT INTO customers VALUES (900, 'A. B*C > D', 'x@shop.example')")
        wait_published(running)
        running.write_config(config.replace("  order_changes:\n    table: orders\n"
                                            '    subject: "orders.changed.{id}"\n', ""))
        running.run("config", "reload")
        wait_triggers(running, 0)
        node.wait_until(
            lambda: running.owner("SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON"
                                  " n.oid = pronamespace WHERE nspname = 'meridian' AND"
                                  " proname LIKE 'publish\\_%'") == "0",
            "and their functions",
        )
        self.assertEqual(
            running.owner("SELECT subject FROM meridian.outbox WHERE subject LIKE 'shop.changed%'"),
            "shop.changed.900.A%2E%20B%2AC%20%3E%20D",
        )
        # A rule whose table comes later counts from then on.
        running.write_config(config.replace("table: orders\n", "table: later\n"))
        running.run("config", "reload")
        node.wait_until(lambda: status_of_now(running).get("broken_rules"), "the rule is said to be broken")
        running.owner("CREATE TABLE later (id int PRIMARY KEY)")
        wait_triggers(running, 4)
        node.wait_until(lambda: status_of_now(running).get("broken_rules") == [], "the rule is good")


class NamesTest(unittest.TestCase):
    def test_columns_may_have_any_name(self):
        """Also those that the triggers' functions use themselves."""
        config = CONFIG.replace("publish:\n  order_changes:", """publish:
  names:
    table: names
    subject: "orders.changed.{n}.{identity}"
  names_chosen:
    table: names
    subject: "shop.chosen.{n}"
    columns: [c, n]
  order_changes:""").replace('"orders.changed.>", "shop', '"shop.chosen.>", "orders.changed.>", "shop')
        running = node.use_node(self, config)
        running.owner(
            "CREATE TABLE names (n int, o int, c int, i int, identity text);"
            "GRANT ALL ON names TO checkout"
        )
        node.wait_until(lambda: count_triggers(running, "names") == 8, "the triggers are installed")
        token = running.token("checkout")
        with clients.Nats(running, token) as all_of, clients.Nats(running, token) as chosen:
            all_of.subscribe("orders.changed.>")
            chosen.subscribe("shop.chosen.>")
            with clients.Postgres(running, token, "checkout") as session:
                session.query("INSERT INTO names VALUES (1, 2, 3, 4, 'x')")
                session.query("UPDATE names SET n = 10, c = 30")
                session.query("DELETE FROM names")
            got = [(subject, json.loads(payload)) for subject, _, payload in all_of.messages(3)]
            few = [json.loads(payload) for _, _, payload in chosen.messages(3)]
        before = {"n": 1, "o": 2, "c": 3, "i": 4, "identity": "x"}
        after = {"n": 10, "o": 2, "c": 30, "i": 4, "identity": "x"}
        self.assertEqual([each[0] for each in got],
                         [f"orders.changed.{n}.x" for n in (1, 10, 10)])
        self.assertEqual(got[0][1]["after"], before)
        self.assertEqual((got[1][1]["before"], got[1][1]["after"]), (before, after))
        self.assertEqual(got[2][1]["before"], after)
        self.assertEqual((few[1]["before"], few[1]["after"]), ({"c": 3, "n": 1}, {"c": 30, "n": 10}))


if __name__ == "__main__":
    node.main()
