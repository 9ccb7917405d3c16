"""Revocation and expiry end visits; limits hold; a reload changes who may do what."""

import base64
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import unittest

import clients
import node

# How soon a revocation has ended an open visit, where the machine lets it.
SOON = 1.0

ROLES = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop]}
  storefront:
    bind: [{issuer: meridian, subject: storefront}]
    postgres: {databases: [shop], read_only: true}
    redis: {read: ["order:*", "session:*"], write: ["session:*"]}
  patient:
    bind: [{issuer: meridian, subject: patient}]
    postgres: {databases: ["*"], expiry: finish_transaction}
  bounded:
    bind: [{issuer: meridian, subject: bounded}]
    postgres: {databases: [shop], visits_max: 8, backends_max: 4, statement_timeout: 1s}
  crowded:
    bind: [{issuer: meridian, subject: crowded}]
    postgres: {databases: [shop], visits_max: 2}
  view_reader:
    postgres: {databases: [shop]}
views:
  order:
    key: "order:{id}"
    query: "SELECT id, customer_id, status, total_cents, revision FROM orders WHERE id = {id}"
    as: view_reader
    database: shop
"""


def claims(token):
    """What a token says."""
    text = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def has_pending(process, number):
    """Whether that signal waits for a process that is stopped."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    pending = re.findall(r"^(?:Sig|Shd)Pnd:\s*([0-9a-f]+)$", status, re.M)
    return any(int(mask, 16) & 1 << number - 1 for mask in pending)


class RevocationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, ROLES + "limits: {failed_logins_per_minute: 1000}")

    def both_doors(self, token):
        postgres = clients.Postgres(self.node, token, "storefront")
        self.addCleanup(postgres.close)
        postgres.query("SELECT 1")
        redis = clients.Redis(self.node, token, "storefront")
        self.addCleanup(redis.close)
        redis.call("GET", "order:1")
        return postgres, redis

    def good_token(self):
        """What is given out after a revocation is good, from the next second on."""
        def made():
            token = self.node.token("storefront")
            try:
                clients.Postgres(self.node, token, "storefront").close()
            except clients.PostgresError:
                return None
            return token

        return node.wait_until(made, "a token of now is good")

    def ends_soon(self, what):
        """Open visits end with what() of their token is revoked. Returns the token."""
        took = []
        while not took or took[-1] >= SOON:
            self.assertLess(len(took), 8, f"never soon, but after {took} s")
            token = self.good_token()
            postgres, redis = self.both_doors(token)
            self.node.run("revoke", *what(token), "--reason", "key leaked")
            began = time.monotonic()
            for session in (postgres, redis):
                session.stream.settimeout(node.PATIENCE)
            said = postgres.wait_for_end()
            self.assertIsNotNone(said)
            self.assertIn("revoked", str(said))
            with self.assertRaises((clients.RedisError, clients.Ended)):
                while True:
                    redis.reply()
            took.append(time.monotonic() - began)
        return token

    def refused(self, token, role="storefront"):
        with self.assertRaises(clients.PostgresError) as refused:
            clients.Postgres(self.node, token, role).close()
        self.assertEqual(refused.exception.code[:2], "28")
        with self.assertRaises(clients.RedisError):
            clients.Redis(self.node, token, role).close()

    def test_by_token_id(self):
        bystander, _ = self.both_doors(self.good_token())
        token = self.ends_soon(lambda token: ("--token-id", claims(token)["jti"]))
        self.refused(token)
        self.assertEqual(bystander.value("SELECT 2"), "2")

    def test_by_subject(self):
        bystander = clients.Postgres(self.node, self.node.token("checkout"), "checkout")
        self.addCleanup(bystander.close)
        token = self.ends_soon(lambda _: ("--subject", "storefront"))
        self.refused(token)
        self.assertEqual(bystander.value("SELECT 2"), "2")
        self.good_token()

    def test_by_role(self):
        token = self.ends_soon(lambda _: ("--role", "storefront"))
        self.refused(token)
        self.good_token()

    def test_for_a_time_newer_tokens_too(self):
        def let_in():
            try:
                clients.Postgres(self.node, self.node.token("checkout"), "checkout").close()
            except clients.PostgresError:
                return False
            return True

        # A short time may be over before anybody has asked.
        for seconds in (2, 10, 40):
            token = self.node.token("checkout")
            with clients.Postgres(self.node, token, "checkout") as session:
                began = time.monotonic()
                self.node.run("revoke", "--subject", "checkout", "--for", f"{seconds}s")
                session.stream.settimeout(node.PATIENCE)
                self.assertIsNotNone(session.wait_for_end())
            if not let_in():
                break
            self.assertGreater(time.monotonic() - began, seconds)
        else:
            self.fail("nobody was refused")
        node.wait_until(let_in, "the time is over")

    def test_a_revocation_outlives_the_node(self):
        token = self.node.token("patient", ttl="10m")
        clients.Postgres(self.node, token, "patient").close()
        self.node.run("revoke", "--token-id", claims(token)["jti"])
        self.node.kill()
        self.node.start()
        with self.assertRaises(clients.PostgresError):
            clients.Postgres(self.node, token, "patient").close()


class ExpiryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, ROLES)

    def before_expiry(self, begin):
        """What begin() gives, done while its tokens are good: they live longer where the machine is slow."""
        for seconds in (10, 20):
            began = time.monotonic()
            try:
                return begin(f"{seconds}s")
            except (clients.PostgresError, clients.RedisError, clients.Ended):
                # It counts in whole seconds.
                if time.monotonic() < began + seconds - 1:
                    raise
        return begin("40s")

    def paying(self, role, order, ttl):
        """The role's token, and a session of it in whose transaction that order is paid."""
        token = self.node.token(role, ttl=ttl)
        session = clients.Postgres(self.node, token, role, timeout=node.PATIENCE)
        self.addCleanup(session.close)
        session.query("BEGIN")
        session.query(f"UPDATE orders SET status = 'paid' WHERE id = {order}")
        return token, session

    def both_doors(self, ttl):
        token, session = self.paying("checkout", 5, ttl)
        reader = clients.Redis(self.node, self.node.token("storefront", ttl=ttl), "storefront", timeout=node.PATIENCE)
        self.addCleanup(reader.close)
        self.assertIn("open", reader.call("GET", "order:5"))
        return token, session, reader

    def test_the_visit_ends_with_the_token(self):
        token, session, reader = self.before_expiry(self.both_doors)
        with session, reader:
            said = session.wait_for_end()
            self.assertIn("expired", str(said))
            self.assertEqual(said.severity, "FATAL")
            with self.assertRaises(clients.RedisError) as ended:
                reader.reply()
            self.assertIn("expired", str(ended.exception))
        # Its transaction went with it.
        with clients.Postgres(self.node, self.node.token("checkout"), "checkout") as fresh:
            self.assertEqual(fresh.value("SELECT status FROM orders WHERE id = 5"), "open")
        with self.assertRaises(clients.PostgresError):
            clients.Postgres(self.node, token, "checkout").close()

    def test_a_patient_role_finishes_its_transaction(self):
        self.node.owner("GRANT SELECT, UPDATE ON orders TO patient")
        token, session = self.before_expiry(lambda ttl: self.paying("patient", 6, ttl))
        end = claims(token)["exp"]
        with session:
            while time.time() < end + 1.5:
                session.query("SELECT 1")
                time.sleep(0.2)
            notices = " ".join(notice["M"] for notice in session.notices)
            self.assertIn("expires in", notices)
            with self.assertRaises((clients.Ended, clients.PostgresError)):
                session.query("COMMIT")
                session.query("SELECT 1")
        self.assertEqual(self.node.owner("SELECT status FROM orders WHERE id = 6"), "paid")


class LimitsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, ROLES)

    def session(self, role, **settings):
        session = clients.Postgres(self.node, self.node.token(role), role, **settings)
        self.addCleanup(session.close)
        return session

    @staticmethod
    def in_time(ask):
        """What it gives, asked until the role's statement_timeout has let it through."""
        def answer():
            try:
                return (ask(),)
            except clients.PostgresError as error:
                if error.code != "57014":
                    raise
                return None

        return node.wait_until(answer, "a statement is in time")[0]

    def test_visits_of_a_role(self):
        token = self.node.token("crowded")
        first = clients.Postgres(self.node, token, "crowded")
        self.addCleanup(first.close)
        second = clients.Postgres(self.node, token, "crowded")
        with self.assertRaises(clients.PostgresError) as refused:
            clients.Postgres(self.node, token, "crowded").close()
        self.assertEqual(refused.exception.code, "53300")
        self.assertIn("visits_max=2", str(refused.exception))
        second.close()

        def let_in():
            try:
                clients.Postgres(self.node, token, "crowded").close()
                return True
            except clients.PostgresError:
                return False

        node.wait_until(let_in, "the place is free again")

    def test_a_statement_ends_in_time_whatever_the_client_sets(self):
        session = self.in_time(lambda: self.session("bounded"))
        for sql in (
            "SELECT pg_sleep(60)",
            "SET statement_timeout = 0; SELECT pg_sleep(60)",
            "DO $$ BEGIN PERFORM set_config('statement_timeout', '0', false);"
            " PERFORM pg_sleep(60); END $$",
        ):
            with self.subTest(sql=sql):
                with self.assertRaises(clients.PostgresError) as ended:
                    session.query(sql)
                self.assertEqual(ended.exception.code, "57014")
        self.assertEqual(self.in_time(lambda: session.value("SELECT 1")), "1")

    def test_a_cancel_that_comes_too_early_is_sent_again(self):
        session = self.in_time(lambda: self.session("bounded"))
        self.in_time(lambda: session.query("SET statement_timeout = 0"))
        backend = int(self.in_time(lambda: session.value("SELECT pg_backend_pid()")))
        # The server hears of the cancel before it has read the statement, and drops it.
        os.kill(backend, signal.SIGSTOP)
        try:
            session.stream.sendall(clients.message(b"Q", b"SELECT pg_sleep(60)\0"))
            node.wait_until(lambda: has_pending(backend, signal.SIGINT), "it is cancelled")
        finally:
            os.kill(backend, signal.SIGCONT)
        with self.assertRaises(clients.PostgresError) as ended:
            session.finish()
        self.assertEqual(ended.exception.code, "57014")
        self.assertEqual(self.in_time(lambda: session.value("SELECT 1")), "1")

    def test_the_server_knows_the_timeout_too(self):
        session = self.in_time(lambda: self.session("bounded"))
        self.assertEqual(self.in_time(lambda: session.value("SHOW statement_timeout")), "1s")
        # Less may be asked for.
        asked = self.in_time(lambda: self.session("bounded", statement_timeout="700ms"))
        self.assertEqual(self.in_time(lambda: asked.value("SHOW statement_timeout")), "700ms")

    def test_a_read_only_role_writes_nothing(self):
        self.node.owner("GRANT ALL ON orders TO storefront")
        write = "UPDATE orders SET status = 'returned' WHERE id = 7"
        for sql in (
            (write,),
            ("SET default_transaction_read_only = off", write),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", write),
            ("SET default_transaction_read_only = off; COMMIT; " + write,),
            ("BEGIN READ WRITE", write, "COMMIT"),
            ("BEGIN", "SET TRANSACTION READ /* and */ WRITE", write, "COMMIT"),
            ("BEGIN", "SET transaction_read_only = off", write, "COMMIT"),
            ("BEGIN", "SELECT set_config('transaction_read_' || 'only', 'off', true)", write, "COMMIT"),
            ("BEGIN", "RESET ALL", write, "COMMIT"),
        ):
            with self.subTest(sql=sql):
                session = self.session("storefront")
                with self.assertRaises((clients.PostgresError, clients.Ended)):
                    for statement in sql:
                        session.query(statement)
                self.assertEqual(
                    self.node.owner("SELECT status FROM orders WHERE id = 7"), "open"
                )
        with self.assertRaises((clients.PostgresError, clients.Ended)):
            session = self.session("storefront", default_transaction_read_only="off")
            session.query(write)
        self.assertEqual(self.node.owner("SELECT status FROM orders WHERE id = 7"), "open")

    def test_all_databases(self):
        with clients.Postgres(
            self.node, self.node.token("patient"), "patient", "postgres"
        ) as session:
            self.assertEqual(session.value("SELECT current_database()"), "postgres")
        with self.assertRaises(clients.PostgresError) as refused:
            clients.Postgres(self.node, self.node.token("checkout"), "checkout", "postgres")
        self.assertIn("postgres", str(refused.exception))


