"""Runs chosen by the values of their configs: `activation=relu,mish lr=0.001`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import yaml

from senet_lab.composition.command import Choice
from senet_lab.composition.explain import did_you_mean
from senet_lab.composition.groups import figure_of, option_of, options
from senet_lab.config import RunConfig, as_plain
from senet_lab.errors import UsageError

Selection = Mapping[str, Choice]
"""Chosen values by dotted key."""

MOST_LISTED = 20
"""Maximal number of values that a message lists."""


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
    """The runs of a sweep with one of the chosen values at each key, in their order.

    Raises:
        UsageError: see `require_values` and `narrow`.
    """
    require_values(runs, selection)
    return narrow(runs, selection)


def require_values(runs: Sequence[Configured], selection: Selection) -> None:
    """Refuse a value that no run has, whatever the other keys select; of a glob, one that matches suffices.

    Raises:
        UsageError: naming the values that no run has, and the existing ones.
    """
    for key, choice in selection.items():
        there = _distinct(runs, key)
        absent = [text for text in dict.fromkeys(choice.values) if not _matching(there, [text])]
        if absent and not (choice.is_glob and len(absent) < len(choice.values)):
            raise UsageError(_refusal(key, absent, there))


def narrow(runs: Sequence[R], selection: Selection) -> list[R]:
    """The runs with one of the chosen values at each key, of which other runs may have some, in their order.

    Raises:
        UsageError: no match; the message lists the values of the runs that the keys before select.
    """
    chosen = list(runs)
    for key, choice in selection.items():
        there = _distinct(chosen, key)
        matching = _matching(there, choice.values)
        chosen = [run for run in chosen if str(_value(run.config, key)) in matching]
        if not chosen:
            raise UsageError(_refusal(key, choice.values, there))
    return chosen


def _distinct(runs: Iterable[Configured], key: str) -> dict[str, Any]:
    """The values at a dotted key, by their text."""
    values = (_value(run.config, key) for run in runs)
    return {str(value): value for value in values}


def _matching(there: Mapping[str, Any], texts: Iterable[str]) -> set[str]:
    """The values, as keys of `there`, that one of the texts denotes."""
    return {name for text in texts for name, value in there.items() if _equal(value, text)}


def _refusal(key: str, texts: Sequence[str], there: Mapping[str, Any]) -> str:
    """The message for values that no run has."""
    known = [name for name, value in there.items() if value is not None]
    names = options(key)
    misspelt = [text for text in texts if names and text not in names]
    hint = next(filter(None, (did_you_mean(text, known) for text in misspelt)), "")
    found = f"there is {_listed(known, ', ')}" if known else f"none has {key}"
    return f"{key}={_listed(texts, ',')}: no such run here; {hint}{found}"


def _listed(texts: Sequence[str], separator: str) -> str:
    more = len(texts) - MOST_LISTED
    return separator.join([*texts[:MOST_LISTED], *([f"… ({more} more)"] if more > 0 else [])])


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
