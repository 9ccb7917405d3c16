#!/usr/bin/env python3
"""Runs the tests of one client, or says why they cannot run here and exits with 77.

    run.py --name NAME --program MERIDIAN --packages FOLDER [--client PROGRAM]
    run.py --list-built        # the clients that script/clients builds, or that bring very much
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

SKIPPED = 77  # SKIP_RETURN_CODE of the tests.
HERE = pathlib.Path(__file__).resolve().parent
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin"  # Where servers are, for those who are not root too.


@dataclasses.dataclass(frozen=True)
class Client:
    """What a client needs. Its tests are NAME_test.py, or programs that script/clients has built."""

    programs: tuple = ()  # On the PATH; openssl is always needed.
    npm: tuple = ()
    python: tuple = ()
    prisma: bool = False
    go: str = ""  # A folder of go/.
    rust: str = ""  # A file of rust/tests, without its ending.
    java: str = ""  # A class of java/.
    tool: str = ""  # A kind of script/clients, whose program has the same name.
    built: str = ""  # A program of this build, given as --client; not there without its library.

    @property
    def built_first(self):
        return bool(self.prisma or self.go or self.rust or self.java or self.tool)


CLIENTS = {
    "psql": Client(programs=("psql",)),
    "pgbench": Client(programs=("pgbench",)),
    "libpq": Client(),
    "psycopg": Client(python=("psycopg", "psycopg_binary")),
    "node_postgres": Client(programs=("node",), npm=("pg", "pg-copy-streams")),
    "postgres_js": Client(programs=("node",), npm=("postgres",)),
    "prisma": Client(programs=("node",), prisma=True),
    "asyncpg": Client(python=("asyncpg",)),
    "sqlalchemy": Client(python=("sqlalchemy", "asyncpg", "psycopg")),
    "pgx": Client(go="pgx"),
    "lib_pq": Client(go="lib_pq"),
    "gorm": Client(go="gorm"),
    "tokio_postgres": Client(rust="tokio_postgres"),
    "sqlx": Client(rust="sqlx"),
    "pgjdbc": Client(java="PgjdbcTest"),
    "redis_cli": Client(programs=("redis-cli",)),
    "redis_benchmark": Client(programs=("redis-benchmark",)),
    "redis_py": Client(python=("redis", "psycopg")),
    "ioredis": Client(programs=("node",), npm=("ioredis", "pg")),
    "node_redis": Client(programs=("node",), npm=("redis", "pg")),
    "go_redis": Client(go="goredis"),
    "jedis": Client(java="JedisTest"),
    "lettuce": Client(java="LettuceTest"),
    "redis_rs": Client(rust="redis_rs"),
    "nats_go": Client(programs=("nats-server",), go="nats_go"),
    "nats_py": Client(programs=("nats-server",), python=("nats",)),
    "nats_c": Client(programs=("nats-server",), built="nats_c_client"),
    "natscli": Client(programs=("nats-server",), tool="natscli"),
    "oidc_provider": Client(programs=("node", "psql", "redis-cli"), npm=("oidc-provider",)),
    "identity": Client(programs=("node",), npm=("oidc-provider",), python=("redis", "psycopg")),
}


def absence(packages, kind):
    """Why script/clients has nothing of a kind."""
    told = packages / f"{kind}.missing"
    return told.read_text() if told.exists() else f"script/clients {kind} has not been run"


def missing(client, packages):
    """What keeps the tests from running, in words."""
    lacks = [f"{program} is not here" for program in ("openssl", *client.programs) if shutil.which(program, path=PATH) is None]
    if any(not (packages / "node_modules" / name).is_dir() for name in client.npm):
        lacks.append(absence(packages, "npm"))
    if client.prisma and not (packages / "prisma/made").is_dir():
        lacks.append(absence(packages, "prisma"))
    libraries = list((packages / "venv/lib").glob("python3*/site-packages"))
    if any(not any((library / name).is_dir() for library in libraries) for name in client.python):
        lacks.append(absence(packages, "python"))
    if client.go and not (packages / "go" / f"{client.go}.test").exists():
        lacks.append(absence(packages, "go"))
    if client.rust and not (packages / "rust" / client.rust).exists():
        lacks.append(absence(packages, "rust"))
    if client.java and not (packages / "java/classes" / f"{client.java}.class").exists():
        lacks.append(absence(packages, "java"))
    if client.tool and not (packages / client.tool / client.tool).exists():
        lacks.append(absence(packages, client.tool))
    return lacks


def command(name, client, packages):
    """The tests, as a command."""
    if client.go:
        test = [packages / "go" / f"{client.go}.test", "-test.v", "-test.timeout", "270s"]
    elif client.rust:
        test = [packages / "rust" / client.rust, "--test-threads", "4"]
    elif client.java:
        test = ["java", "-Xmx2g", "-jar", next((packages / "java/lib").glob("junit-platform-console-standalone-*.jar")), "execute",
                "--class-path", f"{packages}/java/classes:{':'.join(map(str, (packages / 'java/lib').glob('*.jar')))}",
                "--select-class", client.java, "--details", "tree", "--disable-banner", "--disable-ansi-colors",
                "--fail-if-no-tests"]
    else:
        python = packages / "venv/bin/python3" if client.python else sys.executable
        return [python, HERE / f"{name}_test.py"]
    return [sys.executable, HERE / "built.py", *test]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list-built", action="store_true")
    parser.add_argument("--name", choices=sorted(CLIENTS))
    parser.add_argument("--program")
    parser.add_argument("--packages", type=pathlib.Path)
    parser.add_argument("--client", default="")
    options = parser.parse_args()
    if options.list_built:
        print("\n".join(name for name, client in CLIENTS.items() if client.built_first))
        return 0
    if not (options.name and options.program and options.packages):
        parser.error("--name, --program and --packages belong together")
    client = CLIENTS[options.name]
    lacks = missing(client, options.packages)
    if client.built and not options.client:
        lacks.append(f"{client.built} was not built: its library is not here")
    if lacks:
        print(f"SKIPPED clients/{options.name}: {'; '.join(lacks)}")
        return SKIPPED
    environment = {**os.environ, "MERIDIAN_PROGRAM": options.program, "CLIENT_PROGRAM": options.client,
                   "CLIENT_PACKAGES": str(options.packages), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command(options.name, client, options.packages), env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
