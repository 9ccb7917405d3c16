"""redis-py through the redis door, in RESP2 and RESP3; rows are written with psycopg."""

import threading
import unittest

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from node import Node, REFUSALS


class RedisPyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Node())
        cls.tokens = {subject: cls.node.token(subject) for subject in ("checkout", "storefront")}
        cls.sql = cls.enterClassContext(psycopg.connect(
            host="127.0.0.1", port=cls.node.doors["postgres"][1], dbname="shop", user="checkout", sslmode="disable",
            password=cls.tokens["checkout"], autocommit=True))

    # Without redis-py's retries: what is refused is to be refused the first time.
    def connect(self, protocol=3, subject="checkout", token=None, **more):
        client = redis.Redis(host="127.0.0.1", port=self.node.doors["redis"][1], protocol=protocol,
                             username="default", password=token or self.tokens[subject], decode_responses=True,
                             retry=Retry(NoBackoff(), 0), **more)
        self.addCleanup(client.close)
        return client

    def for_both_protocols(self, **options):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                yield self.connect(protocol, **options)

    def test_views_answer_like_strings_and_hashes(self):
        for client in self.for_both_protocols(subject="storefront"):
            self.assertIn('"customer_id":', client.get("order:2"))
            row = client.hgetall("order:2")
            self.assertEqual((row["id"], row["customer_id"], row["status"]), ("2", "3", "open"))
            self.assertEqual(client.hmget("order:2", "id", "nothing"), ["2", None])
            self.assertEqual(client.hget("order:2", "id"), "2")
            self.assertEqual(client.hlen("order:2"), 5)
            self.assertIn("revision", client.hkeys("order:2"))
            self.assertTrue(client.hexists("order:2", "status"))
            self.assertEqual(client.strlen("order:2"), len(client.get("order:2")))
            self.assertEqual([value is None for value in client.mget("order:3", "order:99999", "product:sku-1")],
                             [False, True, False])
            self.assertEqual(client.exists("order:1", "order:99999", "order:2"), 2)
            self.assertEqual((client.type("order:1"), client.type("order:99999")), ("string", "none"))
            self.assertEqual((client.ttl("order:1"), client.pttl("order:99999")), (-1, -2))
            self.assertIsNone(client.get("order:99999"))

    def test_a_row_is_read_as_it_was_just_written(self):
        for client in self.for_both_protocols(subject="storefront"):
            self.sql.execute("DELETE FROM orders WHERE id = 3001")
            self.assertIsNone(client.get("order:3001"))
            self.sql.execute("INSERT INTO orders (id, customer_id) VALUES (3001, 1)")
            for revision in range(1, 60):
                self.sql.execute("UPDATE orders SET revision = %s WHERE id = 3001", (revision,))
                self.assertEqual(client.hget("order:3001", "revision"), str(revision))
            self.sql.execute("DELETE FROM orders WHERE id = 3001")
            self.assertEqual(client.exists("order:3001"), 0)

    def test_keys_of_redis_itself(self):
        for client in self.for_both_protocols():
            client.delete("a", "list", "set", "sorted", "hash")
            self.assertTrue(client.set("a", "1", ex=60))
            self.assertIn(client.ttl("a"), range(50, 61))
            self.assertEqual(client.incr("a"), 2)
            self.assertEqual(client.rpush("list", "x", "y"), 2)
            self.assertEqual(client.lrange("list", 0, -1), ["x", "y"])
            client.sadd("set", "m")
            self.assertEqual(client.smembers("set"), {"m"})
            client.zadd("sorted", {"m": 1.5})
            self.assertEqual(client.zscore("sorted", "m"), 1.5)
            client.hset("hash", mapping={"f": "v"})
            self.assertEqual(client.hgetall("hash"), {"f": "v"})
            self.assertEqual(client.eval("return redis.call('get', KEYS[1])", 1, "a"), "2")
            with self.assertRaises(redis.ResponseError):
                client.incr("list")

    def test_pipelines_mix_views_and_keys_in_order(self):
        for client in self.for_both_protocols():
            with client.pipeline(transaction=False) as pipeline:
                for number in range(500):
                    pipeline.set(f"k:{number}", number).get(f"k:{number}").hget("order:1", "id")
                said = pipeline.execute()
            self.assertEqual(said[1::3], [str(number) for number in range(500)])
            self.assertEqual(set(said[2::3]), {"1"})

    def test_transactions_and_watch(self):
        for client in self.for_both_protocols():
            client.set("n", 1)
            with client.pipeline() as pipeline:
                self.assertEqual(pipeline.incr("n").get("n").execute(), [2, "2"])
                pipeline.watch("n")
                client.set("n", 10)
                pipeline.multi()
                pipeline.incr("n")
                with self.assertRaises(redis.WatchError):
                    pipeline.execute()
            self.assertEqual(client.get("n"), "10")

    def test_a_blocking_command_waits_and_holds_up_nobody(self):
        for client in self.for_both_protocols():
            client.delete("queue")
            took = []
            waiter = threading.Thread(target=lambda c=client: took.append(c.blpop("queue", timeout=30)))
            waiter.start()
            other = self.connect()
            for _ in range(100):
                other.set("k", "v")
            other.rpush("queue", "job")
            waiter.join(30)
            self.assertEqual([list(pair) for pair in took], [["queue", "job"]])
            self.assertIsNone(client.blpop("queue", timeout=0.1))

    def test_publish_and_subscribe(self):
        for client in self.for_both_protocols():
            channel = client.pubsub()
            channel.subscribe("news")
            channel.psubscribe("ne*")
            kinds = {channel.get_message(timeout=30)["type"] for _ in range(2)}
            self.assertEqual(kinds, {"subscribe", "psubscribe"})
            self.assertEqual(self.connect().publish("news", "hello"), 2)
            heard = [channel.get_message(timeout=30) for _ in range(2)]
            self.assertEqual({message["type"] for message in heard}, {"message", "pmessage"})
            self.assertEqual({message["data"] for message in heard}, {"hello"})
            channel.unsubscribe("news")
            self.assertEqual(channel.get_message(timeout=30)["type"], "unsubscribe")
            channel.close()

    def test_scan_where_it_is_granted(self):
        client = self.connect()
        client.mset({f"scan:{number}": "v" for number in range(300)})
        self.assertEqual(len(set(client.scan_iter("scan:*"))), 300)
        with self.assertRaisesRegex(redis.exceptions.NoPermissionError, "scan"):
            self.connect(subject="storefront").scan()

    def test_what_a_role_may_not_do_is_refused(self):
        for client in self.for_both_protocols(subject="storefront"):
            self.assertTrue(client.set("session:1", "v", ex=60))
            for refused in (lambda c: c.set("other", "v"), lambda c: c.get("other"), lambda c: c.flushall(),
                            lambda c: c.keys("*"), lambda c: c.config_get("*"), lambda c: c.delete("order:1"),
                            lambda c: c.eval("return 1", 0)):
                with self.assertRaises(redis.exceptions.NoPermissionError):
                    refused(client)
        with self.assertRaisesRegex(redis.ResponseError, "view of table .*orders"):
            self.connect().set("order:1", "v")
        self.assertEqual(self.connect().delete("order:1"), 1)

    def test_large_values(self):
        for client in self.for_both_protocols():
            value = "v" * 20_000_000
            client.set("large", value)
            self.assertTrue(client.get("large") == value)
            client.mset({f"many:{number}": number for number in range(20_000)})
            self.assertEqual(len(client.mget([f"many:{number}" for number in range(20_000)])), 20_000)

    def test_client_names_and_ids(self):
        for client in self.for_both_protocols(client_name="till"):
            self.assertEqual(client.client_getname(), "till")
            self.assertGreater(client.client_id(), 0)
            self.assertTrue(client.ping())
            self.assertEqual(client.echo("hello"), "hello")

    def test_bad_tokens_are_refused_with_the_rule(self):
        for kind, token in self.node.bad_tokens().items():
            for protocol in (2, 3):
                with self.subTest(kind, protocol=protocol):
                    with self.assertRaisesRegex(redis.AuthenticationError, REFUSALS[kind]):
                        self.connect(protocol, token=token).ping()
        nobody = redis.Redis(port=self.node.doors["redis"][1], retry=Retry(NoBackoff(), 0))
        self.addCleanup(nobody.close)
        with self.assertRaises(redis.AuthenticationError):
            nobody.get("order:1")

    def test_tls(self):
        for client in self.for_both_protocols(ssl=True, ssl_ca_certs=str(self.node.ca)):
            self.assertEqual(client.hget("order:1", "id"), "1")
        with self.assertRaises(redis.ConnectionError):
            self.connect(ssl=True).ping()  # Signed by an authority that this client does not know.
        self.assertTrue(self.connect().ping())


if __name__ == "__main__":
    unittest.main()
