#!/usr/bin/env python
"""First light of a GPU: within some minutes, measure what decides the defaults.

    .venv/bin/python scripts/first_light.py measure --minutes 30 --data cifar10.npz
    .venv/bin/python scripts/first_light.py report

`measure` goes through five stages, each within its share of the time, and writes
`docs/results/first_light.json` after every measurement: what was measured is kept, whatever ends it. `report`
turns that file into `docs/results/benchmark_gpu.md` with the recommended defaults.

    smoke    a short run through the command line; on a GPU, the tests that need one
    speed    each network captured, compiled and eager, and the plain rival: decides trainer.compile
    levers   settings that no option offers yet: decides whether one should become the default
    pack     2, 4 and 8 runs in one process, and two processes: decides pack and hydra.launcher.n_jobs
    real     a sweep through the command line, in the way that speed and pack chose
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmark import (
    BATCH,
    EPOCH,
    MODELS,
    PACKS,
    ROOT,
    ROUND,
    SERVER,
    Contestant,
    compose_case,
    copy_bandwidth,
    floor,
    machine,
    matrix_rate,
    write_data,
)

from senet_lab.cli import main as senet_lab
from senet_lab.records.sweep import SweepDirectory
from senet_lab.training import cuda

Row = dict[str, Any]

STAGES = {"smoke": 0.2, "speed": 0.3, "levers": 0.1, "pack": 0.2, "real": 0.2}
"""Share of the time; what a stage leaves goes to the next ones."""
LEAST = 5.0
"""Seconds without which nothing is begun."""
RATES = ("train", "test", "first_step", "memory")

COMPILE_GAIN, COMPILE_NETWORKS = 0.85, 2
"""A compiled step takes at most this share of a captured one, on so many networks, to become the default."""
PACK_GAIN = 1.05
"""A pack has so many times the images/s of one half as large to become the default."""
LEVER_GAIN = 1.03
SEARCH_LOSS = 0.98


class FirstLight:
    """The measurements, written after each one.

    Args:
        options: of the command line.
        folder: for data and sweeps.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.data = write_data(options.data, folder, options.steps * BATCH, options.test_images)
        self.ends = time.monotonic()
        self.found: Row = {
            "machine": machine(options.device, options.threads),
            "matrix_rate": matrix_rate(options.device),
            "copy_bandwidth": copy_bandwidth(options.device),
            "rows": [],
        }

    def left(self) -> float:
        """Seconds that the stage has left."""
        return self.ends - time.monotonic()

    def measure(self) -> None:
        """Go through the stages."""
        for stage, share in STAGES.items():
            self.ends += share * self.options.minutes * 60
            for row in getattr(self, stage)():
                self.found["rows"].append({"stage": stage, **row})
                print(json.dumps(self.found["rows"][-1]), flush=True)
                self.options.out.parent.mkdir(parents=True, exist_ok=True)
                self.options.out.write_text(json.dumps(self.found, indent=1) + "\n")

    def smoke(self) -> Iterator[Row]:
        """The command line, and the tests that need a GPU."""
        yield {"name": "senet-lab train"} | self._command(
            "smoke", "model=cnn3", "activation=tact", "epochs=2", "dataset=digits"
        )
        if self.options.device == "cuda":
            tests = [
                "tests/training/test_gpu.py",
                "tests/training/test_cuda.py",
                "tests/data/test_augment.py",
                "tests/data/test_image_folder.py",
            ]
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
            with _reported() as row:
                done = subprocess.run(
                    command,
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=max(LEAST, self.left()),
                    check=False,
                )
                row |= {"end": done.stdout.strip().splitlines()[-1:], "exit": done.returncode}
            yield {"name": "tests"} | row

    def speed(self) -> Iterator[Row]:
        """Each network, each way."""
        for model in self.options.models:
            for way, settings in ways(self.options.device).items():
                yield self._measured(model, way, settings)
            yield self._measured(model, "rival", {}, side="rival")

    def levers(self) -> Iterator[Row]:
        """Settings of a process, against the same way without them."""
        model, device = self.options.models[-1], self.options.device
        yield self._measured(model, "captured", {}, levers=["search_off"])
        yield self._measured(model, "captured", {}, activation="tact")
        if "compiled" in ways(device):
            compiled = ways(device)["compiled"]
            yield self._measured(model, "compiled", compiled, levers=["combo_kernels"])
            yield self._measured(model, "compiled", compiled, activation="tact")

    def pack(self) -> Iterator[Row]:
        """Several runs in a process, and two processes."""
        way = self._best_way()
        for pack in self.options.pack:
            for model in self.options.models:
                yield self._measured(model, way, ways(self.options.device)[way], pack=pack)
        yield self._measured(self.options.models[-1], way, ways(self.options.device)[way], processes=2)

    def real(self) -> Iterator[Row]:
        """A sweep of as many seeds as a pack holds, through the command line."""
        chosen = recommend(self.found["rows"])
        words = [f"pack={chosen['pack']}", f"trainer.compile={chosen['trainer.compile']}"]
        words += [
            f"seed={','.join(map(str, range(max(2, int(chosen['pack'])))))}",
            "activation=relu",
            "lr=0.001",
        ]
        words += ["dataset=arrays", f"dataset.path={self.data}", "dataset.classes=10", "augment=published"]
        words += [f"epochs={self.options.epochs}", f"batch_size={BATCH}"]
        for model in self.options.models:
            name = model.replace("/", "_")
            row = {"name": "senet-lab train", "model": model, "pack": int(chosen["pack"])}
            yield (
                row
                | self._command(name, f"model={model}", *words, sweep=True)
                | epochs_of(self.folder / name)
            )

    def _best_way(self) -> str:
        return "compiled" if recommend(self.found["rows"])["trainer.compile"] == "true" else "captured"

    def _command(self, name: str, *words: str, sweep: bool = False) -> Row:
        """Run `senet-lab train`; its exit code, and the seconds it took, or why it was ended."""
        words = (*words, f"outputs={self.folder}", f"name={name}", f"trainer.device={self.options.device}")
        command = ["train", *(["-m"] if sweep else []), *words, "hydra/launcher=serial"]
        started = time.monotonic()
        with _reported() as row:
            if self.left() < LEAST:
                raise TimeoutError("no time left")
            process = SERVER.Process(target=run_command, args=(command, self.folder / f"{name}.log"))
            process.start()
            process.join(self.left())
            if process.is_alive():
                process.terminate()
                process.join()
                raise TimeoutError(f"took longer than {time.monotonic() - started:.0f} s")
            row |= {"exit": process.exitcode, "seconds": time.monotonic() - started}
            if process.exitcode:
                row["end"] = (self.folder / f"{name}.log").read_text().strip().splitlines()[-1:]
        return row

    def _measured(
        self,
        model: str,
        way: str,
        settings: dict[str, Any],
        activation: str = "relu",
        side: str = "ours",
        pack: int = 1,
        processes: int = 1,
        levers: Sequence[str] = (),
    ) -> Row:
        """One way to train one network: medians over the rounds, images/s of all processes together."""
        options = self.options
        config = compose_case(model, activation, self.data, options.device)
        config = replace(config, trainer=replace(config.trainer, **settings))
        row: Row = {"name": f"{way}{''.join(f' {lever}' for lever in levers)}", "model": model, "way": way}
        row |= {"activation": activation, "pack": pack, "processes": processes, "levers": list(levers)}
        if way == "captured" and pack == 1 and not levers:
            row["floor"] = floor(config, self.found["matrix_rate"], self.found["copy_bandwidth"])
        contestants: list[Contestant] = []
        with _reported() as result:
            if self.left() < LEAST:
                raise TimeoutError("no time left")
            arguments = (side, config, options.device, options.threads, "wall", pack, levers)
            contestants += [Contestant(*arguments) for _ in range(processes)]
            samples = [self._round(contestants) for _ in range(1 + options.rounds)]
            result |= {key: statistics.median(s[key] for s in samples[1:]) for key in RATES}
            result["first_step"] = samples[0]["first_step"]
        for contestant in contestants:
            contestant.kill() if "error" in result else contestant.end()
        return row | result

    def _round(self, contestants: Sequence[Contestant]) -> dict[str, float]:
        for contestant in contestants:
            contestant.begin()
        samples = [contestant.result(max(0.0, self.left())) for contestant in contestants]
        return {key: sum(sample[key] for sample in samples) for key in RATES}


