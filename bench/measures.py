"""The measures: each runs Meridian and its peer in turns and gives rows of the table.

A run of one side is repeated `repeats` times, the sides interleaved, and the median of the repeats
is what stands in the table. Processor time is that of the measured server alone, read before and
after each run.
"""

import dataclasses
import json
import math
import os
import pathlib
import re
import resource
import statistics
import subprocess
import threading
import time

import servers
import wire


@dataclasses.dataclass
class Row:
    measure: str
    meridian: float
    peer: float | None
    unit: str
    bar: float | None  # Of the ratio, or of the value where `of_value`.
    at_least: bool = True
    of_value: bool = False
    of_difference: bool = False
    note: str = ""
    samples: dict = dataclasses.field(default_factory=dict)
    floor: float | None = None  # What threads that only move the bytes reach, where measured.

    @property
    def ratio(self):
        return self.meridian / self.peer if self.peer else None

    @property
    def judged(self):
        if self.of_difference:
            return self.meridian - self.peer
        return self.meridian if self.of_value else self.ratio

    @property
    def held(self):
        if self.bar is None or self.judged is None:
            return None
        return self.judged >= self.bar if self.at_least else self.judged <= self.bar


@dataclasses.dataclass
class Setting:
    """What the measures work with."""

    node: servers.Node
    bouncer: servers.PgBouncer
    bouncer_trusting: servers.PgBouncer
    redis: servers.RedisServer
    bare_answer: servers.BareLoop
    bare_relay: servers.BareLoop
    nats: servers.NatsServer
    nats_client: str  # NATS's own C client, built.
    ingest_client: str  # Loads a stream; also the bare libpq loop.
    no_wait: servers.Node  # Without commit-wait.
    no_trail: servers.Node | None  # A build that records nothing.
    server_cores: set
    client_cores: set
    quick: bool

    @property
    def repeats(self):
        return 3 if self.quick else 5


# Why a row that misses its bar misses it, and what may mend it: by the beginning of its name, the first that fits. From
# profiles, counts of system calls and the floors beside the rows, on four virtual cores with Linux 6.18; what is a guess
# says so.
CAUSES = (
    (
        "cached view GET, pipeline 16, processor",
        "the floor alone, two threads that answer without a look, takes 0.5 to 0.6 of what Redis takes: 0.05 to 0.1 us are left "
        "for reading the request, finding the entry, its versions, the permission and the trail's tally, which take 0.1 us, "
        "spread over 20 functions of under 6 % each. Link-time optimisation gave 1 %. Not tried: io_uring",
    ),
    (
        "cached view GET, pipeline 1",
        "the floor, two threads that answer without a look, is itself under 1.5 of Redis: one recv and one send for each "
        "operation as in Redis, and the two clients are as busy as the servers. Not tried: io_uring, or clients on more cores",
    ),
    (
        "relayed",
        "each request passes the kernel twice more, Redis itself needs a core that the door is measured on too, and "
        "every write is on the trail",
    ),
    (
        "pgbench TPC-B",
        "beside the floor's work a transaction has its request id set by a statement of its own, its commit's position "
        "asked for, the feed read, and seven statements on the trail: 33 system calls with data and 8.4 waits where "
        "28 calls are the least. A third is user time, of which no function has more than 1.5 %. Link-time optimisation gave "
        "nothing beyond noise. Not tried: the id as a Bind in the client's batch, one position for the commits of all loops",
    ),
    (
        "pgbench -S",
        "the floor, two threads that hand the bytes on unread, takes as much as PgBouncer or more, since its one full thread "
        "finds more visits ready at a time than two half-empty ones; the bar leaves nothing for what the door does beyond: "
        "a record and an outcome on the trail, the statement's form, both ways re-framed and checked, 1.4 to 2.7 us a "
        "transaction. Not tried: io_uring, loops that fill up one after the other",
    ),
    (
        "trail on (peer: off)",
        "what is written at once is one record, and each read a step of a tally. Of a relayed write that leaves 33 bytes, "
        "about 0.06 us: a third SHA-256 (already the processor's own instructions), a quarter their encoding, and the rest the "
        "pages of the segment, which the thread beside the loops asks the kernel for on the same two cores. It is close to the "
        "bar, so on a busy machine the row is as often missed as held. Not tried: a command that is the one before left out",
    ),
    (
        "a result of",
        "each byte is copied twice more than without a door, into this process and out of it. Not tried: splice() for "
        "long messages",
    ),
    (
        "nats, one publisher",
        "nats-server behind has more to do for a message with a stamp: from raw sockets, without a door, HPUB with the "
        "stamp's header takes it 0.55 us of processor time and PUB 0.44, at 0.87 times the rate; and a message passes the "
        "kernel twice more. The door's own 0.16 us, on two loops, are half the kernel's copies; the parser, once a third, "
        "compares each line with the one before. Not tried: a shorter stamp; io_uring",
    ),
    (
        "ingest, from the stream",
        "a batch is a transaction with a commit of its own, and a message waits for the one before it. Not tried: several "
        "transactions in a row on one session",
    ),
    (
        "ingest, the same, p99",
        "commits that wait for the disk behind others', and the server's checkpoints",
    ),
    (
        "ingest,",
        "of 17 us of processor time a message PostgreSQL takes 7.8 for the statement and 1.5 for the feed's decoding, "
        "nats-server 5.6 to deliver and to take the acknowledgement, the node 2.1 on one thread (a fifth of it malloc, a "
        "tenth JSON, a tenth headers and identity): where all cores are busy, these add up. The floor has the statement "
        "alone. One acknowledgement for all before it saves nats-server 2.5 us, and no throughput that could be told from "
        "noise (docs/decisions/0062). Not tried: COPY instead of unnest, the next batch sent before the answer to the one "
        "before",
    ),
    (
        "outbox: rows inserted",
        "all cores are busy: nats-server takes 7 us a row to store and acknowledge, PostgreSQL 8 for the insert with its "
        "trigger and 4 for the feed, the node 3.5. Not tried: payloads from the feed in binary",
    ),
    (
        "outbox: p",
        "half of it is the number, a transaction with a commit of its own for which a row waits while the one before is "
        "under way; a third is the writer's own commit and the feed's delivery; a tenth is the stream's acknowledgement; "
        "reading rows is nothing since they come with the feed (meridian_outbox_stage_seconds). What would mend it: to "
        "publish before the number is on the disk, with the row's id in the message, so that the stream can tell it",
    ),
    (
        "commit, p50",
        "a question for the flushed position on a side connection, and the feed's delivery, lie between the commit and "
        "its acknowledgement",
    ),
)


