"""psql, the stock client, through the postgres door."""

import getpass
import re
import subprocess
import time
import unittest

from node import Node, REFUSALS


class PsqlTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Node())
        cls.node.owner_sql("CREATE TABLE numbered (n serial); GRANT ALL ON SEQUENCE numbered_n_seq TO storefront")
        cls.tokens = {subject: cls.node.token(subject) for subject in ("checkout", "storefront", "clerk")}

    def start(self, *arguments, subject="checkout", token=None, user=None, options="sslmode=disable", host="127.0.0.1"):
        port = self.node.doors["postgres"][1]
        user = f"user={user}" if user else "user=checkout" if subject == "checkout" else f"user={subject}"
        connection = f"host={host} port={port} dbname=shop {user} {options}"
        environment = {**self.node.environment, "PGPASSWORD": self.tokens[subject] if token is None else token}
        return subprocess.Popen(["psql", "-X", "-w", "-At", "-v", "ON_ERROR_STOP=1", connection, *arguments],
                                env=environment, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def psql(self, sql, fails=False, **options):
        process = self.start(**options)
        said, complaint = process.communicate(sql, timeout=60)
        self.assertEqual(process.returncode != 0, fails, said + complaint)
        return complaint if fails else said.strip()

    def test_rows_are_made_read_changed_and_removed(self):
        said = self.psql("""
            INSERT INTO orders (id, customer_id) VALUES (1001, 1) RETURNING id, status;
            UPDATE orders SET status = 'paid', revision = revision + 1 WHERE id = 1001;
            SELECT status, revision FROM orders WHERE id = 1001;
            DELETE FROM orders WHERE id = 1001;
            SELECT count(*) FROM orders WHERE id = 1001;""")
        rows = [line for line in said.splitlines() if not re.match("INSERT|UPDATE|DELETE", line)]
        self.assertEqual(rows, ["1001|open", "paid|1", "0"])

    def test_a_user_that_nobody_named_is_explained(self):
        # libpq sends the name of the system's user then.
        port = self.node.doors["postgres"][1]
        done = subprocess.run(["psql", "-X", "-w", "-c", "SELECT 1",
                               f"host=127.0.0.1 port={port} dbname=shop sslmode=disable"],
                              env={**self.node.environment, "PGPASSWORD": self.tokens["clerk"]}, text=True,
                              capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 2, done.stdout)
        name = re.escape(getpass.getuser())
        self.assertRegex(done.stderr, f'the role "{name}" is not bound to issuer meridian, subject "clerk"; there is no '
                         "such role; the user name is taken for the wanted role, and this token has: checkout, storefront")

    def test_a_transaction_is_rolled_back_and_to_a_savepoint(self):
        self.psql("""BEGIN; INSERT INTO orders (id, customer_id) VALUES (1002, 1); ROLLBACK;
            BEGIN; INSERT INTO orders (id, customer_id) VALUES (1003, 1); SAVEPOINT here;
            INSERT INTO orders (id, customer_id) VALUES (1004, 1); ROLLBACK TO here; COMMIT;""")
        self.assertEqual(self.psql("SELECT id FROM orders WHERE id BETWEEN 1002 AND 1004"), "1003")
        self.psql("DELETE FROM orders WHERE id = 1003")

    def test_errors_are_postgres_own(self):
        options = {"fails": True, "subject": "storefront"}
        # Neither do the client's own settings make the role's sessions writable.
        wish = "sslmode=disable options='-c default_transaction_read_only=off'"
        complaint = self.psql("SHOW transaction_read_only", subject="storefront", options=wish, fails=True)
        self.assertIn("role storefront is read-only", complaint)
        complaint = self.psql("SET default_transaction_read_only = off; SELECT pg_sleep(0.1); SELECT 1;", **options)
        self.assertIn("read-only", complaint)
        state = "\\set VERBOSITY sqlstate\n"
        self.assertIn("read-only transaction", self.psql("DELETE FROM orders", **options))
        self.assertIn("permission denied for table numbered", self.psql("SELECT * FROM numbered", fails=True))
        self.assertIn("42501", self.psql(state + "SELECT * FROM numbered;", fails=True))
        self.assertIn("25006", self.psql(state + "SELECT nextval(pg_get_serial_sequence('numbered', 'n'));", **options))
        self.assertIn("42P01", self.psql("\\set VERBOSITY sqlstate\nSELECT * FROM nothing;", fails=True))
        self.assertIn("42601", self.psql("\\set VERBOSITY sqlstate\nSELEC 1;", fails=True))
        self.assertIn("23505", self.psql("\\set VERBOSITY sqlstate\nINSERT INTO orders (id, customer_id) VALUES (1, 1);",
                                         fails=True))

    def test_an_error_in_a_transaction_holds_to_its_end(self):
        self.assertEqual(self.psql("\\set ON_ERROR_STOP off\nBEGIN;\nSELECT 1/0;\nSELECT 1;\nROLLBACK;\nSELECT 2;"),
                         "BEGIN\nROLLBACK\n2")

    def test_copy_goes_both_ways(self):
        rows = "\n".join(f"{n}\tname {n}" for n in range(20_000))
        self.psql(f"CREATE TABLE copied (id int, name text);\nCOPY copied FROM stdin;\n{rows}\n\\.\n")
        self.assertEqual(self.psql("SELECT count(*), sum(id) FROM copied"), "20000|199990000")
        file = self.node.folder / "copied.txt"
        self.psql(f"\\copy (SELECT * FROM copied ORDER BY id) TO '{file}'")
        self.assertEqual(file.read_text(), rows + "\n")
        complaint = self.psql("COPY copied FROM stdin;\nno number\tx\n\\.\n", fails=True)
        self.assertIn("invalid input syntax for type integer", complaint)
        self.psql("DROP TABLE copied")

    def test_a_notification_arrives(self):
        said = self.psql("LISTEN news;\nNOTIFY news, 'hello';\nSELECT 1;")
        self.assertRegex(said, 'Asynchronous notification "news" with payload "hello" received')

    def test_ctrl_c_cancels_the_statement(self):
        process = self.start()
        process.stdin.write("SELECT 'before';\nSELECT pg_sleep(60);\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline().strip(), "before")
        until = time.monotonic() + 30
        active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active'" \
                 " AND pid <> pg_backend_pid()"
        while self.node.owner_sql(active).strip() != "1":
            self.assertLess(time.monotonic(), until)
        process.send_signal(2)
        _, complaint = process.communicate(timeout=30)
        self.assertIn("canceling statement due to user request", complaint)

    def test_large_values_and_results_come_through_whole(self):
        self.assertEqual(self.psql("SELECT md5(repeat('x', 20000000)) = md5(v) FROM (SELECT repeat('x', 20000000) v) s"),
                         "t")
        self.assertEqual(len(self.psql("SELECT repeat('y', 5000000)")), 5_000_000)
        self.assertEqual(self.psql(f"SELECT length('{'z' * 3_000_000}')"), "3000000")
        self.assertEqual(len(self.psql("SELECT generate_series(1, 300000)").splitlines()), 300_000)

    def test_catalogue_commands_and_several_statements_at_once(self):
        self.assertIn("orders_pkey", self.psql("\\t off\n\\d orders"))
        self.assertIn("public|orders|table|", self.psql("\\dt"))
        process = self.start("-c", "SELECT 1; SELECT 2")
        self.assertEqual(process.communicate(timeout=60)[0].split(), ["1", "2"])
        self.assertEqual(self.psql("SELECT 1 \\; SELECT 2 \\; SELECT 3;").split(), ["1", "2", "3"])

    def test_the_user_names_the_wanted_role(self):
        for role in ("checkout", "storefront"):
            self.assertEqual(self.psql("SELECT current_user", subject="clerk", user=role), role)
        self.assertIn("not bound to", self.psql("SELECT 1", user="storefront", fails=True))

    def test_bad_tokens_are_refused_with_the_rule(self):
        for kind, token in self.node.bad_tokens().items():
            with self.subTest(kind):
                self.assertRegex(self.psql("SELECT 1", token=token, fails=True), REFUSALS[kind])
        self.assertIn("no password supplied", self.psql("SELECT 1", token="", fails=True))

    def test_another_database_is_refused(self):
        self.assertRegex(self.psql("SELECT 1", options="sslmode=disable dbname=postgres", fails=True), "may not connect")

    def test_tls(self):
        verified = f"sslmode=verify-full sslrootcert={self.node.ca}"
        self.assertEqual(self.psql("SELECT 1", options=verified, host="localhost"), "1")
        process = self.start("-c", "\\conninfo", options=verified, host="localhost")
        self.assertIn("SSL connection (protocol: TLSv1.3", process.communicate(timeout=60)[0])
        old = verified + " ssl_max_protocol_version=TLSv1.2"
        self.assertEqual(self.psql("SELECT 1", options=old, host="localhost"), "1")
        # A certificate of somebody else's authority.
        self.assertIn("certificate", self.psql("SELECT 1", host="localhost", fails=True,
                                               options="sslmode=verify-full sslrootcert=/etc/ssl/certs/ca-certificates.crt"))


if __name__ == "__main__":
    unittest.main()
