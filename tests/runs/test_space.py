"""Trials, rungs and their cost against numbers by hand."""

import math

import pytest

from senet_lab.config import ProtocolConfig, Sampling, Tuning
from senet_lab.records.trials import borders
from senet_lab.runs.space import epochs_of, rungs, trials, widened


def declared(**values: object) -> ProtocolConfig:
    fields = {"space": {"lr": [1e-4, 1e-1]}, "trials": 7, "tuning_seeds": [0], "confirmation_seeds": [1, 2]}
    return ProtocolConfig(**{"baseline": "relu", **fields, **values})  # type: ignore[arg-type]


def rates(points: list[tuple[tuple[str, float], ...]]) -> list[float]:
    return [dict(point)["lr"] for point in points]


def test_a_grid_is_evenly_spaced_on_a_logarithmic_scale_with_its_bounds() -> None:
    assert rates(trials(declared())) == [1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2, 1e-1]


def test_a_grid_of_two_axes_is_their_product() -> None:
    space = {"lr": [1e-3, 1e-1], "optimizer.weight_decay": [1e-5, 1e-4]}
    points = trials(declared(space=space, trials=3))
    assert len(points) == 9
    assert points[0] == (("lr", 1e-3), ("optimizer.weight_decay", 1e-5))
    assert points[-1] == (("lr", 1e-1), ("optimizer.weight_decay", 1e-4))


def test_quasi_random_trials_fill_the_space_and_are_the_same_each_time() -> None:
    points = rates(trials(declared(sampling=Sampling.quasi_random, trials=8)))
    assert points == rates(trials(declared(sampling=Sampling.quasi_random, trials=8)))
    eighths = {int(8 * (math.log10(rate) + 4) / 3) for rate in points}
    assert len({*points}) == 8
    assert len(eighths) >= 7, "about one in each eighth of the scale"
    assert all(1e-4 <= rate <= 1e-1 for rate in points)


@pytest.mark.parametrize(
    ("sides", "expected"),
    [([("lr", "low")], [1e-5, 3.16e-5]), ([("lr", "high")], [0.316, 1.0]), ([], [])],
)
def test_a_grid_is_widened_by_its_own_step(sides: list, expected: list[float]) -> None:
    assert rates(widened(declared(), sides)) == expected


def test_a_quasi_random_space_is_widened_by_a_third_of_its_width() -> None:
    points = rates(widened(declared(sampling=Sampling.quasi_random), [("lr", "high")]))
    assert len(points) == 2
    assert all(0.1 <= rate <= 1.0 for rate in points)


def test_borders_are_those_of_the_trials_that_were_tried() -> None:
    tried = [(("lr", lr), ("decay", decay)) for lr in (0.1, 0.2, 0.3) for decay in (1.0, 2.0, 3.0)]
    middle, corner = (("lr", 0.2), ("decay", 2.0)), (("lr", 0.3), ("decay", 1.0))
    assert borders([middle], tried) == []
    assert borders([middle, corner], tried) == [("lr", "high"), ("decay", "low")]


def test_halving_nine_rates_costs_as_much_as_three_whole_ones() -> None:
    ladder = rungs(9, 27, Tuning.halving)
    assert ladder == [(3, 9), (9, 3), (27, 2)]
    assert epochs_of(ladder) == 3 * 27


def test_two_trials_have_one_rung_and_full_tuning_always() -> None:
    assert rungs(1, 10, Tuning.halving) == [(10, 1)]  # beyond a border
    assert rungs(2, 10, Tuning.halving) == [(10, 2)]
    assert rungs(9, 10, Tuning.full) == [(10, 9)]
    assert rungs(7, 5, Tuning.halving) == [(1, 7), (5, 2)]
