"""PostgreSQL, Redis and the node itself are killed; what is told meanwhile is fresh or an error."""

import os
import re
import signal
import threading
import time
import unittest

import clients
import node


class Shop:
    """Writers that raise an order's revision and readers that must never see an older one."""

    def __init__(self, running):
        self.node = running
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.acknowledged = 1  # The revision that a reader must see at least.
        self.reads = 0
        self.writes = 0
        self.errors = 0
        self.stale = []
        self.threads = [threading.Thread(target=self.write)]
        self.threads += [threading.Thread(target=self.read) for _ in range(2)]

    def __enter__(self):
        self.node.owner("UPDATE orders SET revision = 1 WHERE id = 1")
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def write(self):
        token = self.node.token("checkout", ttl="1h")
        session = None
        while not self.stopping.is_set():
            try:
                session = session or clients.Postgres(self.node, token, "checkout")
                (revision,) = session.query(
                    "UPDATE orders SET revision = revision + 1 WHERE id = 1 RETURNING revision"
                )[0]
                with self.lock:
                    self.acknowledged = max(self.acknowledged, int(revision))
                    self.writes += 1
            except (clients.Ended, clients.PostgresError, OSError):
                with self.lock:
                    self.errors += 1
                if session:
                    session.close()
                session = None
                time.sleep(0.02)
        if session:
            session.close()

    def read(self):
        token = self.node.token("storefront", ttl="1h")
        session = None
        while not self.stopping.is_set():
            try:
                session = session or clients.Redis(self.node, token, "storefront")
                with self.lock:
                    least = self.acknowledged
                revision = int(session.call("HGET", "order:1", "revision"))
                with self.lock:
                    self.reads += 1
                    if revision < least:
                        self.stale.append((revision, least))
            except clients.RedisError:
                with self.lock:
                    self.errors += 1
            except (clients.Ended, OSError):
                with self.lock:
                    self.errors += 1
                if session:
                    session.close()
                session = None
                time.sleep(0.02)
        if session:
            session.close()

    def progress(self, reads=200, writes=20):
        """Until clients have been served so much more."""
        with self.lock:
            reads, writes = self.reads + reads, self.writes + writes
        node.wait_until(
            lambda: self.reads >= reads and self.writes >= writes, "clients are served"
        )


class EnginesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.use_node(cls)

    def test_postgres_is_killed_under_busy_clients(self):
        idle = clients.Postgres(self.node, self.node.token("checkout"), "checkout")
        self.addCleanup(idle.close)
        idle.query("BEGIN")
        idle.query("UPDATE orders SET status = 'paid' WHERE id = 2")
        with Shop(self.node) as shop:
            shop.progress()
            for _ in range(2):
                before = self.node.postmaster()
                os.kill(before, signal.SIGKILL)
                node.wait_until(lambda: not node.alive(before), "the postmaster is gone")
                shop.progress()
                self.assertNotEqual(self.node.postmaster(), before)
        self.assertEqual(shop.stale, [])
        self.assertGreater(shop.errors, 0)
        # Who was in a transaction is told in the protocol's words that it is lost.
        said = idle.wait_for_end()
        self.assertIsNotNone(said)
        self.assertEqual(said.severity, "FATAL")
        self.assertIn(said.code[:2], ("57", "08"))
        with clients.Postgres(self.node, self.node.token("checkout"), "checkout") as fresh:
            self.assertEqual(fresh.value("SELECT status FROM orders WHERE id = 2"), "open")
        self.assertIsNone(self.node.process.poll())

    def test_the_cache_serves_again_after_postgres_was_killed(self):
        before = self.node.postmaster()
        os.kill(before, signal.SIGKILL)
        node.wait_until(lambda: self.node.servers("postgres") - {before}, "it is started again")
        token = self.node.token("storefront")

        def hits():
            try:
                with clients.Redis(self.node, token, "storefront") as session:
                    session.call("GET", "order:3")
                    session.call("GET", "order:3")
            except (clients.RedisError, clients.Ended):
                return False
            return node.metric(self.node, "meridian_cache_serving") == 1

        node.wait_until(hits, "the cache serves")

    def test_redis_is_killed_under_busy_clients(self):
        token = self.node.token("storefront")
        session = clients.Redis(self.node, token, "storefront")
        self.addCleanup(session.close)
        self.assertEqual(session.call("SET", "session:1", "before"), "OK")
        # What is in the file outlives the process; it is written now and then.
        files = self.node.data / "redis"
        node.wait_until(lambda: any(b"before" in file.read_bytes() for file in files.rglob("*.aof")), "it is in the file")
        subscriber = clients.Redis(self.node, token, "storefront")
        self.addCleanup(subscriber.close)
        with Shop(self.node) as shop:
            shop.progress()
            before = self.node.redis_server()
            os.kill(before, signal.SIGKILL)
            # Views need no Redis.
            shop.progress()

            def answered():
                try:
                    return session.call("GET", "session:1")
                except clients.RedisError:
                    return None

            self.assertEqual(node.wait_until(answered, "Redis answers again"), "before")
            self.assertNotEqual(self.node.redis_server(), before)
        self.assertEqual(shop.stale, [])
        self.assertEqual(session.call("SET", "session:1", "after"), "OK")

    def test_a_stopped_postgres_makes_reads_fail_and_not_stale(self):
        # A server that hangs, and says nothing, is worse than one that dies.
        token = self.node.token("storefront")
        with clients.Redis(self.node, token, "storefront") as session:
            session.call("GET", "order:4")
            stopped = [p for p, name in self.node.engine_processes().items() if name == "postgres"]
            for process in stopped:
                os.kill(process, signal.SIGSTOP)
            try:
                # No lease is renewed, so hits end; then nothing can be read.
                node.wait_until(
                    lambda: node.metric(self.node, "meridian_cache_serving") == 0, "the cache stands aside"
                )
            finally:
                for process in stopped:
                    if node.alive(process):
                        os.kill(process, signal.SIGCONT)

            def answered():
                try:
                    return session.call("GET", "order:4")
                except clients.RedisError:
                    return None

            self.assertIn("open", node.wait_until(answered, "it is read again"))


class NodeTest(unittest.TestCase):
    def test_a_killed_node_takes_its_engines_along_and_comes_back(self):
        running = node.use_node(self)
        with clients.Redis(running, running.token("storefront"), "storefront") as session:
            self.assertIn("open", session.call("GET", "order:1"))
        writer = clients.Postgres(running, running.token("checkout"), "checkout")
        self.addCleanup(writer.close)
        writer.query("UPDATE orders SET status = 'paid' WHERE id = 1")
        engines = running.engine_processes()
        self.assertEqual(set(engines.values()), {"postgres", "redis", "nats"})
        running.kill()
        node.wait_until(lambda: not running.engine_processes(), "the engines end")

        running.start()
        running.wait_for_views()
        with clients.Redis(running, running.token("storefront"), "storefront") as session:
            self.assertIn("paid", session.call("GET", "order:1"))
        self.assertIn("intact", running.run("audit", "verify"))
        self.assertEqual(running.stop(), 0)
        self.assertEqual(running.engine_processes(), {})

    def test_a_folder_has_one_node(self):
        running = node.use_node(self, shop=False)
        before = len(running.log_text())
        second = running.spawn()
        self.addCleanup(second.stdout.close)
        self.assertNotEqual(second.wait(node.PATIENCE), 0)
        # Both write into this log.
        said = running.log_text()[before:]
        self.assertRegex(said, rf"(?m)^.*{re.escape(str(running.data))}.*\b{running.process.pid}\b"
                               rf"|^.*\b{running.process.pid}\b.*{re.escape(str(running.data))}")
        # The first one has not noticed.
        self.assertTrue(running.token("checkout"))


if __name__ == "__main__":
    node.main()
