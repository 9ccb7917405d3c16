"""redis-cli, the stock client, through the redis door."""

import subprocess
import unittest

from node import Node, REFUSALS


class RedisCliTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Node())
        cls.tokens = {subject: cls.node.token(subject) for subject in ("checkout", "storefront")}

    def redis(self, *arguments, subject="checkout", token=None, commands=None):
        environment = {**self.node.environment, "REDISCLI_AUTH": self.tokens[subject] if token is None else token}
        done = subprocess.run(["redis-cli", "--no-auth-warning", "-h", "127.0.0.1", "-p",
                               str(self.node.doors["redis"][1]), *arguments], env=environment, text=True,
                              input=commands, capture_output=True, timeout=60)
        return (done.stdout + done.stderr).strip()

    def sql(self, text):
        self.node.meridian("psql", "--subject", "checkout", "--database", "shop", "--", "-X", "-q", "-c", text)

    def test_views(self):
        for protocol in ("-2", "-3"):
            with self.subTest(protocol):
                self.assertIn('"status":"open"', self.redis(protocol, "GET", "order:5", subject="storefront"))
                self.assertIn("status\nopen", self.redis(protocol, "HGETALL", "order:5", subject="storefront")
                              .replace(" ", "\n"))
                self.assertEqual(len(self.redis(protocol, "MGET", "order:5", "order:6").splitlines()), 2)
                self.assertEqual(self.redis(protocol, "EXISTS", "order:5", "order:99999"), "1")
                self.assertEqual(self.redis(protocol, "TYPE", "order:5"), "string")

    def test_the_next_read_shows_what_was_written(self):
        for status in ("paid", "shipped", "returned", "open"):
            self.sql(f"UPDATE orders SET status = '{status}' WHERE id = 7")
            self.assertEqual(self.redis("HGET", "order:7", "status", subject="storefront"), status)

    def test_keys_expire_and_writes_are_judged(self):
        self.assertEqual(self.redis("SET", "session:abc", "v", "EX", "60", subject="storefront"), "OK")
        self.assertGreater(int(self.redis("TTL", "session:abc", subject="storefront")), 0)
        self.assertRegex(self.redis("SET", "other", "v", subject="storefront"), "^NOPERM")
        self.assertRegex(self.redis("FLUSHALL"), "^NOPERM")
        self.assertRegex(self.redis("SET", "order:1", "v"), "view of table")

    def test_commands_from_standard_input_and_a_transaction(self):
        said = self.redis(commands="SET a 1\nMULTI\nINCR a\nGET a\nEXEC\nPING\n")
        self.assertEqual(said.split(), ["OK", "OK", "QUEUED", "QUEUED", "2", "2", "PONG"])

    def test_mass_insertion_by_pipe(self):
        commands = "".join(f"*3\r\n$3\r\nSET\r\n$6\r\nm:{n:04}\r\n$1\r\nv\r\n" for n in range(10_000))
        self.assertIn("errors: 0, replies: 10000", self.redis("--pipe", commands=commands))

    def test_scan(self):
        self.redis("MSET", *[part for n in range(50) for part in (f"scanned:{n}", "v")])
        self.assertEqual(len(self.redis("--scan", "--pattern", "scanned:*").splitlines()), 50)

    def test_a_blocking_pop(self):
        waiter = subprocess.Popen(["redis-cli", "-p", str(self.node.doors["redis"][1]), "BLPOP", "jobs", "30"],
                                  env={**self.node.environment, "REDISCLI_AUTH": self.tokens["checkout"]},
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.redis("RPUSH", "jobs", "one")
        self.assertEqual(waiter.communicate(timeout=60)[0].split(), ["jobs", "one"])

    def test_bad_tokens_are_refused_with_the_rule(self):
        for kind, token in self.node.bad_tokens().items():
            with self.subTest(kind):
                said = self.redis("GET", "order:1", token=token)
                self.assertRegex(said, REFUSALS[kind])
                self.assertIn("NOAUTH", said)
        self.assertIn("NOAUTH", self.redis("GET", "order:1", token=""))

    def test_tls(self):
        said = self.redis("--tls", "--cacert", str(self.node.ca), "GET", "order:1")
        self.assertIn('"status"', said)
        self.assertIn("certificate verify failed", self.redis("--tls", "PING"))
        self.assertEqual(self.redis("PING"), "PONG")


if __name__ == "__main__":
    unittest.main()
