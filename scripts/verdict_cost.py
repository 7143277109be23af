#!/usr/bin/env python
"""The cost of a verdict on `digits`: full tuning against successive halving, and how often they choose alike.

    .venv/bin/python scripts/verdict_cost.py                image passes
    .venv/bin/python scripts/verdict_cost.py curves.csv     and the choices by recorded curves

Image passes are training images times epochs. A run of halving is the beginning of the full one, since the
learning rate is constant: both rules choose from the same recorded curves, and nothing is trained.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pandas as pd

from senet_lab.build import build_dataset
from senet_lab.composition.command import compose_command
from senet_lab.config import ProtocolConfig, Tuning
from senet_lab.runs.space import epochs_of, rungs, trials

ARMS = 12
CASES = ((7, 5), (9, 9), (9, 27), (27, 27))
"""Trials and epochs: those of `experiment=verdict`, and those with three rungs and four."""
LENGTHS = (5, 9, 27)
"""Epochs of a run, where curves are given."""


def choice(learning: np.ndarray, validation: np.ndarray, tuning: Tuning) -> int:
    """The trial that a tuning chooses, by the rules of a comparison; of equal ones the first.

    Args:
        learning: training error of each trial after each epoch, the tuning seeds' mean, (trials, epochs).
        validation: the same of the validation images.
        tuning: full, or by halving.
    """
    count, whole = validation.shape
    left, ladder = np.arange(count), rungs(count, whole, tuning)
    for (epochs, _), (_, kept) in pairwise(ladder):
        left = np.sort(left[np.argsort(learning[left, epochs - 1], kind="stable")[:kept]])
    return int(left[np.argmin(validation[left, -1])])


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


def costs(declared: ProtocolConfig, images: int) -> pd.DataFrame:
    """Passes of both tunings, for each of `CASES`."""
    rows = []
    for count, epochs in CASES:
        space = replace(declared, trials=count)
        (full, confirm), (halved, _) = (passes(space, ARMS, epochs, images, tuning) for tuning in Tuning)
        rows.append(
            {
                "trials": count,
                "epochs": epochs,
                "full tuning": f"{full:,}",
                "halving": f"{halved:,}",
                "times fewer": f"{full / halved:.2f}",
                "confirmation": f"{confirm:,}",
                "in all, times fewer": f"{(full + confirm) / (halved + confirm):.2f}",
            }
        )
    return pd.DataFrame(rows)


def repetitions(curves: pd.DataFrame, epochs: int) -> Iterator[dict[str, object]]:
    """Choices of each activation's learning rate, compared with full tuning's.

    By halving, with all seeds as with each one, trials promoted by training error (the rule) or by validation
    error; and by full tuning with one seed, for another.

    Args:
        curves: columns `model`, `activation`, `lr`, `seed`, `epoch` (from 0), `train_top1` and `val_top1`.
        epochs: of a whole run.

    Returns:
        Rows with the `network`, the `rule`, the `seeds` of a tuning, whether the choice is the `same` as full
        tuning's, and its `regret`: by how many points its validation error is higher.
    """
    begun = curves[curves["epoch"] < epochs]
    for (network, _), runs in begun.groupby(["model", "activation"]):
        errors = {"training": _errors(runs, "train_top1"), "validation": _errors(runs, "val_top1")}
        count = len(errors["validation"])
        alone = [[seed] for seed in range(count)]
        for seeds, tunings in ((count, [list(range(count))]), (1, alone)):
            for images in errors:
                for tuning in tunings:
                    validation = errors["validation"][tuning].mean(axis=0)
                    chosen = choice(errors[images][tuning].mean(axis=0), validation, Tuning.halving)
                    found = _against_full(validation, chosen)
                    yield {"network": network, "rule": f"halving, {images} error", "seeds": seeds, **found}
        for one, other in permutations(errors["validation"], 2):
            found = _against_full(other, int(np.argmin(one[:, -1])))
            yield {"network": network, "rule": "full, another seed", "seeds": 1, **found}


def _errors(runs: pd.DataFrame, accuracy: str) -> np.ndarray:
    """Errors of (seeds, trials, epochs)."""
    seeds, rates = runs["seed"].nunique(), runs["lr"].nunique()
    table = runs.pivot_table(index=["seed", "lr"], columns="epoch", values=accuracy)
    return 1 - table.to_numpy().reshape(seeds, rates, -1)


def _against_full(validation: np.ndarray, chosen: int) -> dict[str, object]:
    last = validation[:, -1]
    best = int(np.argmin(last))
    return {"same": chosen == best, "regret": 100 * (last[chosen] - last[best])}


def choices(curves: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """`repetitions` by network, rule and seeds: their number, that of the same choices, regret in points."""
    groups = pd.DataFrame(repetitions(curves, epochs)).groupby(["network", "rule", "seeds"], sort=False)
    found = groups.agg(
        repetitions=("same", "size"),
        same=("same", "sum"),
        mean_regret=("regret", "mean"),
        highest_regret=("regret", "max"),
    )
    return found.reset_index()


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown."""
    head = [" | ".join(table), " | ".join("---" for _ in table)]
    text = table.map(lambda value: f"{value:.2f}" if isinstance(value, float) else str(value))
    return "\n".join(f"| {line} |" for line in [*head, *text.apply(" | ".join, axis="columns")])


def main() -> None:
    """Print the passes and, for recorded curves, the choices."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("curves", nargs="*", help="CSV files with the columns of `repetitions`")
    options = parser.parse_args()
    config = compose_command("train", ["experiment=verdict"], multirun=True).config
    assert config.protocol is not None
    print(markdown(costs(config.protocol, build_dataset(config.dataset).train_images)))
    for file in options.curves:
        curves = pd.read_csv(file)
        for epochs in (epochs for epochs in LENGTHS if epochs <= 1 + curves["epoch"].max()):
            print(f"\n{file}, {epochs} epochs\n\n{markdown(choices(curves, epochs))}")


if __name__ == "__main__":
    main()
