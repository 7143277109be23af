"""`senet-lab compare`: compare a sweep with published results or another sweep, as HTML and CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from senet_lab.analysis.comparison import compare_epochs, compare_finals, other_sweep, rankings
from senet_lab.analysis.curves import values
from senet_lab.analysis.grouping import Panel, group
from senet_lab.analysis.metrics import Metric
from senet_lab.analysis.published import Others, names, published
from senet_lab.analysis.runs import Recorded, Run, configured, read_records
from senet_lab.commands.terminal import print_table
from senet_lab.commands.whole import whole_of, whole_runs
from senet_lab.composition.command import Command
from senet_lab.config import CompareConfig
from senet_lab.errors import UsageError
from senet_lab.figures.axes import Axes, axes_of
from senet_lab.figures.style import looks_of
from senet_lab.figures.write import write_csv
from senet_lab.files import make_writable, write_atomic
from senet_lab.records.figures import planned_config
from senet_lab.records.selection import Selection, narrow, require_values
from senet_lab.records.sweep import SweepDirectory, sweep_directory
from senet_lab.text import counted

PUBLISHED = "published"
Compared = tuple[Others, dict[str, pd.DataFrame]]
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


def compare(command: Command) -> int:
    """Compare a sweep, or its selected runs, with `against`.

    Writes tables and a page to its folder `compare/<against>`.

    Returns:
        The exit code: 0, or 1 if a run was left out.

    Raises:
        UsageError: no runs, no selected run, no counterpart for any of them, an unknown metric.
    """
    sweep = sweep_directory(command.config.outputs, command.config.name)
    config: CompareConfig = planned_config(command, sweep)
    runs, others, is_complete = _selected(sweep, config, command.selection)
    panels, theirs = group(runs, config.figures), group(others, config.figures)
    found = {axes: _compared(panels, theirs, axes, config) for axes in axes_of(config.figures, panels)}
    if all(tables["final"].empty for _, tables in found.values()):
        raise UsageError(f"{sweep.path}: no run has an epoch to compare with; {_requirement(config.against)}")
    folder = sweep.compare(config.against)
    make_writable(folder, sweep.path)
    for axes, (_, tables) in found.items():
        for name, table in tables.items():
            write_csv(folder / f"{axes.table(name)}.csv", table, sweep.path)
    page = folder / "compare.html"
    write_atomic(page, _page(config, panels, theirs, found), sweep.path)
    print(page)
    for axes, (_, tables) in found.items():
        _print(tables["final"], axes.metric)
        _print_epochs(tables["epochs"], list_distant=not theirs)
    return 0 if is_complete else 1


def _selected(
    sweep: SweepDirectory, config: CompareConfig, selection: Selection
) -> tuple[list[Run], list[Run], bool]:
    """The selected runs of the sweep and of the other one, and whether none was left out.

    Of `published`, there are none. A value may be had by the runs of one of the two sweeps only.

    Raises:
        UsageError: see `whole_runs`; if nothing of one sweep is selected, naming it.
    """
    if config.against == PUBLISHED:
        runs, is_complete = whole_runs(sweep, selection)
        return runs, [], is_complete
    sweeps = (sweep, sweep_directory(config.outputs, config.against))
    records = [read_records(one) for one in sweeps]
    require_values(configured([*records[0], *records[1]]), selection)
    (runs, is_complete), (others, others_complete) = (
        whole_of(one, _narrowed(one, found, selection)) for one, found in zip(sweeps, records, strict=True)
    )
    return runs, others, is_complete and others_complete


def _narrowed(sweep: SweepDirectory, records: list[Recorded], selection: Selection) -> list[Recorded]:
    """The selected records of one of the two sweeps; UsageError if there is none."""
    try:
        return narrow(configured(records), selection) if selection else records
    except UsageError as error:
        raise UsageError(
            f"{sweep.path}: {error}. A selection holds for both sweeps: list the values of both, as in "
            "figure=senet18_lr0.001,standard/senet18_lr0.001"
        ) from error


def _compared(
    panels: Sequence[Panel], theirs: Sequence[Panel], axes: Axes, config: CompareConfig
) -> Compared:
    """The others' values and the tables of one metric."""
    metric = axes.metric
    runs = values(panels, metric)
    others = other_sweep(values(theirs, metric)) if theirs else published(panels, config.published, metric)
    comparisons = {"final": compare_finals, "epochs": compare_epochs, "ranking": rankings}
    return others, {name: compare(runs, others) for name, compare in comparisons.items()}


def _requirement(against: str) -> str:
    """The requirement of a comparison, for the message that nothing can be compared."""
    if against == PUBLISHED:
        return (
            f"published results apply only to their own data set and networks (dataset=arrays needs "
            f"dataset.label=CIFAR-10); published= names them: {', '.join(names())}"
        )
    return f"{against} needs figures and lines with the same names"


def _page(
    config: CompareConfig, panels: Sequence[Panel], theirs: Sequence[Panel], found: Mapping[Axes, Compared]
) -> str:
    # Imported late: bokeh and chartify take a second.
    from senet_lab.figures.page import render
    from senet_lab.figures.sections import comparison_sections

    name = config.against if theirs else "the published runs"
    metrics = ", ".join(axes.metric.label for axes in found)
    lead = [f"{metrics}; “others” are {name}."]
    if theirs:
        panels = _titled(panels, config.name)
    beside = {panel.name: panel for panel in _titled(theirs, name)}
    compared = {figure for _, tables in found.values() for figure in tables["final"]["figure"]}
    alone = [panel.name for panel in panels if panel.name not in compared]
    if alone:
        lead.append(f"Nothing to compare with: {', '.join(alone)}.")
    looks = looks_of([*panels, *theirs])
    sections = [
        section
        for axes, (others, tables) in found.items()
        for section in comparison_sections(panels, beside, looks, axes, others, tables)
    ]
    return render(f"{config.name} against {name}", lead, sections)


def _titled(panels: Sequence[Panel], sweep: str) -> list[Panel]:
    """The panels with the sweep's name added to their titles, since both sides may have equal ones."""
    return [replace(panel, title=f"{panel.title}: {sweep}") for panel in panels]


def _print(finals: pd.DataFrame, metric: Metric) -> None:
    for name, rows in finals.groupby("figure", sort=False):
        title = f"{name}: {metric.label.lower()}, ours and the others'"
        print_table(list(SHOWN.values()), rows[list(SHOWN)].itertuples(index=False), title)


def _print_epochs(epochs: pd.DataFrame, list_distant: bool) -> None:
    """Print the number of epochs near the others' and, with `list_distant`, the other epochs."""
    near = epochs["inside"]
    of_all = counted(len(near), "compared epoch is", "compared epochs are")
    print(f"{near.sum()} of {of_all} near the others' (epochs.csv)")
    if not list_distant:
        return
    for (figure, line), rows in epochs[~near].groupby(["figure", "line"], sort=False):
        print(f"not near: {figure}, {line}, epochs {_spans(rows['epoch'])}")


def _spans(epochs: pd.Series) -> str:
    """Abbreviate increasing numbers: 0, 3–5."""
    spans = epochs.groupby((epochs.diff() != 1).cumsum()).agg(["min", "max"])
    return ", ".join(f"{first}" if first == last else f"{first}–{last}" for first, last in spans.to_numpy())
