"""A whole node for tests: the real program in a child process, with its real PostgreSQL and Redis.

A folder of its own, ports that the system chose, and nothing left behind.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import clients

BUILD = pathlib.Path(os.environ["MERIDIAN_BUILD"])
SOURCE = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = BUILD / "src" / "meridian"
CHECKER = BUILD / "test" / "coherence_checker"

# How long anything here may take: far more than it does.
PATIENCE = 60.0

SHOP = (SOURCE / "examples" / "shop" / "meridian.yaml").read_text()
LISTEN = """
listen: {postgres: "127.0.0.1:0", redis: "127.0.0.1:0", http: "127.0.0.1:0", nats: "127.0.0.1:0"}
node: {name: test, loops: 2}
trail: {segment: 1MiB, sync_interval: 100ms}
"""


def wait_until(condition, what, patience=PATIENCE):
    """What the condition returned, once that is true."""
    end = time.monotonic() + patience
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.01)


def alive(process):
    """Whether there is such a process; a zombie that nobody has reaped is dead."""
    try:
        stat = pathlib.Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return ") Z" not in stat


def parent(process):
    """The number of the process that started it; none when it is gone."""
    try:
        stat = pathlib.Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[1])


class Node:
    """One data folder and the program that serves it, as often as it is started."""

    def __init__(self, config=SHOP, root=None, host="127.0.0.1"):
        self.host = host
        self.root = pathlib.Path(root or tempfile.mkdtemp(prefix="meridian-test-"))
        os.chmod(self.root, 0o711)
        self.data = self.root / "data"
        self.config_file = self.root / "meridian.yaml"
        self.log = self.root / "log"
        self.process = None
        self.doors = {}
        self.write_config(config)

    def write_config(self, text):
        """Puts the file in its place at once: a reload never reads half of it."""
        fresh = self.config_file.with_suffix(".new")
        fresh.write_text(text + LISTEN.replace("127.0.0.1", self.host))
        fresh.rename(self.config_file)

    def spawn(self, *arguments, command="up", preexec=None):
        """Starts the program and does not wait for it."""
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [PROGRAM, "--config", self.config_file, "--data", self.data, command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=preexec,
                text=True,
            )

    def start(self, *arguments, command="up", preexec=None):
        if self.process:
            self.process.stdout.close()
        self.process = self.spawn(*arguments, command=command, preexec=preexec)
        self.doors = {}
        for line in self.process.stdout:
            found = re.match(r"  (postgres|redis|nats|http) +(\S+):(\d+)$", line)
            if found:
                self.doors[found[1]] = (found[2], int(found[3]))
            if line.startswith("Stop:"):
                return self
        raise AssertionError("the node did not come up:\n" + self.log_text())

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """Ends it in order; returns its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        if self.process:
            self.process.stdout.close()
        # Engines of a process that was killed are still ending.
        wait_until(lambda: not self.engine_processes(), "the engines end")
        shutil.rmtree(self.root)

    def engine_processes(self):
        """All processes that work in the data folder of an engine, by name."""
        found = {}
        folders = {str(self.data / name): name for name in ("postgres", "redis", "nats")}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                name = folders.get(os.readlink(entry / "cwd"))
            except OSError:
                continue
            if name and alive(entry.name):
                found[int(entry.name)] = name
        return found

    def servers(self, name):
        """Of an engine's processes that which the node started: PostgreSQL's own may begin at any moment."""
        return {pid for pid, each in self.engine_processes().items()
                if each == name and parent(pid) == self.process.pid}

    def postmaster(self):
        return int((self.data / "postgres" / "postmaster.pid").read_text().split()[0])

    def redis_server(self):
        return next(pid for pid, name in self.engine_processes().items() if name == "redis")

    def kill_engine(self, name):
        """Kills an engine's process and waits for the next one to serve."""
        before = self.servers(name)
        for pid, each in self.engine_processes().items():
            if each == name:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.servers(name) - before, f"{name} is started again")
        wait_until(lambda: f"{name}: not serving" not in self.ready(), f"{name} serves")

    def ready(self):
        """What /readyz says."""
        with clients.connect(self.doors["http"]) as stream:
            stream.sendall(b"GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            return clients.read_to_end(stream).decode()

    def nats(self):
        """A connection to the owned nats-server itself, past the door."""
        nats = next(pid for pid, name in self.engine_processes().items() if name == "nats")
        ports = json.loads(next((self.data / "nats").glob(f"*_{nats}.ports")).read_text())
        port = int(ports["nats"][0].rsplit(":", 1)[1])
        token = next(self.data.rglob("nats.token")).read_text().strip()
        return clients.NatsProducer(("127.0.0.1", port), token)

    def jetstream(self, request, body=b"{}"):
        """Asks it as its operator would."""
        with self.nats() as client:
            client.subscribe(client.inbox)
            client.publish("$JS.API." + request, body, reply=client.inbox)
            return json.loads(client.next()[2])

    def consumer(self, stream, rule):
        """The name of an ingest rule's consumer, which ends in the installation's."""
        def found():
            names = self.jetstream(f"CONSUMER.NAMES.{stream}").get("consumers") or []
            return [name for name in names if name.startswith(f"meridian_{rule}_")]

        return wait_until(found, f"rule {rule} has a consumer")[0]

    def wait_for_ingest(self):
        """Until all rules run: what is published before their streams are there is in none."""
        def running():
            told = self.run("--json", "ingest", "status", code=None).stdout
            rules = json.loads(told)["rules"] if told.startswith("{") else []
            return rules and all(rule["state"] == "running" for rule in rules)

        wait_until(running, "the ingest rules run")

    def run(self, *arguments, code=0, **options):
        """The command line's output. Fails when it ends with another code; None takes any."""
        done = subprocess.run(
            [PROGRAM, "--config", self.config_file, "--data", self.data, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            **options,
        )
        if code is not None and done.returncode != code:
            raise AssertionError(
                f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n"
                f"{done.stdout}{done.stderr}\n{self.log_text()[-4000:]}"
            )
        return done.stdout if code is not None else done

    def token(self, subject, **options):
        arguments = []
        for name, value in options.items():
            arguments += ["--" + name, value]
        return self.run("token", "--subject", subject, *arguments).strip()

    def owner(self, sql, database="shop"):
        """As the owner of the database, past the door."""
        return self.run(
            "psql", "--owner", "--database", database, "--", "-X", "-q", "-A", "-t",
            "-v", "ON_ERROR_STOP=1", "-c", sql,
        ).strip()

    def make_shop(self, orders=64):
        """The shop's tables with a few rows."""
        self.run(
            "psql", "--owner", "--database", "shop", "--", "-X", "-q", "-v", "ON_ERROR_STOP=1",
            "-f", SOURCE / "examples" / "shop" / "schema.sql",
        )
        self.owner(
            "INSERT INTO products VALUES ('sku-1', 'Product 1', 100);"
            f"INSERT INTO customers SELECT n, 'Customer ' || n, n || '@shop.example'"
            f"  FROM generate_series(1, {orders}) AS n;"
            f"INSERT INTO orders SELECT n, n, 'open', 0, 0 FROM generate_series(1, {orders}) AS n;"
        )
        self.wait_for_views()

    def wait_for_views(self):
        """Until every view is registered: its tables are there."""
        def registered():
            told = json.loads(self.run("--json", "views", "explain"))
            return told["views"] and not told["broken"]

        wait_until(registered, "the views are registered")
        wait_until(lambda: metric(self, "meridian_cache_serving") == 1, "the cache serves")


def metric(running, name):
    """The value of a metric without labels."""
    with clients.connect(running.doors["http"]) as stream:
        stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
        for line in clients.read_to_end(stream).decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    raise AssertionError("there is no metric " + name)


def use_node(case, config=SHOP, shop=True, **options):
    """A node for the test or class `case`, which ends with it."""
    node = Node(config)
    cleanup = case.addClassCleanup if isinstance(case, type) else case.addCleanup
    cleanup(node.close)
    node.start(**options)
    if shop:
        node.make_shop()
    return node


def main():
    unittest.main(verbosity=2)
