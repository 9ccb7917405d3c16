#!/usr/bin/env python3
"""Lists every client test: which ran, which failed, and which was skipped for what reason.

    report.py JUNIT_FILE [--match REGEX]

Exits with 1 when one failed, or when a client that has tests is not in the file. A test may leave out a part of itself
by printing "SKIPPED what: why"; that is listed too.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as tree

from run import CLIENTS

PREFIX = "clients/"


def read(file):
    """By name: how it ended, in how many seconds, and what it left out."""
    found = {}
    for case in tree.parse(file).getroot().iter("testcase"):
        name = case.get("name")
        if not name.startswith(PREFIX):
            continue
        said = case.findtext("system-out") or ""
        left_out = [line.split("SKIPPED ", 1)[1] for line in said.splitlines() if "SKIPPED " in line]
        if case.find("failure") is not None or case.get("status") == "fail":
            ended = "failed"
        elif case.find("skipped") is not None:
            ended = "skipped"
        else:
            ended = "passed"
        found[name[len(PREFIX):]] = (ended, float(case.get("time") or 0), left_out)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--match", default="")
    options = parser.parse_args()
    found = read(options.file)
    wanted = [name for name in CLIENTS if re.search(options.match, PREFIX + name)]
    names = wanted + sorted(found.keys() - set(wanted))
    width = max(map(len, names), default=0)
    count = {"passed": 0, "failed": 0, "skipped": 0, "absent": 0}
    for name in names:
        ended, seconds, left_out = found.get(name, ("absent", 0.0, ["ctest did not run it"]))
        count[ended] += 1
        reasons = [reason.removeprefix(f"{PREFIX}{name}: ") for reason in left_out]
        print(f"  {ended:8} {name:{width}} {seconds:6.1f} s" + (f"  {reasons[0]}" if reasons else ""))
        for reason in reasons[1:]:
            print(" " * (width + 21) + reason)
    told = ", ".join(f"{number} {ended}" for ended, number in count.items() if number or ended != "absent")
    print(f"clients: {told}" + (f" (only those that match {options.match})" if options.match else ""))
    return 1 if count["failed"] or count["absent"] or not names else 0


if __name__ == "__main__":
    sys.exit(main())
