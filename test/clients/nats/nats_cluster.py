#!/usr/bin/env python3
"""The nats door before a cluster of three nats-servers, of which one at a time is killed.

    nats_cluster.py MERIDIAN [NATS_SERVER_2_12]

Messages to a replicated stream are published by hand, each again until it is acknowledged, while servers
die and come back: in the end each is there once. No address of the cluster reaches a client. With a nats-server of 2.12
or later the cluster wants each connection signed by a proxy that it trusts: the door is one, and nobody else comes in.
"""

import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import nats_clients
from nats_clients import PATIENCE, Client, Process, check, wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from ports import free_port  # pylint: disable=wrong-import-position

CONFIG = """
listen: {{ postgres: 127.0.0.1:0, redis: 127.0.0.1:0, http: 127.0.0.1:0, nats: 127.0.0.1:0 }}
node: {{ loops: 2, name: test }}
nats: {{ url: "{url}", password_file: nats.password{more} }}
roles:
  shop:
    bind: [{{ issuer: meridian, subject: shop }}]
    nats: {{ publish: ["orders.>"], subscribe: ["orders.>"], consume: [ORDERS], manage: [ORDERS] }}
"""
MESSAGES = 300
# The pair of NATS's own documentation: nobody's secret.
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
KEY = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


class Cluster:
    def __init__(self, program, root, proxied):
        self.program = program
        self.root = root
        self.ports = [free_port() for _ in range(3)]
        self.routes = [free_port() for _ in range(3)]
        self.processes = [None, None, None]
        for index in range(3):
            folder = root / f"server{index}"
            folder.mkdir()
            routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self.routes)
            user = '{ user: u, password: "p"' + (", proxy_required: true }" if proxied else " }")
            (folder / "nats.conf").write_text(
                f'host: 127.0.0.1\nport: {self.ports[index]}\nserver_name: secret{index}\n'
                f"authorization {{ users: [ {user} ] }}\n"
                + (f'proxies {{ trusted: [ {{ key: "{KEY}" }} ] }}\n' if proxied else "")
                + f'jetstream {{ store_dir: "{folder}/store" }}\n'
                f"cluster {{ name: secret-cluster, host: 127.0.0.1, port: {self.routes[index]}, routes: [ {routes} ] }}\n")
            self.start(index)

    def start(self, index):
        with open(self.root / f"server{index}/log", "a") as log:
            self.processes[index] = Process(
                [self.program, "-c", self.root / f"server{index}/nats.conf"], stdout=log, stderr=log)

    def kill(self, index):
        self.processes[index].process.kill()
        self.processes[index].process.wait(PATIENCE)

    def url(self):
        return ",".join(f"nats://u@127.0.0.1:{port}" for port in self.ports)

    def stop(self):
        for process in self.processes:
            if process and process.process.poll() is None:
                process.process.kill()
                process.process.wait(PATIENCE)


class Door:
    def __init__(self, meridian, root, url, more=""):
        self.root = root
        self.data = root / "data"
        self.environment = {**os.environ, "MERIDIAN_DATA": str(self.data)}
        self.meridian = meridian
        (root / "meridian.yaml").write_text(CONFIG.format(url=url, more=more))
        with open(root / "out", "w") as out, open(root / "err", "w") as err:
            self.node = Process([meridian, "up", "--config", root / "meridian.yaml", "--data", self.data],
                                stdout=out, stderr=err)
        self.port = wait_for(lambda: self.port_of("nats"), "the node")
        self.token = subprocess.run([meridian, "token", "--subject", "shop", "--ttl", "10m"], env=self.environment,
                                    check=True, capture_output=True, text=True).stdout.strip()

    def port_of(self, door):
        found = re.search(rf"^  {door} +127.0.0.1:(\d+)$", (self.root / "out").read_text(), re.M)
        if self.node.process.poll() is not None:
            raise RuntimeError((self.root / "err").read_text()[-2000:])
        return int(found[1]) if found else None

    def client(self):
        client = Client(self.port, f'"auth_token":"{self.token}"', ',"verbose":false,"protocol":1')
        client.say(b"PING\r\n")
        client.until(b"PONG\r\n")
        return client

    def metric(self, name):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.port_of('http')}/metrics").read().decode()
        return sum(float(value) for value in re.findall(rf"^{name} (\S+)$", text, re.M))


