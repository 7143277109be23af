"""`senet-lab compare`: a sweep's errors beside the published ones or another sweep's, as HTML and CSV."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from senet_lab.analysis.comparison import (
    compare_epochs,
    compare_finals,
    published_baselines,
    rankings,
    sweep_baselines,
)
from senet_lab.analysis.grouping import Figure
from senet_lab.compose import Command
from senet_lab.config import CompareConfig
from senet_lab.errors import UsageError
from senet_lab.figures.sweep import figures_of
from senet_lab.figures.write import write_csv
from senet_lab.files import write_atomic
from senet_lab.records.sweep import sweep_directory
from senet_lab.runs.planning import make_writable
from senet_lab.text import number

PUBLISHED = "published"
SHOWN = {
    "line": "line",
    "epoch": "epoch",
    "n": "n",
    "mean": "ours",
    "other_mean": "others",
    "difference": "difference",
    "z": "z",
    "p_holm": "p (Holm)",
    "curve_distance": "distance",
}


def compare(command: Command, arguments: Sequence[str]) -> int:  # noqa: ARG001
    """Compare a sweep with `against`; its folder `compare/<against>` takes the tables and the page.

    Raises:
        UsageError: no runs, or none that has something to be compared with.
    """
    config: CompareConfig = command.config
    sweep = sweep_directory(config.outputs, config.name)
    figures = figures_of(command, sweep)
    others = _others(command)
    baselines = sweep_baselines(others) if others else published_baselines(figures)
    finals = compare_finals(figures, baselines)
    if finals.empty:
        raise UsageError(
            f"{sweep.path}: no run has an epoch to compare with; {_what_is_needed(config.against)}"
        )
    tables = {
        "final": finals,
        "epochs": compare_epochs(figures, baselines),
        "ranking": rankings(figures, baselines),
    }
    folder = sweep.compare(config.against)
    make_writable(folder)
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table)
    page = folder / "compare.html"
    write_atomic(page, _page(config, figures, others, tables))
    print(page)
    _print(finals)
    _print_epochs(tables["epochs"], tell=not others)
    return 0


def _others(command: Command) -> list[Figure]:
    """The figures of the sweep to compare with; none where that is the published comparison."""
    config: CompareConfig = command.config
    if config.against == PUBLISHED:
        return []
    return figures_of(command, sweep_directory(config.outputs, config.against))


def _what_is_needed(against: str) -> str:
    if against == PUBLISHED:
        return (
            "published are the networks of model=published/…, on the data set labelled CIFAR-10 "
            "(dataset=arrays needs dataset.label=CIFAR-10)"
        )
    return f"{against} needs figures and lines of the same names"


def _page(
    config: CompareConfig,
    figures: Sequence[Figure],
    others: Sequence[Figure],
    tables: dict[str, pd.DataFrame],
) -> str:
    # Here, because bokeh and chartify take a second to import, and errors above should not wait for it.
    from senet_lab.figures.page import render
    from senet_lab.figures.sections import comparison_sections

    name = config.against if others else "the published runs"
    lead = [f"Test error, 1 − top-1, as a fraction; “others” are {name}."]
    if others:
        figures = _titled(figures, config.name)
    theirs = {figure.name: figure for figure in _titled(others, name)}
    alone = [figure.name for figure in figures if figure.name not in set(tables["final"]["figure"])]
    if alone:
        lead.append(f"Nothing to compare with: {', '.join(alone)}.")
    return render(f"{config.name} against {name}", lead, comparison_sections(figures, theirs, tables))


def _titled(figures: Sequence[Figure], sweep: str) -> list[Figure]:
    """The figures with the sweep in their titles, which alone may be the same on both sides."""
    return [replace(figure, title=f"{figure.title}: {sweep}") for figure in figures]


def _print(finals: pd.DataFrame) -> None:
    for name, rows in finals.groupby("figure", sort=False):
        grid = Table(title=Text(f"{name}: test error, ours and the others'"), title_justify="left")
        for heading in SHOWN.values():
            grid.add_column(heading)
        for row in rows[list(SHOWN)].itertuples(index=False):
            grid.add_row(*(Text(value if isinstance(value, str) else number(value)) for value in row))
        Console().print(grid)


def _print_epochs(epochs: pd.DataFrame, tell: bool) -> None:
    """How many epochs are near the others', and with `tell`, which are not."""
    near = epochs["inside"]
    print(f"{near.sum()} of {len(near)} epochs compared are near the others' (epochs.csv)")
    if not tell:
        return
    for (figure, line), rows in epochs[~near].groupby(["figure", "line"], sort=False):
        print(f"not near: {figure}, {line}, epochs {_spans(rows['epoch'])}")


def _spans(epochs: pd.Series) -> str:
    """Increasing numbers in short: 0, 3–5."""
    spans = epochs.groupby((epochs.diff() != 1).cumsum()).agg(["min", "max"])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in spans.to_numpy())
