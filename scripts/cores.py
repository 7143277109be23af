#!/usr/bin/env python
"""Throughput of one sweep, in runs an hour, on one core and on two, and its overhead beside the epochs.

    .venv/bin/python scripts/cores.py                          needs a quiet machine; about 20 minutes
    .venv/bin/python scripts/cores.py figure=senet18_lr0.001   five minutes: one plot in the place of three

The sweep is three of the six plots on `digits`, one for each network, 45 runs; each way has a folder of
its own, and a plan in which its threads are frozen before the clock starts. The table goes to
`docs/results/cores_cpu.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmark import ROOT, machine

from senet_lab.composition.command import compose_command
from senet_lab.runs.planning import request_runs

WAYS = {"1 × 1": (1, 1, 1), "1 × 2": (1, 2, 2), "2 × 1": (2, 1, 2)}
"""Processes × threads: processes, threads of a run in its frozen plan, cores that the sweep may use."""

SWEEP = ["experiment=six_plots", "dataset=digits", "epochs=5"]
PLOTS = ["figure=densenet121_lr0.01,mobilenetv2_lr0.001,senet18_lr0.001"]


def plan_with(threads: int, words: Sequence[str]) -> None:
    """Plan the runs of `senet-lab train <words>` with so many threads each, whatever planning gives them."""
    plan = request_runs(compose_command("train", words)).plan
    replace(plan, runs=[replace(run, threads=threads) for run in plan.runs]).write()


def measure(cores: int, words: Sequence[str], outputs: Path) -> tuple[float, list[float]]:
    """Seconds of `senet-lab train <words>` on so many cores, and those that each run spent in its epochs."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "senet_lab", "train", *words],
        preexec_fn=lambda: os.sched_setaffinity(0, range(cores)),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - started
    return seconds, [json.loads(file.read_text())["seconds"] for file in outputs.rglob("status.json")]


def main() -> None:
    """Run the sweep each way and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", default=PLOTS, help="key=value, as after senet-lab train")
    overrides = parser.parse_args().overrides
    about = machine("cpu", 1)
    commit = about["commit"]["commit"][:10] if about["commit"] else "unknown"
    rows, hourly = [], {}
    for way, (processes, threads, cores) in WAYS.items():
        with tempfile.TemporaryDirectory(prefix="cores_") as folder:
            launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={processes}"]
            words = [*SWEEP, *launcher, f"outputs={folder}", *overrides]
            plan_with(threads, words)
            wall, runs = measure(cores, words, Path(folder))
        hourly[way] = 3600 * len(runs) / wall
        rest = 1 - sum(runs) / (wall * processes)
        cells = [way, f"{cores}", f"{wall:.1f}", f"{hourly[way]:.0f}", f"{sum(runs) / len(runs):.2f}"]
        rows.append(f"| {' | '.join([*cells, f'{rest:.1%}'])} |")
        print(rows[-1], flush=True)
    lines = [
        "# Runs an hour by processes and threads, CPU",
        "",
        f"Made by `scripts/cores.py` on {about['date']}: {about['device']}, torch {about['torch']}, "
        f"commit {commit}.",
        f"`senet-lab train {' '.join([*SWEEP, *overrides])}`, {len(runs)} runs, each way once.",
        "",
        "| processes × threads | cores | seconds | runs an hour | seconds of a run's steps | not in steps |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"Against one core: two processes {hourly['2 × 1'] / hourly['1 × 1']:.2f} times the runs an hour,",
        f"one process with two threads {hourly['1 × 2'] / hourly['1 × 1']:.2f} times.",
    ]
    (ROOT / "docs/results/cores_cpu.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
