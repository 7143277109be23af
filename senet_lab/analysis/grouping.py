"""Which runs share a figure and a line: templates from the config, filled in by each run's own config."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, cycle
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from senet_lab.compose import register_resolvers
from senet_lab.config import RunConfig, as_plain, check_name
from senet_lab.errors import UsageError
from senet_lab.records.plan import NOT_RESULTS, read_plan
from senet_lab.records.rows import Metrics, columns
from senet_lab.records.run import RunDirectory, State
from senet_lab.records.survey import living_status
from senet_lab.records.sweep import SweepDirectory

MISSING = "missing"
"""The state of a run that is planned or expected but has not begun."""

# Okabe and Ito's palette for colour-blind readers, "Color Universal Design" (2008), without its yellow,
# which is too faint for a line on white.
PALETTE = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
DASHES = ("solid", "dashed", "dotdash", "dashdot")
"""Told apart by dash once the palette is used up; dotted is kept for published curves."""


@dataclass(frozen=True)
class Run:
    """One run as the figures see it."""

    directory: str
    """Below the sweep's folder."""
    config: RunConfig
    state: str
    """One of `State`, or `MISSING`."""
    metrics: pd.DataFrame
    """The columns of `Metrics`, one row an epoch."""


@dataclass(frozen=True)
class Style:
    """How a line is drawn, in every figure of the sweep."""

    color: str
    dash: str = "solid"


@dataclass(frozen=True)
class Line:
    """Runs that differ in the seed alone."""

    label: str
    style: Style
    runs: tuple[Run, ...]
    missing_seeds: tuple[int, ...]
    """Seeds that other lines of the figure have and this one lacks, or has planned and not begun."""

    @property
    def config(self) -> RunConfig:
        """What all runs of the line share; `seed` is the first run's."""
        return self.runs[0].config


@dataclass(frozen=True)
class Figure:
    """The lines of one figure, in legend order."""

    name: str
    title: str
    lines: tuple[Line, ...]


def read_runs(sweep: SweepDirectory, unreadable: dict[str, str] | None = None) -> list[Run]:
    """Every run that the plan of `sweep` holds or that has left a record, in plan order.

    Args:
        sweep: the sweep's folder.
        unreadable: where given, runs whose record cannot be read are left out, and their directory and the
            reason put here.

    Raises:
        UsageError: where there is no run, or a record cannot be read and `unreadable` is not given.
    """
    plan = read_plan(sweep)
    planned = {run.directory: run.config for run in plan.runs} if plan else {}
    recorded = sweep.find_runs()
    if not planned and not recorded:
        raise UsageError(f"{sweep.path} holds no runs to plot: senet-lab train name={sweep.name} makes them")
    runs = []
    for directory in planned | recorded:
        if directory not in recorded:
            empty = pd.DataFrame(columns=columns(Metrics), dtype=float)
            runs.append(Run(directory, planned[directory], MISSING, empty))
            continue
        try:
            record = recorded[directory]
            config = planned.get(directory) or record.config()
            runs.append(read_run(directory, record, config, living_status(record).state))
        except UsageError as error:
            if unreadable is None:
                raise
            unreadable[directory] = str(error)
    return runs


def read_run(directory: str, record: RunDirectory, config: RunConfig, state: str) -> Run:
    """One run, whose config and state are known, with the epochs that its record holds.

    Raises:
        UsageError: where the record cannot be read.
    """
    metrics = record.metrics()
    if metrics["epoch"].duplicated().any():
        epoch = metrics["epoch"][metrics["epoch"].duplicated()].iloc[0]
        raise UsageError(f"{record.metrics_file} has epoch {epoch:g} twice, where each belongs once")
    return Run(directory, config, MISSING if state == State.PLANNED else state, metrics)


def group(runs: Sequence[Run], templates: Mapping[str, Any]) -> list[Figure]:
    """Sort runs into figures and lines.

    Args:
        runs: as `read_runs` gives them.
        templates: `name`, `title`, `line` and `style` with their interpolations unresolved.

    Raises:
        UsageError: a template that a run's config cannot fill in, a line whose runs differ in more than
            the seed, a figure with two titles or two lines of one colour.
    """
    filled = [_fill_in(run, templates) for run in runs]
    members: dict[str, dict[str, list[Run]]] = {}
    for run, values in zip(runs, filled, strict=True):
        members.setdefault(values["name"], {}).setdefault(values["line"], []).append(run)
    styles, order = _styles(filled)
    titles = _titles(filled)
    figures = []
    for name, lines in members.items():
        seeds = {run.config.seed for line in lines.values() for run in line}
        for label, line in lines.items():
            _check_alike(name, label, line)
        figures.append(
            Figure(
                name,
                titles[name],
                tuple(
                    Line(
                        label,
                        styles[label],
                        tuple(sorted(lines[label], key=lambda run: run.config.seed)),
                        _missing_seeds(seeds, lines[label]),
                    )
                    for label in sorted(lines, key=order.__getitem__)
                ),
            )
        )
    return figures


