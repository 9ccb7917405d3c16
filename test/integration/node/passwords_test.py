"""Two nodes on one PostgreSQL keep the passwords of its roles together: whatever happens to one of them or to
the passwords, each client of the other logs in."""

import contextlib
import hashlib
import hmac
import os
import re
import shutil
import signal
import threading
import time
import unittest

import clients
import node
from serve_test import Servers

CONFIG = """
timeline: {{url: "postgres://owner@127.0.0.1:{postgres}/shop", password_file: owner.password, manage_roles: true}}
redis: {{url: "redis://127.0.0.1:{redis}"}}
roles:
  checkout:
    bind: [{{issuer: meridian, subject: checkout}}]
    postgres: {{databases: [shop]}}
  storefront:
    bind: [{{issuer: meridian, subject: storefront}}]
    redis: {{read: ["order:*"]}}
  view_reader:
    postgres: {{databases: [shop]}}
{roles}
views:
  order:
    key: "order:{{id}}"
    query: "SELECT * FROM orders WHERE id = {{id}}"
    as: view_reader
    database: shop
publish:
  changes: {{table: orders, subject: changed, columns: [id]}}
"""
ONE_MORE = """
  accounting:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop]}
"""
# As an operator rotates them.
FORGET = "DELETE FROM meridian.secrets WHERE name = 'role_keys'"


class Load:
    """Clients of a node that log in one after the other, each with a login at the database of its own."""

    def __init__(self, running, token, count=3):
        self.node, self.token = running, token
        self.logins = 0
        self.failures = []
        self.lock = threading.Lock()
        self.stopping = False
        self.threads = [threading.Thread(target=self.work) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self):
        while not self.stopping:
            try:
                log_in(self.node, self.token)
            except (OSError, clients.Ended, clients.PostgresError) as error:
                with self.lock:
                    self.failures.append(error)
            with self.lock:
                self.logins += 1

    def wait_for_more(self, count=20):
        then = self.logins
        node.wait_until(lambda: self.logins > then + count, "clients log in")

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def log_in(running, token, role="checkout"):
    with clients.Postgres(running, token, role) as client:
        assert client.value("SELECT current_user") == role
        # So that nobody else has this backend.
        with contextlib.suppress(clients.PostgresError, clients.Ended):
            client.query("SELECT pg_terminate_backend(pg_backend_pid())")


