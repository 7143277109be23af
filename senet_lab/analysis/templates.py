"""Figure and line of each run, from templates over its config, and the axes that templates omit.

Only this module decides which runs share a figure or a line. It does not import pandas, which is slow.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from senet_lab.composition.command import register_resolvers
from senet_lab.composition.groups import option_of
from senet_lab.config import FiguresConfig, RunConfig, check_name, comparable, plain_value
from senet_lab.dotted import leaves
from senet_lab.errors import UsageError
from senet_lab.records.plan import NOT_RESULTS
from senet_lab.records.selection import Configured
from senet_lab.text import label, literal

TELLING = ("name", "label", "_target_")
"""Identifying keys of a node, in order of preference."""


@dataclass(frozen=True)
class Place:
    """Figure and line of a run: the resolved templates."""

    figure: str
    title: str
    line: str
    order: float = float("inf")
    """Position in the legend; lines without one come last."""
    color: str | None = None
    """`#rrggbb`, or None for the palette."""


def places(runs: Sequence[Configured], templates: FiguresConfig) -> list[Place]:
    """The place of each run.

    If runs on one line differ in more than the seed, the labels of all lines of their figure name the axes in
    which they differ.

    Args:
        runs: runs of one sweep.
        templates: `name`, `title`, `line` and `style` with their interpolations unresolved.

    Raises:
        UsageError: a template that a run's config cannot resolve; a figure with two titles; two lines of one
            colour.
    """
    texts = {key: json.dumps(getattr(templates, key)) for key in ("name", "title", "line", "style")}
    together = "".join(texts.values())
    known: dict[str, Place] = {}  # by the values that the templates mention, which many runs share
    filled = []
    for run in runs:
        key = repr(_values(run.config, together))
        if key not in known:
            known[key] = _place(run, texts)
        filled.append(known[key])
    _check_titles(filled)
    _check_colors(filled)
    members: dict[str, dict[str, list[int]]] = {}
    for index, place in enumerate(filled):
        members.setdefault(place.figure, {}).setdefault(place.line, []).append(index)
    for lines in members.values():
        axes = [axis for line in lines.values() for axis in _axes([runs[index] for index in line])]
        for index in [index for line in lines.values() for index in line] if axes else ():
            values = _results_depend_on(runs[index])
            named = [_axis(key, values[key]) for key in dict.fromkeys(axes) if key in values]
            filled[index] = replace(filled[index], line=label(", ".join([filled[index].line, *named])))
    return filled


R = TypeVar("R", bound=Configured)


def whole_figures_first(runs: Sequence[R], templates: FiguresConfig) -> list[R]:
    """The runs grouped by figure, in order of first appearance of figures and runs.

    Raises:
        UsageError: a `name` that a run's config cannot resolve.
    """
    text = {"name": json.dumps(templates.name)}
    members: dict[str, list[R]] = {}
    for run in runs:
        members.setdefault(str(_fill_in(run, text)["name"]), []).append(run)
    return [run for figure in members.values() for run in figure]


def _place(run: Configured, templates: Mapping[str, str]) -> Place:
    values = _fill_in(run, templates)
    check_name("figures.name", str(values["name"]))
    style = values["style"]
    given = {} if style is None else {"order": _checked_style(style)["order"], "color": style["color"]}
    return Place(str(values["name"]), label(str(values["title"])), label(str(values["line"])), **given)


def _fill_in(run: Configured, templates: Mapping[str, str]) -> dict[str, Any]:
    """Templates, each as JSON by its key, resolved with a run's values."""
    try:
        return {
            key: _filled(key, text, json.dumps(_values(run.config, text), default=plain_value))
            for key, text in templates.items()
        }
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"figures: {run.directory} cannot fill in a template: {reason}") from error


def _values(config: RunConfig, template: str) -> dict[str, Any]:
    """The values of a config that a template mentions."""
    values = {}
    for name, keys in _mentioned(template).items():
        value = getattr(config, name)
        some = keys and isinstance(value, dict)
        values[name] = {key: value[key] for key in keys if key in value} if some else value
    return values


