"""A real node for the tests of real clients: `meridian up` with a PostgreSQL and a Redis of its own.

One node serves one test program. It has free ports, a folder of its own that goes with it, a certificate,
the shop's tables with a few rows, and tokens for who may come in and who may not.
"""

import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30

CONFIG = """\
node: {{ name: clients, loops: 2 }}
listen: {{ postgres: "127.0.0.1:0", redis: "127.0.0.1:0", http: "127.0.0.1:0", nats: "127.0.0.1:0",
  nats_websocket: "127.0.0.1:0" }}
tls: {{ certificate: server.pem, key: server.key, nats_handshake_first: 50ms }}
# Every client comes from one address here, and the tests log in wrongly on purpose.
# A value of 100 MB is 200 MB where a client writes it in hexadecimal.
limits: {{ failed_logins_per_minute: 10000, request_bytes_max: 256MiB }}
{issuers}
roles:
  checkout:
    bind:
      - {{ issuer: meridian, subject: checkout }}
      - {{ issuer: meridian, subject: clerk }}
{checkout_bind}
    postgres: {{ databases: [shop], backends_max: 32 }}
    redis:
      read: ["*"]
      write: ["*"]
      forget: ["order:*"]
      commands: [scan, dbsize, psubscribe, script, eval, evalsha]
    nats:
      publish: ["orders.>", "$KV.CARTS.>"]
      publish_deny: ["orders.audit.>"]
      subscribe: ["orders.>", "$KV.CARTS.>"]
      consume: [ORDERS, KV_CARTS]
      manage: [ORDERS, KV_CARTS]
      headers: ["KV-Operation", "Nats-Rollup", "Nats-Expected-*"]
      allow_responses: 1
  storefront:
    bind:
      - {{ issuer: meridian, subject: storefront }}
      - {{ issuer: meridian, subject: clerk }}
    postgres: {{ databases: [shop], read_only: true }}
    redis:
      read: ["order:*", "product:*", "session:*"]
      write: ["session:*"]
    nats: {{ publish: ["orders.service"] }}
  view_reader:
    postgres: {{ databases: [shop] }}
views:
  order:
    key: "order:{{id}}"
    query: "SELECT id, customer_id, status, total_cents, revision FROM orders WHERE id = {{id}}"
    as: view_reader
    database: shop
  product:
    key: "product:{{sku}}"
    query: "SELECT sku, name, price_cents FROM products WHERE sku = {{sku}}"
    as: view_reader
    database: shop
"""

ROWS = """\
INSERT INTO customers SELECT n, 'Customer ' || n, 'customer' || n || '@shop.example' FROM generate_series(1, 10) n;
INSERT INTO products SELECT 'sku-' || n, 'Product ' || n, 100 * n FROM generate_series(1, 10) n;
INSERT INTO orders (id, customer_id, status, total_cents)
  SELECT n, 1 + n % 10, 'open', 100 * n FROM generate_series(1, 100) n;
GRANT CREATE ON SCHEMA public TO checkout;
"""

# What is refused, by the kind of token, and what the client must be told.
REFUSALS = {
    "garbage": "the token is not three parts joined by dots",
    "forged": "the token's signature is wrong",
    "expired": "the token expired [0-9.]+ [a-z]+ ago",
    "audience": 'the token\'s audience is "elsewhere"; this node accepts "meridian"',
    "unbound": 'bound to issuer meridian, subject "nobody"',
}

# Statements that fail, each with the code that every client must see. The session goes on after each.
SQLSTATES = [
    ["SELECT 1 / 0", "22012"],
    ["SELECT 2147483647 + 1", "22003"],
    ["SELECT 'x'::int", "22P02"],
    ["SELEC 1", "42601"],
    ["SELECT nothing FROM orders", "42703"],
    ["SELECT * FROM nothing", "42P01"],
    ["SELECT nothing()", "42883"],
    ["SELECT * FROM pg_authid", "42501"],
    ["ALTER TABLE orders ADD x int", "42501"],
    ["INSERT INTO orders (id, customer_id) VALUES (1, 1)", "23505"],
    ["INSERT INTO orders (id, customer_id) VALUES (999999, 999999)", "23503"],
    ["INSERT INTO orders (id, customer_id) VALUES (999999, NULL)", "23502"],
    ["DO $$ BEGIN RAISE EXCEPTION 'told'; END $$", "P0001"],
    ["DO $$ BEGIN RAISE EXCEPTION 'told' USING ERRCODE = 'MX001'; END $$", "MX001"],
    ["DO $$ BEGIN RAISE EXCEPTION 'told' USING ERRCODE = '40001'; END $$", "40001"],
]


class NodeError(Exception):
    pass


def run(arguments, **options):
    """Runs a program to its end; what it said is in the exception when it failed."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=120, **options)
    if done.returncode != 0:
        raise NodeError(f"{arguments[0]}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def make_certificate(folder):
    """An authority, and a server's certificate that it signed."""
    openssl = ["openssl"]
    authority = ["-subj", "/CN=Authority of a test", "-keyout", folder / "ca.key", "-out", folder / "ca.pem"]
    run(openssl + ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + authority)
    run(openssl + ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
                   "-keyout", folder / "server.key", "-out", folder / "server.csr"])
    (folder / "server.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    run(openssl + ["x509", "-req", "-in", folder / "server.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
                   "-CAcreateserial", "-days", "2", "-extfile", folder / "server.ext", "-out", folder / "server.pem"])
    (folder / "server.key").chmod(0o600)


