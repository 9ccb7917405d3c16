"""A reload changes who may do what and keeps who may stay; a stop lets what is open finish."""

import json
import re
import signal
import ssl
import subprocess
import unittest

import clients
import node

BEFORE = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop]}
  storefront:
    bind: [{issuer: meridian, subject: storefront}]
    redis: {read: ["order:*"]}
  leaver:
    bind: [{issuer: meridian, subject: leaver}]
    postgres: {databases: [shop]}
  view_reader:
    postgres: {databases: [shop]}
views:
  order:
    key: "order:{id}"
    query: "SELECT id, status FROM orders WHERE id = {id}"
    as: view_reader
    database: shop
"""

AFTER = """
roles:
  checkout:
    bind: [{issuer: meridian, subject: checkout}]
    postgres: {databases: [shop], statement_timeout: 4s}
  storefront:
    bind: [{issuer: meridian, subject: storefront}]
    redis: {read: ["customer:*"]}
  joiner:
    bind: [{issuer: meridian, subject: joiner}]
    postgres: {databases: [shop]}
  leaver:
    bind: [{issuer: meridian, subject: somebody-else}]
    postgres: {databases: [shop]}
  view_reader:
    postgres: {databases: [shop]}
views:
  customer:
    key: "customer:{id}"
    query: "SELECT id, name FROM customers WHERE id = {id}"
    as: view_reader
    database: shop
"""

GRANTS = "GRANT SELECT, UPDATE ON customers, products, orders, order_lines TO checkout, view_reader"


def make_shop(running):
    """The shop's tables; its own file grants to roles that are not all here."""
    text = (node.SOURCE / "examples" / "shop" / "schema.sql").read_text()
    running.owner(text[: text.index("GRANT")] + GRANTS)
    running.owner(
        "INSERT INTO customers VALUES (1, 'Ada', 'ada@shop.example');"
        "INSERT INTO orders VALUES (1, 1, 'open', 0, 0)"
    )
    running.wait_for_views()