def _missing_seeds(seeds: set[int], runs: Sequence[Run]) -> tuple[int, ...]:
    return tuple(sorted(seeds - {run.config.seed for run in runs if run.state != MISSING}))


def with_runs(figure: Figure, runs: Mapping[str, Run]) -> Figure:
    """The same figure with newer records of its runs, by directory."""
    seeds = {run.config.seed for line in figure.lines for run in line.runs}
    newer = [tuple(runs[run.directory] for run in line.runs) for line in figure.lines]
    lines = [
        replace(line, runs=members, missing_seeds=_missing_seeds(seeds, members))
        for line, members in zip(figure.lines, newer, strict=True)
    ]
    return replace(figure, lines=tuple(lines))


def _fill_in(run: Run, templates: Mapping[str, Any]) -> dict[str, Any]:
    """The templates with this run's values."""
    text = json.dumps(templates)
    words = set(re.findall(r"\w+", text))
    # Runs that differ in what no template mentions share one answer: OmegaConf takes its time.
    mentioned = {key: value for key, value in as_plain(run.config).items() if key in words}
    try:
        return _filled(json.dumps(mentioned), text)
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"figures: {run.directory} cannot fill in a template: {reason}") from error


@cache
def _filled(config: str, templates: str) -> dict[str, Any]:
    register_resolvers()
    node = OmegaConf.create({**json.loads(config), "figures": json.loads(templates)})
    values = OmegaConf.to_container(node.figures, resolve=True)
    assert isinstance(values, dict)
    check_name("figures.name", str(values["name"]))
    for key in ("name", "title", "line"):
        values[key] = str(values[key])
    return {str(key): value for key, value in values.items()}


def _titles(filled: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    titles: dict[str, str] = {}
    for values in filled:
        name, title = values["name"], values["title"]
        if titles.setdefault(name, title) != title:
            raise UsageError(
                f"figure {name} would have two titles, {titles[name]!r} and {title!r}: "
                "tell them apart in figures.name, or give figures.title what they share"
            )
    return titles


def _styles(filled: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Style], dict[str, tuple[float, int]]]:
    """Each label's style and its place in the legend, the same in all figures of the sweep."""
    given = {values["line"]: values.get("style") for values in filled}
    owners: dict[str, str] = {}
    for label, style in given.items():
        if style is not None and _is_style(style) and owners.setdefault(style["color"], label) != label:
            raise UsageError(
                f"{owners[style['color']]} and {label} would share the colour {style['color']}: "
                "figures.style=null gives each line its own"
            )
    free = [color for color in PALETTE if color not in owners]
    palette = cycle([Style(color, dash) for dash in DASHES for color in free])
    styles: dict[str, Style] = {}
    order: dict[str, tuple[float, int]] = {}
    for place, (label, style) in enumerate(given.items()):
        styles[label] = next(palette) if style is None else Style(style["color"])
        order[label] = (float("inf") if style is None else style["order"], place)
    return styles, order


def _is_style(style: object) -> bool:
    if (
        isinstance(style, Mapping)
        and isinstance(style.get("order"), int | float)
        and re.fullmatch(r"#[0-9A-Fa-f]{6}", str(style.get("color")))
    ):
        return True
    raise UsageError(f"figures.style={style}: a style is {{order: <number>, color: '#rrggbb'}}, or null")


def _check_alike(figure: str, label: str, runs: Sequence[Run]) -> None:
    """Refuse to average runs that are different experiments, or the same run twice."""
    first, *others = runs
    reference = _results_depend_on(first)
    for other in others:
        leaves = _results_depend_on(other)
        different = [key for key in [*reference, *leaves] if reference.get(key) != leaves.get(key)]
        if different:
            # A label or a name says more about a difference than a class path does.
            key = min(different, key=lambda key: not key.endswith((".label", ".name")))
            raise UsageError(
                f"{first.directory} and {other.directory} fall on one line ({label} of figure {figure}) "
                f"but differ in {key}: tell them apart with ${{{key}}} in figures.line or figures.name"
            )
    for one, two in combinations(runs, 2):
        if one.config.seed == two.config.seed:
            raise UsageError(
                f"{one.directory} and {two.directory} are the same run, seed included: move one of them away"
            )


def _results_depend_on(run: Run) -> dict[str, Any]:
    """What runs of one line must have in common: every value but the seed, by its dotted key.

    A record of earlier code lacks the fields that came later, and is taken to have their defaults.
    """
    values = _leaves(as_plain(run.config))
    return {key: value for key, value in values if key.split(".")[0] not in ("seed", *NOT_RESULTS)}


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below `node` with its dotted key; lists count as values."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
