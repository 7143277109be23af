"""The two tunings whose cost is compared: what each chooses and what it costs, by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from senet_lab.composition.command import compose_command
from senet_lab.config import Tuning

ROOT = Path(__file__).parents[1]


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    import verdict_cost

    return verdict_cost


def test_halving_drops_a_trial_that_learns_slowly(cost: Any) -> None:
    learning = np.array([[0.9] * 9, *([0.5 - 0.01 * trial] * 9 for trial in range(8))])
    validation = learning.copy()
    validation[0, -1] = 0.0  # the best in the end, and the slowest before
    assert cost.choice(learning, validation, Tuning.full) == 0
    assert cost.choice(learning, validation, Tuning.halving) == 8
    validation[7, -1] = 0.1  # two are left on the last rung
    assert cost.choice(learning, validation, Tuning.halving) == 7


def test_regret_is_what_a_choice_costs_by_the_errors_that_full_tuning_sees(cost: Any) -> None:
    rows = [
        ("net", "relu", lr, seed, epoch, top1, top1)
        for seed, values in ((0, (0.7, 0.8, 0.6)), (1, (0.9, 0.8, 0.6)))
        for lr, top1 in zip((0.01, 0.1, 1.0), values, strict=True)
        for epoch in range(3)
    ]
    names = ["model", "activation", "lr", "seed", "epoch", "train_top1", "val_top1"]
    found = cost.choices(pd.DataFrame(rows, columns=names), 3).set_index(["rule", "seeds"])
    another = found.loc["full, another seed", 1]
    assert (another["repetitions"], another["same"]) == (2, 0)
    assert (another["mean_regret"], another["highest_regret"]) == pytest.approx((10, 10))
    halving = found.loc["halving, training error", 1]
    assert (halving["repetitions"], halving["same"], halving["mean_regret"]) == (2, 2, 0)


def test_the_documented_choices_are_those_of_the_recorded_curves(cost: Any) -> None:
    curves = pd.read_csv(ROOT / "docs" / "results" / "verdict_digits" / "curves.csv")
    documented = (ROOT / "docs" / "statistics.md").read_text("utf-8")
    for line in cost.markdown(cost.choices(curves, 5)).splitlines():
        assert line in documented


def test_passes_by_hand(cost: Any) -> None:
    declared = compose_command("train", ["experiment=verdict"], multirun=True).config.protocol
    nine = replace(declared, trials=9)
    # 12 arms, 3 tuning and 10 confirmation seeds; 9 trials × 9 epochs, or 9 × 1 + 3 × 2 + 2 × 6.
    assert cost.passes(nine, 12, 9, 100, Tuning.full) == (12 * 3 * 81 * 100, 12 * 10 * 9 * 100)
    assert cost.passes(nine, 12, 9, 100, Tuning.halving) == (12 * 3 * 27 * 100, 12 * 10 * 9 * 100)
