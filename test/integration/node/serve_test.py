"""A node in front of a PostgreSQL and a Redis that exist already."""

import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import tempfile
import unittest

import clients
import node

sys.path.insert(0, str(node.SOURCE / "test"))

from ports import free_port  # pylint: disable=wrong-import-position

CONFIG = """
timeline: {{url: "postgres://owner@127.0.0.1:{postgres}/shop", password_file: owner.password, manage_roles: true{more}}}
redis: {{url: "redis://127.0.0.1:{redis}"}}
roles:
  checkout:
    bind: [{{issuer: meridian, subject: checkout}}]
    postgres: {{databases: [shop]}}
  storefront:
    bind: [{{issuer: meridian, subject: storefront}}]
    redis: {{read: ["order:*", "session:*"], write: ["session:*"]}}
  view_reader:
    postgres: {{databases: [shop]}}
views:
  order:
    key: "order:{{id}}"
    query: "SELECT * FROM orders WHERE id = {{id}}"
    as: view_reader
    database: shop
"""


def programs():
    """The folder of initdb of the newest PostgreSQL here."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    path = shutil.which("initdb")
    if not path:
        raise unittest.SkipTest("no PostgreSQL is installed")
    return pathlib.Path(path).parent


def nats_program():
    """Debian has it where the path of users does not lead."""
    return shutil.which("nats-server") or "/usr/sbin/nats-server"


PSQL = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]


class Servers:
    """A PostgreSQL and a Redis of their own, that Meridian knows by their addresses only."""

    def __init__(self, case):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="meridian-test-"))
        case.addCleanup(shutil.rmtree, self.root)
        os.chmod(self.root, 0o755)
        self.bin = programs()
        self.user = None
        if os.geteuid() == 0:
            try:
                self.user = pwd.getpwnam("postgres").pw_name
            except KeyError:
                self.user = "nobody"
            shutil.chown(self.root, self.user)
        self.password = self.root / "owner.password"
        self.password.write_text("not-guessed\n")
        self.password.chmod(0o600)
        if self.user:
            shutil.chown(self.password, self.user)
        self.cluster = self.root / "cluster"
        self.run(
            self.bin / "initdb", "-D", self.cluster, "-U", "owner", "-A", "scram-sha-256",
            "--pwfile", self.password, "--no-sync",
        )
        self.port = free_port()
        case.addCleanup(self.stop)
        self.start()
        self.sql("CREATE DATABASE shop", "postgres")
        self.redis_port = free_port()
        self.redis = subprocess.Popen(
            ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "",
             "--dir", self.root],
            stdout=subprocess.DEVNULL,
        )
        case.addCleanup(self.redis.wait)
        case.addCleanup(self.redis.terminate)

    def run(self, *arguments):
        done = subprocess.run(
            arguments, capture_output=True, text=True, user=self.user, cwd=self.root
        )
        if done.returncode != 0:
            raise AssertionError(f"{arguments}: {done.stdout}{done.stderr}")

    def start(self):
        self.run(
            self.bin / "pg_ctl", "-D", self.cluster, "-w", "-l", self.root / "log", "-o",
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.root}"
            " -c fsync=off", "start",
        )

    def stop(self):
        self.run(self.bin / "pg_ctl", "-D", self.cluster, "-m", "immediate", "-w", "stop")

    def restart(self):
        self.stop()
        self.start()

    def sql(self, text, database="shop"):
        done = subprocess.run(
            [*PSQL, "-c", text], env=self.psql_environment(database), capture_output=True, text=True
        )
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def hold(self, case, sql):
        """Does that in a transaction that stays open. Gives what commits it."""
        holder = subprocess.Popen(
            PSQL, env=self.psql_environment("shop"), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        case.addCleanup(holder.communicate)
        case.addCleanup(holder.kill)
        holder.stdin.write(f"BEGIN; {sql}; SELECT 'held';\n")
        holder.stdin.flush()
        said = []
        while not said or said[-1] != "held\n":
            said.append(holder.stdout.readline())
            if not said[-1]:
                raise AssertionError("".join(said))

        def commit():
            holder.stdin.write("COMMIT;\n\\q\n")
            holder.stdin.flush()
            case.assertEqual(holder.wait(node.PATIENCE), 0)

        return commit

    def psql_environment(self, database):
        return {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "owner",
            "PGPASSWORD": "not-guessed",
            "PGDATABASE": database,
        }

    def node(self, case, more=""):
        running = node.Node(
            CONFIG.format(postgres=self.port, redis=self.redis_port, more=more)
        )
        case.addCleanup(running.close)
        shutil.copy(self.password, running.root / "owner.password")
        os.chmod(running.root / "owner.password", 0o600)
        return running


class ServeTest(unittest.TestCase):
    def test_a_node_that_the_database_waits_for_is_alone(self):
        servers = Servers(self)
        servers.sql("ALTER SYSTEM SET wal_level = 'logical'")
        servers.restart()
        servers.sql("CREATE TABLE orders (id bigint PRIMARY KEY, status text)")
        first = servers.node(self, ", commit_wait: database").start(command="serve")
        servers.sql("GRANT SELECT ON orders TO view_reader")
        first.wait_for_views()
        waits = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        node.wait_until(lambda: servers.sql(waits) == "1", "commits wait for the node")
        for mode in ("database", "door"):
            second = servers.node(self, f", commit_wait: {mode}").start(command="serve")
            node.wait_until(lambda: "another node is there" in second.log_text(), "the other one is told")  # noqa: B023
            self.assertEqual(node.metric(second, "meridian_cache_serving"), 0)
            self.assertEqual(second.stop(), 0)
            # Neither its coming nor its going took away what commits wait for.
            self.assertEqual(servers.sql(waits), "1")
            self.assertIn("meridian", servers.sql("SHOW synchronous_standby_names"))
            self.assertEqual(node.metric(first, "meridian_cache_serving"), 1)
        third = servers.node(self, ", commit_wait: database").start(command="serve")
        self.assertEqual(first.stop(), 0)
        third.wait_for_views()
        node.wait_until(lambda: servers.sql(waits) == "1", "commits wait for the one that is left")
        self.assertEqual(third.stop(), 0)
        node.wait_until(lambda: servers.sql("SHOW synchronous_standby_names") == "", "and then for nobody")

    def test_a_server_that_is_not_ready_is_told_how_and_then_serves(self):
        servers = Servers(self)
        running = servers.node(self)
        refused = running.spawn(command="serve")
        self.addCleanup(refused.stdout.close)
        self.assertNotEqual(refused.wait(node.PATIENCE), 0)
        said = running.log_text()
        self.assertIn("ALTER SYSTEM SET wal_level = 'logical';", said)
        self.assertIn("restart", said)

        # Exactly what it said.
        servers.sql("ALTER SYSTEM SET wal_level = 'logical';")
        servers.restart()
        running.start(command="serve")
        servers.sql(
            "CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL);"
            "INSERT INTO orders SELECT n, 'open' FROM generate_series(1, 9) AS n;"
            "GRANT SELECT, UPDATE ON orders TO checkout; GRANT SELECT ON orders TO view_reader;"
        )
        running.wait_for_views()
        token = running.token("checkout", ttl="1h")
        reader = clients.Redis(running, running.token("storefront", ttl="1h"), "storefront")
        self.addCleanup(reader.close)
        writer = clients.Postgres(running, token, "checkout")
        self.addCleanup(writer.close)

        with self.subTest("what was acknowledged is read"):
            for n in range(300):
                writer.query(f"UPDATE orders SET status = 'state {n}' WHERE id = 1")
                self.assertIn(f'"state {n}"', reader.call("GET", "order:1"))

        with self.subTest("TRUNCATE"):
            self.assertIn("open", self.read(reader, "order:2"))
            servers.sql("TRUNCATE orders")
            node.wait_until(lambda: self.read(reader, "order:2") is None, "it is seen")
            servers.sql("INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 9) AS n")
            node.wait_until(lambda: '"new"' in (self.read(reader, "order:2") or ""), "it is seen")

        with self.subTest("a change of the table"):
            servers.sql("ALTER TABLE orders ADD COLUMN note text DEFAULT 'added'")
            node.wait_until(
                lambda: "added" in (self.value(reader, "order:3") or ""), "the column is read"
            )
            for n in range(50):
                writer.query(f"UPDATE orders SET note = 'note {n}' WHERE id = 3")
                self.assertIn(f"note {n}", self.read(reader, "order:3"))

        with self.subTest("a table that is made anew"):
            servers.sql(
                "BEGIN; DROP TABLE orders;"
                "CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL);"
                "INSERT INTO orders VALUES (3, 'another table');"
                "GRANT SELECT, UPDATE ON orders TO checkout; GRANT SELECT ON orders TO view_reader;"
                "COMMIT"
            )
            node.wait_until(
                lambda: "another table" in (self.value(reader, "order:3") or ""), "it is read"
            )
            for n in range(50):
                writer.query(f"UPDATE orders SET status = 'renewed {n}' WHERE id = 3")
                self.assertIn(f"renewed {n}", self.read(reader, "order:3"))

        with self.subTest("a table that inherits"):
            self.assertIn("renewed 49", self.read(reader, "order:3"))
            # Its rows are rows of orders to whoever reads, and are not in the feed.
            servers.sql("CREATE TABLE old_orders () INHERITS (orders)")
            servers.sql("INSERT INTO old_orders VALUES (9, 'inherited')")
            node.wait_until(
                lambda: "inherited" in (self.value(reader, "order:9") or ""), "it is read"
            )
            for n in range(20):
                servers.sql(f"UPDATE old_orders SET status = 'inherited {n}'")
                node.wait_until(
                    lambda n=n: f"inherited {n}\"" in (self.value(reader, "order:9") or ""),
                    "it is read",
                )
            servers.sql("DROP TABLE old_orders")

        with self.subTest("the server is started again"):
            servers.restart()
            node.wait_until(
                lambda: "renewed 49" in (self.value(reader, "order:3") or ""), "it is read"
            )
            with clients.Postgres(running, token, "checkout") as fresh:
                fresh.query("UPDATE orders SET status = 'after' WHERE id = 3")
                self.assertIn("after", self.read(reader, "order:3"))

        with self.subTest("the keys of the Redis"):
            reader.call("SET", "session:1", "kept")
            self.assertEqual(self.read(reader, "session:1"), "kept")
        self.assertEqual(running.stop(), 0)

    def read(self, reader, key):
        """Sessions are made anew when the schema has changed: then a client is told to try again."""
        while True:
            try:
                return reader.call("GET", key)
            except clients.RedisError as error:
                if not str(error).startswith("TRYAGAIN"):
                    raise

    def value(self, reader, key):
        try:
            return reader.call("GET", key)
        except clients.RedisError:
            return None

    def test_the_database_waits_for_commits_that_go_past_meridian(self):
        servers = Servers(self)
        servers.sql("ALTER SYSTEM SET wal_level = 'logical'")
        servers.restart()
        servers.sql(
            "CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL);"
            "INSERT INTO orders SELECT n, 'open' FROM generate_series(1, 9) AS n"
        )
        running = servers.node(self, ", commit_wait: database")
        running.start(command="serve")
        servers.sql("GRANT SELECT ON orders TO view_reader")
        running.wait_for_views()
        standbys = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        node.wait_until(lambda: servers.sql(standbys) == "1", "the node is a standby")
        reader = clients.Redis(running, running.token("storefront", ttl="1h"), "storefront")
        self.addCleanup(reader.close)
        for n in range(40):
            servers.sql(f"UPDATE orders SET status = 'past {n}' WHERE id = 1")
            self.assertIn(f"past {n}", reader.call("GET", "order:1"))

        # A feed that breaks while commits wait comes back by itself.
        for _ in range(3):
            servers.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_replication;"
                "UPDATE orders SET status = status || '+' WHERE id = 1"
            )
        node.wait_until(lambda: servers.sql(standbys) == "1", "the node is a standby again")

        # A node that died is waited for, and its successor lets go of what waits.
        running.kill()
        waiting = subprocess.Popen(
            ["psql", "-X", "-q", "-c", "UPDATE orders SET status = 'waited' WHERE id = 2"],
            env={
                **os.environ,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(servers.port),
                "PGUSER": "owner",
                "PGPASSWORD": "not-guessed",
                "PGDATABASE": "shop",
            },
        )
        self.addCleanup(waiting.kill)
        running.start(command="serve")
        self.assertEqual(waiting.wait(node.PATIENCE), 0)
        node.wait_until(lambda: servers.sql(standbys) == "1", "the node is a standby again")
        # One that ends in order is not.
        self.assertEqual(running.stop(), 0)
        self.assertEqual(servers.sql("SHOW synchronous_standby_names"), "")
        servers.sql("UPDATE orders SET status = 'alone' WHERE id = 1")

        servers.sql("ALTER SYSTEM SET synchronous_standby_names = 'another'")
        servers.sql("SELECT pg_reload_conf()")
        refused = running.spawn(command="serve")
        self.addCleanup(refused.stdout.close)
        self.assertNotEqual(refused.wait(node.PATIENCE), 0)
        self.assertIn("synchronous_standby_names", running.log_text())
        servers.sql("ALTER SYSTEM RESET synchronous_standby_names")
        servers.sql("SELECT pg_reload_conf()")

    def test_serve_owns_nothing(self):
        running = node.Node("")
        self.addCleanup(running.close)
        refused = running.spawn(command="serve")
        self.addCleanup(refused.stdout.close)
        self.assertNotEqual(refused.wait(node.PATIENCE), 0)
        self.assertIn("timeline.url", running.log_text())

    def test_a_wrong_password_is_said(self):
        servers = Servers(self)
        running = servers.node(self)
        (running.root / "owner.password").write_text("wrong\n")
        refused = running.spawn(command="serve")
        self.addCleanup(refused.stdout.close)
        self.assertNotEqual(refused.wait(node.PATIENCE), 0)
        self.assertIn("password authentication failed", running.log_text())
        self.assertNotIn("wrong\n", running.log_text())


if __name__ == "__main__":
    node.main()
