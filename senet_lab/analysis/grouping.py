"""Grouping of runs into panels and lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from senet_lab.analysis.runs import MISSING, Run
from senet_lab.analysis.templates import Place, places
from senet_lab.composition.groups import options
from senet_lab.config import FiguresConfig, RunConfig
from senet_lab.errors import UsageError

LINE = ("figure", "line")
"""Key columns of a line in every frame: its panel's name and its label."""


@dataclass(frozen=True)
class Line:
    """Runs that differ only in the seed."""

    label: str
    runs: tuple[Run, ...]
    missing_seeds: tuple[int, ...]
    """Seeds of the panel's other lines that this line lacks or has not begun."""
    color: str | None = None
    """`#rrggbb`, or None for the palette."""

    @property
    def config(self) -> RunConfig:
        """The values that all runs of the line share; `seed` is the first run's."""
        return self.runs[0].config


@dataclass(frozen=True)
class Panel:
    """Lines that share a chart, in the order of the legend."""

    name: str
    """Unique in the sweep; prefix of its charts' files, and column `figure` of tables."""
    title: str
    lines: tuple[Line, ...]

    @property
    def has_epochs(self) -> bool:
        """Whether any run has an epoch to draw."""
        return any(not run.metrics.empty for line in self.lines for run in line.runs)

    @property
    def data(self) -> str:
        """The data sets, and the form of the network if there are a published and a standard one."""
        configs = [line.config for line in self.lines]
        labels = dict.fromkeys(str(config.dataset["label"]) for config in configs)
        kinds = dict.fromkeys(kind for config in configs if (kind := _kind(config.model["name"])))
        return ", ".join([" and ".join(labels), *([f"{' and '.join(kinds)} network"] if kinds else [])])


def _kind(model: str) -> str | None:
    if model.startswith("published/"):
        return "published"
    return "standard" if f"published/{model}" in options("model") else None


def group(runs: Sequence[Run], templates: FiguresConfig) -> list[Panel]:
    """Group runs into panels and lines, in order of appearance; lines ordered by their styles.

    Args:
        runs: see `usable_runs`.
        templates: see `templates.places`.

    Raises:
        UsageError: see `templates.places`; the same run twice.
    """
    members: dict[tuple[str, str], dict[str, list[Run]]] = {}
    first: dict[str, Place] = {}
    for run, place in zip(runs, places(runs, templates), strict=True):
        first.setdefault(place.line, place)
        members.setdefault((place.figure, place.title), {}).setdefault(place.line, []).append(run)
    order = {label: (place.order, number) for number, (label, place) in enumerate(first.items())}
    panels = []
    for (name, title), lines in members.items():
        seeds = {run.config.seed for line in lines.values() for run in line}
        labels = sorted(lines, key=order.__getitem__)
        panels.append(Panel(name, title, tuple(_line(first[label], lines[label], seeds) for label in labels)))
    return panels


def _line(place: Place, runs: Sequence[Run], seeds: set[int]) -> Line:
    for one, two in combinations(runs, 2):
        if one.config.seed == two.config.seed:
            raise UsageError(
                f"{one.directory} and {two.directory} are the same run, seed included: move one of them away"
            )
    ordered = tuple(sorted(runs, key=lambda run: run.config.seed))
    return Line(place.line, ordered, _missing_seeds(seeds, runs), place.color)


def _missing_seeds(seeds: set[int], runs: Sequence[Run]) -> tuple[int, ...]:
    return tuple(sorted(seeds - {run.config.seed for run in runs if run.state != MISSING}))


def with_runs(panel: Panel, runs: Mapping[str, Run]) -> Panel:
    """The panel with newer records of its runs, by directory."""
    seeds = {run.config.seed for line in panel.lines for run in line.runs}
    newer = [tuple(runs[run.directory] for run in line.runs) for line in panel.lines]
    lines = [
        replace(line, runs=members, missing_seeds=_missing_seeds(seeds, members))
        for line, members in zip(panel.lines, newer, strict=True)
    ]
    return replace(panel, lines=tuple(lines))