@cache
def _mentioned(template: str) -> dict[str, list[str]]:
    """The fields of a run's config that a template mentions; for a node, the keys of it, none for all."""
    names = [field.name for field in fields(RunConfig)]
    found = {name: re.findall(rf"\b{name}\b(?:\.(\w+))?", template) for name in names}
    return {name: keys if all(keys) else [] for name, keys in found.items() if keys}


@cache  # because OmegaConf is slow, and a template mentions few values
def _filled(key: str, template: str, config: str) -> Any:
    register_resolvers()
    node = OmegaConf.create({**literal(json.loads(config)), "figures": {key: json.loads(template)}})
    return cast(dict[str, Any], OmegaConf.to_container(node.figures, resolve=True))[key]


def _checked_style(style: object) -> Mapping[str, Any]:
    if (
        isinstance(style, Mapping)
        and isinstance(style.get("order"), int | float)
        and re.fullmatch(r"#[0-9A-Fa-f]{6}", str(style.get("color")))
    ):
        return style
    raise UsageError(f"figures.style={style}: a style is {{order: <number>, color: '#rrggbb'}}, or null")


def _check_titles(filled: Sequence[Place]) -> None:
    titles: dict[str, str] = {}
    for place in filled:
        if titles.setdefault(place.figure, place.title) != place.title:
            raise UsageError(
                f"figure {place.figure} would have two titles, {titles[place.figure]!r} and {place.title!r}: "
                "tell them apart in figures.name, or give figures.title what they share"
            )


def _check_colors(filled: Sequence[Place]) -> None:
    owners: dict[str, str] = {}
    for place in filled:
        if place.color is not None and owners.setdefault(place.color.upper(), place.line) != place.line:
            raise UsageError(
                f"{owners[place.color.upper()]} and {place.line} would share the colour {place.color}: "
                "figures.style=null gives each line its own"
            )


def _axes(runs: Sequence[Configured]) -> list[str]:
    """The dotted keys, apart from the seed, in which runs of one line differ; mostly none.

    Of a node, only its identifying keys; keys that these determine are left out.
    """
    results = [_RESULTS(run.config) for run in runs]
    if all(one == results[0] for one in results):  # as nearly always, and a tenth of the time of the rest
        return []
    configs = [comparable(run.config) for run in runs]
    rest = [{key: value for key, value in config.items() if _is_result(key)} for config in configs]
    if all(one == rest[0] for one in rest):
        return []
    values = [_results_depend_on(run) for run in runs]
    keys = dict.fromkeys(key for one in values for key in one)
    varying = [key for key in keys if _kinds(values, [key]) > 1]
    chosen: list[str] = []
    for key in sorted(varying, key=_preference):
        of_node = [other for other in chosen if other.split(".")[0] == key.split(".")[0]]
        if _kinds(values, [*of_node, key]) > _kinds(values, of_node):
            chosen.append(key)
    return sorted(chosen, key=varying.index)


def _kinds(values: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    """Number of distinct combinations of these keys' values."""
    return len({repr([one.get(key) for key in keys]) for one in values})


def _preference(key: str) -> int:
    """Position of a key's last part in `TELLING`."""
    last = key.split(".")[-1]
    return TELLING.index(last) if last in TELLING else len(TELLING)


def _axis(key: str, value: Any) -> str:
    """An axis in command-line syntax."""
    node, _, last = key.rpartition(".")
    if last == "_target_":
        return f"{node}={value.rpartition('.')[2]}"
    return f"{node}={value}" if last in TELLING and node else f"{key}={value}"


def _is_result(key: str) -> bool:
    """Whether a field of a config distinguishes lines."""
    return key not in ("seed", *NOT_RESULTS)


_RESULTS = attrgetter(*(field.name for field in fields(RunConfig) if _is_result(field.name)))


def _results_depend_on(run: Configured) -> dict[str, Any]:
    """The values that runs of one line share, by dotted key; nodes without a name get their option's name."""
    values: dict[str, Any] = {}
    for key, value in leaves(comparable(run.config)):
        group, _, last = key.partition(".")
        if last == "_target_" and (name := option_of(group, getattr(run.config, group))) is not None:
            values[f"{group}.name"] = name
        if _is_result(group):
            values[key] = value
    return values