def cause(row):
    """Of a row that missed."""
    if row.held is not False:
        return None
    known = (text for begin, text in CAUSES if row.measure.startswith(begin))
    return next(known, "not known: nobody has looked yet; profile it")


def in_turns(sides, repeats, run):
    """Runs every side `repeats` times, in turns; the samples of each side."""
    samples = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            samples[name].append(run(side))
    return samples


def median(samples, key=None):
    return statistics.median(sample if key is None else sample[key] for sample in samples)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def client(setting, command, **options):
    """Runs a stock client on the clients' cores."""
    cores = ",".join(str(core) for core in sorted(setting.client_cores))
    done = subprocess.run(
        ["taskset", "-c", cores, *command], capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-500:] or done.stdout[-500:]}")
    return done


# ---- The postgres door.


def pgbench(setting, side, arguments, seconds):
    before = servers.cpu_seconds(side.pid) if side.pid else 0.0
    done = client(
        setting, ["pgbench", "-n", "-T", str(seconds), *arguments, *side.pgbench_target()],
        env=side.pgbench_environment(),
    )
    spent = (servers.cpu_seconds(side.pid) if side.pid else 0.0) - before
    tps = re.search(r"tps = ([\d.]+)", done.stdout)
    if not tps:
        raise RuntimeError(f"pgbench had no transaction in {seconds} s: {done.stdout[-500:]}")
    rate = float(tps.group(1))
    count = int(re.search(r"actually processed: (\d+)", done.stdout).group(1))
    return {"rate": rate, "cpu_us": spent / max(count, 1) * 1e6}


