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
            hits = node.metric(running, "meridian_cache_hits_total")
            for _ in range(3):
                self.assertIn("open", reader.call("GET", "order:1"))
            self.assertGreater(node.metric(running, "meridian_cache_hits_total"), hits)

            address.target = new.port
            # All but the feed's own connection.
            old.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
            for number in range(20):
                status = f"moved-{number}"
                with clients.Postgres(running, running.token("checkout"), "checkout") as writer:
                    writer.query(f"UPDATE orders SET status = '{status}' WHERE id = 1")
                self.assertIn(status, reader.call("GET", "order:1"))
            self.assertEqual(new.sql("SELECT status FROM orders WHERE id = 1"), "moved-19")
            node.wait_until(lambda: node.metric(running, "meridian_cache_serving") == 1, "the feed is that of the new server")
            node.wait_until(lambda: new.sql("SELECT count(*) FROM pg_stat_replication") == "1", "it streams from there")
            self.assertIn("moved-19", reader.call("GET", "order:1"))

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
            def kept():
                hits = node.metric(running, "meridian_cache_hits_total")
                self.assertIn("open", reader.call("GET", "order:1"))
                return node.metric(running, "meridian_cache_hits_total") > hits

            node.wait_until(kept, "a value is kept", patience=20)


if __name__ == "__main__":
    node.main()