@contextmanager
def _reported() -> Iterator[Row]:
    """A row that gets the error of a measurement that fails or takes too long: the next one goes on."""
    row: Row = {}
    try:
        yield row
    except (OSError, subprocess.TimeoutExpired, EOFError) as error:
        row["error"] = str(error) or "its process died"


def ways(device: str) -> dict[str, dict[str, bool]]:
    """Trainer settings of each way to take a step."""
    found: dict[str, dict[str, bool]] = {"captured": {}}  # on a CPU, plain steps
    if device != "cpu":
        found["eager"] = {"cuda_graph": False}
        if cuda.triton_works():
            found["compiled"] = {"compile": True}
    return found


def run_command(arguments: list[str], log: Path) -> None:
    """Be `senet-lab` in this process, with its output in a file."""
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(senet_lab(arguments))


def epochs_of(folder: Path) -> Row:
    """Median seconds of an epoch after a run's first one, and the last test top-1 of each run, of a sweep."""
    records = list(SweepDirectory(folder).find_runs().values())
    seconds = [value for record in records for value in record.metric("seconds")[1:]]
    last = [record.metric("test_top1")[-1:] for record in records]
    return {
        "epochs": len(seconds) + sum(map(len, last)),
        "epoch": statistics.median(seconds) if seconds else None,
        "top1": [value for values in last for value in values],
    }


