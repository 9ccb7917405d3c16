"""The address of the database moves to another server while the feed still hangs on the old one:
what the new server's positions say does not count beside the old one's, and nobody reads old data."""

import socket
import threading
import unittest

import clients
import node
from serve_test import Servers, free_port


class Address:
    """Where the database is, as far as Meridian knows. Connections that stand stay where they are."""

    def __init__(self, case, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        case.addCleanup(self.listener.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while some := source.recv(65536):
                sink.sendall(some)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        source.close()


class Standby(Servers):
    """A copy of another cluster that follows it until it is promoted."""

    def __init__(self, case, primary):
        self.root, self.bin, self.user = primary.root, primary.bin, primary.user
        self.cluster = self.root / "standby"
        self.port = free_port()
        self.run(
            "env", "PGPASSWORD=not-guessed", self.bin / "pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port),
            "-U", "owner", "-D", self.cluster, "-X", "stream", "-R", "-c", "fast", "--no-sync",
        )
        case.addCleanup(self.stop)
        self.start()

    def promote(self):
        self.run(self.bin / "pg_ctl", "-D", self.cluster, "-w", "promote")


def read(reader, key):
    """The first answer that is none: while the database moves there may be none."""
    def answered():
        try:
            return reader.call("GET", key)
        except clients.RedisError:
            return None

    return node.wait_until(answered, f"{key} can be read")


def keeps(running, reader):
    """Whether a value that was read is in the cache then."""
    hits = node.metric(running, "meridian_cache_hits_total")
    return "open" in read(reader, "order:1") and node.metric(running, "meridian_cache_hits_total") > hits


class FailoverTest(unittest.TestCase):
    def test_the_address_moves_and_the_feed_stays_behind(self):
        old = Servers(self)
        old.sql("ALTER SYSTEM SET wal_level = 'logical'")
        old.restart()
        address = Address(self, old.port)
        real, old.port = old.port, address.port
        running = old.node(self)
        old.port = real
        old.sql("CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL)")
        old.sql("INSERT INTO orders SELECT n, 'open' FROM generate_series(1, 9) AS n")
        running.start(command="serve")
        old.sql("GRANT SELECT, UPDATE ON orders TO checkout, view_reader")
        running.wait_for_views()
        new = Standby(self, old)
        with clients.Redis(running, running.token("storefront"), "storefront") as reader:
            before = clients.Postgres(running, running.token("checkout"), "checkout")
            new.promote()
            # The old server is now far ahead of the new one, and the feed with it.
            for _ in range(3):
                old.sql("CREATE TABLE IF NOT EXISTS ahead (x int); INSERT INTO ahead VALUES (1)")
                old.sql("SELECT pg_switch_wal()")
            before.query("UPDATE orders SET status = 'paid' WHERE id = 2")
            before.close()
            node.wait_until(lambda: node.metric(running, "meridian_cache_serving") == 1, "the cache serves")
            node.wait_until(lambda: keeps(running, reader), "a value is kept")

            address.target = new.port
            # All but the feed's own connection.
            ended = ("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                     " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
            node.wait_until(lambda: old.sql(ended) == "0", "nobody is left on the old server")
            for number in range(20):
                status = f"moved-{number}"
                node.wait_until(lambda: self.writes(running, status), "it can be written")  # noqa: B023
                self.assertIn(status, read(reader, "order:1"))
            self.assertEqual(new.sql("SELECT status FROM orders WHERE id = 1"), "moved-19")
            node.wait_until(lambda: node.metric(running, "meridian_cache_serving") == 1, "the feed is that of the new server")
            node.wait_until(lambda: new.sql("SELECT count(*) FROM pg_stat_replication") == "1", "it streams from there")
            self.assertIn("moved-19", reader.call("GET", "order:1"))

    @staticmethod
    def writes(running, status):
        """Whether it was written: a session that was about to begin may end with the old server's connections."""
        try:
            with clients.Postgres(running, running.token("checkout"), "checkout") as writer:
                writer.query(f"UPDATE orders SET status = '{status}' WHERE id = 1")
        except (clients.PostgresError, clients.Ended):
            return False
        return True

    def test_the_time_zone_of_the_server_is_no_part_of_its_identity(self):
        server = Servers(self)
        server.sql("ALTER SYSTEM SET wal_level = 'logical'")
        server.sql("ALTER SYSTEM SET timezone = 'America/New_York'")
        server.restart()
        server.sql("CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL)")
        server.sql("INSERT INTO orders VALUES (1, 'open')")
        running = server.node(self).start(command="serve")
        server.sql("GRANT SELECT ON orders TO view_reader")
        running.wait_for_views()
        with clients.Redis(running, running.token("storefront"), "storefront") as reader:
            node.wait_until(lambda: keeps(running, reader), "a value is kept")


if __name__ == "__main__":
    node.main()
