"""Search space of a comparison's tuning: trials, rungs and cost."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from senet_lab.config import ProtocolConfig, Sampling, Tuning
from senet_lab.records.trials import Side, Trial

ETA = 3
"""Factor of successive halving: the best third of the trials gets three times as many epochs."""
DIGITS = 3
"""Significant digits of a trial's values."""
WIDENING = 3
"""A border is widened by the space's logarithmic width divided by this."""

Rung = tuple[int, int]
"""Epochs of training, and number of trials."""


def trials(declared: ProtocolConfig) -> list[Trial]:
    """The trials of the declared space, the lowest values first."""
    if declared.sampling is Sampling.grid:
        return _product(_grid(declared))
    return _quasi_random(declared.space, declared.trials)


def widened(declared: ProtocolConfig, sides: Iterable[Side]) -> list[Trial]:
    """Trials beyond the borders, with the spacing of the space: a third as many for each border.

    Args:
        declared: the space.
        sides: the borders at which a best trial lies.
    """
    found: list[Trial] = []
    count = max(1, round(declared.trials / WIDENING))
    for key, end in sides:
        low, high = declared.space[key]
        if declared.sampling is Sampling.grid:
            step = (high / low) ** (1 / (declared.trials - 1))
            powers = step ** np.arange(1, count + 1)
            beyond = (low / powers)[::-1] if end == "low" else high * powers
            found += _product({**_grid(declared), key: beyond})
        else:
            factor = (high / low) ** (1 / WIDENING)
            bounds = [low / factor, low] if end == "low" else [high, high * factor]
            found += _quasi_random({**declared.space, key: bounds}, count)
    return list(dict.fromkeys(found))


def rungs(count: int, epochs: int, tuning: Tuning) -> list[Rung]:
    """The rungs of the tuning; a single one for full tuning.

    Args:
        count: trials at the start.
        epochs: epochs of the last rung, at least 3^(rungs − 1).
        tuning: full, or by halving: n trials make 1 + ⌊log₃ n⌋ rungs.
    """
    last = 0
    while tuning is Tuning.halving and ETA ** (last + 1) <= count:
        last += 1
    return [(epochs // ETA ** (last - rung), count // ETA**rung) for rung in range(last + 1)]


def epochs_of(ladder: Sequence[Rung]) -> int:
    """Total epochs of a ladder's trials, each rung resumed from the previous one."""
    before = [0, *(epochs for epochs, _ in ladder)]
    return sum((epochs - done) * count for (epochs, count), done in zip(ladder, before, strict=False))


def _grid(declared: ProtocolConfig) -> dict[str, np.ndarray]:
    return {key: np.geomspace(low, high, declared.trials) for key, (low, high) in declared.space.items()}


def _product(axes: Mapping[str, np.ndarray]) -> list[Trial]:
    rounded = (dict.fromkeys(map(_rounded, values)) for values in axes.values())
    points = itertools.product(*rounded)
    return [tuple(zip(axes, point, strict=True)) for point in points]


def _quasi_random(space: Mapping[str, Sequence[float]], count: int) -> list[Trial]:
    """Halton's points, log-uniform, without the sequence's first one, a corner of the space."""
    from scipy.stats import qmc  # half a second, which other commands need not wait for

    low, high = np.log(list(space.values())).T
    points = qmc.Halton(len(space), scramble=False).fast_forward(1).random(count)
    values = np.exp(qmc.scale(points, low, high))
    return sorted({tuple(zip(space, map(_rounded, point), strict=True)) for point in values})


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
