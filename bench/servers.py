"""The servers that are measured: Meridian nodes with engines of their own, and their peers.

Everything lives in one temporary folder and listens on free ports of this machine; what is started
here is stopped here, by its process id.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import urllib.request

import wire

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PEER_USER, PEER_PASSWORD = "bench_peer", "of this run alone"
DATABASE = "shop"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pin(pid, cores):
    """Pins a server's threads, and not the engines that it has started before."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


def cpu_seconds(pid, thread=None):
    """User and system time that a process, or one thread of it, has taken so far."""
    path = f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat"
    fields = pathlib.Path(path).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def memory(pid, field="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def stop(process, patience=30):
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


CONFIG = """
data: {data}
node: {{ name: {name}, loops: {loops} }}
log: {{ level: warning }}
listen: {{ postgres: "127.0.0.1:0", redis: "127.0.0.1:0", http: "127.0.0.1:0", nats: "127.0.0.1:0" }}
limits: {{ visits_max: 50000, visits_per_address: 50000, unauthenticated_per_address: 20000 }}
token: {{ ttl_default: 6h, ttl_max: 1d }}
engines:
  # 256 of each of the sides, which keep what they had, and some.
  postgres: {{ max_connections: 1000 }}
  redis: {{ appendonly: false }}
timeline: {{ commit_wait: {commit_wait} }}
roles:
  bench:
    bind: [ {{ issuer: meridian, subject: bench }} ]
    postgres: {{ databases: [{database}], visits_max: 50000, backends_max: 300 }}
    redis:
      read: ["order:*", "key:*"]
      write: ["key:*"]
      visits_max: 50000
    nats:
      publish: ["bench.>"]
      subscribe: ["bench.>"]
      allow_responses: 1
      visits_max: 50000
  view_reader:
    postgres: {{ databases: [{database}] }}
  order_writer:
    postgres: {{ databases: [{database}] }}
ingest:
  bench_orders:
    subject: bench.orders
    role: order_writer
    workers: 4
    require: {{ roles: [bench] }}
    sql: >
      INSERT INTO bench_orders (id, customer, total, placed_by)
      VALUES ({{id}}, {{customer}}, {{total}}, {{meridian.subject}})
views:
  order:
    key: "order:{{id}}"
    query: "SELECT id, customer_id, status, total_cents, revision FROM orders WHERE id = {{id}}"
    as: view_reader
    database: {database}
"""


class Node:
    """A Meridian node with its own PostgreSQL, Redis, tables and pgbench tables."""

    def __init__(self, program, folder, name, *, loops=2, commit_wait="door", scale=10, more=""):
        self.program = str(program)
        self.name = name
        self.data = folder / name
        config = folder / f"{name}.yaml"
        config.write_text(
            CONFIG.format(
                data=self.data, name=name, loops=loops, commit_wait=commit_wait, database=DATABASE
            )
            + more
        )
        self.environment = {**os.environ, "MERIDIAN_DATA": str(self.data)}
        self.log = open(folder / f"{name}.log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [self.program, "up", "--config", str(config)],
            env=self.environment, stdout=self.log, stderr=self.log, start_new_session=True,
        )
        try:
            self._await_doors()
            self._fill(scale)
        except BaseException:
            stop(self.process)
            raise

    @property
    def pid(self):
        return self.process.pid

    def _await_doors(self):
        limit = time.monotonic() + 60
        while time.monotonic() < limit and self.process.poll() is None:
            try:
                # Written when the node starts, and again with its doors when they are open.
                doors = json.loads((self.data / "meridian.lock").read_text()).get("doors")
            except (OSError, ValueError):
                doors = None
            if doors:
                self.postgres = to_address(doors["postgres"])
                self.redis = to_address(doors["redis"])
                self.http = doors["http"]
                self.nats = doors.get("nats")  # Not there without a nats-server.
                self.token = self.mint()
                return
            time.sleep(0.1)
        raise RuntimeError(f"node {self.name} did not start; see {self.log.name}")

    def _fill(self, scale):
        secret = (self.data / "keys" / "postgres.password").read_text().strip()
        self.sockets = (self.data / "run").resolve()
        self.postgres_socket = str(next(self.sockets.glob(".s.PGSQL.*[0-9]")))
        self.owner_password = secret
        shop = (ROOT / "examples/shop/schema.sql").read_text()
        # The roles of the example are not those of this node.
        shop = "\n".join(line for line in shop.splitlines() if not line.startswith("GRANT "))
        with_owner = self.owner()
        with_owner.query(shop)
        with_owner.query(f"CREATE ROLE {PEER_USER} LOGIN PASSWORD '{PEER_PASSWORD}'")
        with_owner.query(
            f"GRANT ALL ON SCHEMA public TO bench, {PEER_USER};"
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO bench, {PEER_USER};"
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO view_reader;"
        )
        data = (ROOT / "examples/shop/data.sql").read_text().replace(":scale", "1")
        for statement in to_statements(data):
            with_owner.query(statement)
        # By the stock tool and through the door.
        subprocess.run(
            ["pgbench", "-i", "-q", "-s", str(scale), *self.pgbench_target()],
            env=self.pgbench_environment(), check=True, capture_output=True,
        )
        with_owner.query(
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {PEER_USER}; CHECKPOINT;"
        )
        with_owner.close()

    def owner(self, **settings):
        """A session of the owner's, past the door."""
        return wire.Postgres(
            self.postgres_socket, "meridian", DATABASE, self.owner_password,
            options="-c search_path=public", **settings,
        )

    def pgbench_target(self):
        return ["-h", self.postgres[0], "-p", str(self.postgres[1]), "-U", "bench", DATABASE]

    def pgbench_environment(self):
        return {**os.environ, "PGPASSWORD": self.token, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}

    def mint(self):
        return subprocess.run(
            [self.program, "token", "--subject", "bench", "--ttl", "6h"],
            env=self.environment, capture_output=True, text=True, check=True,
        ).stdout.strip()

    def command(self, *arguments):
        return subprocess.run(
            [self.program, *arguments], env=self.environment, capture_output=True, text=True, check=True,
        ).stdout

    def owner_conninfo(self):
        port = self.postgres_socket.rsplit(".", 1)[1]
        return (
            f"host={self.sockets} port={port} user=meridian dbname={DATABASE} password={self.owner_password}"
        )

    def metric(self, name):
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        values = [
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith((name + " ", name + "{"))
        ]
        if not values:
            raise KeyError(name)
        return sum(values)

    def buckets(self, name, labels=""):
        """A histogram, all of it or of some labels: how many observations lie below each bound, in seconds."""
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = {}
        for line in text.splitlines():
            if line.startswith(name + "_bucket{") and labels in line:
                bound = float(re.search(r'[{,]le="([^"]+)"', line)[1])
                found[bound] = found.get(bound, 0) + float(line.rsplit(" ", 1)[1])
        return found

    def stop(self):
        stop(self.process, 60)
        self.log.close()


def to_address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def to_statements(text):
    """The statements of a script of plain statements, its transaction left out."""
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    parts = [part.strip() for part in "\n".join(lines).split(";")]
    return [part for part in parts if part and part not in ("BEGIN", "COMMIT")]


class PostgresPeer:
    """A process of its own that takes sessions at `address`, as the peer's user."""

    @property
    def pid(self):
        return self.process.pid

    def pgbench_target(self):
        return ["-h", self.address[0], "-p", str(self.address[1]), "-U", PEER_USER, DATABASE]

    def pgbench_environment(self):
        return peer_environment()

    def stop(self):
        stop(self.process)

    @staticmethod
    def as_owner_of(folder):
        """Popen's arguments: the owner of the sockets' folder is who may connect there. Never root."""
        owner = folder.stat()
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}