def certificate(folder, name, serial):
    """A key and a certificate signed by itself."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem",
            "-subj", "/CN=localhost", "-set_serial", str(serial),
        ],
        check=True,
        capture_output=True,
    )


class ReloadTest(unittest.TestCase):
    def reload(self, running, text):
        marks = running.log_text().count("config: read again")
        running.write_config(text)
        running.signal(signal.SIGHUP)
        node.wait_until(
            lambda: running.log_text().count("config: read again") > marks, "the reload is done"
        )

    def test_roles_bindings_and_views(self):
        running = node.use_node(self, BEFORE, shop=False)
        make_shop(running)
        stays = clients.Postgres(running, running.token("checkout"), "checkout")
        self.addCleanup(stays.close)
        stays.query("BEGIN")
        leaver = clients.Postgres(running, running.token("leaver"), "leaver")
        self.addCleanup(leaver.close)
        reader = clients.Redis(running, running.token("storefront"), "storefront")
        self.addCleanup(reader.close)
        self.assertIn("open", reader.call("GET", "order:1"))

        self.reload(running, AFTER)
        # Who has the role still goes on, in the same transaction, by the rules of now.
        self.assertEqual(stays.value("SELECT 1"), "1")
        self.assertEqual(stays.status, "T")
        with self.assertRaises(clients.PostgresError) as ended:
            stays.query("SELECT pg_sleep(60)")
        self.assertEqual(ended.exception.code, "57014")
        # Who has it no more is sent away.
        self.assertIn("no longer", str(leaver.wait_for_end()))
        with self.assertRaises(clients.RedisError) as denied:
            reader.call("GET", "order:1")
        self.assertIn("NOPERM", str(denied.exception))
        node.wait_until(lambda: self.reads(reader, "customer:1", "Ada"), "the new view is there")
        node.wait_until(
            lambda: re.search(r"(?m)^customer +customer:\{id\} +view_reader +cached$", running.run("views")),
            "the new view is listed as one that is cached")

        def joined():
            try:
                clients.Postgres(running, running.token("joiner"), "joiner").close()
                return True
            except clients.PostgresError:
                return False

        node.wait_until(joined, "the new role is there")
        # Backends begin with the settings of now.
        with clients.Postgres(running, running.token("checkout"), "checkout") as fresh:
            self.assertEqual(fresh.value("SHOW statement_timeout"), "4s")

    def test_views_are_listed_with_what_is_wrong(self):
        running = node.use_node(self, BEFORE, shop=False)
        node.wait_until(
            lambda: re.search(r'(?m)^order .*cannot be read: .*"orders" does not exist', running.run("views")),
            "the view is listed as one that cannot be read",
        )
        make_shop(running)
        self.assertRegex(running.run("views"), r"(?m)^order +order:\{id\} +view_reader +cached$")
        self.assertEqual(len(running.run("views").splitlines()), 2)
        self.assertEqual(json.loads(running.run("--json", "views"))["views"][0]["name"], "order")
        self.assertIn("orders", running.run("views", "explain", "order"))

    def reads(self, session, key, text):
        try:
            return text in (session.call("GET", key) or "")
        except clients.RedisError:
            return False

    def test_a_file_with_an_error_changes_nothing(self):
        running = node.use_node(self, BEFORE, shop=False)
        session = clients.Postgres(running, running.token("checkout"), "checkout")
        self.addCleanup(session.close)
        running.write_config("roles: {checkout: {bind: 7}}")
        running.signal(signal.SIGHUP)
        node.wait_until(lambda: "not taken over" in running.log_text(), "the reload is refused")
        self.assertEqual(session.value("SELECT 1"), "1")
        clients.Postgres(running, running.token("checkout"), "checkout").close()

    def test_certificates(self):
        # The first connection has said nothing while the second certificate is made.
        config = BEFORE + "tls: {certificate: server.pem, key: server.key}\nlimits: {login_timeout: 5m}\n"
        running = node.Node(config)
        self.addCleanup(running.close)
        certificate(running.root, "server", 1001)
        running.start()
        first = self.tls(running)
        self.addCleanup(first.close)
        self.assertEqual(self.serial(first), 1001)
        certificate(running.root, "server", 2002)
        self.reload(running, config)
        second = self.tls(running)
        self.addCleanup(second.close)
        self.assertEqual(self.serial(second), 2002)
        # The connection of before goes on.
        first.sendall(clients.startup("checkout", "shop"))
        self.assertEqual(first.recv(1), b"R")

    def tls(self, running):
        stream = clients.connect(running.doors["postgres"])
        stream.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
        self.assertEqual(stream.recv(1), b"S")
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(stream)

    def serial(self, stream):
        text = subprocess.run(
            ["openssl", "x509", "-inform", "DER", "-noout", "-serial"],
            input=stream.getpeercert(binary_form=True),
            capture_output=True,
            check=True,
        ).stdout.decode()
        return int(text.strip().split("=")[1], 16)


class DrainTest(unittest.TestCase):
    def test_what_is_open_finishes_and_what_is_idle_leaves(self):
        running = node.use_node(self, BEFORE, shop=False)
        make_shop(running)
        token = running.token("checkout")
        # On each of the two loops one of each kind.
        sessions = [clients.Postgres(running, token, "checkout") for _ in range(4)]
        for session in sessions:
            self.addCleanup(session.close)
        busy, other, *idle = sessions
        busy.query("BEGIN")
        busy.query("UPDATE orders SET status = 'paid' WHERE id = 1")
        other.query("BEGIN")
        other.query("SELECT id FROM orders")
        running.signal(signal.SIGTERM)
        for session in idle:
            self.assertEqual(session.wait_for_end().code, "57P01")
        with self.assertRaises(OSError):
            clients.connect(running.doors["postgres"]).close()
        self.assertIsNone(running.process.poll())
        for session in (busy, other):
            session.query("COMMIT")
        for session in (busy, other):
            self.assertEqual(session.wait_for_end().code, "57P01")
        self.assertEqual(running.process.wait(node.PATIENCE), 0)
        self.assertEqual(running.engine_processes(), {})
        running.start()
        self.assertEqual(running.owner("SELECT status FROM orders WHERE id = 1"), "paid")

    def test_who_does_not_leave_is_sent_away(self):
        running = node.use_node(self, BEFORE, shop=False)
        make_shop(running)
        stays = clients.Postgres(running, running.token("checkout"), "checkout")
        self.addCleanup(stays.close)
        stays.query("BEGIN")
        stays.query("UPDATE orders SET status = 'paid' WHERE id = 1")
        running.signal(signal.SIGTERM)
        self.assertEqual(stays.wait_for_end().code, "57P01")
        self.assertEqual(running.process.wait(node.PATIENCE), 0)
        running.start()
        self.assertEqual(running.owner("SELECT status FROM orders WHERE id = 1"), "open")


if __name__ == "__main__":
    node.main()
