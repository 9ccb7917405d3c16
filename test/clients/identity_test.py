"""Issuers that rotate, go, stall and lie, while real clients log in: redis-py and psycopg.

Between the node and real OIDC providers stands issuer_front.py, which answers in their place as it is told. Each lie has an
issuer of its own, so that all are told at the same time: the node asks an issuer for keys every 10 seconds at most.
"""

import base64
import concurrent.futures
import hashlib
import hmac
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse
import urllib.request

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from node import Node

HERE = pathlib.Path(__file__).resolve().parent

# From the beginning: these never answer, and come first.
SILENT = [f"silent{number}" for number in range(1, 13)]
# Down when the node starts.
LATE = "late"
# Good ones: keys rotate at the one; the other's answers take their time.
ROTATING, SLOW = "rotating", "slow"
# Mode of the front: what a login with a key that the node does not know is told.
LIES = {
    "down": "Failed to connect to 127.0.0.1|Connection refused|Couldn't connect",
    "failing": "status 503 instead of 200",
    "silent": "timed out|waited too long for the keys of issuer silent",
    "dripping": "timed out|waited too long for the keys of issuer dripping",
    "another_issuer": 'the discovery document is of issuer "https://login.elsewhere.example", not "http://127.0.0.1',
    "keys_in_a_file": 'the URL "file:///etc/passwd" begins with neither https:// nor http://',
    "keys_missing": "the discovery document.*jwks_uri",
    "discovery_redirected": "status 302 instead of 200; redirects are not followed",
    "keys_redirected": "status 307 instead of 200; redirects are not followed",
    "huge_keys": "the body has more than 65536 bytes",
    "many_keys": "keys",
    "endless_keys": "the body has more than 65536 bytes",
    "endless_headers": "the headers have more than 65536 bytes",
    "weak_keys": "none of its 4 keys can be used",
    "empty_keys": "none of its 0 keys can be used",
    "web_page": "GET http://127.0.0.1|JSON|json|the discovery document",
    "cut_off": "GET http://127.0.0.1",
}
ISSUERS = [*SILENT, *LIES, ROTATING, SLOW, LATE]
# The bounds that a node has: a fetch begins every 10 s at most, and has 5 s for each of two documents.
FETCH_INTERVAL, FETCH_TIME = 10, 10
# Well above what a login takes on a busy machine, and below what waiting for an issuer takes.
PROMPT = 3
LOGIN_TIME_MAX = 20


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Tool:
    """A child that is told something in a line, and answers in a line of JSON."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, env={**os.environ, "NODE_NO_WARNINGS": "1"}, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.lock = threading.Lock()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError("a child of the test ended")

    def tell(self, what):
        with self.lock:
            self.process.stdin.write((what if isinstance(what, str) else json.dumps(what)) + "\n")
            self.process.stdin.flush()
            return self.read()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class IdentityTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.front = Tool(sys.executable, HERE / "issuer_front.py", *ISSUERS)
        cls.addClassCleanup(cls.front.stop)
        cls.ports = cls.front.read()
        cls.urls = {name: f"http://127.0.0.1:{port}" for name, port in cls.ports.items()}
        cls.provider = Tool("node", HERE / "oidc_provider.mjs", *cls.urls.values())
        cls.addClassCleanup(cls.provider.stop)
        upstreams = dict(zip(cls.urls, cls.provider.read()["ports"], strict=True))
        cls.front.tell({"upstreams": upstreams})
        for name in SILENT:
            cls.mode(name, "silent")
        cls.mode(LATE, "down")
        cls.began = began = time.monotonic()
        cls.node = cls.enterClassContext(Node(
            issuers="issuers:\n" + "".join(
                f'  {name}: {{ url: "{url}", audience: meridian, allow_insecure_http: true }}\n'
                for name, url in cls.urls.items()),
            checkout_bind="".join(
                f"      - {{ issuer: {name}, subject: shop-checkout }}\n" for name in cls.urls)))
        cls.started_in = time.monotonic() - began

    @classmethod
    def mode(cls, name, mode):
        cls.front.tell({"name": name, "mode": mode})

    def asked(self, name):
        return self.front.tell({"name": name, "asked": True})

    def token(self, issuer, algorithm="ES256"):
        """From the provider itself, past what stands in front of it."""
        form = urllib.parse.urlencode({
            "grant_type": "client_credentials", "client_id": "shop-checkout", "client_secret": "a secret of a test",
            "resource": f"https://meridian.example/{algorithm}"}).encode()
        with urllib.request.urlopen(f"{self.urls[issuer]}/token", form, timeout=30) as answer:
            return json.load(answer)["access_token"]

    def through_postgres(self, token):
        try:
            with psycopg.connect(host="127.0.0.1", port=self.node.doors["postgres"][1], dbname="shop", user="checkout",
                                 sslmode="disable", password=token, connect_timeout=LOGIN_TIME_MAX) as sql:
                return sql.execute("SELECT current_user").fetchone()[0]
        except psycopg.OperationalError as error:
            return str(error)

    def through_redis(self, token):
        client = redis.Redis(port=self.node.doors["redis"][1], password=token, username="default", decode_responses=True,
                             retry=Retry(NoBackoff(), 0), socket_timeout=LOGIN_TIME_MAX)
        try:
            return client.hget("order:1", "status")
        except redis.RedisError as error:
            return f"{type(error).__name__}: {error}"
        finally:
            client.close()

    def login(self, token):
        """What both doors say, one after the other, and how long the slower one took."""
        said, took = [], 0
        for door in (self.through_postgres, self.through_redis):
            began = time.monotonic()
            said.append(door(token))
            took = max(took, time.monotonic() - began)
        return said, took

    def assert_open(self, token, within=PROMPT):
        said, took = self.login(token)
        self.assertEqual(said, ["checkout", "open"])
        self.assertLess(took, within)

    def assert_opens_soon(self, token, seconds):
        """Logs in again and again, as clients do."""
        until = time.monotonic() + seconds
        while True:
            said, _ = self.login(token)
            if said == ["checkout", "open"]:
                return
            self.assertLess(time.monotonic(), until, f"still refused: {said}")
            # Nobody is told that a good token is a bad one.
            for text in said:
                self.assertNotRegex(text, "WRONGPASS|AuthenticationError|signature")
            time.sleep(0.2)

    def metric(self, name, issuer, **labels):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.node.doors['http'][1]}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            found = re.fullmatch(rf"{name}\{{(.*)\}} (\S+)", line)
            if found and f'issuer="{issuer}"' in found[1] and all(f'{k}="{v}"' in found[1] for k, v in labels.items()):
                return float(found[2])
        raise AssertionError(f"no metric {name} of issuer {issuer}")

    def memory(self):
        status = pathlib.Path(f"/proc/{self.node.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])

    def at_once(self, names, test):
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            for name, outcome in [(name, pool.submit(test, name)) for name in names]:
                with self.subTest(name):
                    outcome.result()

    # In the order of their names: what is good comes first.

    def test_1_silent_issuers_hold_up_neither_the_start_nor_others(self):
        self.assert_open(self.node.token("checkout"))
        # The last one of the list has its keys as if it were alone, though a dozen others never answer.
        self.assert_open(self.token(ROTATING))
        self.assertEqual(self.metric("meridian_issuer_keys", ROTATING), 2)
        self.assertEqual(self.metric("meridian_issuer_keys", SILENT[0]), 0)

    def test_2_at_the_same_time(self):
        """These take long, and have nothing to do with each other."""
        self.at_once([self.check_silence, self.check_late_issuer, self.check_rotation], lambda check: check())

    def check_silence(self):
        """Who waits for a silent issuer waits for a bounded time, and alone."""
        # Tokens that nobody can judge while their issuer is silent.
        token = self.token(SILENT[0])
        mine = self.node.token("checkout")
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            waiting = [pool.submit(self.login, token) for _ in range(40)]
            for _ in range(20):
                self.assert_open(mine)
            for said, took in (outcome.result() for outcome in waiting):
                self.assertLess(took, LOGIN_TIME_MAX)
                for text in said:
                    self.assertRegex(text, f"the keys of issuer {SILENT[0]}\\b")
                    self.assertNotRegex(text, "WRONGPASS|AuthenticationError")
        self.assertEqual(self.metric("meridian_issuer_waiters", SILENT[0]), 0)
        # Once it answers, the same token is good.
        self.mode(SILENT[0], "good")
        self.assert_opens_soon(token, 2 * (FETCH_INTERVAL + FETCH_TIME))

    def check_late_issuer(self):
        """An issuer that was down when the node started."""
        # The provider itself is there; only its front is not.
        self.mode(LATE, "good")
        token = self.token(LATE)
        self.mode(LATE, "down")
        said, took = self.login(token)
        self.assertLess(took, LOGIN_TIME_MAX)
        for text in said:
            self.assertRegex(text, "the keys of issuer late")
        self.assertGreaterEqual(self.metric("meridian_issuer_fetches_total", LATE, outcome="failed"), 1)
        self.mode(LATE, "good")
        self.assert_opens_soon(token, 2 * (FETCH_INTERVAL + FETCH_TIME))
        self.assertEqual(self.metric("meridian_issuer_keys_stale", LATE), 0)

    def check_rotation(self):
        """New keys sign at once, as with the worst of providers. Logins go on all the while."""
        ended = threading.Event()
        longest = []
        refusals = []

        def log_in_again_and_again(issuer, algorithm, door):
            client = getattr(self, f"through_{door}")
            failing_since, count = None, 0
            while not ended.is_set():
                said = client(self.token(issuer, algorithm))
                now = time.monotonic()
                if said in ("checkout", "open"):
                    count += 1
                    if failing_since is not None:
                        longest.append(now - failing_since)
                        failing_since = None
                else:
                    refusals.append(said)
                    failing_since = failing_since or now
                time.sleep(0.1)
            return count, failing_since

        self.mode(SLOW, "slow")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            workers = [pool.submit(log_in_again_and_again, *what) for what in [
                (issuer, algorithm, door) for issuer in (ROTATING, SLOW) for algorithm in ("ES256", "RS256")
                for door in ("postgres", "redis")]]
            for _ in range(3):
                time.sleep(7)
                self.provider.tell("rotate beside")
            time.sleep(FETCH_INTERVAL + FETCH_TIME)
            ended.set()
            for worker in workers:
                count, failing_since = worker.result()
                self.assertIsNone(failing_since, refusals[-1:])
                self.assertGreater(count, 10)
        self.mode(SLOW, "good")
        # Whoever came before the next fetch could begin was asked to come again, and told no lie about the token.
        for text in refusals:
            self.assertRegex(text, "its key id .* is not among the [0-9]+ keys of issuer|"
                                   "waited too long for the keys of issuer")
            self.assertNotRegex(text, "WRONGPASS|AuthenticationError")
        self.assertLess(max(longest, default=0), FETCH_INTERVAL + FETCH_TIME)
        for issuer in (ROTATING, SLOW):
            asked = self.asked(issuer)
            self.assertLessEqual(asked["/jwks"], 3 + (time.monotonic() - self.began) / FETCH_INTERVAL, asked)

    def test_3_lies(self):
        before = {name: self.token(name) for name in LIES}
        self.at_once(LIES, lambda name: self.assert_open(before[name], 2 * PROMPT))
        self.provider.tell("rotate")
        after = {name: self.token(name) for name in LIES}
        memory = self.memory()
        began = time.monotonic()
        for name in LIES:
            self.asked(name)
            self.mode(name, name)
        self.at_once(LIES, lambda name: self.check_lie(name, before[name], after[name]))
        # What never ends was not kept for as long as it came. A sanitizer keeps freed memory for a while.
        self.assertLess(self.memory() - memory, 256 * 1024)
        log = self.node.log.read_text()
        for name in LIES:
            with self.subTest(name):
                self.assertRegex(log, f"(?m)^.*fetching keys failed.*{name}\\b.*$")
                # Neither a redirect nor another place was followed, and no issuer was asked too often.
                asked = self.asked(name)
                self.assertFalse([path for path in asked if path.startswith("/elsewhere")], asked)
                self.assertLessEqual(max(asked.values(), default=0), 2 + (time.monotonic() - began) / FETCH_INTERVAL, asked)
        for name in LIES:
            self.mode(name, "good")
        self.at_once(LIES, lambda name: self.check_recovery(name, after[name]))
        # The keys of before have been withdrawn by now: a token that was good is not any more.
        for name in LIES:
            with self.subTest(name):
                for text in self.login(before[name])[0]:
                    self.assertRegex(text, "its key id .* is not among the 2 keys of issuer")

    def failures(self, name):
        return self.metric("meridian_issuer_fetches_total", name, outcome="failed")

    def check_lie(self, name, before, after):
        # Known keys go on, while a fetch is under way and after it.
        self.assert_open(before, 2 * PROMPT)
        keys = self.metric("meridian_issuer_keys", name)
        # Only the second fetch begins with discovery: what it said before was good for an hour.
        wanted = self.failures(name) + 2
        until = time.monotonic() + 3 * (FETCH_INTERVAL + FETCH_TIME)
        while self.failures(name) < wanted:
            self.assertLess(time.monotonic(), until, "nothing was fetched")
            said, took = self.login(after)
            self.assertLess(took, LOGIN_TIME_MAX)
            for text in said:
                self.assertRegex(text, f"the keys of issuer {name}\\b|of issuer {name} that were fetched last")
                self.assertNotRegex(text, "WRONGPASS|AuthenticationError")
        for text in self.login(after)[0]:
            self.assertRegex(text, LIES[name])
        self.assertEqual(self.metric("meridian_issuer_keys_stale", name), 1)
        self.assertEqual(self.metric("meridian_issuer_keys", name), keys)
        if name == "weak_keys":
            self.check_forgeries(name)
        self.assert_open(before, 2 * PROMPT)

    def check_forgeries(self, name):
        """Tokens that the published keys would verify, if they were taken."""
        claims = {"iss": self.urls[name], "sub": "shop-checkout", "aud": "meridian", "iat": int(time.time()),
                  "exp": int(time.time()) + 60}
        key = base64.urlsafe_b64decode("c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA==")
        for header in ({"alg": "HS256", "kid": "hmac"}, {"alg": "none", "kid": "none"}, {"alg": "none"},
                       {"alg": "RS256", "kid": "small"}, {"alg": "ES256", "kid": "off"}):
            text = b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims).encode())
            signature = hmac.new(key, text.encode(), hashlib.sha256).digest() if header["alg"] == "HS256" else b""
            for said in self.login(text + "." + b64(signature))[0]:
                self.assertNotIn(said, ("checkout", "open"), header)

    def check_recovery(self, name, after):
        self.assert_opens_soon(after, 3 * (FETCH_INTERVAL + FETCH_TIME))
        self.assertEqual(self.metric("meridian_issuer_keys_stale", name), 0)

    def test_4_the_node_stops_while_issuers_are_silent(self):
        # Node itself fails the test when it does not stop in time; here: while fetches are under way.
        for name in (ROTATING, SLOW):
            self.mode(name, "silent")
        self.provider.tell("rotate")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            said = [outcome.result() for outcome in [pool.submit(self.login, self.token(SLOW)) for _ in range(8)]]
        for (postgres, through_redis), _ in said:
            self.assertNotEqual(postgres, "checkout")
            self.assertNotEqual(through_redis, "open")


if __name__ == "__main__":
    unittest.main()
