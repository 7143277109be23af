"""Time and memory of `status` and `plot` over a sweep of many finished runs, on synthetic records.

    python scripts/scaling.py runs=10000 epochs=100

Writes the records to a temporary folder (4 files a run), and prints seconds and peak memory of each command.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from itertools import cycle, product
from pathlib import Path

import numpy as np
import yaml

from senet_lab.api import open_sweep
from senet_lab.composition.command import compose_command
from senet_lab.config import as_plain
from senet_lab.records.plan import Plan, PlannedRun, config_hash
from senet_lab.records.rows import Metrics, columns
from senet_lab.records.run import State, Status
from senet_lab.records.sweep import SweepDirectory

ACTIVATIONS = ("relu", "swish", "mish", "tact", "mtact")
SEEDS = 20
"""Runs of a line; with five lines a figure, so many runs ask for runs / 100 figures."""


def write_sweep(outputs: Path, runs: int, epochs: int) -> None:
    """A plan and its finished runs: a figure for each learning rate, a line for each activation."""
    command = compose_command(
        "train",
        ["dataset=cifar10", f"activation={','.join(ACTIVATIONS)}", f"epochs={epochs}", f"outputs={outputs}"],
        multirun=True,
    )
    sweep = SweepDirectory(outputs / "default")
    measured = [name for name in columns(Metrics) if name != "epoch"]
    draws = np.random.default_rng(0)
    planned = []
    for number, (point, seed) in zip(range(runs), cycle(product(command.points, range(SEEDS))), strict=False):
        lr = 1e-5 * (1 + number // (len(ACTIVATIONS) * SEEDS))
        config = as_plain(point.config) | {"lr": lr, "seed": seed}
        name = f"{Path(point.directory).parent.parent}/lr={lr!r}/seed={seed}"
        planned.append(
            PlannedRun(name, config_hash(config), "", list(point.overrides), 1, 135_000_000, config)
        )
        folder = sweep.path / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.dump(config, Dumper=yaml.CSafeDumper))
        values = draws.random((epochs, len(measured))).tolist()
        rows = [",".join([str(epoch), *map(repr, row)]) for epoch, row in enumerate(values)]
        (folder / "metrics.csv").write_text("\n".join([",".join(["epoch", *measured]), *rows]) + "\n")
        status = Status(
            State.FINISHED, epochs, epochs, images_done=60_000 * epochs, seconds=20.0 * epochs,
            digests=sweep.run(name).digests(),
        )  # fmt: skip
        (folder / "status.json").write_text(json.dumps(asdict(status)))
        (folder / "environment.json").write_text("{}")
    Plan(sweep, "", planned).write()


def measure(*arguments: str) -> str:
    """Seconds, those of the processor alone, and peak memory of one command."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as shown:
        process = subprocess.Popen([sys.executable, "-m", "senet_lab", *arguments], stdout=shown)
        _, code, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    words = " ".join(word for word in arguments if not word.startswith("outputs="))
    processor = usage.ru_utime + usage.ru_stime
    return (
        f"senet-lab {words}: {seconds:.1f} s ({processor:.1f} s of a core), "
        f"{usage.ru_maxrss / 1e6:.2f} GB, exit code {code >> 8}"
    )


def main() -> None:
    """Measure what the arguments ask for."""
    settings = dict(word.split("=") for word in sys.argv[1:])
    runs, epochs = int(settings.get("runs", 10_000)), int(settings.get("epochs", 100))
    with tempfile.TemporaryDirectory(prefix="scaling_") as folder:
        started = time.perf_counter()
        write_sweep(Path(folder), runs, epochs)
        size = (Path(folder) / "default/plan.json").stat().st_size
        print(
            f"{runs} runs × {epochs} epochs written in {time.perf_counter() - started:.0f} s; "
            f"plan.json has {size / 1e6:.1f} MB", flush=True,
        )  # fmt: skip
        outputs = f"outputs={folder}"
        print(measure("status", outputs), flush=True)
        print(measure("status", outputs, "format=json"), flush=True)
        print(measure("plot", outputs, "formats=[html]"), flush=True)
        started = time.perf_counter()
        sweep = open_sweep(Path(folder) / "default")
        rows = len(sweep.metrics)
        print(f"open_sweep: {rows:,} rows of metrics in {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
