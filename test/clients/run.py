#!/usr/bin/env python3
"""Runs the tests of one client, or says why they cannot run here and exits with 77.

    run.py --name NAME --program MERIDIAN --packages FOLDER [--client PROGRAM]
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys

SKIPPED = 77  # SKIP_RETURN_CODE of the tests.
HERE = pathlib.Path(__file__).resolve().parent

# What each client needs: programs on the PATH, packages of npm, packages of Python.
NEEDS = {
    "psql": (["psql", "openssl"], [], []),
    "pgbench": (["pgbench", "openssl"], [], []),
    "libpq": (["openssl"], [], []),
    "psycopg": (["openssl"], [], ["psycopg", "psycopg_binary"]),
    "node_postgres": (["node", "openssl"], ["pg", "pg-copy-streams"], []),
    "redis_cli": (["redis-cli", "openssl"], [], []),
    "redis_benchmark": (["redis-benchmark", "openssl"], [], []),
    "redis_py": (["openssl"], [], ["redis", "psycopg"]),
    "ioredis": (["node", "openssl"], ["ioredis", "pg"], []),
    "node_redis": (["node", "openssl"], ["redis", "pg"], []),
    "identity": (["node", "openssl"], ["oidc-provider"], ["redis", "psycopg"]),
    "oidc_provider": (["node", "openssl", "psql", "redis-cli"], ["oidc-provider"], []),
}


def missing(name, packages):
    programs, scripts, modules = NEEDS[name]
    lacks = [program for program in programs if shutil.which(program) is None]
    lacks += [f"npm's {script}" for script in scripts if not (packages / "node_modules" / script).is_dir()]
    libraries = list((packages / "venv/lib").glob("python3*/site-packages"))
    lacks += [f"Python's {module}" for module in modules if not any((lib / module).is_dir() for lib in libraries)]
    return lacks


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", choices=sorted(NEEDS), required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--packages", type=pathlib.Path, required=True)
    parser.add_argument("--client", default="")
    options = parser.parse_args()
    lacks = missing(options.name, options.packages)
    if lacks:
        print(f"SKIPPED clients/{options.name}: {', '.join(lacks)} not here; script/clients installs packages")
        return SKIPPED
    python = options.packages / "venv/bin/python3" if NEEDS[options.name][2] else sys.executable
    environment = {**os.environ, "MERIDIAN_PROGRAM": options.program, "CLIENT_PROGRAM": options.client,
                   "CLIENT_PACKAGES": str(options.packages), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([python, HERE / f"{options.name}_test.py"], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
