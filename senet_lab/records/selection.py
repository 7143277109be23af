"""Runs chosen by the values of their configs: `activation=relu,mish lr=0.001`."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import yaml

from senet_lab.composition.groups import figure_of, option_of
from senet_lab.config import RunConfig, as_plain
from senet_lab.errors import UsageError

Selection = Mapping[str, Sequence[str]]
"""Chosen values by dotted key, as typed; a config group's value is its option's name."""


class Configured(Protocol):
    """A run, planned or recorded."""

    @property
    def directory(self) -> str:
        """Directory relative to the sweep's folder."""

    @property
    def config(self) -> RunConfig:
        """The run's config."""


R = TypeVar("R", bound=Configured)


def select(runs: Sequence[R], selection: Selection) -> list[R]:
    """The runs with one of the chosen values at each key, in their order.

    Raises:
        UsageError: a key that no run has, or no match; the message lists the existing values.
    """
    chosen = list(runs)
    for key, values in selection.items():
        known = [(run, _value(run.config, key)) for run in chosen]
        chosen = [run for run, value in known if any(_equal(value, text) for text in values)]
        if not chosen:
            there = ", ".join(dict.fromkeys(str(value) for _, value in known if value is not None))
            hint = f"there is {there}" if there else f"none has {key}"
            raise UsageError(f"{key}={','.join(values)}: no such run here; {hint}")
    return chosen


def _value(config: RunConfig, key: str) -> Any:
    """The value at a dotted key, for a config group its option's name; None if there is none."""
    if key == "figure":
        return figure_of(config)
    value: Any = as_plain(config)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return option_of(key, value) if isinstance(value, dict) else value


def _equal(value: Any, text: str) -> bool:
    """Whether `text` denotes `value`; `1e-3` denotes 0.001."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) == text or value == yaml.safe_load(text)
    try:
        return float(text) == value
    except ValueError:
        return False
