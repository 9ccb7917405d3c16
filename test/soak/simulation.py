"""The simulations, with as many seeds as asked for: first the bugs that were planted, then the seeds, in parts side by side."""

import collections
import concurrent.futures
import os
import re
import subprocess
import time

from node import TESTS, SoakError

# What is run, the test that takes seeds, and what it prints of each kind of thing that was looked at.
PROGRAMS = (("coherence_sim", "CoherenceSim.NothingIsStaleAndNothingIsPoisoned"),
            ("redis_door", "RedisDoorSim.EveryReplyIsRightAndNobodyIsToldMoreThanHeMay"))
PART = 250
MUTATION = "Finds"


def run_program(name, words, seeds=None, first=None):
    environment = dict(os.environ)
    for key, value in (("MERIDIAN_SIM_SEEDS", seeds), ("MERIDIAN_SIM_FIRST_SEED", first)):
        environment.pop(key, None)
        if value is not None:
            environment[key] = str(value)
    return subprocess.run([str(TESTS / name), *words], env=environment, capture_output=True, text=True, check=False)


def counts(text):
    """The numbers of the line that sums a part up: "12 stale", or "stale 12"."""
    found = collections.Counter()
    for line in text.splitlines():
        if " stale" not in line:
            continue
        for number, name in re.findall(r"(\d+) ([a-z][a-z ]*[a-z])", line):
            found[name] += int(number)
        for name, number in re.findall(r"([a-z]+) (\d+)", line):
            found[name] += int(number)
    return found


def run(options, say):
    report, findings, seeds = {}, [], 0
    for name, test in PROGRAMS:
        planted = run_program(name, [f"--gtest_filter=*.{MUTATION}*"])
        bugs = re.findall(rf"\[       OK \] \w+\.({MUTATION}\w+)", planted.stdout)
        say(f"{name}: {len(bugs)} planted bugs found")
        if planted.returncode != 0 or not bugs:
            findings.append(f"{name}: a planted bug was not found: {planted.stdout[-1000:]}{planted.stderr[-500:]}")
        began = time.monotonic()
        last = options.seed + options.seeds
        parts = [(first, min(PART, last - first)) for first in range(options.seed, last, PART)]
        sums, done, said = collections.Counter(), 0, began
        with concurrent.futures.ThreadPoolExecutor(options.clients) as pool:
            running = {pool.submit(run_program, name, [f"--gtest_filter={test}"], count, first): (first, count) for first, count in parts}
            for future in concurrent.futures.as_completed(running):
                first, count = running[future]
                result = future.result()
                if result.returncode != 0:
                    findings.append(f"{name}, seeds {first} to {first + count - 1}: {result.stdout[-1000:]}{result.stderr[-500:]}")
                found = counts(result.stdout)
                if not found:
                    raise SoakError(f"{name} printed no sum: {result.stdout[-500:]}")
                sums.update(found)
                done += count
                if time.monotonic() - said > 30:
                    said = time.monotonic()
                    say(f"  {done} seeds")
        took = round(time.monotonic() - began, 1)
        say(f"{name}: {done} seeds in {took} s: " + ", ".join(f"{count} {what}" for what, count in sums.items()))
        report[name] = {"planted_bugs_found": bugs, "first_seed": options.seed, "seeds": done, "seconds": took, "sums": sums}
        seeds += done
    return report, findings, f"{seeds:,} seeds, {len(findings)} findings"
