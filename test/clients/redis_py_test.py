"""redis-py through the redis door, in RESP2 and RESP3, with and without asyncio; rows are written with psycopg."""

import asyncio
import contextlib
import re
import threading
import time
import unittest
import urllib.request

import psycopg
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from node import Node, REFUSALS


class FreshTokens(redis.CredentialProvider):
    """Gives a new token each time: the first one is short-lived, but good for a login, so that a second one is needed."""

    def __init__(self, node, subject="storefront"):
        self.node = node
        self.subject = subject
        self.given = 0

    def get_credentials(self):
        self.given += 1
        return "default", self.node.token(self.subject, ttl="6s" if self.given == 1 else "10m")


def setUpModule():
    global NODE, TOKENS, SQL
    NODE = unittest.enterModuleContext(Node())
    TOKENS = {subject: NODE.token(subject) for subject in ("checkout", "storefront", "clerk")}
    SQL = unittest.enterModuleContext(psycopg.connect(
        host="127.0.0.1", port=NODE.doors["postgres"][1], dbname="shop", user="checkout", sslmode="disable",
        password=TOKENS["checkout"], autocommit=True))


def visits():
    """How many connections the door has."""
    with urllib.request.urlopen(f"http://127.0.0.1:{NODE.doors['http'][1]}/metrics", timeout=30) as answer:
        return int(re.search(r'^meridian_visits\{door="redis"[^}]*\} (\d+)$', answer.read().decode(), re.M)[1])


class RedisPyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node, cls.tokens, cls.sql = NODE, TOKENS, SQL

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

    def test_who_is_refused_something_goes_on(self):
        for client in self.for_both_protocols(subject="storefront", single_connection_client=True):
            number = client.client_id()
            client.set("session:1", "a")
            with client.pipeline(transaction=False) as pipeline:
                said = pipeline.get("session:1").get("other").get("session:1").execute(raise_on_error=False)
            self.assertEqual((said[0], said[2]), ("a", "a"))
            self.assertIsInstance(said[1], redis.exceptions.NoPermissionError)
            with client.pipeline() as pipeline, self.assertRaises(redis.exceptions.NoPermissionError):
                pipeline.set("session:1", "b").set("other", "v").execute()
            self.assertEqual(client.get("session:1"), "a")
            self.assertEqual(client.client_id(), number)

    def test_scripts_where_they_are_granted(self):
        for client in self.for_both_protocols():
            client.set("scripted", "5")
            read_one = client.register_script("return redis.call('get', KEYS[1])")
            self.assertEqual(read_one(keys=["scripted"]), "5")
            self.assertEqual(client.script_exists(read_one.sha), [True])
        for client in self.for_both_protocols(subject="storefront"):
            for refused in (lambda c: c.eval("return 1", 0), lambda c: c.evalsha("0" * 40, 0),
                            lambda c: c.script_load("return 1")):
                with self.assertRaisesRegex(redis.exceptions.NoPermissionError, "storefront may not run"):
                    refused(client)

    def test_streams_and_their_groups(self):
        for client in self.for_both_protocols():
            client.delete("stream")
            client.xgroup_create("stream", "workers", "0", mkstream=True)
            heard = []
            reader = threading.Thread(target=lambda c=client: heard.append(
                c.xreadgroup("workers", "first", {"stream": ">"}, block=30_000)))
            reader.start()
            number = self.connect().xadd("stream", {"sku": "sku-1"})
            reader.join(30)
            # A list of pairs in RESP2, a map with another list around it in RESP3.
            self.assertIn(heard[0], ([["stream", [(number, {"sku": "sku-1"})]]],
                                     {"stream": [[(number, {"sku": "sku-1"})]]}))
            self.assertEqual(client.xpending("stream", "workers")["pending"], 1)
            self.assertEqual(client.xack("stream", "workers", number), 1)
            self.assertEqual(client.xrange("stream"), [(number, {"sku": "sku-1"})])

    def test_a_fresh_token_comes_with_the_next_connection(self):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                tokens = FreshTokens(self.node)
                client = redis.Redis(port=self.node.doors["redis"][1], protocol=protocol, credential_provider=tokens,
                                     decode_responses=True)
                self.addCleanup(client.close)
                first = client.client_id()
                until = time.monotonic() + 30
                # No call fails meanwhile: the pool sees that the connection has ended, and makes another.
                while client.client_id() == first and time.monotonic() < until:
                    self.assertEqual(client.hget("order:2", "id"), "2")
                    time.sleep(0.05)
                self.assertNotEqual(client.client_id(), first)
                self.assertEqual(tokens.given, 2)

    def test_a_fresh_token_before_the_old_one_ends_leaves_the_connection(self):
        token = self.node.token("storefront", ttl="10s")
        expired = time.monotonic() + 11
        clients = [self.connect(protocol, token=token, single_connection_client=True) for protocol in (2, 3)]
        numbers = [client.client_id() for client in clients]
        for client in clients:
            client.execute_command("AUTH", "default", self.tokens["storefront"])
        time.sleep(max(0, expired - time.monotonic()))
        for client in clients:
            self.assertEqual(client.hget("order:2", "id"), "2")
        self.assertEqual([client.client_id() for client in clients], numbers)

    def test_a_subscription_ends_with_its_token_and_comes_back_with_a_fresh_one(self):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                tokens = FreshTokens(self.node, "checkout")
                client = redis.Redis(port=self.node.doors["redis"][1], protocol=protocol, credential_provider=tokens,
                                     decode_responses=True)
                self.addCleanup(client.close)
                channel = client.pubsub()
                self.addCleanup(channel.close)
                channel.subscribe(f"news:{protocol}")
                self.assertEqual(channel.get_message(timeout=30)["type"], "subscribe")
                # redis-py subscribes anew by itself; what ended the old connection it may raise.
                until = time.monotonic() + 30
                again = None
                while again is None and time.monotonic() < until:
                    with contextlib.suppress(redis.AuthenticationError, redis.ConnectionError):
                        again = channel.get_message(timeout=1)
                self.assertEqual(again["type"], "subscribe")
                self.assertEqual(self.connect().publish(f"news:{protocol}", "hello"), 1)
                self.assertEqual(channel.get_message(timeout=30)["data"], "hello")

    def test_the_user_name_says_which_role(self):
        for protocol in (2, 3):
            for role in ("checkout", "storefront"):
                with self.subTest(role, protocol=protocol):
                    client = redis.Redis(port=self.node.doors["redis"][1], protocol=protocol, username=role,
                                         password=self.tokens["clerk"])
                    self.addCleanup(client.close)
                    if role == "checkout":
                        self.assertTrue(client.set("other", "v"))
                    else:
                        with self.assertRaisesRegex(redis.exceptions.NoPermissionError, "role storefront may not"):
                            client.set("other", "v")

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


