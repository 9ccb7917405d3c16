"""nats-py through the nats door: messages, queue groups, requests, headers, denials, JetStream, KV, TLS."""

import asyncio
import ssl
import time
import unittest

import nats
from nats.errors import NoRespondersError
from nats.js import api
from nats.js.errors import KeyNotFoundError

from node import Node

PATIENCE = 60
NODE = None


def setUpModule():
    global NODE
    NODE = Node()
    NODE.__enter__()


def tearDownModule():
    NODE.__exit__(None, None, None)


class Door(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.errors = asyncio.Queue()
        self.connections = []
        self.client = await self.open()

    async def asyncTearDown(self):
        for connection in self.connections:
            await connection.close()

    async def open(self, subject="checkout", **options):
        async def complain(error):
            await self.errors.put(error)

        connection = await nats.connect(
            f"nats://127.0.0.1:{NODE.doors['nats'][1]}", token=NODE.token(subject), error_cb=complain,
            allow_reconnect=False, connect_timeout=PATIENCE, **options)
        self.connections.append(connection)
        return connection

    async def open_soon(self, **options):
        """A handshake that begins too late for the door to wait for it, as on a busy machine, fails: INFO is there first."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await self.open(**options)
            except (OSError, nats.errors.Error):
                if time.monotonic() > until:
                    raise

    async def complaint(self):
        return str(await asyncio.wait_for(self.errors.get(), PATIENCE))

    async def test_messages_carry_headers_and_who_published_them(self):
        subscription = await self.client.subscribe("orders.py.*")
        await self.client.publish("orders.py.a", b"one", headers={"Other": "kept", "Meridian-Identity": "evil"})
        await self.client.publish("orders.py.b", b"two")
        one = await subscription.next_msg(PATIENCE)
        two = await subscription.next_msg(PATIENCE)
        self.assertEqual((one.data, two.data), (b"one", b"two"))
        self.assertEqual(one.headers["Other"], "kept")
        for message in (one, two):
            self.assertRegex(message.headers["Meridian-Identity"],
                             "^iss=meridian;sub=checkout;role=checkout;req=[0-9a-f]{32}$")

    async def test_a_queue_group_shares(self):
        other = await self.open()
        counts = [0, 0]
        done = asyncio.Event()

        def counter(index):
            async def count(_):
                counts[index] += 1
                if sum(counts) == 200:
                    done.set()
            return count

        for index, connection in enumerate((self.client, other)):
            await connection.subscribe("orders.shared", "workers", cb=counter(index))
            await connection.flush()
        for _ in range(200):
            await self.client.publish("orders.shared", b"")
        await asyncio.wait_for(done.wait(), PATIENCE)
        await self.client.flush()
        self.assertEqual(sum(counts), 200)
        self.assertTrue(all(counts), counts)

    async def test_requests_are_answered(self):
        async def answer(message):
            await message.respond(b"to " + message.headers["Meridian-Identity"].split(";")[1].encode())

        served = await self.client.subscribe("orders.service", cb=answer)
        await self.client.flush()
        caller = await self.open("storefront")
        reply = await caller.request("orders.service", b"", timeout=PATIENCE)
        self.assertEqual(reply.data, b"to sub=storefront")
        await served.unsubscribe()
        await self.client.flush()
        with self.assertRaises(NoRespondersError):
            await caller.request("orders.service", b"", timeout=PATIENCE)

    async def test_a_denial_leaves_the_connection(self):
        await self.client.publish("other", b"")
        self.assertIn('permissions violation for publish to "other"', (await self.complaint()).lower())
        await self.client.subscribe("other.>")
        self.assertIn('permissions violation for subscription to "other.>"', (await self.complaint()).lower())
        subscription = await self.client.subscribe("orders.py.after")
        await self.client.publish("orders.py.after", b"x")
        self.assertEqual((await subscription.next_msg(PATIENCE)).data, b"x")

    async def test_bad_tokens_have_no_way_in(self):
        for kind, token in NODE.bad_tokens().items():
            with self.subTest(kind), self.assertRaises(Exception) as caught:
                await nats.connect(f"nats://127.0.0.1:{NODE.doors['nats'][1]}", token=token, allow_reconnect=False,
                                   connect_timeout=PATIENCE)
            self.assertIn("authorization violation", str(caught.exception).lower())

    async def test_jetstream_stores_and_delivers(self):
        stream = self.client.jetstream(timeout=PATIENCE)
        await stream.add_stream(name="ORDERS", subjects=["orders.stream.>"])
        try:
            for number in range(20):
                stored = await stream.publish("orders.stream.a", str(number).encode(), timeout=PATIENCE)
                self.assertEqual(stored.seq, number + 1)
            pulled = await stream.pull_subscribe("orders.stream.>", durable="py", stream="ORDERS")
            messages = await pulled.fetch(20, timeout=PATIENCE)
            self.assertEqual([int(message.data) for message in messages], list(range(20)))
            for message in messages:
                self.assertIn("sub=checkout", message.headers["Meridian-Identity"])
                await message.ack_sync(timeout=PATIENCE)
            told = await pulled.consumer_info()
            self.assertEqual((told.num_pending, told.num_ack_pending), (0, 0))
            pushed = await stream.subscribe("orders.stream.>", ordered_consumer=True)
            for number in range(20):
                self.assertEqual(int((await pushed.next_msg(PATIENCE)).data), number)
        finally:
            await stream.delete_stream("ORDERS")

    async def test_a_stream_of_others_is_refused(self):
        stream = self.client.jetstream(timeout=2)
        with self.assertRaises(Exception):
            await stream.add_stream(name="OTHER", subjects=["orders.x"])
        self.assertIn("permissions violation", (await self.complaint()).lower())

    async def test_key_value(self):
        stream = self.client.jetstream(timeout=PATIENCE)
        bucket = await stream.create_key_value(api.KeyValueConfig(bucket="CARTS", history=5))
        try:
            first = await bucket.put("c1", b"apple")
            self.assertEqual((await bucket.get("c1")).value, b"apple")
            await bucket.update("c1", b"pear", last=first)
            with self.assertRaises(Exception):
                await bucket.update("c1", b"plum", last=first)
            self.assertEqual((await bucket.get("c1")).value, b"pear")
            self.assertEqual(await bucket.keys(), ["c1"])
            await bucket.delete("c1")
            with self.assertRaises(KeyNotFoundError):
                await bucket.get("c1")
            await bucket.purge("c1")
        finally:
            await stream.delete_key_value("CARTS")

    async def test_tls(self):
        context = ssl.create_default_context(cafile=NODE.ca)
        for first in (False, True):
            with self.subTest(first=first):
                connection = await self.open_soon(tls=context, tls_hostname="localhost", tls_handshake_first=first)
                subscription = await connection.subscribe("orders.tls")
                await connection.publish("orders.tls", b"x" * 300_000)
                self.assertEqual(len((await subscription.next_msg(PATIENCE)).data), 300_000)


if __name__ == "__main__":
    unittest.main()
