"""psycopg 3 through the postgres door, with the newer libpq that its binary package brings."""

import asyncio
import threading
import unittest

import psycopg
from psycopg import errors, pq, sql

from node import SQLSTATES, Node, REFUSALS


class PsycopgTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Node())
        cls.token = cls.node.token()

    def where(self, **more):
        return {"host": "127.0.0.1", "port": self.node.doors["postgres"][1], "dbname": "shop", "user": "checkout",
                "password": self.token, "sslmode": "disable", "connect_timeout": 30, **more}

    def connect(self, autocommit=False, **more):
        return self.enterContext(psycopg.connect(**self.where(**more), autocommit=autocommit))

    def test_rows_are_made_read_changed_and_removed(self):
        connection = self.connect()
        with connection.transaction():
            connection.execute("INSERT INTO orders (id, customer_id) VALUES (%s, %s)", (2001, 1))
        row = connection.execute("SELECT status, revision FROM orders WHERE id = %s", (2001,)).fetchone()
        self.assertEqual(row, ("open", 0))
        connection.execute("UPDATE orders SET status = 'paid' WHERE id = %s", (2001,))
        connection.commit()
        self.assertEqual(connection.execute("DELETE FROM orders WHERE id = 2001").rowcount, 1)
        connection.rollback()
        self.assertEqual(connection.execute("DELETE FROM orders WHERE id = 2001").rowcount, 1)
        connection.commit()

    def test_nested_transactions(self):
        connection = self.connect()
        with connection.transaction():
            connection.execute("CREATE TEMP TABLE steps (n int)")
            connection.execute("INSERT INTO steps VALUES (1)")
            with self.assertRaises(errors.DivisionByZero), connection.transaction():
                connection.execute("INSERT INTO steps VALUES (2)")
                connection.execute("SELECT 1 / 0")
            connection.execute("INSERT INTO steps VALUES (3)")
        self.assertEqual(connection.execute("SELECT array_agg(n ORDER BY n) FROM steps").fetchone(), ([1, 3],))

    def test_errors_outside_and_inside_of_a_transaction(self):
        connection = self.connect(autocommit=True)
        with self.assertRaises(errors.UndefinedTable) as caught:
            connection.execute("SELECT * FROM nothing")
        self.assertIn('relation "nothing" does not exist', str(caught.exception))
        self.assertEqual(connection.info.transaction_status, pq.TransactionStatus.IDLE)
        with self.assertRaises(errors.UniqueViolation) as caught:
            connection.execute("INSERT INTO orders (id, customer_id) VALUES (1, 1)")
        self.assertEqual(caught.exception.diag.constraint_name, "orders_pkey")
        connection.execute("BEGIN")
        with self.assertRaises(errors.SyntaxError):
            connection.execute("SELEC 1")
        with self.assertRaises(errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.execute("ROLLBACK")
        self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def test_every_failure_has_its_code(self):
        connection = self.connect(autocommit=True)
        for text, state in SQLSTATES:
            for parameters in (None, ()):  # The simple protocol, and the extended one.
                with self.assertRaises(psycopg.Error) as caught:
                    connection.execute(text, parameters)
                self.assertEqual(caught.exception.sqlstate, state, text)
                with self.assertRaises(psycopg.Error) as caught, connection.transaction():
                    connection.execute(text, parameters)
                self.assertEqual(caught.exception.sqlstate, state, text)
                self.assertEqual(connection.execute("SELECT %s::int", (7,)).fetchone(), (7,))

    def test_a_message_above_the_bound_is_refused_by_name(self):
        connection = self.connect(autocommit=True)
        with self.assertRaisesRegex(psycopg.Error, "request_bytes_max") as caught:
            connection.execute("SELECT %b::bytea", (bytes(300 << 20),))
        self.assertEqual(caught.exception.sqlstate, "54000")
        self.assertTrue(connection.closed)

    def test_reset_goes_back_to_the_start_of_the_session(self):
        connection = self.connect(autocommit=True, options="-c search_path=public,pg_temp", application_name="told")
        asked = ("SELECT current_setting('search_path'), meridian.subject(), current_setting('timezone'),"
                 " split_part(current_setting('application_name'), ' ', 1)")
        before = connection.execute(asked).fetchone()
        self.assertEqual(before[:2] + before[3:], ("public,pg_temp", "checkout", "told"))
        for reset in ("RESET ALL", "DISCARD ALL"):
            for prepare in (False, True):
                with self.subTest(reset, prepare=prepare):
                    connection.execute("SET search_path = pg_catalog")
                    connection.execute("SET timezone = 'Asia/Tokyo'")
                    connection.execute(reset)
                    self.assertEqual(connection.execute(asked, prepare=prepare).fetchone(), before)
                    self.assertEqual(connection.info.parameter_status("application_name"), "told")
                    self.assertEqual(connection.info.parameter_status("TimeZone"), before[2])
        # One setting alone; others stay as they were set.
        connection.execute("SET search_path = pg_catalog")
        connection.execute("SET timezone = 'Asia/Tokyo'")
        connection.execute("RESET search_path")
        self.assertEqual(connection.execute(asked).fetchone()[:3], ("public,pg_temp", "checkout", "Asia/Tokyo"))
        connection.execute("RESET ALL; SET search_path = pg_catalog")
        self.assertEqual(connection.execute(asked).fetchone(), ("pg_catalog", *before[1:]))

    def test_a_serialization_failure_is_reported(self):
        one, two = self.connect(), self.connect()
        for connection in (one, two):
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            connection.execute("SELECT sum(total_cents) FROM orders WHERE id < 10")
        for number, connection in ((1, one), (2, two)):
            connection.execute("UPDATE orders SET total_cents = total_cents + 1 WHERE id = %s", (number,))
        one.commit()
        with self.assertRaises(errors.SerializationFailure):
            two.commit()

    def test_prepared_statements(self):
        connection = self.connect(autocommit=True)
        for number in range(1, 30):
            row = connection.execute("SELECT %s::int + 1", (number,), prepare=True).fetchone()
            self.assertEqual(row, (number + 1,))
        names = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        self.assertGreaterEqual(names[0], 1)
        cursor = connection.cursor(binary=True)
        self.assertEqual(cursor.execute("SELECT %b::int8, %b::text, %b::bytea", (7, "ü", b"\0\1")).fetchone(),
                         (7, "ü", b"\0\1"))

    def test_the_next_visit_finds_nothing_of_the_last(self):
        with psycopg.connect(**self.where(), autocommit=True) as connection:
            connection.execute("CREATE TEMP TABLE mine (n int)")
            connection.execute("SET work_mem = '9MB'")
            connection.execute("LISTEN mine")
            connection.execute("SELECT pg_advisory_lock(77)")
            connection.execute("PREPARE mine AS SELECT 1")
        for _ in range(5):
            with psycopg.connect(**self.where(), autocommit=True) as connection:
                self.assertNotEqual(connection.execute("SHOW work_mem").fetchone(), ("9MB",))
                self.assertEqual(connection.execute(
                    "SELECT to_regclass('mine'), (SELECT count(*) FROM pg_listening_channels()),"
                    " (SELECT count(*) FROM pg_prepared_statements)").fetchone(), (None, 0, 0))
                # A client that says goodbye does not wait for the end of its session.
                connection.execute("SET statement_timeout = '20s'")
                connection.execute("SELECT pg_advisory_lock(77)")

    def test_pipeline(self):
        connection = self.connect(autocommit=True)
        with connection.pipeline() as pipeline:
            cursors = [connection.execute("SELECT %s::int", (number,)) for number in range(1000)]
            pipeline.sync()
            self.assertEqual([cursor.fetchone()[0] for cursor in cursors], list(range(1000)))
        with self.assertRaises(errors.DivisionByZero), connection.pipeline():
            connection.execute("SELECT 1")
            connection.execute("SELECT 1 / 0")
            connection.execute("SELECT 2")
        self.assertEqual(connection.execute("SELECT 3").fetchone(), (3,))

    def test_copy_both_ways_in_both_formats(self):
        connection = self.connect()
        connection.execute("CREATE TEMP TABLE copied (id int4, name text)")
        rows = [(number, f"name\t{number}\n" + "x" * 100) for number in range(20_000)]
        for format_name in ("TEXT", "BINARY"):
            with self.subTest(format_name):
                connection.execute("TRUNCATE copied")
                into = sql.SQL("COPY copied FROM STDIN (FORMAT {})").format(sql.SQL(format_name))
                with connection.cursor().copy(into) as copy:
                    copy.set_types(["int4", "text"])
                    for row in rows:
                        copy.write_row(row)
                out = sql.SQL("COPY copied TO STDOUT (FORMAT {})").format(sql.SQL(format_name))
                with connection.cursor().copy(out) as copy:
                    copy.set_types(["int4", "text"])
                    self.assertEqual(list(copy.rows()), rows)

    def test_a_copy_that_fails_leaves_the_connection_usable(self):
        connection = self.connect(autocommit=True)
        connection.execute("CREATE TEMP TABLE copied (id int)")
        with self.assertRaises(errors.InvalidTextRepresentation):
            with connection.cursor().copy("COPY copied FROM STDIN") as copy:
                copy.write("no number\n" * 10)
        with self.assertRaises(ValueError), connection.cursor().copy("COPY copied FROM STDIN") as copy:
            copy.write("1\n")
            raise ValueError("the client changes its mind")
        self.assertEqual(connection.execute("SELECT count(*) FROM copied").fetchone(), (0,))

    def test_notifications(self):
        listener, speaker = self.connect(autocommit=True), self.connect(autocommit=True)
        listener.execute("LISTEN news")
        for number in range(3):
            speaker.execute("SELECT pg_notify('news', %s)", (str(number),))
        heard = [notice.payload for notice in listener.notifies(timeout=30, stop_after=3)]
        self.assertEqual(heard, ["0", "1", "2"])
        notices = []
        listener.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary))
        listener.execute("DO $$ BEGIN RAISE NOTICE 'by the way'; END $$")
        self.assertEqual(notices, ["by the way"])

    def test_cancel(self):
        connection = self.connect(autocommit=True)
        done = threading.Event()

        def cancel():
            while not done.wait(0.2):
                connection.cancel_safe(timeout=30)

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            with self.assertRaises(errors.QueryCanceled):
                connection.execute("SELECT pg_sleep(60)")
        finally:
            done.set()
            thread.join()
        self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def test_large_values_and_many_parameters(self):
        connection = self.connect()
        value = "ü" * 50_000_000
        self.assertTrue(connection.execute("SELECT %s::text", (value,)).fetchone()[0] == value)
        value = bytes(range(256)) * 390_625
        cursor = connection.cursor(binary=True)
        self.assertTrue(cursor.execute("SELECT %b::bytea", (value,)).fetchone()[0] == value)
        many = list(range(65_535))
        text = "SELECT " + "+".join(["%s::bigint"] * 1000)
        self.assertEqual(connection.execute(text, many[:1000]).fetchone(), (sum(many[:1000]),))
        text = "SELECT count(*) FROM (VALUES " + ",".join(["(%s::int)"] * len(many)) + ") v (n)"
        self.assertEqual(connection.execute(text, many).fetchone(), (len(many),))
        with connection.cursor(name="by_parts") as cursor:
            cursor.itersize = 1000
            self.assertEqual(sum(1 for _ in cursor.execute("SELECT generate_series(1, 25000)")), 25_000)

    def test_bad_tokens_are_refused_with_the_rule(self):
        for kind, token in self.node.bad_tokens().items():
            with self.subTest(kind), self.assertRaisesRegex(psycopg.OperationalError, REFUSALS[kind]):
                psycopg.connect(**self.where(password=token))

    def test_tls_negotiated_and_direct(self):
        for way in ("postgres", "direct"):
            with self.subTest(way):
                connection = self.connect(host="localhost", sslmode="verify-full", sslrootcert=str(self.node.ca),
                                          sslnegotiation=way)
                self.assertTrue(connection.pgconn.ssl_in_use)
                self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def test_a_visit_ends_when_its_identity_is_revoked(self):
        token = self.node.token("clerk")
        connection = self.connect(password=token, autocommit=True)
        connection.execute("SELECT 1")
        self.node.meridian("revoke", "--subject", "clerk", "--reason", "a test")
        with self.assertRaisesRegex(psycopg.OperationalError, "revoked|terminat"):
            connection.execute("SELECT pg_sleep(60)")
        with self.assertRaisesRegex(psycopg.OperationalError, "revoked"):
            psycopg.connect(**self.where(password=token))

    def test_protocol_3_2_is_asked_for(self):
        if pq.version() < 180000:
            print(f"SKIPPED protocol 3.2: libpq {pq.version()} cannot ask for it")
            return
        connection = self.connect(max_protocol_version="latest")
        self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))
        self.assertEqual(connection.pgconn.full_protocol_version, 30002)

    def test_async(self):
        async def one(number):
            async with await psycopg.AsyncConnection.connect(**self.where()) as connection:
                cursor = await connection.execute("SELECT %s::int, pg_sleep(0.01)", (number,))
                return (await cursor.fetchone())[0]

        async def cancelled():
            async with await psycopg.AsyncConnection.connect(**self.where(), autocommit=True) as connection:
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(connection.execute("SELECT pg_sleep(60)"), 1)
                cursor = await connection.execute("SELECT 'still here'")
                return (await cursor.fetchone())[0]

        async def story():
            # More than there are backends: the rest wait their turn.
            self.assertEqual(await asyncio.gather(*(one(number) for number in range(60))), list(range(60)))
            self.assertEqual(await cancelled(), "still here")

        asyncio.run(story())


if __name__ == "__main__":
    unittest.main()
