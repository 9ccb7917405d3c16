"""The `nats` command line through the nats door, as a person would use it."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from node import Node

PATIENCE = 30
NODE = None
PROGRAM = pathlib.Path(os.environ["CLIENT_PACKAGES"]) / "natscli/natscli"


def setUpModule():
    global NODE
    NODE = Node()
    NODE.__enter__()


def tearDownModule():
    NODE.__exit__(None, None, None)


class Command(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.TemporaryDirectory()
        self.addCleanup(self.home.cleanup)

    def command(self, *arguments, subject="checkout"):
        server = f"nats://127.0.0.1:{NODE.doors['nats'][1]}"
        token = NODE.token(subject)
        return [PROGRAM, "--server", server, "--user", subject, "--password", token, "--timeout", "10s", *arguments]

    def environment(self):
        return {**os.environ, "HOME": self.home.name, "XDG_CONFIG_HOME": self.home.name}

    def nats(self, *arguments, fails=False, **options):
        done = subprocess.run(self.command(*arguments, **options), capture_output=True, text=True, timeout=PATIENCE,
                              env=self.environment(), stdin=subprocess.DEVNULL, check=False)
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode != 0, fails, said)
        return said

    def start(self, *arguments, until, **options):
        """A command that stays; back when it has said `until`."""
        process = subprocess.Popen(self.command(*arguments, **options), stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, env=self.environment(),
                                   stdin=subprocess.DEVNULL)

        def stop():
            if process.poll() is None:
                process.terminate()
            process.communicate()

        self.addCleanup(stop)
        for line in process.stdout:
            if until in line:
                return process
        self.fail(f"it never said {until!r}")

    def test_publish_and_subscribe(self):
        subscriber = self.start("sub", "orders.cli.>", "--count", "2", until="Subscribing on")
        self.nats("pub", "orders.cli.a", "one", "-H", "Other: kept")
        self.nats("pub", "orders.cli.b", "two")
        said, _ = subscriber.communicate(timeout=PATIENCE)
        self.assertEqual(subscriber.returncode, 0, said)
        self.assertIn("Other: kept", said)
        self.assertEqual(len(re.findall(r"Meridian-Identity: iss=meridian;sub=checkout;role=checkout;req=", said)), 2)

    def test_request_and_reply(self):
        self.start("reply", "orders.service", "answer {{Count}}", until="Listening on")
        self.assertIn("answer", self.nats("request", "orders.service", "?", subject="storefront"))

    def test_denials_are_told(self):
        self.assertIn("permissions violation", self.nats("sub", "other.>", "--count", "1", fails=True).lower())

    def test_streams_and_consumers(self):
        self.nats("stream", "add", "ORDERS", "--subjects", "orders.stream.>", "--defaults")
        try:
            for number in range(3):
                self.assertIn('"stream":"ORDERS"', self.nats("request", "orders.stream.a", str(number)))
            self.assertIn("Messages: 3", self.nats("stream", "info", "ORDERS"))
            self.nats("consumer", "add", "ORDERS", "cli", "--pull", "--defaults")
            said = self.nats("consumer", "next", "ORDERS", "cli", "--count", "3")
            self.assertEqual(said.count("sub=checkout;role=checkout"), 3)
            self.assertIn("Outstanding Acks: 0 out of", self.nats("consumer", "info", "ORDERS", "cli"))
        finally:
            self.nats("stream", "rm", "ORDERS", "--force")
        self.nats("stream", "add", "OTHER", "--subjects", "orders.x", "--defaults", fails=True)

    def test_key_value(self):
        self.nats("kv", "add", "CARTS")
        try:
            self.nats("kv", "put", "CARTS", "c1", "apple")
            self.assertIn("apple", self.nats("kv", "get", "CARTS", "c1", "--raw"))
            self.nats("kv", "del", "CARTS", "c1", "--force")
            self.nats("kv", "get", "CARTS", "c1", fails=True)
        finally:
            self.nats("kv", "del", "CARTS", "--force")


if __name__ == "__main__":
    unittest.main()
