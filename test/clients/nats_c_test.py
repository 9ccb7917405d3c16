"""libnats, NATS's own C client, through the nats door: nats_c_client.cc has the tests."""

import os
import subprocess
import sys

from node import Node

with Node() as node:
    done = subprocess.run([os.environ["CLIENT_PROGRAM"]], env=node.client_environment(), timeout=280, check=False)
sys.exit(done.returncode)
