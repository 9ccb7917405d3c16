"""asyncpg through the postgres door."""

import asyncio
import datetime
import decimal
import io
import ssl
import unittest

import asyncpg

from node import SQLSTATES, Node, REFUSALS

LARGE_SIZE = 100_000_000
PARAMETERS_MAX = 32_767  # asyncpg's own bound.


class AsyncpgTest(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Node())
        cls.token = cls.node.token()

    def where(self, **more):
        return {"host": "127.0.0.1", "port": self.node.doors["postgres"][1], "database": "shop", "user": "checkout",
                "password": self.token, "ssl": False, **more}

    async def connect(self, **more):
        connection = await asyncpg.connect(**self.where(**more))
        self.addAsyncCleanup(connection.close)
        return connection

    async def test_rows_are_made_read_changed_and_removed(self):
        for cache in (100, 0):  # Statements kept under names, and the one without a name.
            with self.subTest(cache=cache):
                connection = await self.connect(statement_cache_size=cache)
                done = await connection.execute("INSERT INTO orders (id, customer_id) VALUES ($1, $2)", 4701, 1)
                self.assertEqual(done, "INSERT 0 1")
                row = await connection.fetchrow("SELECT status, revision FROM orders WHERE id = $1", 4701)
                self.assertEqual(tuple(row), ("open", 0))
                self.assertEqual(
                    await connection.fetchval("UPDATE orders SET status = $2 WHERE id = $1 RETURNING status", 4701,
                                              "paid"), "paid")
                self.assertEqual(await connection.execute("DELETE FROM orders WHERE id = 4701"), "DELETE 1")

    async def test_values_of_all_kinds(self):
        connection = await self.connect()
        values = [True, 7, 2**40, 1.5, decimal.Decimal("1.25"), "ü", b"\0\xff", datetime.date(2026, 11, 21),
                  datetime.timedelta(days=2, seconds=5), [1, None, 3]]
        types = ["bool", "int4", "int8", "float8", "numeric", "text", "bytea", "date", "interval", "int4[]"]
        text = "SELECT " + ", ".join(f"${n}::{kind}" for n, kind in enumerate(types, 1))
        self.assertEqual(list(await connection.fetchrow(text, *values)), values)
        # A type of the database's own is looked up first.
        await connection.execute("CREATE TYPE pg_temp.mood AS ENUM ('good', 'bad')")
        self.assertEqual(await connection.fetchval("SELECT ARRAY['bad']::pg_temp.mood[]"), ["bad"])

    async def test_transactions_and_savepoints(self):
        connection = await self.connect()
        await connection.execute("CREATE TEMP TABLE steps (n int)")
        async with connection.transaction(isolation="serializable"):
            await connection.execute("INSERT INTO steps VALUES ($1)", 1)
            with self.assertRaises(asyncpg.DivisionByZeroError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO steps VALUES ($1)", 2)
                    await connection.fetchval("SELECT 1 / $1::int", 0)
            await connection.execute("INSERT INTO steps VALUES ($1)", 3)
        with self.assertRaises(asyncpg.ReadOnlySQLTransactionError):
            async with connection.transaction(readonly=True):
                await connection.execute("DELETE FROM orders")
        self.assertEqual(await connection.fetchval("SELECT array_agg(n ORDER BY n) FROM steps"), [1, 3])

    async def test_errors_in_and_outside_of_transactions(self):
        connection = await self.connect()
        for text, state in SQLSTATES:
            for ask in (connection.execute, connection.fetch):  # The simple protocol, and the extended one.
                with self.assertRaises(asyncpg.PostgresError) as caught:
                    await ask(text)
                self.assertEqual(caught.exception.sqlstate, state, text)
                transaction = connection.transaction()
                await transaction.start()
                with self.assertRaises(asyncpg.PostgresError) as caught:
                    await ask(text)
                self.assertEqual(caught.exception.sqlstate, state, text)
                with self.assertRaises(asyncpg.InFailedSQLTransactionError):
                    await ask("SELECT 1")
                await transaction.rollback()
                self.assertEqual(await connection.fetchval("SELECT $1::int", 7), 7)

    async def test_parameters_and_large_values(self):
        connection = await self.connect()
        many = list(range(PARAMETERS_MAX))
        places = ",".join(f"(${n}::int)" for n in range(1, len(many) + 1))
        self.assertEqual(await connection.fetchval(f"SELECT sum(n) FROM (VALUES {places}) v (n)", *many), sum(many))
        self.assertEqual(await connection.fetchval("SELECT sum(n) FROM unnest($1::int[]) n", list(range(1_000_000))),
                         sum(range(1_000_000)))
        value = bytes(range(256)) * (LARGE_SIZE // 256)
        self.assertTrue(await connection.fetchval("SELECT $1::bytea", value) == value)
        text = "ü" * (LARGE_SIZE // 2)
        self.assertTrue(await connection.fetchval("SELECT $1::text", text) == text)

    async def test_many_rows_cursors_and_statements(self):
        connection = await self.connect()
        rows = await connection.fetch("SELECT n FROM generate_series(1, 300000) n")
        self.assertEqual(sum(row["n"] for row in rows), 300_000 * 300_001 // 2)
        async with connection.transaction():
            count = 0
            async for _ in connection.cursor("SELECT generate_series(1, 20000)", prefetch=999):
                count += 1
                if count % 5_000 == 0:  # Another statement leaves the cursor alone.
                    await connection.execute("UPDATE orders SET revision = revision WHERE id = 4")
            self.assertEqual(count, 20_000)
        await connection.execute("CREATE TEMP TABLE steps (n int PRIMARY KEY)")
        await connection.executemany("INSERT INTO steps VALUES ($1)", [(n,) for n in range(50_000)])
        with self.assertRaises(asyncpg.UniqueViolationError):  # All or nothing.
            await connection.executemany("INSERT INTO steps VALUES ($1)", [(n,) for n in range(99_999, 40_000, -1)])
        self.assertEqual(await connection.fetchval("SELECT count(*) FROM steps"), 50_000)
        prepared = await connection.prepare("SELECT $1::int * 2")
        self.assertEqual([await prepared.fetchval(n) for n in range(500)], [2 * n for n in range(500)])
        await connection.execute("ALTER TABLE steps ADD m int")
        self.assertEqual(len(await connection.fetchrow("SELECT * FROM steps")), 2)

    async def test_copy_both_ways(self):
        connection = await self.connect()
        await connection.execute("CREATE TEMP TABLE copied (id int, name text)")
        rows = [(n, f"name\t{n}") for n in range(100_000)]
        self.assertEqual(await connection.copy_records_to_table("copied", records=rows), "COPY 100000")
        for form in ("text", "csv", "binary"):
            out = io.BytesIO()
            await connection.copy_from_query("SELECT DISTINCT * FROM copied WHERE id < $1", 1_000, output=out,
                                             format=form)
            out.seek(0)
            self.assertEqual(await connection.copy_to_table("copied", source=out, format=form), "COPY 1000")
        with self.assertRaises(asyncpg.InvalidTextRepresentationError):
            await connection.copy_to_table("copied", source=io.BytesIO(b"no number\tx\n" * 100_000))
        self.assertEqual(await connection.fetchval("SELECT count(*) FROM copied"), 103_000)

    async def test_notifications(self):
        listener, speaker = await self.connect(), await self.connect()
        heard = asyncio.Queue()
        await listener.add_listener("news of asyncpg", lambda *told: heard.put_nowait(told[-1]))
        for number in range(3):
            await speaker.execute("SELECT pg_notify('news of asyncpg', $1)", str(number))
        self.assertEqual([await asyncio.wait_for(heard.get(), 60) for _ in range(3)], ["0", "1", "2"])
        await listener.remove_listener("news of asyncpg", lambda *told: None)

    async def test_cancel(self):
        connection = await self.connect()
        for _ in range(3):
            with self.assertRaises(asyncio.TimeoutError):
                await connection.fetchval("SELECT pg_sleep($1)", 60.0, timeout=0.5)
            self.assertEqual(await connection.fetchval("SELECT 1"), 1)
        sleeping = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.3)
        sleeping.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await sleeping
        self.assertEqual(await connection.fetchval("SELECT 1"), 1)

    # The pool resets what it takes back (RESET ALL), and the session is still this principal's, as it was opened.
    async def test_a_pool(self):
        settings = {"search_path": "public, pg_temp", "application_name": "pooled"}
        asked = ("SELECT meridian.subject() || ' ' || current_setting('search_path') || ' '"
                 " || split_part(current_setting('application_name'), ' ', 1)")
        async with asyncpg.create_pool(**self.where(), min_size=1, max_size=1, server_settings=settings) as pool:
            for _ in range(3):
                async with pool.acquire() as connection:
                    self.assertEqual(await connection.fetchval(asked), "checkout public, pg_temp pooled")
                    await connection.execute("SET search_path = pg_catalog")
                    await connection.execute("SELECT pg_advisory_lock(78)")
        async with asyncpg.create_pool(**self.where(), min_size=4, max_size=16) as pool:
            answers = await asyncio.gather(*(pool.fetchval("SELECT $1::int", n) for n in range(500)))
            self.assertEqual(answers, list(range(500)))

    async def test_tls_negotiated_and_direct(self):
        trusted = ssl.create_default_context(cafile=str(self.node.ca))
        # PostgreSQL asks for it where TLS comes first.
        trusted.set_alpn_protocols(["postgresql"])
        for direct in (False, True):
            with self.subTest(direct=direct):
                connection = await self.connect(host="localhost", ssl=trusted, direct_tls=direct)
                self.assertEqual(await connection.fetchval("SELECT current_user::text"), "checkout")
        with self.assertRaises(ssl.SSLCertVerificationError):
            await self.connect(host="localhost", ssl=ssl.create_default_context())

    async def test_bad_tokens_are_refused_with_the_rule(self):
        for kind, token in self.node.bad_tokens().items():
            with self.subTest(kind), self.assertRaisesRegex(asyncpg.PostgresError, REFUSALS[kind]) as caught:
                await asyncpg.connect(**self.where(password=token))
            self.assertEqual(caught.exception.sqlstate, "28000")


if __name__ == "__main__":
    unittest.main()
