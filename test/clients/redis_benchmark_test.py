"""redis-benchmark, the stock binary, through the redis door."""

import csv
import io
import subprocess
import unittest

from node import Node


class RedisBenchmarkTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Node())
        cls.tokens = {subject: cls.node.token(subject) for subject in ("checkout", "storefront")}

    def benchmark(self, *arguments, subject="checkout"):
        done = subprocess.run(["redis-benchmark", "-p", str(self.node.doors["redis"][1]), "-a", self.tokens[subject],
                               "--user", subject, "--csv", *arguments], env=self.node.environment, text=True,
                              capture_output=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    def rates(self, *arguments):
        code, said, complaint = self.benchmark(*arguments)
        self.assertEqual(code, 0, said + complaint)
        # It warns that CONFIG is not for this role, and goes on.
        rows = list(csv.DictReader(io.StringIO(said[said.index('"test"'):])))
        self.assertTrue(all(float(row["rps"]) > 0 for row in rows))
        return [row["test"] for row in rows]

    def test_its_own_tests(self):
        names = "ping,set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset"
        self.assertGreaterEqual(len(self.rates("-t", names, "-n", "2000", "-c", "20", "-r", "1000")), 15)

    def test_pipelined_views(self):
        self.rates("-n", "20000", "-c", "20", "-P", "32", "-r", "100", "HGETALL", "order:__rand_int__")
        self.rates("-n", "5000", "-c", "20", "-d", "10000", "-P", "16", "-t", "set,get", "--threads", "2")

    def test_what_is_not_allowed_is_an_error(self):
        code, said, complaint = self.benchmark("-n", "10", "SET", "other", "v", subject="storefront")
        self.assertNotEqual(code, 0)
        self.assertIn("NOPERM", said + complaint)


if __name__ == "__main__":
    unittest.main()