class SmallLimitsTest(unittest.TestCase):
    """Limits that are in the way of other tests."""

    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(
            cls,
            ROLES
            + """
limits:
  visits_max: 12
  failed_logins_per_minute: 5
  request_bytes_max: 64KiB
engines: {postgres: {settings: {work_mem: 7MB}}}
""",
        )

    def test_settings_of_the_owned_server(self):
        self.assertEqual(self.node.owner("SHOW work_mem"), "7MB")

    def test_a_large_request_is_refused_and_others_go_on(self):
        bystander = clients.Postgres(self.node, self.node.token("checkout"), "checkout")
        self.addCleanup(bystander.close)
        with clients.Postgres(self.node, self.node.token("checkout"), "checkout") as session:
            session.send("SELECT '" + "x" * 100_000 + "'")
            self.assertIn("request_bytes_max", str(session.wait_for_end()))
        with clients.Redis(self.node, self.node.token("storefront"), "storefront") as reader:
            with self.assertRaises((clients.RedisError, clients.Ended)):
                reader.call("SET", "session:1", "x" * 100_000)
        self.assertEqual(bystander.value("SELECT 1"), "1")

    def test_zz_failed_logins_of_an_address(self):
        # Last by its name: the address is shut out afterwards.
        checkout, storefront = self.node.token("checkout"), self.node.token("storefront")
        began = time.monotonic()
        codes = [self.guess() for _ in range(8)]
        self.assertEqual(codes[:5], ["28000"] * 5)
        self.assertEqual(set(codes), {"28000", "53300"})
        # One more every 12 s.
        self.assertLessEqual(codes.count("28000"), 5 + (time.monotonic() - began) / 12)

        def shut_out(log_in):
            while self.guess() != "53300":
                pass
            try:
                log_in().close()
            except (clients.PostgresError, clients.RedisError) as refused:
                return str(refused)
            return None  # It may have been those 12 s.

        said = node.wait_until(lambda: shut_out(lambda: clients.Postgres(self.node, checkout, "checkout")), "it is refused")
        self.assertIn("too many failed logins", said)
        node.wait_until(lambda: shut_out(lambda: clients.Redis(self.node, storefront, "storefront")), "Redis too")

    def guess(self):
        """The code with which a login without a good token is refused."""
        with self.assertRaises(clients.PostgresError) as refused:
            clients.Postgres(self.node, "no.token.atall", "checkout").close()
        return refused.exception.code