class PasswordsTest(unittest.TestCase):
    def setUp(self):
        self.servers = Servers(self)
        self.servers.sql("ALTER SYSTEM SET wal_level = 'logical'")
        self.servers.sql("ALTER SYSTEM SET max_replication_slots = 20")
        # As chatty as it can be.
        self.servers.sql("ALTER SYSTEM SET log_statement = 'all'")
        self.servers.sql("ALTER SYSTEM SET log_min_duration_statement = 0")
        self.servers.restart()
        self.servers.sql("CREATE TABLE orders (id bigint PRIMARY KEY, status text);"
                         "INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 100) AS n")
        self.config = CONFIG.format(
            postgres=self.servers.port, redis=self.servers.redis_port, roles="")
        self.nodes = [self.make_node() for _ in range(2)]
        self.passwords = set()

    def make_node(self):
        running = node.Node(self.config)
        self.addCleanup(running.close)
        shutil.copy(self.servers.password, running.root / "owner.password")
        os.chmod(running.root / "owner.password", 0o600)
        return running

    def start_at_once(self):
        failures = []

        def start(running):
            try:
                running.start(command="serve")
            except AssertionError as error:
                failures.append(error)

        threads = [threading.Thread(target=start, args=(running,)) for running in self.nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.as_operator("GRANT SELECT ON orders TO view_reader")
        self.note_secrets()

    def load(self, running):
        load = Load(running, running.token("checkout"))
        self.addCleanup(load.stop)
        return load

    def note_secrets(self):
        """What stands nowhere but in that table."""
        secret = self.servers.sql("SELECT value FROM meridian.secrets WHERE name = 'role_keys'")
        if secret and secret not in self.passwords:
            self.passwords.add(secret)
            for role in (b"checkout", b"view_reader"):
                self.passwords.add(hmac.new(secret.encode(), role, hashlib.sha256).hexdigest())
        return secret

    def as_operator(self, sql):
        """Who tries again when a node was faster: they change roles too, and make triggers on the table."""
        def done():
            try:
                self.servers.sql(sql)
            except AssertionError as error:
                self.assertIn("tuple concurrently updated", str(error))
                return False
            return True

        node.wait_until(done, "no node comes in between")

    def set_by_hand(self, role):
        self.as_operator(f"ALTER ROLE {role} PASSWORD 'set-by-hand'")

    def verifier(self, role="checkout"):
        return self.servers.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'")

    def refusals(self, role="checkout"):
        text = (self.servers.root / "log").read_text()
        return text.count(f'password authentication failed for user "{role}"')

    def metric(self, index, name):
        with clients.connect(self.nodes[index].doors["http"]) as stream:
            stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            text = clients.read_to_end(stream).decode()
        return int(re.search(rf"^{name} (\d+)", text, re.M)[1])

    def check_no_secret_is_told(self):
        self.assertGreaterEqual(len(self.passwords), 3)
        texts = [each.log_text() for each in self.nodes] + [(self.servers.root / "log").read_text()]
        self.assertIn("ON CONFLICT (name) DO UPDATE", texts[-1])
        for text in texts:
            for password in self.passwords:
                self.assertNotIn(password, text)

    def read_view(self, running, key):
        """As an application does, which tries again when it is told that the database went away."""
        def value():
            with clients.Redis(running, running.token("storefront")) as redis:
                with contextlib.suppress(clients.RedisError):
                    return redis.call("GET", key)
            return None

        return node.wait_until(value, "the view is read")

    def test_nodes_that_start_at_once_agree(self):
        for _ in range(5):
            self.start_at_once()
            for running in self.nodes:
                log_in(running, running.token("checkout"))
                self.assertIn("new", self.read_view(running, "order:1"))
                self.assertNotIn("views are not cached", running.log_text())
            for running in self.nodes:
                running.stop()
            self.servers.sql("DROP SCHEMA meridian CASCADE; DROP OWNED BY view_reader, checkout;"
                             "DROP PUBLICATION meridian; DROP ROLE checkout; DROP ROLE view_reader")
        self.assertEqual(self.refusals(), 0)

    def test_no_client_hears_of_a_rotation(self):
        self.start_at_once()
        loads = [self.load(running) for running in self.nodes]
        for load in loads:
            load.wait_for_more()
        self.assertEqual(self.refusals(), 0)

        def stays(what):
            for load in loads:
                load.wait_for_more()
            self.assertEqual([load.failures for load in loads], [[] for _ in loads], what)

        # A restart and a renewal set the same passwords again.
        before = self.note_secrets()
        loads.pop().stop()
        for _ in range(3):
            verifier = self.verifier()
            self.nodes[1].stop()
            self.nodes[1].start(command="serve")
            self.assertNotEqual(self.verifier(), verifier)
            stays("a restart")
        loads.append(self.load(self.nodes[1]))
        self.assertEqual(self.note_secrets(), before)
        self.assertEqual(self.refusals(), 0)

        # One node takes up a new secret as it starts, and the other when it is refused.
        loads.pop().stop()
        self.nodes[1].stop()
        self.servers.sql(FORGET)
        self.nodes[1].start(command="serve")
        self.assertNotEqual(self.note_secrets(), before)
        stays("a rotation by a restart")
        loads.append(self.load(self.nodes[1]))
        self.assertGreater(self.refusals(), 0)
        self.assertIn("since the database refused one", self.nodes[0].log_text())

        # Or as it reads its configuration again.
        for index in (0, 1, 0):
            before = self.note_secrets()
            self.servers.sql(FORGET)
            self.nodes[index].signal(signal.SIGHUP)
            node.wait_until(self.note_secrets, "there is another secret")
            self.assertNotEqual(self.note_secrets(), before)
            stays("a rotation by a reload")

        # Somebody sets another one by hand.
        for _ in range(3):
            self.set_by_hand("checkout")
            stays("a password that was set by hand")
        for load in loads:
            load.stop()
        self.assertEqual([load.failures for load in loads], [[], []])

        # The sessions that read views are no different.
        row = 0
        for running in self.nodes * 2:
            refused = self.refusals("view_reader")
            self.set_by_hand("view_reader")
            self.servers.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                             " WHERE usename = 'view_reader'")
            row += 1  # That is not in the cache.
            self.assertIn("new", self.read_view(running, f"order:{row}"))
            self.assertEqual(self.refusals("view_reader"), refused + 1)
        self.assertGreater(self.metric(0, "meridian_role_passwords_refused_total"), 0)
        # Far fewer than logins: those that wait share one.
        self.assertLess(self.metric(0, "meridian_role_password_renewals_total"), 60)
        self.check_no_secret_is_told()

    def test_a_role_that_is_new_has_a_password_when_it_is_let_in(self):
        self.nodes.pop()
        self.start_at_once()
        running = self.nodes[0]
        token = running.token("checkout")
        running.write_config(self.config.replace("views:", ONE_MORE + "views:"))
        running.signal(signal.SIGHUP)

        def enters():
            try:
                log_in(running, token, "accounting")
            except clients.PostgresError as error:
                self.assertIn("may not", str(error))
                return False
            return True

        node.wait_until(enters, "the role is let in")

    def test_a_role_that_is_locked_is_tried_twice_and_no_more(self):
        self.start_at_once()
        running = self.nodes[0]
        token = running.token("checkout")
        self.servers.sql("ALTER ROLE checkout VALID UNTIL '2001-01-01'")
        begun = time.monotonic()
        renewals = self.metric(0, "meridian_role_password_renewals_total")
        told = []

        def fail():
            try:
                log_in(running, token)
            except clients.PostgresError as error:
                told.append(str(error))

        threads = [threading.Thread(target=fail) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(told), 8)
        for text in told:
            # Of the role, not of the client, who gave a good token.
            self.assertRegex(text, r"FATAL 08\d\d\d: the database refuses role .*just set: .*\[28P01\]")
        self.assertEqual(self.refusals(), 2 * 8)
        # Each second one, and those at the ends.
        self.assertLessEqual(
            self.metric(0, "meridian_role_password_renewals_total") - renewals,
            time.monotonic() - begun + 2)
        # Nobody is locked out by it.
        self.servers.sql("ALTER ROLE checkout VALID UNTIL 'infinity'")
        for _ in range(3):
            log_in(running, token)
        self.check_no_secret_is_told()


if __name__ == "__main__":
    node.main()
