"""Copies the test programs that cargo says it has built into a folder, by the names of their files.

    cargo test --no-run --message-format json | collect.py FOLDER
"""

import json
import pathlib
import shutil
import sys

folder = pathlib.Path(sys.argv[1])
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and "test" in built["target"]["kind"]:
        shutil.copy2(built["executable"], folder / built["target"]["name"])