class IdleTest(unittest.TestCase):
    """Whoever says nothing for idle_timeout, which is so short that others would be in its way."""

    SECONDS = 3

    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls, ROLES + f"limits: {{idle_timeout: {cls.SECONDS}s}}", shop=False)
        cls.checkout = cls.node.token("checkout", ttl="1h")
        cls.storefront = cls.node.token("storefront", ttl="1h")

    def busy(self):
        """A client of each door that was not sent away for longer than that; None where the machine kept it quiet."""
        rounds = [time.monotonic()]
        try:
            session = clients.Postgres(self.node, self.checkout, "checkout")
            self.addCleanup(session.close)
            reader = clients.Redis(self.node, self.storefront, "storefront")
            self.addCleanup(reader.close)
            for _ in range(2 * self.SECONDS + 2):
                rounds.append(time.monotonic())
                session.query("SELECT 1")
                reader.call("PING")
                time.sleep(0.5)
        except (clients.PostgresError, clients.RedisError, clients.Ended):
            # Nothing was said since the round before, at most.
            if time.monotonic() - rounds[-2 if len(rounds) > 1 else -1] < self.SECONDS:
                raise
            return None
        return session, reader

    def test_an_idle_client_is_sent_away(self):
        session, reader = node.wait_until(self.busy, "who is busy stays")
        self.assertIn("idle", str(session.wait_for_end()))
        with self.assertRaises((clients.RedisError, clients.Ended)):
            reader.reply()

    def test_a_long_statement_is_not_idle(self):
        def awake():
            began = time.monotonic()
            with clients.Postgres(self.node, self.checkout, "checkout") as session:
                session.send(f"SELECT 'awake' FROM pg_sleep({self.SECONDS + 1})")
                sent = time.monotonic()
                try:
                    return session.finish()
                except (clients.PostgresError, clients.Ended):
                    if sent - began < self.SECONDS:
                        raise
                    return None  # It was idle before.

        self.assertEqual(node.wait_until(awake, "it comes to its end"), [("awake",)])


def outside_address():
    """An address of this machine that is not of the loopback interface."""
    said = subprocess.run(["hostname", "-I"], capture_output=True, text=True)
    for address in said.stdout.split():
        if re.fullmatch(r"[0-9.]+", address):
            return address
    raise unittest.SkipTest("this machine has no address but its own")


class AddressTest(unittest.TestCase):
    """Who comes over the network."""

    @classmethod
    def setUpClass(cls):
        cls.node = node.Node(
            ROLES
            + """
tls: {certificate: server.pem, key: server.key}
limits: {visits_per_address: 6, unauthenticated_per_address: 3, login_timeout: 5m}
""",
            host=outside_address(),
        )
        cls.addClassCleanup(cls.node.close)
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-keyout", cls.node.root / "server.key", "-out", cls.node.root / "server.pem",
                "-subj", "/CN=localhost",
            ],
            check=True,
            capture_output=True,
        )
        cls.node.start()

    def log_in(self):
        """Over TLS, as psql does it; the process stays."""
        host, port = self.node.doors["postgres"]
        session = subprocess.Popen(
            ["psql", "-X", "-A", "-t", f"host={host} port={port} user=checkout dbname=shop"
             " sslmode=require"],
            env={**os.environ, "PGPASSWORD": self.node.token("checkout")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(session.wait)
        self.addCleanup(session.stdout.close)
        self.addCleanup(session.stderr.close)
        self.addCleanup(session.stdin.close)
        self.addCleanup(session.kill)
        session.stdin.write("SELECT 'in';\n")
        session.stdin.flush()
        return session, session.stdout.readline().strip()

    def refused(self):
        with clients.connect(self.node.doors["postgres"]) as stream:
            return clients.read_to_end(stream) == b""

    def test_connections_of_an_address(self):
        waiting = [clients.connect(self.node.doors["postgres"]) for _ in range(3)]
        for stream in waiting:
            self.addCleanup(stream.close)
        # Long before login_timeout.
        self.assertTrue(self.refused())
        waiting.pop().close()
        # Who has logged in makes room for the next one, up to visits_per_address.
        sessions = []
        for _ in range(4):
            session, said = node.wait_until(self.let_in, "a place is free")
            sessions.append(session)
            self.assertEqual(said, "in")
        self.assertTrue(self.refused())

    def let_in(self):
        session, said = self.log_in()
        return (session, said) if said else None


if __name__ == "__main__":
    node.main()