class Node:
    """Started on entry, stopped on exit; a node that does not stop cleanly fails its test."""

    def __init__(self, issuers="", checkout_bind=""):
        self.program = os.environ["MERIDIAN_PROGRAM"]
        self.issuers = issuers
        self.checkout_bind = checkout_bind
        self.folder = None
        self.process = None
        self.doors = {}

    def __enter__(self):
        # The engines run as another user when root starts the node: they must get to their folders.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="meridian-clients-"))
        self.folder.chmod(0o755)
        try:
            self._start()
        except BaseException:
            self._stop(quietly=True)
            raise
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            sys.stderr.write(self.log_tail())
        self._stop(quietly=kind is not None)

    def _start(self):
        make_certificate(self.folder)
        self.ca = self.folder / "ca.pem"
        self.config = self.folder / "meridian.yaml"
        self.config.write_text(CONFIG.format(issuers=self.issuers, checkout_bind=self.checkout_bind))
        self.data = self.folder / "data"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MERIDIAN_", "PG"))}
        self.environment = environment
        self.log = self.folder / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [self.program, "--config", self.config, "--data", self.data, "up"],
                stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        self._read_announcement()
        self.owner_sql((SOURCE / "examples/shop/schema.sql").read_text() + ROWS)
        self._wait_for_views()

    def _read_announcement(self):
        until = time.monotonic() + START_SECONDS_MAX
        said = b""
        while b"Stop:" not in said:
            left = until - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, left))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                raise NodeError(f"meridian up did not come up:\n{said.decode()}{self.log_tail()}")
            said += chunk
        for door, host, port in re.findall(r"^\s+(postgres|redis|nats|nats_websocket|http)\s+(\S+):(\d+)$", said.decode(), re.M):
            self.doors[door] = (host, int(port))

    # Views appear when their tables do; nothing else of the node has to be waited for.
    def _wait_for_views(self):
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            said = self.meridian("redis", "--subject", "storefront", "--", "GET", "order:1")
            if '"customer_id"' in said:
                return
            if time.monotonic() > until:
                raise NodeError(f"the views did not come up: {said}")
            time.sleep(0.05)

    def _stop(self, quietly):
        failure = None
        if self.process is not None:
            self.process.terminate()
            try:
                code = self.process.wait(STOP_SECONDS_MAX)
                if code != 0:
                    failure = f"meridian up ended with exit code {code}\n{self.log_tail()}"
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                failure = f"meridian up did not stop on SIGTERM\n{self.log_tail()}"
            self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if failure and not quietly:
            raise NodeError(failure)

    def log_tail(self):
        with contextlib.suppress(OSError, AttributeError):
            return "".join(self.log.read_text().splitlines(keepends=True)[-40:])
        return ""

    def meridian(self, *arguments, **options):
        return run([self.program, "--config", self.config, "--data", self.data, *arguments], env=self.environment,
                   **options)

    def owner_sql(self, sql):
        """Runs SQL as the database's owner, past the doors."""
        return self.meridian("psql", "--owner", "--database", "shop", "--", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1",
                             input=sql)

    def token_command(self):
        return [self.program, "--config", self.config, "--data", self.data, "token", "--subject"]

    def token(self, subject="checkout", ttl="10m", **options):
        more = [part for name, value in options.items() for part in (f"--{name}", value)]
        return self.meridian("token", "--subject", subject, "--ttl", ttl, *more).strip()

    def bad_tokens(self):
        """A token of each kind in REFUSALS."""
        expired = self.token(ttl="1s")
        good = self.token()
        head, body, signature = good.split(".")
        # Another signature of the same length: its first character counts in full, unlike its last.
        forged = ".".join([head, body, ("A" if signature[0] != "A" else "B") + signature[1:]])
        tokens = {
            "garbage": "secret",
            "forged": forged,
            "audience": self.token(audience="elsewhere"),
            "unbound": self.token(subject="nobody"),
            "expired": expired,
        }
        time.sleep(2)  # Tokens say whole seconds.
        return tokens

    def client_environment(self):
        """What a client's program needs to know; also read by the JavaScript and C++ tests."""
        bad = self.bad_tokens()
        return {
            **self.environment,
            "NODE_OPTIONS": "--dns-result-order=ipv4first",  # For localhost: 18 does not try the second address.
            "NODE_POSTGRES_PORT": str(self.doors["postgres"][1]),
            "NODE_REDIS_PORT": str(self.doors["redis"][1]),
            "NODE_NATS_PORT": str(self.doors["nats"][1]),
            "NODE_NATS_WEBSOCKET_PORT": str(self.doors["nats_websocket"][1]),
            "NODE_HTTP_PORT": str(self.doors["http"][1]),
            "NODE_CA": str(self.ca),
            # Followed by a subject and how long it shall be good: what a client's provider of credentials runs.
            "TOKEN_COMMAND": json.dumps([str(part) for part in self.token_command()]),
            "TOKEN_CHECKOUT": self.token("checkout"),
            "TOKEN_STOREFRONT": self.token("storefront"),
            "TOKEN_CLERK": self.token("clerk"),
            "SQLSTATES": json.dumps(SQLSTATES),
            "TOKENS_BAD": json.dumps({kind: [bad[kind], REFUSALS[kind]] for kind in REFUSALS}),
        }
