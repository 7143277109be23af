"""Overrides in Hydra's syntax: fixed values and swept axes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Transformer
from hydra.errors import HydraException

from senet_lab.composition.groups import is_group, options
from senet_lab.errors import UsageError

MOST = 1_000_000
"""Maximal number of values of an axis."""

NEEDED = (
    "hydra/launcher", "model", "activation", "se", "dataset", "augment", "optimizer", "schedule", "tracker",
)  # fmt: skip
"""Config groups that require an option."""


@dataclass(frozen=True)
class Axis:
    """A key with its overrides: several if it is swept."""

    key: str
    line: str
    """The override as typed."""
    overrides: list[str]
    values: list[Any]
    """The values as Hydra parses them: an option's name, a number, a list."""
    is_group: bool
    is_glob: bool
    """Whether the values are the options that a glob matches."""

    @property
    def is_swept(self) -> bool:
        """Whether the axis has several values."""
        return len(self.overrides) > 1

    @property
    def choices(self) -> dict[str, Any]:
        """The values, by override."""
        return dict(zip(self.overrides, self.values, strict=True))


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides.

    Raises:
        UsageError: a syntax error in Hydra's grammar.
    """
    return [_parse(_literal(override)) for override in overrides]


def is_swept(overrides: Sequence[str]) -> bool:
    """Whether any key has several values.

    Raises:
        UsageError: see `parse`.
    """
    return any(override.is_sweep_override() for override in parse(overrides))


def _parse(override: str) -> Override:
    try:
        parsed = _parser().parse_override(override)
    except (HydraException, ValueError) as error:  # of a number with thousands of digits
        right = "quote a text with spaces or special characters" if "=" in override else "write key=value"
        raise UsageError(f"{override}: {' '.join(str(error).split())}; {right}") from error
    if not parsed.key_or_group:
        raise UsageError(f"{override}: lacks a key; write key=value")
    return parsed


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _literal(override: str) -> str:
    """Escape an `=` in a plain value, or quote a value with `${…}`, for Hydra's grammar.

    Paths of run directories and templates of lines contain it.
    """
    key, _, value = override.partition("=")
    if "=" in value and "${" in value and not set(value) & set("\\'\"[]()") and value[0] != "{":
        return f"{key}='{value}'"
    if "=" in value and not set(value) & set("\\'\"[]{}()"):
        return f"{key}={value.replace('=', chr(92) + '=')}"
    return override


def axes_of(overrides: Sequence[Override], folders: Sequence[Path]) -> dict[str, Axis]:
    """The axes of a sweep by key; a later override of a key replaces an earlier one.

    Args:
        overrides: in order of precedence, the last one wins.
        folders: folders of config groups.

    Raises:
        UsageError: a sweep without values, or whose values cannot be listed; an option whose path leads out
            of the config tree.
    """
    axes: dict[str, Axis] = {}
    for override in overrides:
        key = override.get_key_element()
        group = is_group(override.key_or_group, folders)
        if override.is_sweep_override():
            swept = _swept(override, folders)
            texts = [f"{key}={Transformer.str(value)}" for value in swept]
            values = [_unquoted(value, text) for value, text in zip(swept, texts, strict=True)]
        else:
            texts, values = [override.input_line or key], [override.value()]
        if group:
            if values == [None] and not override.is_delete() and override.key_or_group in NEEDED:
                known = ", ".join(options(override.key_or_group, *folders[1:]))
                raise UsageError(f"{override.input_line}: a run needs one of {known}")
            _check_names(override.key_or_group, values, folders)
        is_glob = isinstance(override.value(), Glob)
        axes[key] = Axis(key, override.input_line or key, texts, values, group, is_glob)
    return axes


def _check_names(group: str, names: Sequence[Any], folders: Sequence[Path]) -> None:
    for name in names:
        parts = name.split("/") if isinstance(name, str) else []
        is_path = ".." in parts or "" in parts or any("\0" in part for part in parts)
        is_value = isinstance(name, dict) or (
            isinstance(name, list) and not all(isinstance(one, str) for one in name)
        )
        if is_path or is_value:
            known = ", ".join(options(group, *folders[1:]))
            raise UsageError(f"{group}={name}: an option's name, not a path or a value; one of {known}")


def _swept(override: Override, folders: Sequence[Path]) -> list[Any]:
    """The values that an override sweeps over."""
    line, key = override.input_line, override.key_or_group
    value = override.value()
    if isinstance(value, Glob):
        if not is_group(key, folders):
            raise UsageError(f"{line}: glob chooses among the options of a group, but {key} is a value")
        known = [name for name in options(key, *folders[1:]) if "/" not in name]
        values = value.filter(known)
        if not values:
            raise UsageError(f"{line}: matches none of {', '.join(known)}")
        return values
    if not override.is_discrete_sweep():
        raise UsageError(f"{line}: only lists and ranges of values can be swept, such as {key}=a,b")
    try:
        values = list(itertools.islice(override.sweep_iterator(), MOST + 1))
    except (HydraException, ValueError, ArithmeticError) as error:
        raise UsageError(f"{line}: {' '.join(str(error).split())}") from error
    if not 0 < len(values) <= MOST:
        count = f"more than {MOST:,}" if values else "no"
        raise UsageError(f"{line}: has {count} values to sweep over")
    return values


def _unquoted(value: Any, override: str) -> Any:
    """An element of a sweep as the value of its own override."""
    return value if isinstance(value, bool | int | float) else _parse(override).value()
