#!/usr/bin/env python
"""The cost of a verdict on `digits`: full tuning against successive halving, and how often they choose alike.

    .venv/bin/python scripts/verdict_cost.py                                    image passes; trains nothing
    .venv/bin/python scripts/verdict_cost.py --repetitions 10 --seeds 3         and agreement; two hours
    .venv/bin/python scripts/verdict_cost.py --activations relu tact --repetitions 2

Image passes are training images times epochs. A run of halving is the beginning of the full one, since the
learning rate is constant: each trial is trained to the end once, and both rules choose from its errors.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

import torch

from senet_lab.build import build_dataset
from senet_lab.composition.command import compose_command
from senet_lab.config import ProtocolConfig, RunConfig, Tuning
from senet_lab.runs.space import epochs_of, rungs, trials
from senet_lab.seeding import seed_global
from senet_lab.training.engine import choose_engine
from senet_lab.training.loop import Training
from senet_lab.training.turns import finish

ACTIVATIONS = (
    "relu", "swish", "mish", "tact", "mtact", "gelu", "elu", "selu", "leaky_relu", "hardswish", "softplus",
    "tanh",
)  # fmt: skip

Curves = Sequence[Sequence[float]]
"""Validation error of each trial after each epoch, a mean over the tuning seeds."""


def choice(curves: Curves, tuning: Tuning) -> int:
    """The trial that a tuning chooses, by the rule of a comparison; of equal ones the first."""
    left = list(range(len(curves)))
    ladder = rungs(len(curves), len(curves[0]), tuning)
    for (epochs, _), (_, kept) in zip(ladder, [*ladder[1:], (0, 1)], strict=True):
        left = sorted(left, key=lambda trial: curves[trial][epochs - 1])[:kept]
    return left[0]


def passes(declared: ProtocolConfig, arms: int, epochs: int, images: int, tuning: Tuning) -> tuple[int, int]:
    """Image passes of a comparison: to tune and to confirm.

    Args:
        declared: the comparison's space and seeds.
        arms: number of arms.
        epochs: of a whole run.
        images: trained on in an epoch.
        tuning: full, or by halving.
    """
    ladder = rungs(len(trials(declared)), epochs, tuning)
    each = arms * images
    return (
        each * len(declared.tuning_seeds) * epochs_of(ladder),
        each * len(declared.confirmation_seeds) * epochs,
    )


def table(declared: ProtocolConfig, arms: int, images: int) -> list[str]:
    """Passes of both tunings: as declared, and where halving has three rungs or four."""
    lines = [
        "| trials | epochs | full tuning | halving | times fewer | confirmation | in all, times fewer |",
        f"|{'---|' * 7}",
    ]
    for count, epochs in ((7, 5), (9, 9), (9, 27), (27, 27)):
        space = replace(declared, trials=count)
        (full, confirm), (halved, _) = (passes(space, arms, epochs, images, tuning) for tuning in Tuning)
        cells = [str(count), str(epochs), f"{full:,}", f"{halved:,}", f"{full / halved:.2f}", f"{confirm:,}"]
        lines.append(f"| {' | '.join(cells)} | {(full + confirm) / (halved + confirm):.2f} |")
    return lines


def errors(config: RunConfig) -> list[float]:
    """Validation error after each epoch; of a run that diverges, that of chance from there on."""
    engine = choose_engine(config.trainer)
    with engine.settings(threads=1):
        seed_global(config.seed)
        training = Training(config, engine)
        chance = 1 - 1 / build_dataset(config.dataset).num_classes
        rows = [finish(training.epoch(lambda: False)) for _ in range(config.epochs)]
    found: list[float] = []
    for row in rows:
        assert row is not None
        diverged = found[-1:] == [chance] or not math.isfinite(row.train_loss)
        found.append(chance if diverged or row.val_top1 is None else 1 - row.val_top1)
    return found


def agreement(config: RunConfig, declared: ProtocolConfig, seeds: Sequence[int]) -> tuple[bool, float]:
    """Whether both tunings choose the same trial, and how much more error halving's has, in points."""
    curves = []
    for trial in trials(declared):
        runs = [errors(replace(config, lr=dict(trial)["lr"], seed=seed)) for seed in seeds]
        curves.append([mean(values) for values in zip(*runs, strict=True)])
    full, halved = (choice(curves, tuning) for tuning in (Tuning.full, Tuning.halving))
    return full == halved, 100 * (curves[halved][-1] - curves[full][-1])


def main() -> None:
    """Print the passes and, if asked to, the agreement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--activations", nargs="+", default=ACTIVATIONS)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=1, help="tuning seeds of a repetition")
    parser.add_argument("--repetitions", type=int, default=0)
    options = parser.parse_args()
    words = ["experiment=verdict", f"epochs={options.epochs}", "test=never"]
    command = compose_command("train", [*words, f"activation={','.join(options.activations)}"], multirun=True)
    declared = replace(command.config.protocol, trials=options.trials)
    configs = [point.config for point in command.points]
    images = build_dataset(configs[0].dataset).train_images
    print("\n".join(table(declared, len(configs), images)), flush=True)
    torch.set_num_threads(1)
    found: list[tuple[bool, float]] = []
    for repetition in range(options.repetitions):
        seeds = range(repetition * options.seeds, (repetition + 1) * options.seeds)
        for config in configs:
            found.append(agreement(config, declared, seeds))
            print(repetition, config.activation["name"], *found[-1], flush=True)
    if found:
        same, more = sum(equal for equal, _ in found), mean(error for _, error in found)
        print(f"the same choice in {same} of {len(found)}; the error of halving's is {more:.2f} points more")


if __name__ == "__main__":
    main()