def recommend(rows: Sequence[Row]) -> dict[str, str]:
    """Defaults that the measurements speak for, by option or, where there is none, by lever."""
    speeds = {(row["model"], row["way"]): row["train"] for row in _good(rows, "speed")}
    models = list(dict.fromkeys(model for model, _ in speeds))
    faster = [
        model
        for model in models
        if speeds.get((model, "captured"), 0.0) <= COMPILE_GAIN * speeds.get((model, "compiled"), 0.0)
    ]
    chosen = {"trainer.compile": str(len(faster) >= COMPILE_NETWORKS).lower()}
    way = "compiled" if chosen["trainer.compile"] == "true" else "captured"
    packs: dict[int, list[float]] = {1: [speeds[m, way] for m in models if (m, way) in speeds]}
    for row in _good(rows, "pack"):
        if row["processes"] == 1:
            packs.setdefault(row["pack"], []).append(row["train"])
    best = 1
    for smaller, larger in zip(sorted(packs), sorted(packs)[1:], strict=False):
        complete = len(packs[larger]) == len(packs[1]) > 0
        if not complete or _mean(packs[larger]) < PACK_GAIN * _mean(packs[smaller]):
            break
        best = larger
    chosen["pack"] = str(best)
    for row in _good(rows, "levers"):
        base = speeds.get((row["model"], row["way"]))
        if base and row["levers"] == ["search_off"]:
            chosen["search"] = str(row["train"] < SEARCH_LOSS * base).lower()
        if base and row["levers"] == ["combo_kernels"]:
            chosen["combo_kernels"] = str(row["train"] >= LEVER_GAIN * base).lower()
    return chosen


def _good(rows: Sequence[Row], stage: str) -> list[Row]:
    return [row for row in rows if row["stage"] == stage and "train" in row]


def _mean(rates: Sequence[float]) -> float:
    return statistics.geometric_mean(rates)