class Publisher:
    """Publishes one message after the other, and each again until the stream has acknowledged it."""

    def __init__(self, door):
        self.door = door
        self.client = None
        self.reconnects = 0
        self.infos = []

    def ask(self, subject, body=b"", headers=b""):
        """The answer to one request, whatever happens to connections meanwhile; None when none came."""
        try:
            if self.client is None:
                self.client = self.door.client()
                self.client.socket.settimeout(3)
                self.infos.append(self.client.info)
            inbox = b"_INBOX." + secrets.token_hex(16).encode()
            self.client.say(b"SUB %s 1\r\nUNSUB 1 1\r\n" % inbox)
            if headers:
                self.client.say(b"HPUB %s %s %d %d\r\n%s%s\r\n" % (
                    subject, inbox, len(headers), len(headers) + len(body), headers, body))
            else:
                self.client.say(b"PUB %s %s %d\r\n%s\r\n" % (subject, inbox, len(body), body))
            while True:
                line = self.client.line().split()
                if line[0] == b"INFO":
                    self.infos.append(json.loads(b" ".join(line[1:])))
                elif line[0] == b"PING":
                    self.client.say(b"PONG\r\n")
                elif line[0] in (b"MSG", b"HMSG"):
                    size = int(line[-1])
                    while len(self.client.read) < size + 2:
                        more = self.client.socket.recv(65536)
                        if not more:
                            raise EOFError
                        self.client.read += more
                    payload, self.client.read = self.client.read[:size], self.client.read[size + 2:]
                    if line[1] != inbox:
                        continue
                    at = int(line[-2]) if line[0] == b"HMSG" else 0
                    return json.loads(payload[at:]) if payload[at:] else None
                elif line[0] == b"-ERR":
                    raise EOFError(line)
        except (OSError, EOFError):
            if self.client is not None:
                self.client.close()
                self.client = None
                self.reconnects += 1
            return None

    def until_answered(self, good, *request):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            answer = self.ask(*request)
            if answer and good(answer):
                return answer
            time.sleep(0.05)
        raise TimeoutError(request)


def node_losses(meridian, root, program, more="", proxied=False):
    what = "with signatures" if proxied else "plain"
    cluster = Cluster(program, root, proxied)
    door = None
    try:
        door = Door(meridian, root, cluster.url(), more)
        publisher = Publisher(door)
        wait_for(lambda: True if publisher.ask(b"$JS.API.STREAM.INFO.ORDERS") else None, "JetStream")
        stream = json.dumps({"name": "ORDERS", "subjects": ["orders.>"], "num_replicas": 3, "storage": "file"}).encode()
        made = publisher.until_answered(lambda answer: "error" not in answer, b"$JS.API.STREAM.CREATE.ORDERS", stream)
        check(f"{what}: a stream of three replicas", made["config"]["num_replicas"] == 3, made)
        for number in range(MESSAGES):
            # Each of the three once, never two at a time; whoever holds the visit is among them.
            if number % 100 == 30:
                cluster.kill(number // 100)
            if number % 100 == 60:
                cluster.start(number // 100)
                wait_for(lambda: True if current(publisher) else None, "three replicas again")
            headers = b"NATS/1.0\r\nNats-Msg-Id: %d\r\n\r\n" % number
            publisher.until_answered(lambda answer: "seq" in answer, b"orders.n", b"%d" % number, headers)
        info = publisher.until_answered(lambda answer: "state" in answer, b"$JS.API.STREAM.INFO.ORDERS")
        check(f"{what}: each message once", info["state"]["messages"] == MESSAGES, info["state"])
        check(f"{what}: the visits had to move", publisher.reconnects > 0, publisher.reconnects)
        check(f"{what}: and the connector with them", door.metric("meridian_nats_failovers_total") > 0)
        ports = [str(port) for port in cluster.ports + cluster.routes]
        told = json.dumps(publisher.infos)
        check(f"{what}: no word of the cluster", not any(port in told for port in ports)
              and "secret" not in told and "connect_urls" not in told and "nonce" not in told, told)
        # All clients that come while one server is away are let in, however often.
        cluster.kill(0)
        for _ in range(10):
            door.client().close()
        check(f"{what}: logins go on without one of them", True)
        if proxied:
            direct = Client(cluster.ports[1], '"user":"u","pass":"p"', ',"verbose":false')
            direct.say(b"PING\r\n")
            got = direct.to_end()
            check("nobody passes the door by", b"-ERR" in got and b"PONG" not in got, got)
    finally:
        if door and door.node.process.poll() is None:
            code = door.node.stop()
            check(f"{what}: the node stops in order", code == 0, code)
        cluster.stop()
        if nats_clients.failures and door:
            print((root / "err").read_text()[-2000:])


def current(publisher):
    info = publisher.ask(b"$JS.API.STREAM.INFO.ORDERS")
    replicas = info.get("cluster", {}).get("replicas", []) if info else []
    return len(replicas) == 2 and all(replica.get("current") for replica in replicas)


def main():
    meridian = pathlib.Path(sys.argv[1]).resolve()
    root = pathlib.Path(tempfile.mkdtemp(prefix="meridian-nats-cluster-"))
    os.chmod(root, 0o711)
    try:
        for name in ("plain", "proxied"):
            (root / name).mkdir()
            (root / name / "nats.password").write_text("p\n")
            (root / name / "proxy.seed").write_text(SEED + "\n")
            for secret in ("nats.password", "proxy.seed"):
                os.chmod(root / name / secret, 0o600)
        node_losses(meridian, root / "plain", nats_clients.NATS_SERVER)
        newer = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
        if newer and newer.exists():
            node_losses(meridian, root / "proxied", newer, ", proxy_seed_file: proxy.seed", proxied=True)
        else:
            print("SKIPPED trusted proxies: no nats-server of 2.12 here; script/clients nats_server builds one")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print("all checks hold" if nats_clients.failures == 0 else f"{nats_clients.failures} checks failed")
    return 1 if nats_clients.failures else 0


if __name__ == "__main__":
    sys.exit(main())