class AsyncRedisPyTest(unittest.IsolatedAsyncioTestCase):
    def connect(self, protocol, subject="checkout", token=None, **more):
        client = redis.asyncio.Redis(host="127.0.0.1", port=NODE.doors["redis"][1], protocol=protocol,
                                     username="default", password=token or TOKENS[subject], decode_responses=True,
                                     retry=AsyncRetry(NoBackoff(), 0), **more)
        self.addAsyncCleanup(client.aclose)
        return client

    def for_both_protocols(self, **options):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                yield self.connect(protocol, **options)

    async def test_many_at_once(self):
        for client in self.for_both_protocols():
            said = await asyncio.gather(*(client.hget(f"order:{1 + number % 50}", "id") for number in range(80)))
            self.assertEqual(said, [str(1 + number % 50) for number in range(80)])
            await asyncio.gather(*(client.set(f"a:{number}", number) for number in range(80)))
            self.assertEqual(await client.mget([f"a:{number}" for number in range(80)]),
                             [str(number) for number in range(80)])

    async def test_a_row_is_read_as_it_was_just_written(self):
        # Two writers and their readers at once; each reads what itself has written.
        async def write_and_read(client, number):
            sql = await psycopg.AsyncConnection.connect(
                host="127.0.0.1", port=NODE.doors["postgres"][1], dbname="shop", user="checkout", sslmode="disable",
                password=TOKENS["checkout"], autocommit=True)
            async with sql:
                for revision in range(1, 40):
                    await sql.execute("UPDATE orders SET revision = %s WHERE id = %s", (revision, number))
                    one, many = await asyncio.gather(client.hget(f"order:{number}", "revision"),
                                                     client.mget(f"order:{number}", "order:99999"))
                    self.assertEqual(one, str(revision))
                    self.assertIn(f'"revision":{revision}', many[0])

        for client in self.for_both_protocols(subject="storefront"):
            await asyncio.gather(write_and_read(client, 21), write_and_read(client, 22))

    async def test_pipelines_transactions_and_watch(self):
        for client in self.for_both_protocols():
            async with client.pipeline(transaction=False) as pipeline:
                for number in range(300):
                    pipeline.set(f"k:{number}", number).get(f"k:{number}").hget("order:1", "id")
                said = await pipeline.execute()
            self.assertEqual(said[1::3], [str(number) for number in range(300)])
            self.assertEqual(set(said[2::3]), {"1"})
            await client.set("n", 1)
            async with client.pipeline() as pipeline:
                await pipeline.watch("n")
                await client.set("n", 10)
                pipeline.multi()
                pipeline.incr("n")
                with self.assertRaises(redis.WatchError):
                    await pipeline.execute()
            self.assertEqual(await client.get("n"), "10")

    async def test_a_blocking_command_that_is_given_up(self):
        for client in self.for_both_protocols():
            await client.delete("queue")
            waiting = asyncio.create_task(client.blpop("queue", timeout=30))
            await client.rpush("queue", "job")
            self.assertEqual(list(await waiting), ["queue", "job"])
            # asyncio closes the connection of a call that is cancelled; nothing is popped for it afterwards.
            before = visits()
            waiting = asyncio.create_task(client.blpop("queue", timeout=30))
            self.assertEqual((await asyncio.wait([waiting], timeout=0.2))[0], set())
            waiting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            until = time.monotonic() + 60
            while visits() >= before:
                self.assertLess(time.monotonic(), until, "the door still has the connection")
                await asyncio.sleep(0.01)
            # What Redis hears next it hears after the end of the one that waited.
            await client.ping()
            await client.rpush("queue", "kept")
            self.assertEqual(await client.lrange("queue", 0, -1), ["kept"])

    async def test_publish_and_subscribe(self):
        for client in self.for_both_protocols():
            async with client.pubsub() as channel:
                await channel.subscribe("news")
                self.assertEqual((await channel.get_message(timeout=30))["type"], "subscribe")
                for number in range(100):
                    self.assertEqual(await client.publish("news", number), 1)
                heard = [(await channel.get_message(timeout=30))["data"] for _ in range(100)]
                self.assertEqual(heard, [str(number) for number in range(100)])

    async def test_scan(self):
        for client in self.for_both_protocols():
            await client.mset({f"scanned:{number}": "v" for number in range(300)})
            self.assertEqual(len({key async for key in client.scan_iter("scanned:*")}), 300)

    async def test_who_is_refused_something_goes_on(self):
        for client in self.for_both_protocols(subject="storefront", single_connection_client=True):
            number = await client.client_id()
            for refused in (lambda c: c.set("other", "v"), lambda c: c.flushall(), lambda c: c.eval("return 1", 0)):
                with self.assertRaises(redis.exceptions.NoPermissionError):
                    await refused(client)
            self.assertEqual(await client.client_id(), number)

    async def test_a_fresh_token_comes_with_the_next_connection(self):
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                tokens = FreshTokens(NODE)
                client = redis.asyncio.Redis(port=NODE.doors["redis"][1], protocol=protocol,
                                             credential_provider=tokens, decode_responses=True)
                self.addAsyncCleanup(client.aclose)
                first = await client.client_id()
                until = time.monotonic() + 30
                while await client.client_id() == first and time.monotonic() < until:
                    self.assertEqual(await client.hget("order:2", "id"), "2")
                    await asyncio.sleep(0.05)
                self.assertNotEqual(await client.client_id(), first)
                self.assertEqual(tokens.given, 2)

    async def test_bad_tokens_are_refused_with_the_rule(self):
        for kind, token in NODE.bad_tokens().items():
            for client in self.for_both_protocols(token=token):
                with self.assertRaisesRegex(redis.AuthenticationError, REFUSALS[kind]):
                    await client.ping()

    async def test_tls(self):
        for client in self.for_both_protocols(ssl=True, ssl_ca_certs=str(NODE.ca)):
            self.assertEqual(await client.hget("order:1", "id"), "1")


if __name__ == "__main__":
    unittest.main()