class PgBouncer(PostgresPeer):
    """PgBouncer in session mode before a node's PostgreSQL; never as root."""

    def __init__(self, folder, node, auth="scram-sha-256"):
        self.node = node
        self.auth = auth
        self.address = ("127.0.0.1", free_port())
        home = folder / f"pgbouncer-{auth}"
        home.mkdir()
        secret = PEER_PASSWORD
        if auth == "scram-sha-256":
            # PostgreSQL's own verifier: from a plain password PgBouncer would derive one anew, 4,096
            # rounds, at every login, which nobody who cares for logins would have it do.
            with_owner = node.owner()
            secret = with_owner.query(
                f"SELECT rolpassword FROM pg_authid WHERE rolname = '{PEER_USER}'"
            )[0][0]
            with_owner.close()
        (home / "users.txt").write_text(f'"{PEER_USER}" "{secret}"\n')
        (home / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"{DATABASE} = host={node.sockets} port={node.postgres_socket.rsplit('.', 1)[1]}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.address[1]}\nunix_socket_dir =\n"
            f"auth_type = {auth}\nauth_file = {home}/users.txt\n"
            "pool_mode = session\ndefault_pool_size = 300\nmax_client_conn = 20000\n"
            "log_connections = 0\nlog_disconnections = 0\nlogfile = /dev/null\n"
        )
        as_whom = self.as_owner_of(node.sockets)
        if as_whom:
            for path in (home, *home.iterdir()):
                os.chown(path, as_whom["user"], as_whom["group"])
        self.process = subprocess.Popen(
            ["pgbouncer", "-q", str(home / "pgbouncer.ini")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, **as_whom,
        )
        await_port(self.address, self.process)


class Direct:
    """No one between: the node's PostgreSQL at its own Unix socket."""

    pid = None

    def __init__(self, node):
        self.node = node

    def pgbench_target(self):
        port = self.node.postgres_socket.rsplit(".", 1)[1]
        return ["-h", str(self.node.sockets), "-p", port, "-U", PEER_USER, DATABASE]

    def pgbench_environment(self):
        return peer_environment()


def peer_environment():
    return {**os.environ, "PGPASSWORD": PEER_PASSWORD, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


class RedisServer:
    """A plain redis-server, nothing written to the disk."""

    def __init__(self, folder):
        self.address = ("127.0.0.1", free_port())
        home = folder / "redis"
        home.mkdir()
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.address[1]), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", str(home)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        await_port(self.address, self.process)

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        stop(self.process)


class NatsServer:
    """A plain nats-server, which asks nobody who he is."""

    token = ""

    def __init__(self):
        port = free_port()
        self.nats = f"127.0.0.1:{port}"
        self.process = subprocess.Popen(
            ["nats-server", "--addr", "127.0.0.1", "--port", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        await_port(("127.0.0.1", port), self.process)

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        stop(self.process)


class BareLoop(PostgresPeer):
    """As many threads as the door has loops that move the bytes and understand nothing: less than this no
    door can take on this machine. `answer` stands for Redis, `relay` for a pooler in session mode."""

    token = ""

    def __init__(self, program, kind, argument, node=None):
        self.node = node
        self.address = ("127.0.0.1", free_port())
        owner = node.sockets.stat() if node else None
        # The owner of the sockets' folder is who may connect there.
        as_whom = (lambda: (os.setgid(owner.st_gid), os.setuid(owner.st_uid))) if owner and os.geteuid() == 0 else None
        self.process = subprocess.Popen(
            [program, kind, str(self.address[1]), "2", argument], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True, preexec_fn=as_whom,
        )
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"bare_loop {kind} does not listen")


def await_port(address, process):
    limit = time.monotonic() + 10
    while time.monotonic() < limit and process.poll() is None:
        try:
            socket.create_connection(address, 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"{process.args[0]} does not listen on {address}")


