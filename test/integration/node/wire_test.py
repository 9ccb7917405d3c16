"""What broken and hostile clients send ends their own visit, in time, and nobody else's."""

import select
import socket
import struct
import time
import unittest

import clients
import node
from clients import message, startup

CONFIG = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop]}
  storefront:
    bind: [{issuer: meridian, subject: storefront}]
    redis: {read: ["session:*"], write: ["session:*"]}
limits: {login_timeout: %s, request_bytes_max: 1MiB, pipelined_max: 16, failed_logins_per_minute: 100000}
"""

SSL_REQUEST = struct.pack("!II", 8, 80877103)


class WireCase(unittest.TestCase):
    LOGIN_TIMEOUT = "1m"  # Far longer than anything but silence takes.

    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, CONFIG % cls.LOGIN_TIMEOUT, shop=False)
        cls.node.owner("CREATE TABLE notes (id int PRIMARY KEY, text text)")
        cls.node.owner("GRANT ALL ON notes TO checkout")
        cls.token = cls.node.token("checkout", ttl="1h")
        cls.reader_token = cls.node.token("storefront", ttl="1h")

    def setUp(self):
        # Others who must not notice.
        self.postgres = self.log_in(lambda: clients.Postgres(self.node, self.token, "checkout"))
        self.postgres.query("BEGIN")
        self.redis = self.log_in(lambda: clients.Redis(self.node, self.reader_token, "storefront"))

    def tearDown(self):
        self.assertEqual(self.postgres.value("SELECT 7"), "7")
        self.assertEqual(self.postgres.status, "T")
        self.assertEqual(self.redis.call("PING"), "PONG")
        self.assertIsNone(self.node.process.poll())

    def send_first(self, *parts):
        """All that a new connection at the Postgres door is answered."""
        with clients.connect(self.node.doors["postgres"]) as stream:
            for part in parts:
                stream.sendall(part)
            return clients.read_to_end(stream)

    def redis_says(self, text, token=True):
        """All that a session at the Redis door is answered to `text`, until the node closes."""
        session = clients.Redis(self.node, self.reader_token if token else None, "storefront")
        with session:
            session.stream.sendall(text)
            return session.received + clients.read_to_end(session.stream)


class SilenceTest(WireCase):
    LOGIN_TIMEOUT = "2s"

    def log_in(self, login):
        """On a busy machine it may take longer than the limit, too."""
        def attempt():
            try:
                return login()
            except (OSError, clients.Ended, clients.PostgresError, clients.RedisError):
                return None

        session = node.wait_until(attempt, "others log in")
        self.addCleanup(session.close)
        return session

    def test_silence_ends_within_the_limit(self):
        began = time.monotonic()
        for opening in ((), (SSL_REQUEST,), (startup("checkout", "shop")[:20],)):
            with self.subTest(opening=opening):
                self.send_first(*opening)
        # At the password too.
        self.send_first(startup("checkout", "shop"))
        self.assertGreater(time.monotonic() - began, 4 * 1.5)
        self.assertLess(time.monotonic() - began, 4 * 10)

    def test_a_slow_drip_ends_within_the_limit_too(self):
        with clients.connect(self.node.doors["postgres"]) as stream:
            # All of it would take a minute.
            with self.assertRaises(OSError):
                for byte in startup("checkout", "shop", application_name="x" * 1_200):
                    stream.sendall(bytes([byte]))
                    time.sleep(0.05)

    def test_silence_at_the_redis_door_too(self):
        began = time.monotonic()
        self.redis_says(b"", token=False)
        self.assertLess(time.monotonic() - began, 20)


class WireTest(WireCase):
    def log_in(self, login):
        session = login()
        self.addCleanup(session.close)
        return session

    def session(self):
        return self.log_in(lambda: clients.Postgres(self.node, self.token, "checkout"))

    # ---- The Postgres door.

    def test_bytes_behind_the_request_for_tls_are_refused(self):
        # They came in clear and would be taken for encrypted ones (CVE-2021-23214).
        said = self.send_first(SSL_REQUEST + startup("checkout", "shop"))
        self.assertNotIn(b"R\0\0\0\x08", said)
        self.assertNotIn(b"S", said[:1])

    def test_tls_is_asked_for_once(self):
        with clients.connect(self.node.doors["postgres"]) as stream:
            stream.sendall(SSL_REQUEST)
            self.assertEqual(stream.recv(1), b"N")
            stream.sendall(SSL_REQUEST)
            self.assertNotIn(b"N", clients.read_to_end(stream)[:1])

    def test_first_packets_of_impossible_lengths(self):
        for size in (0, 1, 7, (64 << 10) + 1, 1 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            with self.subTest(size=size):
                self.assertNotIn(b"R\0\0\0\x08", self.send_first(struct.pack("!II", size, 3 << 16)))

    def test_other_protocols(self):
        for text in (b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", b"*1\r\n$4\r\nPING\r\n", b"\xff" * 64):
            with self.subTest(text=text):
                self.assertNotIn(b"R\0\0\0\x08", self.send_first(text))

    def test_nul_bytes_and_missing_ends_at_the_start(self):
        body = struct.pack("!I", 3 << 16)
        for text in (
            b"user\0checkout\0\0\0shop\0\0",
            b"user\0checkout\0database\0shop",
            b"user\0checkout\0database\0",
            b"\0",
            b"database\0shop\0\0",
            b"user\0check\0out\0\0",
        ):
            with self.subTest(text=text):
                said = self.send_first(struct.pack("!I", len(body + text) + 4) + body + text)
                self.assertNotIn(b"Z\0\0\0\x05", said)

    def test_a_password_with_something_behind_it(self):
        for text in (
            message(b"p", self.token.encode() + b"\0") + message(b"Q", b"SELECT 1\0"),
            message(b"p", self.token.encode()),
            message(b"p", self.token.encode() + b"\0x\0"),
            message(b"Q", b"SELECT 1\0"),
            b"p" + struct.pack("!I", 3),
            b"p" + struct.pack("!i", -1),
            b"p" + struct.pack("!I", 1 << 30),
        ):
            with self.subTest(text=text[:16]):
                self.assertNotIn(b"Z\0\0\0\x05", self.send_first(startup("checkout", "shop"), text))

    def test_lengths_in_a_session(self):
        for size in (0, 3, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFF, (1 << 20) + 1):
            with self.subTest(size=size):
                session = self.session()
                session.stream.sendall(b"Q" + struct.pack("!I", size) + b"SELECT 1\0")
                self.assertIn(session.wait_for_end().code, ("08P01", "54000"))

    def test_unknown_and_misplaced_messages(self):
        for text in (
            message(b"\xff", b""),
            message(b"p", b"secret\0"),
            message(b"R", struct.pack("!I", 0)),
            message(b"Q", b"no end"),
            message(b"P", b"\0SELECT 1\0"),
            message(b"B", b"\0\0\0\xff"),
            message(b"D", b"X\0"),
        ):
            with self.subTest(text=text):
                session = self.session()
                session.stream.sendall(text)
                self.assertEqual(session.wait_for_end().severity, "FATAL")

    def test_a_text_cannot_hide_behind_a_nul(self):
        session = self.session()
        session.stream.sendall(message(b"Q", b"SELECT 1\0; DROP TABLE notes\0"))
        with self.assertRaises((clients.PostgresError, clients.Ended)):
            session.finish()
        self.assertEqual(self.node.owner("SELECT count(*) FROM notes"), "0")

    def test_a_session_split_at_every_byte(self):
        text = (
            message(b"P", b"\0SELECT $1::int + 1\0\0\0")
            + message(b"B", b"\0\0\0\0\0\1\0\0\0\2" + b"41" + b"\0\0")
            + message(b"E", b"\0\0\0\0\0")
            + message(b"S")
        )
        session = self.session()
        for cut in range(len(text) + 1):
            session.stream.sendall(text[:cut])
            session.stream.sendall(text[cut:])
            self.assertEqual(session.finish(), [("42",)])
        for byte in text:
            session.stream.sendall(bytes([byte]))
        self.assertEqual(session.finish(), [("42",)])

    def test_more_than_may_be_under_way_is_answered_in_order(self):
        session = self.session()
        session.stream.sendall(
            b"".join(message(b"Q", b"SELECT %d\0" % number) for number in range(2_000))
        )
        for number in range(2_000):
            self.assertEqual(session.finish(), [(str(number),)])
        # A batch without a Sync before its end must not wait for one.
        session.stream.sendall(
            b"".join(
                message(b"P", b"\0SELECT %d\0\0\0" % number)
                + message(b"B", b"\0\0\0\0\0\0\0\0")
                + message(b"E", b"\0\0\0\0\0")
                for number in range(2_000)
            )
            + message(b"S")
        )
        self.assertEqual(len(session.finish()), 2_000)

    def test_cancel(self):
        session = self.session()
        session.query("SELECT 1")
        process, key = session.key[:4], session.key[4:]
        session.send("SELECT pg_sleep(1), 'not cancelled'")
        wrong = bytes(byte ^ 0x55 for byte in key)
        request = struct.pack("!I", 80877102)
        for text in (process + wrong, wrong[:4] + key, process):
            body = request + text
            self.assertIn(self.send_first(struct.pack("!I", len(body) + 4) + body)[:1], (b"", b"E"))
        self.assertEqual(session.finish()[0][1], "not cancelled")
        self.cancel(session)

    def cancel(self, session):
        """Begins a statement and cancels it."""
        session.send("SELECT pg_sleep(60)")
        # One that comes before the statement has begun cancels nothing, as with PostgreSQL.
        for _ in range(100):
            self.send_cancel(session)
            if select.select([session.stream], [], [], 0.2)[0]:
                break
        with self.assertRaises(clients.PostgresError) as cancelled:
            session.finish()
        self.assertEqual(cancelled.exception.code, "57014")
        self.assertEqual(session.value("SELECT 'goes on'"), "goes on")

    def send_cancel(self, session):
        body = struct.pack("!I", 80877102) + session.key
        self.assertEqual(self.send_first(struct.pack("!I", len(body) + 4) + body), b"")

    def test_a_cancel_that_does_not_reach_the_server_is_not_the_last(self):
        session = self.session()
        session.query("SELECT 1")
        session.send("SELECT pg_sleep(1), 'not cancelled'")
        (socket,) = self.node.data.glob("run/.s.PGSQL.*[0-9]")
        away = socket.with_name("away")
        socket.rename(away)
        try:
            self.send_cancel(session)
        finally:
            away.rename(socket)
        self.assertEqual(session.finish()[0][1], "not cancelled")
        self.cancel(session)

    def test_copy_and_a_client_that_leaves_in_the_middle(self):
        session = self.session()
        session.send("COPY notes FROM STDIN")
        self.assertEqual(session.read()[0], b"G")
        session.stream.sendall(message(b"d", b"1\tone\n") + message(b"d", b"2\ttwo\n")[:-3])
        session.close()
        session = self.session()
        session.send("COPY notes FROM STDIN")
        self.assertEqual(session.read()[0], b"G")
        session.stream.sendall(message(b"d", b"3\tthree\n") + message(b"c"))
        session.finish()
        self.assertEqual(session.query("SELECT id FROM notes"), [("3",)])
        session.query("DELETE FROM notes")

    def test_clients_that_leave_in_the_middle_free_their_backends(self):
        for _ in range(40):
            session = clients.Postgres(self.node, self.token, "checkout")
            session.send("SELECT pg_sleep(60)")
            session.stream.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            session.close()
        node.wait_until(
            lambda: self.node.owner(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'"
                " AND state = 'active' AND usename = 'checkout'"
            )
            == "0",
            "nobody works for who has left",
        )

    # ---- The Redis door.

    def test_redis_lengths(self):
        for text in (
            b"*1\r\n$-5\r\n",
            b"*1\r\n$9999999999999999999\r\n",
            b"*1\r\n$2147483648\r\n",
            b"*2\r\n$3\r\nGET\r\n$1048577\r\n",
            b"*99999999\r\n",
            b"*1\r\n$abc\r\n",
            b"*1\r\n:4\r\n",
            b"*1\r\n$4\r\nPINGxx",
            b"x" * 200_000,
        ):
            with self.subTest(text=text[:24]):
                said = self.redis_says(text)
                self.assertRegex(said, rb"^(-ERR|\+OK)")
                self.assertNotIn(b"+PONG", said)

    def test_redis_before_the_login(self):
        for text in (b"*2\r\n$4\r\nAUTH\r\n$1000000\r\n", b"*1000\r\n", b"x" * 100_000):
            with self.subTest(text=text[:24]):
                self.assertTrue(self.redis_says(text, token=False).startswith(b"-ERR"))

    def test_redis_split_at_every_byte(self):
        text = clients.command("SET", "session:split", "a\r\nb") + clients.command(
            "GET", "session:split"
        )
        with clients.Redis(self.node, self.reader_token, "storefront") as session:
            for cut in range(len(text) + 1):
                session.stream.sendall(text[:cut])
                session.stream.sendall(text[cut:])
                self.assertEqual(session.reply(), "OK")
                self.assertEqual(session.reply(), "a\r\nb")
            for byte in text:
                session.stream.sendall(bytes([byte]))
            self.assertEqual([session.reply(), session.reply()], ["OK", "a\r\nb"])

    def test_redis_pipelined_beyond_the_bound(self):
        with clients.Redis(self.node, self.reader_token, "storefront") as session:
            session.stream.sendall(
                b"".join(clients.command("SET", f"session:{n}", n) for n in range(3_000))
                + b"".join(clients.command("GET", f"session:{n}") for n in range(3_000))
            )
            self.assertEqual([session.reply() for _ in range(3_000)], ["OK"] * 3_000)
            self.assertEqual(
                [session.reply() for _ in range(3_000)], [str(n) for n in range(3_000)]
            )


if __name__ == "__main__":
    node.main()
