#!/usr/bin/env python
"""Time and memory of the commands over a sweep of many finished runs, on synthetic records.

    .venv/bin/python scripts/scaling.py                          10,000 runs of 100 epochs in 100 figures
    .venv/bin/python scripts/scaling.py runs=1000 epochs=10      a rehearsal

Plans the sweep, writes the records of its runs to a temporary folder (4 files a run), and prints for each
command, in a process of its own, the seconds of the wall, those of the processor, and the peak memory.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import numpy as np
import yaml

from senet_lab.records.plan import require_plan
from senet_lab.records.rows import Metrics, columns
from senet_lab.records.run import State, Status
from senet_lab.records.sweep import SweepDirectory

ACTIVATIONS = ("relu", "swish", "mish", "tact", "mtact")
SEEDS = 20
"""Runs of a line; with five lines a figure, so many runs ask for runs / 100 figures."""

PLAN = """
import sys
from senet_lab.composition.command import compose_command
from senet_lab.runs.planning import request_runs
request_runs(compose_command("train", sys.argv[1:], multirun=True, words=["-m", *sys.argv[1:]]))
"""
FRAMES = """
import sys
from senet_lab import open_sweep
print(f"{len(open_sweep(sys.argv[1]).metrics):,} rows")
"""
LIVE = """
import sys, time
from pathlib import Path
from senet_lab.figures.live import LiveSweep
from senet_lab.records.figures import planned_config
from senet_lab.composition.command import compose_command
from senet_lab.records.sweep import SweepDirectory
sweep = SweepDirectory(Path(sys.argv[1]))
config = planned_config(compose_command("watch", []), sweep)
started = time.perf_counter()
live = LiveSweep(sweep, config.figures, config.band)
opened = time.perf_counter()
live.draw_next()
drawn = time.perf_counter()
live.poll()
polled = time.perf_counter()
print(f"opened in {opened - started:.1f} s, a chart {drawn - opened:.2f} s, a poll {polled - drawn:.2f} s")
"""


def sweep_words(outputs: Path, runs: int, epochs: int) -> list[str]:
    """The command line of a sweep: a figure for each learning rate, a line for each activation."""
    rates = [f"{1e-5 * number:.5f}" for number in range(1, 1 + runs // (len(ACTIVATIONS) * SEEDS))]
    axes = [f"lr={','.join(rates)}", f"activation={','.join(ACTIVATIONS)}", f"seed=range({SEEDS})"]
    return [*axes, f"epochs={epochs}", f"outputs={outputs}"]


def write_records(sweep: SweepDirectory, epochs: int) -> int:
    """The records of all planned runs, finished; returns the number of runs."""
    measured = [field.name for field in fields(Metrics) if field.default is MISSING and field.name != "epoch"]
    header = ",".join(columns(Metrics))
    blank = "," * (len(columns(Metrics)) - 1 - len(measured))
    draws = np.random.default_rng(0)
    runs = require_plan(sweep).runs
    for run in runs:
        record = sweep.run(run.directory)
        record.path.mkdir(parents=True)
        record.config_file.write_text(yaml.dump(run.plain, Dumper=yaml.CSafeDumper))
        values = draws.random((epochs, len(measured))).tolist()
        rows = [",".join([str(epoch), *map(repr, row)]) + blank for epoch, row in enumerate(values)]
        record.metrics_file.write_text("\n".join([header, *rows]) + "\n")
        status = Status(
            State.FINISHED, epochs, epochs, images_done=60_000 * epochs, seconds=20.0 * epochs,
            config_hash=run.hash, digests=record.digests(),
        )  # fmt: skip
        record.status_file.write_text(json.dumps(asdict(status)))
        record.environment_file.write_text("{}")
    return len(runs)


def measure(name: str, arguments: Sequence[str]) -> str:
    """A line of the table: seconds, those of the processor alone, and peak memory of a Python process.

    Raises:
        SystemExit: it failed.
    """
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as shown:
        process = subprocess.Popen([sys.executable, *arguments], stdout=shown)
        _, code, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        shown.seek(0)
        last = shown.read().strip().splitlines()[-1:]
    if code:
        sys.exit(f"{name}: exit code {code >> 8}")
    processor = usage.ru_utime + usage.ru_stime
    note = f" ({last[0]})" if arguments[0] == "-c" and last else ""
    return f"| {name}{note} | {seconds:.1f} ({processor:.1f}) | {usage.ru_maxrss / 1e6:.2f} GB |"


def main() -> None:
    """Measure what the arguments ask for."""
    settings = dict(word.split("=") for word in sys.argv[1:])
    runs, epochs = int(settings.get("runs", 10_000)), int(settings.get("epochs", 100))
    with tempfile.TemporaryDirectory(prefix="scaling_") as folder:
        words = sweep_words(Path(folder), runs, epochs)
        sweep = SweepDirectory(Path(folder) / "default")
        lab = ["-m", "senet_lab"]
        print("| command | seconds (of the processor) | peak memory |\n|---|---|---|", flush=True)
        print(measure("planning", ["-c", PLAN, *words]), flush=True)
        started = time.perf_counter()
        count = write_records(sweep, epochs)
        wrote = time.perf_counter() - started
        for name, arguments in (
            ("the same `senet-lab train` again", [*lab, "train", "-m", *words]),
            ("`senet-lab status`", [*lab, "status", f"outputs={folder}"]),
            ("`senet-lab status format=json`", [*lab, "status", f"outputs={folder}", "format=json"]),
            ("`open_sweep(…).metrics`", ["-c", FRAMES, str(sweep.path)]),
            ("`senet-lab plot 'formats=[html]'`", [*lab, "plot", f"outputs={folder}", "formats=[html]"]),
            ("`senet-lab report`", [*lab, "report", f"outputs={folder}"]),
            ("`senet-lab watch`", ["-c", LIVE, str(sweep.path)]),
        ):
            print(measure(name, arguments), flush=True)
        print(
            f"\n{count:,} runs of {epochs} epochs in {count // (len(ACTIVATIONS) * SEEDS)} figures; "
            f"plan.json has {sweep.plan_file.stat().st_size / 1e6:.1f} MB, report.html "
            f"{sweep.report_file.stat().st_size / 1e6:.1f} MB; records written in {wrote:.0f} s"
        )


if __name__ == "__main__":
    main()
