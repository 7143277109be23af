"""Configs that differ in plain values and in options that stand alone: composed once for all of them.

Hydra takes a tenth of a second to compose a config, OmegaConf a hundredth to resolve one. Of 10,000 runs few
need the first, and where nothing refers to the values that differ, not the second either.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, cast

from omegaconf import MISSING, DictConfig, OmegaConf

REFERENCE = re.compile(r"\$\{[\w.]+\}")
"""An interpolation that names its key."""
FUNCTION = re.compile(r"\$\{(?:power|stem|oc\.env):[^${}]*\}")
"""A resolver that reads nothing but its arguments."""

Axes = Mapping[str, Mapping[str, Any]]
"""For each key that is swept its values, by override; an option's content is a DictConfig."""


class Variants:
    """Runs whose configs differ in `axes` alone.

    Args:
        node: their config, interpolations unresolved, groups of the axes empty.
        axes: groups before values.
    """

    def __init__(self, node: DictConfig, axes: Axes) -> None:
        self._node = node
        self._axes = axes
        self._free = _independent(node, axes)
        self._scratch = node.copy()
        self._values: dict[str, Any] = {}
        self._resolved: dict[tuple[str, ...], dict[str, Any]] = {}

    def config(self, overrides: Mapping[str, str]) -> dict[str, Any]:
        """The resolved config of one run, which shares with other runs what is the same.

        Args:
            overrides: of each key of the axes the one to take.
        """
        bound = tuple(overrides[key] for key in self._axes if key not in self._free)
        if bound not in self._resolved:
            node = self._node.copy()
            for key, values in self._axes.items():
                _set(node, key, values[overrides[key]])
            self._resolved[bound] = plain_values(node)
        config = self._resolved[bound]
        for key in self._free:
            config = _replaced(config, key.split("."), self._value(key, overrides[key]))
        return config

    def _value(self, key: str, override: str) -> Any:
        """A value as the resolved config has it, converted to the type of its field."""
        if override not in self._values:
            _set(self._scratch, key, self._axes[key][override])
            value = OmegaConf.select(self._scratch, key)
            if isinstance(value, DictConfig):
                value = plain_values(value)
            self._values[override] = value.name if isinstance(value, Enum) else value
        return self._values[override]


def plain_values(node: DictConfig) -> dict[str, Any]:
    """Interpolations resolved, enums as their names: what JSON and YAML can hold.

    Raises:
        OmegaConfBaseException: a missing value, an interpolation of something that is not there.
    """
    values = OmegaConf.to_container(node, resolve=True, enum_to_str=True, throw_on_missing=True)
    return cast(dict[str, Any], values)


def _set(node: DictConfig, key: str, value: Any) -> None:
    """Put `value` at `key`, as Hydra does: an option for what is there, a dict of values into it."""
    OmegaConf.update(node, key, value, merge=not isinstance(value, DictConfig))


def _independent(node: DictConfig, axes: Axes) -> list[str]:
    """The keys of `axes` whose values change nothing but themselves.

    No interpolation mentions them. One that computes the name of its key might mention any.
    """
    config = OmegaConf.to_container(node)
    choices = [
        OmegaConf.to_container(value) if isinstance(value, DictConfig) else value
        for values in axes.values()
        for value in values.values()
    ]
    text = " ".join(_interpolations([config, choices]))
    if "${" in FUNCTION.sub("", REFERENCE.sub("", text)):
        return []
    mentioned = set(re.findall(r"\w+", text))
    return [
        key
        for key, values in axes.items()
        if mentioned.isdisjoint(key.split("."))
        and not any(other.startswith(f"{key}.") for other in axes)
        and all(map(_is_plain, values.values()))
        and (isinstance(next(iter(values.values())), DictConfig) or _is_plain(_at(config, key.split("."))))
    ]


def _interpolations(values: Any) -> Iterator[str]:
    children = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    for child in children:
        yield from _interpolations(child)
    if isinstance(values, str) and "${" in values:
        yield values


def _at(config: Any, path: Sequence[str]) -> Any:
    """The value at `path`, an empty container where there is none."""
    for name in path:
        if not isinstance(config, dict) or name not in config:
            return {}
        config = config[name]
    return config


def _is_plain(value: Any) -> bool:
    """Whether a value can be set without OmegaConf: a number, a text, an option that is whole."""
    text = str(value)
    return not isinstance(value, dict | list) and "${" not in text and MISSING not in text


def _replaced(config: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """`config` with another value at `path`; what is not on the way is shared."""
    head, *rest = path
    return {**config, head: _replaced(config[head], rest, value) if rest else value}