def postgres_rows(setting):
    kinds = {
        "-S prepared": ["-S", "-M", "prepared"],
        "-S simple": ["-S", "-M", "simple"],
        "TPC-B": ["-b", "tpcb-like"],
    }
    rows = []
    seconds = 2 if setting.quick else 5
    for kind, arguments in kinds.items():
        counts = [1, 16, 64] if setting.quick else [1, 16, 64, 256]
        if setting.quick and kind == "TPC-B":
            counts = [16]
        for count in counts:
            sides = {
                "meridian": setting.node,
                "pgbouncer": setting.bouncer,
                "bare": setting.bare_relay,
                "direct": servers.Direct(setting.node),
            }
            options = [*arguments, "-c", str(count), "-j", str(min(count, 2))]
            # The clients' logins count against pgbench's time, though not against its rate.
            time_for = seconds + count // 64
            samples = in_turns(
                sides, setting.repeats,
                lambda side, o=options, s=time_for: pgbench(setting, side, o, s),
            )
            direct = median(samples["direct"], "rate")
            name = f"pgbench {kind}, {count} clients"
            rows.append(
                Row(
                    name, median(samples["meridian"], "rate"), median(samples["pgbouncer"], "rate"),
                    "tx/s", 1.0, note=f"direct {direct:,.0f}", samples=samples, floor=median(samples["bare"], "rate"),
                )
            )
            rows.append(
                Row(
                    name + ", processor", median(samples["meridian"], "cpu_us"),
                    median(samples["pgbouncer"], "cpu_us"), "us/tx", 1.0, at_least=False,
                    floor=median(samples["bare"], "cpu_us"),
                )
            )
    return rows


def storm_rows(setting, folder):
    """Connect, log in, leave: nothing is asked, so nobody needs a backend."""
    script = folder / "nothing.sql"
    script.write_text("\\set nothing 1\n")
    options = ["-C", "-c", "2", "-j", "2", "-f", str(script)]
    sides = {"meridian": setting.node, "pgbouncer": setting.bouncer}
    samples = in_turns(
        sides, setting.repeats, lambda side: pgbench(setting, side, options, 2 if setting.quick else 5)
    )
    rows = [
        Row(
            "logins, 2 at a time (PgBouncer: SCRAM)", median(samples["meridian"], "rate"),
            median(samples["pgbouncer"], "rate"), "logins/s", 1.5, samples=samples,
            note="libpq's own SCRAM sets the peer's pace",
        ),
        Row(
            "logins, processor", median(samples["meridian"], "cpu_us"),
            median(samples["pgbouncer"], "cpu_us"), "us/login", None,
        ),
    ]
    # One after the other, each with a token that was not seen before.
    count = 60 if setting.quick else 200
    tokens = [setting.node.mint() for _ in range(count)]

    def one(address, user, password):
        began = time.perf_counter()
        session = wire.Postgres(address, user, servers.DATABASE, password)
        took = time.perf_counter() - began
        session.close()
        return took * 1e3

    ours, theirs = [], []
    for token in tokens:
        ours.append(one(setting.node.postgres, "bench", token))
        theirs.append(one(setting.bouncer_trusting.address, servers.PEER_USER, ""))
    rows.append(
        Row(
            "login p50, fresh token (PgBouncer: no password)", statistics.median(ours),
            statistics.median(theirs), "ms", 0.3, at_least=False, of_difference=True,
            samples={"meridian": ours, "pgbouncer": theirs},
        )
    )
    return rows


def result_rows(setting):
    count = 250_000 if setting.quick else 1_000_000
    sql = f"SELECT repeat('x', 1000) FROM pgbench_accounts LIMIT {count}"
    sides = {
        "meridian": lambda: wire.Postgres(setting.node.postgres, "bench", servers.DATABASE, setting.node.token),
        "direct": lambda: wire.Postgres(
            setting.node.postgres_socket, servers.PEER_USER, servers.DATABASE, servers.PEER_PASSWORD
        ),
    }
    pid = setting.node.pid
    grown = []

    def run(open_session):
        session = open_session()
        # Resets the high-water mark of the node's memory.
        with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
        before = servers.memory(pid)
        began = time.perf_counter()
        size = session.drain(sql)
        took = time.perf_counter() - began
        grown.append(servers.memory(pid, "VmHWM") - before)
        session.close()
        return size / took / 1e6

    samples = in_turns(sides, setting.repeats, run)
    return [
        Row(
            f"a result of {count / 1e6:g} GB (peer: direct)", median(samples["meridian"]),
            median(samples["direct"]), "MB/s", 0.8, samples=samples,
        ),
        Row(
            "memory it takes meanwhile, most", max(grown) / 1e6, None, "MB", 16, at_least=False, of_value=True,
            note=f"of {servers.memory(pid) / 1e6:.0f} MB resident in all",
        ),
    ]


# ---- The redis door.

