#!/usr/bin/env python
"""Benchmark of this project's training against a plain loop, in images/s, case by case.

    .venv/bin/python scripts/benchmark.py                       nine cases, on the GPU where there is one
    .venv/bin/python scripts/benchmark.py --device cpu          on the CPU of a machine with a GPU
    .venv/bin/python scripts/benchmark.py --data cifar10.npz    real images in the place of random ones
    .venv/bin/python scripts/benchmark.py --steps 2 --rounds 1 --models published/senet18
    .venv/bin/python scripts/benchmark.py --pack 2 4 8          several runs in one process, too
    .venv/bin/python scripts/benchmark.py --models              only the rows of threads
    .venv/bin/python scripts/benchmark.py --lone                none of them

The rival is written for the purpose in the usual style: float32, NCHW, eager, a DataLoader with two workers
and PIL transforms, `.item()` at every step, activations composed from primitives. Network, weights, batch
size, data, augmentation and optimizer are the same. Each side has its own process; in each round they train
and test in turn, one waiting for the other.

On the CPU, runs alone are measured with one thread and with all, on the machine as it is and beside a busy
process, niced and not, which this script starts and ends.

On a GPU, packs of 2, 4 and 8 runs, plain steps and compiled ones are measured beside captured ones; the
first half hour of a new GPU is `scripts/first_light.py`.

Results go to `docs/results/benchmark_<device>.{json,md}`.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from senet_lab.build import build_dataset, build_network, pixels_at_once
from senet_lab.composition.command import compose_command
from senet_lab.config import RunConfig, TrainerConfig
from senet_lab.networks.activations import TAct
from senet_lab.networks.summary import summarise
from senet_lab.runs.environment import device_name, git_state
from senet_lab.runs.threads import GAIN, useful_threads
from senet_lab.seeding import seed_global
from senet_lab.training import cuda
from senet_lab.training.engine import choose_engine
from senet_lab.training.loop import Training
from senet_lab.training.turns import interleave

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("published/densenet121", "published/mobilenetv2", "published/senet18")
ACTIVATIONS = ("relu", "mish", "tact")
BATCH = 128
SIZE = 32
EPOCH = (50_000, 10_000)
"""Training and test images of an epoch for the floor: CIFAR-10's."""
ROUND = {"cpu": (8, 1000), "cuda": (100, 10_000)}
"""Training steps and test images of a round."""
PACKS = {"cpu": [], "cuda": [2, 4, 8]}
"""Runs in one process that are measured beside one."""
LONE = {
    "cpu": [
        *(f"{model}:8" for model in MODELS),
        "published/senet18:32",
        "published/mobilenetv2:32",
        "cnn3:192",
    ],
    "cuda": [],
}
"""Network and side of the images of runs alone: as small as digits, CIFAR's, and larger."""
STATES = {"quiet": (0, 0), "niced": (1, 10), "busy": (1, 0)}
"""Busy processes beside a run alone, and their niceness."""
NEIGHBOUR = """
import os, sys
os.nice(int(sys.argv[1]))
parent = os.getppid()
while os.getppid() == parent:  # ends with the process that started it
    sum(range(10**5))
"""


class ComposedMish(nn.Module):
    """Mish composed from primitives."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to every element."""
        return x * torch.tanh(F.softplus(x))


