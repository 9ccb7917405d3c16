"""Runs a test written in JavaScript against a node."""

import pathlib
import subprocess
import sys

from node import Node

HERE = pathlib.Path(__file__).resolve().parent


def main(name):
    with Node() as node:
        code = subprocess.run(["node", HERE / name], env=node.client_environment(), timeout=280, check=False).returncode
    sys.exit(code)
