#!/usr/bin/env python
"""Runs an hour of one sweep on one core and on two, and what of that time is not training and testing.

    .venv/bin/python scripts/cores.py                         needs a quiet machine; about five minutes
    .venv/bin/python scripts/cores.py activation=relu         overrides in the place of the sweep's own

The sweep is one of the six plots on `digits`, 15 runs; each way has an output folder of its own. The table
goes to `docs/results/cores_cpu.md`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark import ROOT, machine

WAYS = {"1 × 1": (1, 1), "1 × 2": (2, 1), "2 × 1": (2, 2)}
"""Processes × threads: cores that the sweep may use, and processes that share them."""

SWEEP = ["experiment=six_plots", "dataset=digits", "epochs=5", "figure=senet18_lr0.001"]


def measure(outputs: Path, cores: int, processes: int, overrides: list[str]) -> tuple[float, list[float]]:
    """Seconds of the whole command, and those that each run spent in its epochs."""
    launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={processes}"]
    arguments = ["train", *SWEEP, *launcher, f"outputs={outputs}", *overrides]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "senet_lab", *arguments],
        preexec_fn=lambda: os.sched_setaffinity(0, range(cores)),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - started
    return seconds, [json.loads(file.read_text())["seconds"] for file in outputs.rglob("status.json")]


def main() -> None:
    """Run the sweep each way and write the table."""
    overrides = sys.argv[1:]
    about = machine("cpu", 1)
    commit = about["commit"]["commit"][:10] if about["commit"] else "unknown"
    rows, hourly = [], {}
    for way, (cores, processes) in WAYS.items():
        with tempfile.TemporaryDirectory(prefix="cores_") as folder:
            wall, runs = measure(Path(folder), cores, processes, overrides)
        hourly[way] = 3600 * len(runs) / wall
        rest = 1 - sum(runs) / (wall * processes)
        rows.append(f"| {way} | {cores} | {wall:.1f} | {hourly[way]:.0f} | {rest:.1%} |")
        print(rows[-1], flush=True)
    lines = [
        "# Runs an hour by processes and threads, CPU",
        "",
        f"Made by `scripts/cores.py` on {about['date']}: {about['device']}, torch {about['torch']}, "
        f"commit {commit}.",
        f"`senet-lab train {' '.join([*SWEEP, *overrides])}`, {len(runs)} runs, each way once.",
        "",
        "| processes × threads | cores | seconds | runs an hour | not in training and test steps |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Against one core: two processes {hourly['2 × 1'] / hourly['1 × 1']:.2f} times the runs an hour,",
        f"one process with two threads {hourly['1 × 2'] / hourly['1 × 1']:.2f} times.",
    ]
    (ROOT / "docs/results/cores_cpu.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