class ComposedTAct(nn.Module):
    """TAct composed from primitives."""

    def __init__(self, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.alpha = nn.Parameter(alpha)
        self.beta = nn.Parameter(beta)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to every element."""
        a, b, c = self.alpha / 2, (1 - self.alpha) / 2, (1 + self.beta) / 2
        return (a * x + b) * (torch.tanh(c * x) + 1)


def compose(network: nn.Module) -> nn.Module:
    """Replace one-pass activations by composed ones; a shared instance stays shared."""
    composed: dict[nn.Module, nn.Module] = {}
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if type(module) is nn.Mish:
            network.set_submodule(name, composed.setdefault(module, ComposedMish()))
        elif type(module) is TAct:
            plain = composed.setdefault(module, ComposedTAct(module.alpha.data, module.beta.data))
            network.set_submodule(name, plain)
    return network


class PlainDataset(Dataset):
    """Images in memory, each through PIL at every access."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class Rival:
    """The plain loop."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.device = device
        data = np.load(config.dataset["path"])
        normalise = [transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
        augment = [transforms.RandomHorizontalFlip(0.4), transforms.RandomRotation(30)]
        self.train_loader = self._loader(data["x_train"], data["y_train"], augment + normalise, config, True)
        self.test_loader = self._loader(data["x_test"], data["y_test"], normalise, config, False)
        classes = build_dataset(config.dataset).num_classes
        self.network = compose(build_network(config, classes)).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=config.lr)

    def _loader(
        self, images: np.ndarray, labels: np.ndarray, steps: list[Any], config: RunConfig, shuffle: bool
    ) -> DataLoader:
        dataset = PlainDataset(images, labels, transforms.Compose(steps))
        # Persistent workers: a short round should not pay for starting them.
        return DataLoader(dataset, config.batch_size, shuffle, num_workers=2, persistent_workers=True)

    def train(self, on_step: Callable[[], object]) -> int:
        """Train one epoch; calls `on_step` before each step. Returns the number of images."""
        self.network.train()
        correct, total_loss, seen = 0, 0.0, 0
        for batch in self.train_loader:
            on_step()
            images, labels = (tensor.to(self.device) for tensor in batch)
            self.optimizer.zero_grad()
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            self.optimizer.step()
            total_loss += loss.item()
            correct += (logits.argmax(1) == labels).sum().item()
            seen += len(labels)
        return seen

    @torch.no_grad()
    def test(self) -> int:
        """Evaluate the test images once. Returns their number."""
        self.network.eval()
        correct, seen = 0, 0
        for batch in self.test_loader:
            images, labels = (tensor.to(self.device) for tensor in batch)
            logits = self.network(images)
            correct += (logits.argmax(1) == labels).sum().item()
            seen += len(labels)
        self.top1 = correct / seen
        return seen


def search_off() -> None:
    """Take cuDNN's first choice of kernels instead of searching for the fastest."""
    torch.backends.cudnn.benchmark = False


def combo_kernels() -> None:
    """Have Inductor put independent operations into one kernel."""
    import torch._inductor.config

    torch._inductor.config.combo_kernels = True


LEVERS = {"search_off": search_off, "combo_kernels": combo_kernels}
"""Settings of a process that no option offers."""


class Ours:
    """This project's loop, as a run executes it, or several runs that take turns."""

    def __init__(self, config: RunConfig, pack: int, levers: Sequence[str]) -> None:
        self.engine = choose_engine(config.trainer)
        self.settings = self.engine.settings(torch.get_num_threads())
        self.settings.__enter__()  # for as long as this process lives
        for lever in levers:
            LEVERS[lever]()
        seed_global(config.seed)
        self.trainings = [Training(replace(config, seed=seed), self.engine) for seed in range(pack)]

    def train(self, on_step: Callable[[], object]) -> int:
        """See `Rival`."""
        asked = [lambda: bool(on_step()), *[lambda: False] * (len(self.trainings) - 1)]
        interleave([training.train(ask) for training, ask in zip(self.trainings, asked, strict=True)])
        self.engine.synchronize()
        return sum(training.batches.train_images for training in self.trainings)

    def test(self) -> int:
        """See `Rival`."""
        interleave([training.test(lambda: False) for training in self.trainings])
        self.engine.synchronize()
        return sum(training.batches.test_images for training in self.trainings)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def serve(
    pipe: Connection,
    side: str,
    config: RunConfig,
    device: str,
    threads: int,
    clock: str,
    pack: int,
    levers: Sequence[str],
) -> None:
    """Be one side in a process of its own: train and test an epoch at each request; say how fast it was."""
    os.setpgrp()  # so that `kill` reaches the rival's workers
    torch.set_num_threads(threads)
    now = CLOCKS[clock]
    started = now()
    loop = Ours(config, pack, levers) if side == "ours" else Rival(config, torch.device(device))
    built = now() - started
    while pipe.recv():
        steps: list[float] = []
        trained = loop.train(partial(_note, steps, now))
        end = now()
        tested = loop.test()
        sample = {
            "train": trained / (end - steps[0]),
            "test": tested / (now() - end),
            "first_step": built + ([*steps, end][1] - steps[0]),
            "memory": peak_memory(device),
        }
        pipe.send(sample)


def _note(times: list[float], now: Callable[[], float]) -> None:
    times.append(now())


def peak_memory(device: str) -> float:
    """The most memory that this process has held, in MiB: of the GPU, or of the machine."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    return torch.cuda.max_memory_allocated() / 2**20


SERVER = multiprocessing.get_context("forkserver")
# Forked from a process that has imported torch and used nothing of it: nobody's advantage, and quick.
# torch._dynamo is imported by the first optimizer of either side.
SERVER.set_forkserver_preload(
    ["torchvision.transforms", "senet_lab.cli", "senet_lab.runs.execute", "torch._dynamo"]
)


class Contestant:
    """A process that trains when told to."""

    def __init__(
        self,
        side: str,
        config: RunConfig,
        device: str,
        threads: int,
        clock: str,
        pack: int = 1,
        levers: Sequence[str] = (),
    ) -> None:
        self.pipe, theirs = SERVER.Pipe()
        arguments = (theirs, side, config, device, threads, clock, pack, levers)
        self.process = SERVER.Process(target=serve, args=arguments)
        self.process.start()
        theirs.close()

    def begin(self) -> None:
        """Have it train and test one epoch."""
        self.pipe.send(True)

    def result(self, within: float | None = None) -> dict[str, float]:
        """The measurements of the epoch that was begun.

        Args:
            within: seconds to wait; None for as long as it takes.

        Raises:
            TimeoutError: it took longer.
            EOFError: its process died.
        """
        if not self.pipe.poll(within):
            raise TimeoutError(f"took longer than {within:.0f} s")
        return self.pipe.recv()

    def sample(self) -> dict[str, float]:
        """Train and test one epoch; returns the measurements."""
        self.begin()
        return self.result()

    def end(self) -> None:
        """End the process."""
        self.pipe.send(False)
        self.process.join()

    def kill(self) -> None:
        """End the process whatever it does, and its workers."""
        with suppress(ProcessLookupError):
            os.killpg(cast(int, self.process.pid), signal.SIGKILL)
        self.process.kill()  # if it had no group of its own yet
        self.process.join()


def rounds(contestants: Sequence[Contestant], count: int) -> list[list[dict]]:
    """Samples, a list for each contestant, in turn, after one epoch that warms up."""
    samples: list[list[dict]] = [[] for _ in contestants]
    try:
        for _ in range(1 + count):
            for contestant, own in zip(contestants, samples, strict=True):
                own.append(contestant.sample())
    except BaseException:  # one has failed, or a signal came: nobody else would end them
        for contestant in contestants:
            contestant.kill()
        raise
    for contestant in contestants:
        contestant.end()
    return samples


def case(config: RunConfig, device: str, threads: int, count: int, clock: str) -> dict[str, Any]:
    """One row of the table: medians of both sides, and the median of the ratios pair by pair."""
    names = ("ours", "rival")
    ours, rival = rounds([Contestant(side, config, device, threads, clock) for side in names], count)
    row: dict[str, Any] = {}
    for name, (warm, *samples) in zip(names, (ours, rival), strict=True):
        row[name] = {key: statistics.median(s[key] for s in samples) for key in ("train", "test")}
        row[name] |= {"first_step": warm["first_step"], "memory": samples[-1]["memory"]}
    for key in ("train", "test"):
        pairs = zip(ours[1:], rival[1:], strict=True)
        row[f"{key}_ratios"] = [one[key] / other[key] for one, other in pairs]
    return row


def alone(
    config: RunConfig, device: str, threads: int, count: int, clock: str, pack: int = 1
) -> dict[str, float]:
    """Medians of this project's side without the rival."""
    ((warm, *samples),) = rounds([Contestant("ours", config, device, threads, clock, pack)], count)
    medians = {key: statistics.median(sample[key] for sample in samples) for key in ("train", "test")}
    return medians | {"first_step": warm["first_step"], "memory": samples[-1]["memory"]}


def lone(network: str, config: RunConfig, threads: int, count: int) -> dict[str, Any]:
    """One row of threads: median images/s of one thread and of all, and the choice, in each state."""
    row: dict[str, Any] = {"network": network, "pixels": pixels_at_once(config)}
    for state, (neighbours, niceness) in STATES.items():
        with busy_neighbours(neighbours, niceness):
            chosen = useful_threads([config], threads)
            contestants = [Contestant("ours", config, "cpu", number, "wall") for number in (1, threads)]
            samples = rounds(contestants, count)
        one, every = (statistics.median(sample["train"] for sample in own[1:]) for own in samples)
        row[state] = {"one": one, "all": every, "chosen": chosen}
    return row


@contextmanager
def busy_neighbours(count: int, niceness: int) -> Iterator[list[subprocess.Popen]]:
    """Within, `count` processes of a niceness each keep a core busy."""
    command = [sys.executable, "-c", NEIGHBOUR, str(niceness)]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def other_ways(device: str, packs: Sequence[int]) -> dict[str, tuple[dict[str, Any], int]]:
    """Ways to run a case that are measured beside the default: trainer settings, and runs in a process."""
    ways: dict[str, tuple[dict[str, Any], int]] = {f"pack={pack}": ({}, pack) for pack in packs}
    ways["trainer.deterministic=true"] = ({"deterministic": True}, 1)
    if device != "cpu":
        ways["trainer.cuda_graph=false"] = ({"cuda_graph": False}, 1)
        if cuda.triton_works():
            ways["trainer.compile=true"] = ({"compile": True}, 1)
    return ways


def matrix_rate(device: str) -> float:
    """Operations/s of matrix products in the precision that `auto` takes."""
    size = 1024 if device == "cpu" else 8192
    dtype = getattr(torch, choose_engine(TrainerConfig(device)).precision)
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    return 2 * size**3 / fastest(lambda: a @ b, device)


def copy_bandwidth(device: str) -> float:
    """Bytes/s read and written by a copy."""
    source = torch.empty(2**26, dtype=torch.float32, device=device).normal_()
    target = torch.empty_like(source)
    return 2 * source.nbytes / fastest(lambda: target.copy_(source), device)


def fastest(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest of ten calls, after one that warms up."""
    seconds = []
    for _ in range(11):
        started = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def floor(config: RunConfig, rate: float, bandwidth: float) -> float:
    """Seconds of an epoch of 50,000 and 10,000 images at the machine's own rates.

    Each layer takes as long as its operations or its bytes do, whichever is longer. A convolution or linear
    layer and a norm write their output once and it is read once; what else there is (activations, sums) is
    taken to be part of them. A training step is three forward passes.
    """
    width = getattr(torch, choose_engine(config.trainer).precision).itemsize
    with torch.device("meta"):
        network = build_network(config, 10)
    seconds = 0.0
    for layer in summarise(network, SIZE).layers:
        if layer.macs or layer.type.startswith("BatchNorm"):
            seconds += max(2 * layer.macs / rate, 2 * width * math.prod(layer.output) / bandwidth)
    train, test = EPOCH
    return seconds * (3 * train + test)


def write_data(source: Path | None, folder: Path, train: int, test: int, side: int = SIZE) -> Path:
    """An .npz with so many images, of `source` or random ones of `side` pixels; the same each time."""
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    given = np.load(source) if source else None
    for part, count in (("train", train), ("test", test)):
        if given is None:
            arrays[f"x_{part}"] = draw.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
            arrays[f"y_{part}"] = np.arange(count) % 10
        else:
            arrays[f"x_{part}"], arrays[f"y_{part}"] = given[f"x_{part}"][:count], given[f"y_{part}"][:count]
    file = folder / "images.npz"
    np.savez(file, **arrays)
    return file


def compose_case(model: str, activation: str, data: Path, device: str) -> RunConfig:
    """The config of a run."""
    words = [f"model={model}", f"activation={activation}", "dataset=arrays", f"dataset.path={data}"]
    words += ["dataset.classes=10", f"batch_size={BATCH}", f"trainer.device={device}"]
    return compose_command("train", words).points[0].config


def machine(device: str, threads: int) -> dict[str, Any]:
    """Hardware and versions."""
    name = device_name(torch.device(device))
    if device == "cpu":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        name = f"{model}, {name}, {threads} {'thread' if threads == 1 else 'threads'}"
    git = git_state()
    return {
        "device": name,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "precision": choose_engine(TrainerConfig(device)).precision,
        "commit": git and asdict(git),
        "date": datetime.now(UTC).date().isoformat(),
    }


def benchmark(device: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All that is measured on one device."""
    threads = options.threads
    torch.set_num_threads(threads)
    train, test = options.steps * BATCH, options.test_images
    data = write_data(options.data, folder, train, test)
    rate, bandwidth = matrix_rate(device), copy_bandwidth(device)
    result = {
        "machine": machine(device, threads),
        "images": [train, test],
        "rounds": options.rounds,
        "clock": options.clock,
    }
    result |= {"matrix_rate": rate, "copy_bandwidth": bandwidth, "cases": [], "lone": []}
    for model, activation in itertools.product(options.models, options.activations):
        config = compose_case(model, activation, data, device)
        row = {"model": model, "activation": activation}
        row |= case(config, device, threads, options.rounds, options.clock)
        epoch = EPOCH[0] / row["ours"]["train"] + EPOCH[1] / row["ours"]["test"]
        row |= {"epoch": epoch, "floor": floor(config, rate, bandwidth)}
        row["ways"] = {}
        for name, (settings, pack) in other_ways(device, options.pack).items():
            other = replace(config, trainer=replace(config.trainer, **settings))
            row["ways"][name] = alone(other, device, threads, options.rounds, options.clock, pack)
        result["cases"].append(row)
        print(markdown_row(row), flush=True)
    for network in options.lone:
        model, side = network.rsplit(":", 1)
        data = write_data(None, folder, train, test, int(side))
        row = lone(network, compose_case(model, "relu", data, "cpu"), threads, options.rounds)
        result["lone"].append(row)
        print(lone_row(row), flush=True)
    return result


CPU_SECONDS = (
    "Seconds are the processor's, for a machine that is shared; the rival's workers are not counted."
)
COLUMNS = (
    "model", "activation", "images/s", "rival", "ratio", "from … to", "test images/s", "rival", "ratio",
    "first step s", "rival", "memory MiB", "rival", "epoch s", "floor s", "epoch / floor",
)  # fmt: skip


def markdown_row(row: dict[str, Any]) -> str:
    """A case as a line of the table."""
    ours, rival = row["ours"], row["rival"]
    ratios, test_ratios = row["train_ratios"], row["test_ratios"]
    cells = [row["model"], row["activation"]]
    cells += [f"{ours['train']:.0f}", f"{rival['train']:.0f}", f"**{statistics.median(ratios):.2f}**"]
    cells += [f"{min(ratios):.2f} … {max(ratios):.2f}", f"{ours['test']:.0f}", f"{rival['test']:.0f}"]
    cells += [f"{statistics.median(test_ratios):.2f}"]
    cells += [f"{ours['first_step']:.1f}", f"{rival['first_step']:.1f}"]
    cells += [f"{ours['memory']:.0f}", f"{rival['memory']:.0f}"]
    cells += [f"{row['epoch']:.4g}", f"{row['floor']:.4g}", f"{row['epoch'] / row['floor']:.1f}"]
    return f"| {' | '.join(cells)} |"


LONE_COLUMNS = (
    "model", "pixels a step",
    *(name for state in STATES for name in (f"{state}: one thread", "all", "chosen", "chosen / best")),
)  # fmt: skip


def lone_row(row: dict[str, Any]) -> str:
    """A run alone as a line of its table."""
    model, side = row["network"].rsplit(":", 1)
    cells = [f"{model}, {side}×{side}", f"{row['pixels']:,}"]
    for state in STATES:
        one, every, chosen = (row[state][key] for key in ("one", "all", "chosen"))
        share = (one if chosen == 1 else every) / max(one, every)
        cells += [f"{one:.0f}", f"{every:.0f}", f"{chosen}", f"**{share:.2f}**"]
    return f"| {' | '.join(cells)} |"


def markdown(result: dict[str, Any]) -> str:
    """The report of one device."""
    about, (train, test) = result["machine"], result["images"]
    commit = about["commit"] or {"commit": "unknown", "dirty": False}
    lines = [
        f"# Benchmark on {about['device']}",
        "",
        f"Made by `scripts/benchmark.py` on {about['date']}: torch {about['torch']}, "
        f"Python {about['python']}, commit {commit['commit'][:10]}"
        f"{' with edits' if commit['dirty'] else ''}. Batch {BATCH}, "
        f"{SIZE}×{SIZE} pixels; a round is {train} training and {test} test images of each side in turn; "
        f"medians of {result['rounds']} rounds after one that warms up; the ratio is taken pair by pair. "
        f"{'Seconds are those of the wall.' if result['clock'] == 'wall' else CPU_SECONDS}",
        "",
        f"Matrix products {result['matrix_rate'] / 1e12:.3g} Tflop/s ({about['precision']}), copies "
        f"{result['copy_bandwidth'] / 1e9:.3g} GB/s. The floor is what an epoch of {EPOCH[0]:,} and "
        f"{EPOCH[1]:,} images would take at these rates.",
    ]
    if result["cases"]:
        medians = [statistics.median(row["train_ratios"]) for row in result["cases"]]
        lines += [
            "",
            f"Geometric mean of the ratios **{statistics.geometric_mean(medians):.2f}**, "
            f"smallest **{min(medians):.2f}**.",
            "",
            f"| {' | '.join(COLUMNS)} |",
            f"|{'---|' * len(COLUMNS)}",
            *map(markdown_row, result["cases"]),
        ]
    if result["cases"] and result["cases"][0]["ways"]:
        lines += ["", "In other ways; images/s are those of all runs of a process together:", ""]
        lines += ["| model | activation | way | images/s | times those above | first step s | memory MiB |"]
        lines += [f"|{'---|' * 7}"]
        for row in result["cases"]:
            for name, way in row["ways"].items():
                cells = [row["model"], row["activation"], name, f"{way['train']:.0f}"]
                cells += [f"{way['train'] / row['ours']['train']:.2f}"]
                cells += [f"{way['first_step']:.1f}", f"{way['memory']:.0f}"]
                lines.append(f"| {' | '.join(cells)} |")
    if result["lone"]:
        lines += [
            "",
            "Images/s of a run alone with ReLU on random images, one thread and all in turn: on the machine "
            "as it is, beside one busy process that is niced by 10, and beside one that is not. A run gets "
            f"all threads if a small network is then at least {GAIN} times as fast, measured before that:",
            "",
            f"| {' | '.join(LONE_COLUMNS)} |",
            f"|{'---|' * len(LONE_COLUMNS)}",
            *map(lone_row, result["lone"]),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--activations", nargs="+", default=ACTIVATIONS)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=ROUND, default=default)
    parser.add_argument("--steps", type=int, help="training steps of a round; 8 on the CPU, 100 on a GPU")
    parser.add_argument("--test-images", type=int, help="of a round; 1,000 on the CPU, 10,000 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that is shared")
    parser.add_argument("--data", type=Path, help="an .npz with real images; without it, random ones")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--pack", type=int, nargs="+", help="runs in one process; 2 4 8 on a GPU")
    parser.add_argument("--lone", nargs="*", help="networks and sides of images of the rows of threads")
    options = parser.parse_args()
    device = options.device
    steps, test_images = ROUND[device]
    options.steps = options.steps or steps
    options.test_images = options.test_images or test_images
    options.pack = PACKS[device] if options.pack is None else options.pack
    options.lone = LONE[device] if options.lone is None else options.lone
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as folder:
        result = benchmark(device, options, Path(folder))
    (options.out / f"benchmark_{device}.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / f"benchmark_{device}.md").write_text(markdown(result))


if __name__ == "__main__":
    main()
