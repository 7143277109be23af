#!/usr/bin/env python
"""Learning curves of this project's training beside those of the benchmark's plain loop, over several seeds.

    .venv/bin/python scripts/learning_curves.py cifar10.npz --images 5000 1000 --epochs 2

Both start from the same weights; order and augmentation are drawn by each in its own way. The table of test
top-1 goes to `docs/results/learning_curves.md`.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from benchmark import BATCH, ROOT, Rival, compose_case, machine, write_data

from senet_lab.config import RunConfig
from senet_lab.training.turns import finish
from senet_lab.training.unrecorded import unrecorded


def fast_curve(config: RunConfig, epochs: int) -> list[float]:
    """Test top-1 after each epoch of this project's training."""
    with unrecorded(config, torch.get_num_threads()) as training:
        metrics = [finish(training.epoch(lambda: False)) for _ in range(epochs)]
    return [epoch.test_top1 for epoch in metrics if epoch is not None and epoch.test_top1 is not None]


def plain_curve(config: RunConfig, epochs: int) -> list[float]:
    """Test top-1 after each epoch of the plain loop."""
    torch.manual_seed(config.seed)
    rival = Rival(config, torch.device(config.trainer.device))
    curve = []
    for _ in range(epochs):
        rival.train(lambda: None)
        rival.test()
        curve.append(rival.top1)
    return curve


def table(curves: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    """Mean and sample standard deviation of each epoch, both ways, and their difference."""
    lines = ["| epoch | fast | plain | difference | its standard error |", "|---|---|---|---|---|"]
    for epoch in range(len(curves["fast"][0])):
        fast, plain = ([curve[epoch] for curve in curves[way]] for way in ("fast", "plain"))
        spread = (statistics.variance(fast) + statistics.variance(plain)) / len(fast)
        cells = [f"{statistics.mean(way):.4f} ± {statistics.stdev(way):.4f}" for way in (fast, plain)]
        difference = statistics.mean(fast) - statistics.mean(plain)
        lines.append(f"| {epoch} | {' | '.join(cells)} | {difference:+.4f} | {spread**0.5:.4f} |")
    return lines


def main() -> None:
    """Train both ways and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", nargs=2, type=int, default=(5000, 1000), metavar=("TRAIN", "TEST"))
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="published/mobilenetv2")
    parser.add_argument("--activation", default="relu")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(options.data, Path(folder), *options.images)
        curves: dict[str, list[list[float]]] = {"fast": [], "plain": []}
        for seed in range(options.seeds):
            config = replace(compose_case(options.model, options.activation, data, options.device), seed=seed)
            curves["fast"].append(fast_curve(config, options.epochs))
            curves["plain"].append(plain_curve(config, options.epochs))
            print(seed, curves["fast"][-1], curves["plain"][-1], flush=True)
    about = machine(options.device, torch.get_num_threads())
    train, test = options.images
    lines = [
        f"# Learning curves, fast and plain: {options.model}, {options.activation}",
        "",
        f"Made by `scripts/learning_curves.py` on {about['date']}: {about['device']}, "
        f"torch {about['torch']}. The first {train:,} training and {test:,} test images of "
        f"`{options.data.name}`, batch {BATCH}, "
        f"{options.seeds} seeds; test top-1, mean ± sample standard deviation.",
        "",
        *table(curves),
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "learning_curves.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
