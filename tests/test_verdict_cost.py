"""The two tunings whose cost is compared: what each chooses and what it costs, by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from senet_lab.composition.command import compose_command
from senet_lab.config import Tuning


@pytest.fixture
def cost(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "scripts")
    import verdict_cost

    return verdict_cost


def test_halving_drops_a_trial_that_starts_slowly(cost: Any) -> None:
    late = [0.9] * 8 + [0.0]  # worst after one and after three epochs, best in the end
    steady = [[0.5 - 0.01 * trial] * 9 for trial in range(8)]
    assert cost.choice([late, *steady], Tuning.full) == 0
    assert cost.choice([late, *steady], Tuning.halving) == 8
    assert cost.choice(steady, Tuning.full) == cost.choice(steady, Tuning.halving) == 7


def test_passes_by_hand(cost: Any) -> None:
    declared = compose_command("train", ["experiment=verdict"], multirun=True).config.protocol
    nine = replace(declared, trials=9)
    # 12 arms, 3 tuning and 10 confirmation seeds; 9 trials × 9 epochs, or 9 × 1 + 3 × 2 + 1 × 6.
    assert cost.passes(nine, 12, 9, 100, Tuning.full) == (12 * 3 * 81 * 100, 12 * 10 * 9 * 100)
    assert cost.passes(nine, 12, 9, 100, Tuning.halving) == (12 * 3 * 21 * 100, 12 * 10 * 9 * 100)
