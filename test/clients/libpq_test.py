"""libpq: libpq_client.cc against a node."""

import os
import subprocess
import sys

from node import Node

with Node() as node:
    code = subprocess.run([os.environ["CLIENT_PROGRAM"], "--gtest_brief=1"], env=node.client_environment(),
                          timeout=280, check=False).returncode
sys.exit(code)
