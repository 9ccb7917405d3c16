"""Tokens of a real OIDC provider, npm's oidc-provider, open both doors to who is bound, and to nobody else."""

import json
import os
import pathlib
import subprocess
import time
import unittest
import urllib.parse
import urllib.request

from node import Node

HERE = pathlib.Path(__file__).resolve().parent


class OidcProviderTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.provider = cls.enterClassContext(subprocess.Popen(
            ["node", HERE / "oidc_provider.mjs"], env={**os.environ, "NODE_NO_WARNINGS": "1"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        cls.addClassCleanup(cls.provider.kill)
        cls.url = cls.said_by_provider("issuer")
        cls.node = cls.enterClassContext(Node(
            issuers=f'issuers:\n  acme: {{ url: "{cls.url}", audience: meridian, allow_insecure_http: true }}',
            checkout_bind="      - { issuer: acme, subject: shop-checkout }"))

    @classmethod
    def said_by_provider(cls, name):
        # It may have warnings to say before.
        for line in cls.provider.stdout:
            if line.startswith("{") and name in json.loads(line):
                return json.loads(line)[name]
        raise AssertionError("the provider ended")

    def token(self, client="shop-checkout", audience="meridian", algorithm="ES256"):
        form = urllib.parse.urlencode({
            "grant_type": "client_credentials", "client_id": client, "client_secret": "a secret of a test",
            "resource": f"https://{audience}.example/{algorithm}"}).encode()
        with urllib.request.urlopen(f"{self.url}/token", form, timeout=30) as answer:
            return json.load(answer)["access_token"]

    def psql(self, token):
        port = self.node.doors["postgres"][1]
        done = subprocess.run(["psql", "-X", "-w", "-Atc", "SELECT current_user",
                               f"host=127.0.0.1 port={port} dbname=shop user=checkout sslmode=disable"],
                              env={**self.node.environment, "PGPASSWORD": token}, text=True, capture_output=True,
                              timeout=60)
        return (done.stdout + done.stderr).strip()

    def redis(self, token):
        done = subprocess.run(["redis-cli", "--no-auth-warning", "-p", str(self.node.doors["redis"][1]),
                               "HGET", "order:1", "status"],
                              env={**self.node.environment, "REDISCLI_AUTH": token}, text=True, capture_output=True,
                              timeout=60)
        return (done.stdout + done.stderr).strip()

    def assert_both_doors_open(self, token):
        self.assertEqual(self.psql(token), "checkout")
        self.assertEqual(self.redis(token), "open")

    def assert_both_doors_refuse(self, token, rule):
        self.assertRegex(self.psql(token), rule)
        self.assertRegex(self.redis(token), rule)

    def test_tokens_of_each_algorithm_open_both_doors(self):
        for algorithm in ("RS256", "ES256"):
            with self.subTest(algorithm):
                self.assert_both_doors_open(self.token(algorithm=algorithm))

    def test_a_subject_that_is_not_bound_is_refused(self):
        self.assert_both_doors_refuse(self.token(client="stranger"), 'bound to issuer acme, subject "stranger"')

    def test_a_token_for_another_audience_is_refused(self):
        self.assert_both_doors_refuse(self.token(audience="elsewhere"),
                                      'the token\'s audience is "elsewhere"; this node accepts "meridian"')

    def test_a_forged_token_is_refused(self):
        head, body, signature = self.token().split(".")
        forged = ".".join([head, body, ("A" if signature[0] != "A" else "B") + signature[1:]])
        self.assert_both_doors_refuse(forged, "the token's signature is wrong")

    def test_new_keys_are_found(self):
        before = self.token()
        self.assert_both_doors_open(before)
        self.provider.stdin.write("rotate\n")
        self.provider.stdin.flush()
        self.said_by_provider("generation")
        after = self.token()
        self.assertNotEqual(before.split(".")[0], after.split(".")[0])
        # Unknown keys are not asked for more often than so, or tokens could be used against the provider.
        until = time.monotonic() + 60
        while self.psql(after) != "checkout" and time.monotonic() < until:
            time.sleep(0.5)
        self.assert_both_doors_open(after)


if __name__ == "__main__":
    unittest.main()
