"""Runs a test program that script/clients has built against a node.

    built.py PROGRAM [ARGUMENT...]
"""

import subprocess
import sys

from node import Node

with Node() as node:
    code = subprocess.run(sys.argv[1:], env=node.client_environment(), timeout=280, check=False).returncode
sys.exit(code)