COLUMNS = (
    "stage", "model", "way", "activation", "runs", "images/s", "test images/s", "epoch s", "floor s",
    "× rival", "first step s", "memory MiB",
)  # fmt: skip


def markdown(found: Row) -> str:
    """The report."""
    about, rows = found["machine"], found["rows"]
    commit = about["commit"] or {"commit": "unknown", "dirty": False}
    rivals = {row["model"]: row["train"] for row in _good(rows, "speed") if row["way"] == "rival"}
    lines = [
        f"# First light on {about['device']}",
        "",
        f"Made by `scripts/first_light.py` on {about['date']}: torch {about['torch']}, "
        f"Python {about['python']}, "
        f"commit {commit['commit'][:10]}{' with edits' if commit['dirty'] else ''}. "
        f"Batch {BATCH}; images/s are those of all runs together, an epoch is the time in which they train "
        f"on {EPOCH[0]:,} images and evaluate {EPOCH[1]:,}. Matrix products "
        f"{found['matrix_rate'] / 1e12:.3g} Tflop/s ({about['precision']}), copies "
        f"{found['copy_bandwidth'] / 1e9:.3g} GB/s; the floor is an epoch at these rates.",
        "",
        "Recommended defaults:",
        "",
        *(f"- `{option}={value}`" for option, value in recommend(rows).items()),
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(_table_row(row, rivals) for row in rows if "way" in row),
        "",
        "Through the command line:",
        "",
        *(f"- {_told(row)}" for row in rows if "way" not in row),
    ]
    return "\n".join(lines) + "\n"


def _table_row(row: Row, rivals: dict[str, float]) -> str:
    runs = f"{row['processes']} × {row['pack']}" if row["processes"] > 1 else str(row["pack"])
    cells = [row["stage"], row["model"], row["name"], row["activation"], runs]
    if "error" in row:
        return f"| {' | '.join([*cells, row['error'], *[''] * (len(COLUMNS) - len(cells) - 1)])} |"
    epoch = EPOCH[0] / row["train"] + EPOCH[1] / row["test"]
    cells += [f"{row['train']:.0f}", f"{row['test']:.0f}", f"{epoch:.4g}"]
    cells += [f"{row['floor']:.4g}" if "floor" in row else ""]
    cells += [f"{row['train'] / rivals[row['model']]:.2f}" if row["model"] in rivals else ""]
    return f"| {' | '.join([*cells, format(row['first_step'], '.1f'), format(row['memory'], '.0f')])} |"


def _told(row: Row) -> str:
    parts = [row["stage"], row["name"], *([row["model"]] if "model" in row else [])]
    values = [f"{key} {row[key]}" for key in ("exit", "end", "error", "epochs", "top1") if key in row]
    if row.get("epoch") is not None:
        values.append(f"{row['epoch']:.3g} s an epoch of a run beside {row['pack'] - 1} others")
    return f"{' '.join(parts)}: {', '.join(values)}"


def measure(options: argparse.Namespace) -> None:
    """Measure and write the JSON."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        FirstLight(options, Path(folder)).measure()


def report(options: argparse.Namespace) -> None:
    """Write the Markdown, and print the recommended defaults."""
    found = json.loads(options.out.read_text())
    (options.out.parent / "benchmark_gpu.md").write_text(markdown(found))
    for option, value in recommend(found["rows"]).items():
        print(f"{option}={value}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs: dict[str, Callable[[argparse.Namespace], None]] = {"measure": measure, "report": report}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--device", choices=ROUND, default=device, help="cpu: a rehearsal")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--pack", type=int, nargs="+", default=PACKS["cuda"])
    parser.add_argument("--data", type=Path, help="an .npz with real images; without it, random ones")
    parser.add_argument("--steps", type=int, default=391, help="training steps of a round and of an epoch")
    parser.add_argument("--test-images", type=int, default=EPOCH[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100, help="of the runs of the last stage")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "first_light.json")
    options = parser.parse_args()
    verbs[options.verb](options)


if __name__ == "__main__":
    main()