# redis-benchmark writes its random number with zeros in front; with a digit before them the key is the
# number as the table has it. Another spelling of a number is answered, but never kept.
KEYS_COUNT = 1000
KEY_BASE = 1_000_000_000_000
VIEW_KEY = "order:1__rand_int__"
# As long as the view's rows of these keys are.
BARE_REPLY = "$156\\r\\n" + "x" * 156 + "\\r\\n"


def redis_benchmark(setting, side, pipeline, count, words):
    """Two processes with 25 clients each: redis-benchmark's own threads round its time up to 250 ms."""
    address = side.redis if isinstance(side, servers.Node) else side.address
    login = ["--user", "bench", "-a", side.token] if isinstance(side, servers.Node) else []
    command = [
        "redis-benchmark", "-h", address[0], "-p", str(address[1]), "-c", "25", "-P", str(pipeline),
        "-n", str(count // 2), "-r", str(KEYS_COUNT), "--csv", *login, *words,
    ]
    before = servers.cpu_seconds(side.pid)
    clients = []
    for core in sorted(setting.client_cores)[:2] * (2 if len(setting.client_cores) == 1 else 1):
        clients.append(
            subprocess.Popen(
                ["taskset", "-c", str(core), *command],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )
    seconds = []
    for process in clients:
        out, complaint = process.communicate()
        if process.returncode:
            raise RuntimeError(f"redis-benchmark failed: {complaint.strip()[-500:]}")
        rate = float(out.strip().splitlines()[-1].split(",")[1].strip('"'))
        seconds.append(count // 2 / rate)
    spent = servers.cpu_seconds(side.pid) - before
    return {"rate": count / max(seconds), "cpu_us": spent / count * 1e6}


def warm_views(setting, nodes):
    """Every key is read once through each door; Redis gets the same keys and values."""
    peer = wire.Redis(setting.redis.address)
    for node in nodes:
        writer = node.owner()
        writer.query(
            f"INSERT INTO orders (id, customer_id) SELECT {KEY_BASE} + n, 1 + n "
            f"FROM generate_series(0, {KEYS_COUNT - 1}) AS n"
        )
        writer.close()
        door = wire.Redis(node.redis, "bench", node.token)
        for number in range(KEYS_COUNT):
            key = f"order:{KEY_BASE + number}"
            peer.call("SET", key, door.call("GET", key))
        door.close()
    peer.close()


def redis_rows(setting):
    nodes = [node for node in (setting.node, setting.no_trail) if node]
    warm_views(setting, nodes)
    rows = []
    sides = {"meridian": setting.node, "redis": setting.redis}
    for pipeline in (1, 16):
        count = (200_000 if pipeline == 1 else 2_000_000) * (1 if setting.quick else 3)
        samples = in_turns(
            {**sides, "bare": setting.bare_answer}, setting.repeats,
            lambda side, p=pipeline, n=count: redis_benchmark(setting, side, p, n, ["GET", VIEW_KEY]),
        )
        name = f"cached view GET, pipeline {pipeline}"
        rows += compared(name, samples, 1.5, 0.7 if pipeline == 16 else None)
    for words in (["SET", "key:__rand_int__", "x" * 64], ["GET", "key:__rand_int__"]):
        for pipeline in (1, 16):
            count = (100_000 if pipeline == 1 else 600_000) * (1 if setting.quick else 3)
            samples = in_turns(
                sides, setting.repeats,
                lambda side, p=pipeline, n=count, w=words: redis_benchmark(setting, side, p, n, w),
            )
            rows += compared(f"relayed {words[0]}, pipeline {pipeline}", samples, 0.7, None)[:1]
    return rows


def compared(name, samples, bar, cpu_bar, peer="redis"):
    floor = {key: median(samples["bare"], key) if "bare" in samples else None for key in ("rate", "cpu_us")}
    return [
        Row(name, median(samples["meridian"], "rate"), median(samples[peer], "rate"), "op/s", bar, samples=samples,
            floor=floor["rate"]),
        Row(
            name + ", processor", median(samples["meridian"], "cpu_us"), median(samples[peer], "cpu_us"),
            "us/op", cpu_bar, at_least=False, floor=floor["cpu_us"],
        ),
    ]


# ---- The nats door.


def nats_bench(setting, side, kind, count):
    """The figures that the C client prints. It may have all cores: its threads, the server's and the door's
    are more than two anyway, and the same on both sides."""
    before = servers.cpu_seconds(setting.node.pid)
    done = subprocess.run(
        [setting.nats_client, kind, f"nats://{side.nats}", str(count), "128"],
        env={**os.environ, "NATS_TOKEN": side.token}, capture_output=True, text=True, check=False,
    )
    if done.returncode:
        raise RuntimeError(f"nats_bench failed: {done.stderr.strip()[-500:]}")
    spent = servers.cpu_seconds(setting.node.pid) - before
    values = [float(word) for word in done.stdout.split()]
    return {"rate": values[0], "p50": values[0], "p99": values[-1], "cpu_us": spent / count * 1e6}


def nats_rows(setting):
    if not pathlib.Path(setting.nats_client).exists():
        raise RuntimeError("nats_bench was not built: apt-get install libnats-dev")
    sides = {"meridian": setting.node, "nats": setting.nats}
    count = 1_000_000 if setting.quick else 3_000_000
    rates = in_turns(sides, setting.repeats, lambda side: nats_bench(setting, side, "rate", count))
    requests = in_turns(
        sides, setting.repeats,
        lambda side: nats_bench(setting, side, "request", 5_000 if setting.quick else 20_000),
    )
    return [
        Row(
            "nats, one publisher to one subscriber, 128 B", median(rates["meridian"], "rate"),
            median(rates["nats"], "rate"), "msg/s", 0.7, samples=rates, note="stamped and on the trail",
        ),
        Row(
            "nats, door's own processor time", median(rates["meridian"], "cpu_us"), None, "us/msg", None,
        ),
        Row(
            "nats, request to reply, p50", median(requests["meridian"], "p50"), median(requests["nats"], "p50"),
            "us", 60, at_least=False, of_difference=True, samples=requests,
        ),
        Row(
            "nats, request to reply, p99", median(requests["meridian"], "p99"), median(requests["nats"], "p99"),
            "us", None,
        ),
    ]


# ---- Ingest.


def ingest_load(setting, count, per_second):
    """Publishes into the rule's stream, past the door, whose pace is not what is measured."""
    node = setting.node
    folder = node.data / "nats"
    ports = json.loads(max(folder.glob("*.ports"), key=lambda path: path.stat().st_mtime).read_text())
    done = subprocess.run(
        [setting.ingest_client, "load", ports["nats"][0].split("//")[1], str(count), str(per_second)],
        env={**os.environ, "NATS_TOKEN": (node.data / "keys/nats.token").read_text().strip()},
        capture_output=True, text=True, check=False,
    )
    if done.returncode:
        raise RuntimeError(f"ingest_bench load failed: {done.stderr.strip()[-500:]}")


def ingested(node):
    return node.metric('meridian_ingest_messages_total{rule="bench_orders",outcome="row"}')


def ingest_age(node):
    """The buckets of the time from a message's arrival in the stream to its commit, by their bounds."""
    return node.buckets("meridian_ingest_age_seconds", 'rule="bench_orders"')


def quantile(before, after, share):
    """Within a bucket the observations count as evenly spread: its bounds are a factor of two apart."""
    counts = {bound: after[bound] - before.get(bound, 0) for bound in after}
    wanted = share * max(counts.values())
    low, below = 0.0, 0
    for bound in sorted(counts):
        if counts[bound] >= wanted and counts[bound] > below:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (wanted - below) / (counts[bound] - below)
        low, below = bound, counts[bound]
    raise RuntimeError("nothing was observed")


def ingest_rows(setting):
    node = setting.node
    writer = node.owner()
    for table in ("bench_orders", "bench_floor"):
        writer.query(f"CREATE TABLE IF NOT EXISTS {table} (id bigint NOT NULL, customer text NOT NULL,"
                     " total numeric(12, 2) NOT NULL, placed_by text)")
    writer.query("GRANT INSERT ON bench_orders TO order_writer")
    node.command("ingest", "resume", "bench_orders")
    count = 200_000 if setting.quick else 1_000_000
    ingest_load(setting, 1_000, 0)
    wait_until(lambda: ingested(node) >= 1_000, 60)
    rates = {"meridian": [], "floor": []}
    spent = []
    for _ in range(setting.repeats):
        node.command("ingest", "pause", "bench_orders")
        ingest_load(setting, count, 0)
        before = ingested(node)
        cpu = servers.cpu_seconds(node.pid)
        begin = time.perf_counter()
        node.command("ingest", "resume", "bench_orders")
        wait_until(lambda goal=before + count: ingested(node) >= goal, 300)
        rates["meridian"].append(count / (time.perf_counter() - begin))
        spent.append((servers.cpu_seconds(node.pid) - cpu) / count * 1e6)
        done = subprocess.run(
            [setting.ingest_client, "floor", node.owner_conninfo(), "bench_orders", str(count), "500", "4"],
            capture_output=True, text=True, check=True,
        )
        rates["floor"].append(float(done.stdout))
    age = ingest_age(node)
    ingest_load(setting, 10_000 if setting.quick else 40_000, 2_000)
    time.sleep(0.5)
    later = ingest_age(node)
    writer.close()
    return [
        Row("ingest, 150 B JSON, both ways of finding duplicates, fsync", statistics.median(rates["meridian"]),
            None, "msg/s", 120_000 if os.cpu_count() >= 4 else 60_000, of_value=True, samples=rates),
        Row("ingest, the same (peer: the same statement in a bare libpq loop)",
            statistics.median(rates["meridian"]), statistics.median(rates["floor"]), "msg/s", 0.6),
        Row("ingest, node's own processor time", statistics.median(spent), None, "us/msg", None),
        Row("ingest, from the stream to the commit at 2,000 msg/s, p50", quantile(age, later, 0.5) * 1e3,
            None, "ms", 3, at_least=False, of_value=True),
        Row("ingest, the same, p99", quantile(age, later, 0.99) * 1e3, None, "ms", 15, at_least=False,
            of_value=True),
    ]


# ---- What identity, trail and coherence cost.


def trail_rows(setting):
    if not setting.no_trail:
        return []
    rows = []
    sides = {"meridian": setting.node, "untrailed": setting.no_trail}
    seconds = 2 if setting.quick else 5
    samples = in_turns(
        sides, setting.repeats,
        lambda side: pgbench(setting, side, ["-S", "-M", "prepared", "-c", "16", "-j", "2"], seconds),
    )
    rows += compared("trail on (peer: off), pgbench -S prepared, 16 clients", samples, 0.9, None, "untrailed")
    count = 2_000_000 * (1 if setting.quick else 3)
    samples = in_turns(
        sides, setting.repeats,
        lambda side: redis_benchmark(setting, side, 16, count, ["GET", VIEW_KEY]),
    )
    rows += compared("trail on (peer: off), cached view GET, pipeline 16", samples, 0.9, None, "untrailed")
    count = 400_000 * (1 if setting.quick else 3)
    samples = in_turns(
        sides, setting.repeats,
        lambda side: redis_benchmark(setting, side, 16, count, ["SET", "key:__rand_int__", "x" * 64]),
    )
    rows += compared("trail on (peer: off), relayed SET, pipeline 16", samples, 0.9, None, "untrailed")
    return rows


def commit_rows(setting):
    """One client commits; what waiting for the cache adds, against a node that does not wait."""
    sides = {
        name: wire.Postgres(node.postgres, "bench", servers.DATABASE, node.token)
        for name, node in (("meridian", setting.node), ("no wait", setting.no_wait))
    }
    count = 100 if setting.quick else 300
    samples = {name: [] for name in sides}
    for turn in range(count * setting.repeats):
        for name, session in sides.items():
            sql = f"UPDATE orders SET revision = revision + 1 WHERE id = {turn % 1000 + 1}"
            began = time.perf_counter()
            session.query(sql)
            samples[name].append((time.perf_counter() - began) * 1e3)
    for session in sides.values():
        session.close()
    return [
        Row(
            "commit, p50 (peer: commit_wait off)", statistics.median(samples["meridian"]),
            statistics.median(samples["no wait"]), "ms", 0.3, at_least=False, of_difference=True,
            samples=samples,
        ),
        Row(
            "commit, p99 (peer: commit_wait off)", percentile(samples["meridian"], 0.99),
            percentile(samples["no wait"], 0.99), "ms", None,
        ),
    ]


class FeedFloor(threading.Thread):
    """Reads the same changes with a replication slot of its own and does nothing but note when each
    commit came: no feed can be earlier."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.came = []
        with_owner = node.owner()
        publication = with_owner.query("SELECT pubname FROM pg_publication")[0][0]
        with_owner.close()
        self.session = wire.Postgres(
            node.postgres_socket, "meridian", servers.DATABASE, node.owner_password, replication="database"
        )
        self.session.query('CREATE_REPLICATION_SLOT "bench_floor" TEMPORARY LOGICAL pgoutput')
        self.session.send(
            b"Q",
            'START_REPLICATION SLOT "bench_floor" LOGICAL 0/0 '
            f"(proto_version '1', publication_names '\"{publication}\"')".encode() + b"\0",
        )

    def run(self):
        try:
            while True:
                kind, body = self.session.message()
                # CopyData, XLogData with its header of 25 bytes, Commit.
                if kind == b"d" and body[:1] == b"w" and body[25:26] == b"C":
                    self.came.append(time.perf_counter())
        except (wire.PostgresError, OSError):
            return  # Closed by stop().

    def stop(self):
        self.session.socket.shutdown(2)
        self.join(5)
        self.session.socket.close()


def invalidation_rows(setting):
    """From an acknowledged commit past the door until the view shows it."""
    node = setting.node
    writer = node.owner()
    reader = wire.Redis(node.redis, "bench", node.token)
    floor = FeedFloor(node)
    floor.start()
    time.sleep(0.5)
    shown, delivered = [], []
    for turn in range(200 if setting.quick else 1000):
        key = f"order:{turn % 500 + 1}"
        reader.call("GET", key)
        known = len(floor.came)
        before = int(reader.call("HGET", key, "revision"))
        writer.query(f"UPDATE orders SET revision = {before + 1} WHERE id = {key[6:]}")
        committed = time.perf_counter()
        while int(reader.call("HGET", key, "revision")) != before + 1:
            pass
        shown.append((time.perf_counter() - committed) * 1e3)
        limit = time.monotonic() + 1
        while len(floor.came) <= known and time.monotonic() < limit:
            time.sleep(0.0002)
        if len(floor.came) > known:
            delivered.append(max(0.0, (floor.came[known] - committed) * 1e3))
    floor.stop()
    writer.close()
    reader.close()
    samples = {"shown": shown, "delivered": delivered}
    return [
        Row(
            f"commit past the door to the view, {name} (peer: bare feed)", percentile(shown, share),
            percentile(delivered, share), "ms", None, samples=samples if name == "p50" else {},
        )
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


def idle_rows(setting):
    count = 10_000
    rows = []
    # Each at a node where nobody was before, whose memory could be used again.
    for door, node in (("redis", setting.node), ("postgres", setting.no_wait)):
        word = f"*3\r\n$4\r\nAUTH\r\n$5\r\nbench\r\n${len(node.token)}\r\n{node.token}\r\n".encode()
        before = servers.memory(node.pid)
        held = []
        for _ in range(count):
            if door == "postgres":
                session = wire.Postgres(node.postgres, "bench", servers.DATABASE, node.token)
                visit = session.socket
            else:
                visit = wire.connect(node.redis)
                visit.sendall(word)
                if visit.recv(64) != b"+OK\r\n":
                    raise RuntimeError("the redis door refused a login")
            held.append(visit)
        time.sleep(2)
        each = (servers.memory(node.pid) - before) / count / 1024
        for visit in held:
            visit.close()
        held.clear()
        wait_until(lambda: node.metric("meridian_visits") < 100, 30)
        rows.append(
            Row(f"{count:,} idle {door} visits, each", each, None, "KiB", 24, at_least=False, of_value=True)
        )
    return rows


def wait_until(reached, seconds):
    limit = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > limit:
            raise RuntimeError("waited in vain")
        time.sleep(0.05)


def feed_rows(setting):
    """Changes in one transaction, applied by the one thread that reads the feed."""
    node = setting.node
    writer = node.owner()
    rates = []
    for _ in range(setting.repeats):
        rows = node.metric("meridian_feed_rows_total")
        before = thread_times(node.pid)
        writer.query("UPDATE orders SET revision = revision + 1")
        wait_until(lambda r=rows: node.metric("meridian_feed_rows_total") - r >= 100_000, 60)
        after = thread_times(node.pid)
        spent = max(after[thread] - before.get(thread, 0.0) for thread in after)
        rates.append((node.metric("meridian_feed_rows_total") - rows) / max(spent, 0.01))
    writer.close()
    return [
        Row(
            "feed: row changes applied, one core", statistics.median(rates), None, "rows/s", 100_000,
            of_value=True, samples={"meridian": rates},
        )
    ]


# ---- What developing it takes. Long, so only on request.


def build_rows(folder, cores):
    """A fresh clone of what is committed, built without ccache and tested, on two cores."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(servers.ROOT), str(clone)], check=True)
    without_cache = {**os.environ, "CCACHE_DISABLE": "1"}

    def timed(*command):
        wanted = ",".join(str(core) for core in sorted(cores)[:2])
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(
            ["taskset", "-c", wanted, *command], cwd=clone, env=without_cache, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        took = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stdout[-1000:]}")
        return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    configured, _ = timed("cmake", "--preset", "release")
    built, processor = timed("cmake", "--build", "--preset", "release", "--parallel", "2")
    tested, _ = timed("script/test")
    return [
        Row(
            "clean release build, 2 cores", configured + built, None, "s", 240, at_least=False, of_value=True,
            note=f"{processor:.0f} s of processor",
        ),
        Row("script/test, 2 cores", tested, None, "s", 600, at_least=False, of_value=True),
    ]


# ---- The outbox.

OUTBOX = """
publish:
  events:
    table: events
    subject: "events.{id}"
"""


def outbox_rows(setting, folder):
    """Rows of a table that is published, from their insert to the stream's acknowledgement."""
    node = servers.Node(setting.node.program, folder, "outbox", scale=1, more=OUTBOX)
    try:
        return outbox_measured(setting, node)
    finally:
        node.stop()


def outbox_measured(setting, node):
    owner = node.owner()
    owner.query("CREATE TABLE events (id bigint, body text)")
    published = "meridian_outbox_published_total"
    wait_until(lambda: owner.query(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'events'::regclass")[0][0] == "4", 60)

    def insert(session, first, count):
        session.query(
            f"INSERT INTO events SELECT n, repeat('x', 128) FROM generate_series({first}, "
            f"{first + count - 1}) AS n"
        )

    insert(owner, 1, 1000)
    wait_until(lambda: node.metric(published) >= 1000, 60)
    rates, cpu = [], []
    total = 100_000 if setting.quick else 400_000
    for _ in range(setting.repeats):
        begun, before = time.monotonic(), servers.cpu_seconds(node.pid)
        goal = node.metric(published) + total
        sessions = [node.owner() for _ in range(2)]

        def load(session):
            for i in range(total // 2000):
                insert(session, i * 1000, 1000)

        threads = [threading.Thread(target=load, args=(session,)) for session in sessions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda g=goal: node.metric(published) >= g, 300)
        rates.append(total / (time.monotonic() - begun))
        cpu.append((servers.cpu_seconds(node.pid) - before) / total * 1e6)
        for session in sessions:
            session.close()
    halves, tails = [], []
    for _ in range(setting.repeats):
        before = node.buckets("meridian_outbox_delay_seconds")
        # One row a transaction, 2,000 transactions a second, by the stock tool.
        script = node.data.parent / "outbox.sql"
        script.write_text("INSERT INTO events VALUES (1, repeat('x', 128));\n")
        client(
            setting,
            ["pgbench", "-n", "-f", str(script), "-R", "2000", "-c", "8", "-j", "2", "-T",
             "5" if setting.quick else "15", "-h", str(node.sockets), "-p",
             node.postgres_socket.rpartition(".")[2], "-U", "meridian", servers.DATABASE],
            env={**os.environ, "PGPASSWORD": node.owner_password},
        )
        time.sleep(1)
        after = node.buckets("meridian_outbox_delay_seconds")
        halves.append(quantile(before, after, 0.5) * 1e3)
        tails.append(quantile(before, after, 0.99) * 1e3)
    owner.close()
    return [
        Row("outbox: rows inserted to acknowledged", statistics.median(rates), None, "rows/s", 80_000,
            of_value=True, samples={"meridian": rates}),
        Row("outbox: Meridian's processor time", statistics.median(cpu), None, "us/row", None,
            samples={"meridian": cpu}),
        Row("outbox: p50 at 2,000 tx/s", statistics.median(halves), None, "ms", 2, at_least=False,
            of_value=True, samples={"meridian": halves}),
        Row("outbox: p99 at 2,000 tx/s", statistics.median(tails), None, "ms", 10, at_least=False,
            of_value=True, samples={"meridian": tails}),
    ]


def thread_times(pid):
    return {thread: servers.cpu_seconds(pid, thread) for thread in os.listdir(f"/proc/{pid}/task")}
