"""The simulations, with as many seeds as asked for."""

import os
import subprocess
import time

from node import ROOT

PROGRAMS = ("coherence_sim",)


def run(options, say):
    report, findings, seeds = {}, [], 0
    for name in PROGRAMS:
        began = time.monotonic()
        program = ROOT / "build/release/test" / name
        done = subprocess.run([str(program)], env=dict(os.environ, MERIDIAN_SIM_SEEDS=str(options.seeds)), capture_output=True, text=True,
                              check=False)
        took = round(time.monotonic() - began, 1)
        last = (done.stdout.strip().splitlines() or ["printed nothing"])[-1]
        say(f"{name}: {options.seeds} seeds in {took} s: {last.strip()}")
        report[name] = {"seeds": options.seeds, "seconds": took, "exit": done.returncode}
        seeds += options.seeds
        if done.returncode != 0:
            findings.append(f"{name}: {done.stdout[-1000:]}")
    return report, findings, f"{seeds:,} seeds, {len(findings)} findings"
