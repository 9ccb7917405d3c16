#!/usr/bin/env python3
"""Measures Meridian beside its peers on this machine, in one run.

    script/bench                 every measure; medians of 5
    script/bench --quick         coarse: shorter runs, medians of 3, in under five minutes
    script/bench --only WORD     only groups whose name has the word: postgres logins result redis nats trail commit idle feed
                                 ingest outbox
    script/bench --build         also a clean build of what is committed and script/test, each on two cores

Prints one table and writes bench/results/<date>-<commit>.json. bench/README.md explains both.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time

import measures
import servers


def first_line(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def machine():
    cpus = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name")), "?")
    memory = next(
        int(line.split()[1]) for line in pathlib.Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    return {
        "processor": model, "cores": os.cpu_count(), "memory_gib": round(memory / 2**20, 1),
        "kernel": platform.release(), "load_before": os.getloadavg()[0],
    }


def commit():
    git = ["git", "-C", str(servers.ROOT)]
    name = first_line(*git, "rev-parse", "--short=12", "HEAD")
    changed = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, check=True).stdout
    return name + ("-changed" if changed.strip() else "")


def number(value):
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def bar(row):
    if row.bar is None:
        return ""
    sign = ">=" if row.at_least else "<="
    if row.of_difference:
        return f"{sign} +{row.bar:g} {row.unit}"
    return f"{sign} {number(row.bar)} {row.unit}" if row.of_value else f"{sign} {row.bar:g}x"


HEAD = ("measure", "Meridian", "peer", "floor", "unit", "ratio", "bar", "held?", "")


def cells(row):
    ratio = f"{row.ratio:.2f}x" if row.ratio is not None else ""
    held = {True: "yes", False: "MISSED", None: ""}[row.held]
    return (row.measure, number(row.meridian), number(row.peer), number(row.floor), row.unit, ratio, bar(row), held, row.note)


def print_table(rows):
    lines = [HEAD, *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    for line in lines:
        parts = [
            text.rjust(width) if i in (1, 2, 3, 5) else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths))
        ]
        print("  ".join(parts).rstrip())
    missed = {}
    for row in rows:
        if row.held is False:
            missed.setdefault(measures.cause(row), []).append(row.measure)
    if missed:
        print("\nWhy what was missed was missed:")
    for why, names in missed.items():
        print(textwrap.fill("; ".join(names), 120, initial_indent="  ", subsequent_indent="  "))
        print(textwrap.fill(why + ".", 120, initial_indent="    ", subsequent_indent="    "))


def groups(setting, folder):
    # What measures memory comes first: later it would hide in what others have given back. The
    # result leaves little, and its own row says how much.
    return {
        "result": lambda: measures.result_rows(setting),
        "idle": lambda: measures.idle_rows(setting),
        "redis": lambda: measures.redis_rows(setting),
        "nats": lambda: measures.nats_rows(setting),
        "ingest": lambda: measures.ingest_rows(setting),
        "outbox": lambda: measures.outbox_rows(setting, folder),
        "postgres": lambda: measures.postgres_rows(setting),
        "logins": lambda: measures.storm_rows(setting, folder),
        "commit": lambda: measures.commit_rows(setting) + measures.invalidation_rows(setting),
        "trail": lambda: measures.trail_rows(setting),
        "feed": lambda: measures.feed_rows(setting),
    }


@contextlib.contextmanager
def everything(options, folder):
    """All servers, started and, whatever happens, stopped."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 4:
        print("bench: under 4 cores servers and clients share them; ratios say little", file=sys.stderr)
    half = max(1, min(2, len(cores) // 2))
    server_cores, client_cores = set(cores[:half]), set(cores[half : half + 2] or cores)
    with contextlib.ExitStack() as stack:
        def started(server):
            stack.callback(server.stop)
            return server

        build = pathlib.Path(options.programs)
        node = started(servers.Node(build / "src/meridian", folder, "node"))
        no_wait = started(servers.Node(build / "src/meridian", folder, "nowait", commit_wait="off", scale=1))
        no_trail = started(servers.Node(build / "bench/meridian_untrailed", folder, "untrailed"))
        bouncer = started(servers.PgBouncer(folder, node))
        trusting = started(servers.PgBouncer(folder, node, "trust"))
        redis = started(servers.RedisServer(folder))
        nats = started(servers.NatsServer())
        # One of them runs as the engines' user, who need not get to where the programs were built.
        bare = shutil.copy(build / "bench/bare_loop", folder)
        bare_answer = started(servers.BareLoop(bare, "answer", measures.BARE_REPLY))
        bare_relay = started(servers.BareLoop(bare, "relay", node.postgres_socket, node))
        for server in (node, no_wait, no_trail, bouncer, trusting, redis, bare_answer, bare_relay):
            servers.pin(server.pid, server_cores)
        yield measures.Setting(
            node=node, bouncer=bouncer, bouncer_trusting=trusting, redis=redis, nats=nats,
            bare_answer=bare_answer, bare_relay=bare_relay,
            nats_client=str(build / "bench/nats_bench"),
            ingest_client=str(build / "bench/ingest_bench"), no_wait=no_wait,
            no_trail=no_trail, server_cores=server_cores, client_cores=client_cores, quick=options.quick,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="script/bench"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", default=[], metavar="WORD")
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--programs", default=str(servers.ROOT / "build/release"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    # A program that is older than its source would be filed under the wrong commit.
    subprocess.run(
        ["cmake", "--build", options.programs, "--target", "meridian", "meridian_untrailed", "bare_loop", "nats_bench",
         "ingest_bench"],
        stdout=sys.stderr, check=True,
    )
    folder = pathlib.Path(tempfile.mkdtemp(prefix="meridian-bench-"))
    folder.chmod(0o711)  # The engines, as another user, pass through it.
    began = time.monotonic()
    facts = {"machine": machine(), "commit": commit(), "quick": options.quick}
    facts["versions"] = {
        "meridian": first_line(str(pathlib.Path(options.programs) / "src/meridian"), "version"),
        "pgbouncer": first_line("pgbouncer", "--version"),
        "redis": first_line("redis-server", "--version"),
        "nats": first_line("nats-server", "--version"),
        "pgbench": first_line("pgbench", "--version"),
    }
    rows, failed = [], []

    def measure(name, run):
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            rows.extend(run())
        except Exception as error:  # One measure that cannot be taken does not hide the others.
            failed.append({"group": name, "error": f"{type(error).__name__}: {error}"})

    try:
        with everything(options, folder) as setting:
            facts["versions"]["postgres"] = setting.node.owner().query("SHOW server_version")[0][0]
            for name, run in groups(setting, folder).items():
                if not options.only or any(word in name for word in options.only):
                    measure(name, run)
        # With nothing else running.
        if options.build:
            measure("build", lambda: measures.build_rows(folder, os.sched_getaffinity(0)))
    except BaseException:
        print(f"bench: what the servers wrote is in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)

    facts["seconds"] = round(time.monotonic() - began)
    print(f"Meridian {facts['commit']} on {facts['machine']['processor']}, {facts['machine']['cores']} cores,"
          f" load before {facts['machine']['load_before']:.1f}; {facts['seconds']} s\n")
    print_table(rows)
    for failure in failed:
        print(f"\nNOT MEASURED: {failure['group']}: {failure['error']}")
    results = servers.ROOT / "bench/results"
    results.mkdir(exist_ok=True)
    # A part, or a coarse run, never takes the place of the whole.
    kind = ("-quick" if options.quick else "") + ("-part" if options.only or failed else "")
    path = results / f"{datetime.date.today().isoformat()}-{facts['commit']}{kind}.json"
    path.write_text(
        json.dumps(
            {**facts, "failed": failed,
             "rows": [
                 {**dataclasses.asdict(row), "ratio": row.ratio, "held": row.held, "cause": measures.cause(row)}
                 for row in rows
             ]},
            indent=1,
        ) + "\n"
    )
    print(f"\nwritten: {path.relative_to(servers.ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
