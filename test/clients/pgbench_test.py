"""pgbench, the stock binary, through the postgres door."""

import subprocess
import unittest

from node import Node


class PgbenchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Node())
        cls.token = cls.node.token()
        cls.pgbench("-i", "-s", "1", "-q")

    @classmethod
    def pgbench(cls, *arguments, token=None, mode="disable"):
        environment = {**cls.node.environment, "PGPASSWORD": token or cls.token, "PGSSLMODE": mode}
        done = subprocess.run(["pgbench", "-h", "127.0.0.1", "-p", str(cls.node.doors["postgres"][1]), "-U", "checkout",
                               *arguments, "shop"], env=environment, text=True, capture_output=True, timeout=120)
        if token is None and done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        return done

    def run_all(self, *arguments, clients=8, transactions=100):
        said = self.pgbench("-n", "-c", str(clients), "-j", "2", "-t", str(transactions), *arguments).stdout
        total = clients * transactions
        self.assertIn(f"number of transactions actually processed: {total}/{total}", said)
        self.assertRegex(said, "number of failed transactions: 0 ")

    def test_its_tables_are_loaded_by_copy(self):
        self.assertEqual(self.node.owner_sql("SELECT count(*) FROM pgbench_accounts").strip(), "100000")

    def test_every_protocol_runs_the_standard_transaction(self):
        for protocol in ("simple", "extended", "prepared"):
            with self.subTest(protocol):
                before = int(self.node.owner_sql("SELECT count(*) FROM pgbench_history"))
                self.run_all("-M", protocol)
                self.assertEqual(int(self.node.owner_sql("SELECT count(*) FROM pgbench_history")), before + 800)
        sums = self.node.owner_sql("SELECT (SELECT sum(abalance) FROM pgbench_accounts),"
                                   " (SELECT sum(bbalance) FROM pgbench_branches),"
                                   " (SELECT sum(delta) FROM pgbench_history)").strip().split("|")
        self.assertEqual(len(set(sums)), 1, sums)

    def test_select_only_over_tls_and_with_a_connection_per_transaction(self):
        self.run_all("-S", "-M", "prepared", clients=16, transactions=200)
        said = self.pgbench("-n", "-S", "-C", "-c", "4", "-t", "25", mode="require").stdout
        self.assertIn("processed: 100/100", said)

    def test_pipelines(self):
        script = self.node.folder / "pipeline.sql"
        script.write_text("\\set id random(1, 100000)\n\\startpipeline\n"
                          + "SELECT abalance FROM pgbench_accounts WHERE aid = :id;\n" * 20 + "\\endpipeline\n")
        self.run_all("-M", "extended", "-f", str(script), transactions=50)
        self.run_all("-M", "prepared", "-f", str(script), transactions=50)

    def test_a_bad_token_is_refused(self):
        done = self.pgbench("-n", "-S", "-t", "1", token="secret")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("the token is not three parts", done.stderr)


if __name__ == "__main__":
    unittest.main()
