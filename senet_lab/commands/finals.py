"""Tables of final values on the terminal, after `train`, `retry` and `plot`. Imports pandas."""

import shlex
from collections.abc import Iterator

import pandas as pd

from senet_lab.analysis.grouping import group
from senet_lab.analysis.metrics import Metric
from senet_lab.analysis.published import published_headings
from senet_lab.analysis.results import Results, results
from senet_lab.analysis.runs import read_run
from senet_lab.commands.terminal import print_table
from senet_lab.composition.command import Command
from senet_lab.errors import UsageError
from senet_lab.figures.axes import axes_of
from senet_lab.records.figures import planned_config
from senet_lab.records.run import UNUSABLE
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import SweepDirectory
from senet_lab.text import MISSING, plain


def tell_results(survey: Survey, command: Command) -> None:
    """Print the last values of these runs by line, and the commands that show more.

    If runs cannot be grouped or read, print one line instead of an error: they are trained all the same.
    """
    sweep = survey.sweep
    config = planned_config(command, sweep)
    try:
        runs = [
            read_run(run.directory, sweep.run(run.directory), run.config, survey.state(run))
            for run in survey.without_state(*UNUSABLE)
        ]
        panels = group(runs, config.figures)
        charts = axes_of(config.figures, panels)
        found = [results(panels, axes.metric, config.published) for axes in charts]
    except UsageError as error:
        print(f"no table of results: {plain(str(error))}")
        return
    recorded = [result for result in found if not result.runs.empty]
    for result in recorded:
        print_finals(result)
    for verb, purpose in (("plot", "figures"), ("report", "one page with all results")) if recorded else ():
        print(f"{purpose}: {' '.join(['senet-lab', verb, *_sweep_words(command, sweep)])}")


def _sweep_words(command: Command, sweep: SweepDirectory) -> Iterator[str]:
    """The words with which another verb finds the command's sweep."""
    experiment = command.choices.get("experiment")
    if experiment:
        yield shlex.quote(f"experiment={experiment}")
    yield sweep.words
    if command.folders[1:]:
        yield shlex.join(["--config-dir", str(command.folders[1])])


def print_finals(result: Results) -> None:
    """Print mean ± std of the last epoch, one row per figure and line."""
    metric, table = result.metric, result.finals
    title = f"{metric.label} at the last epoch, mean ± sample standard deviation"
    beside = {column: text for column, text in published_headings(table) if column != "source"}
    rows = [
        [
            row["figure"],
            row["line"],
            _value(metric, row["mean"], row["std"]),
            str(row["n"]),
            _epoch(row["epoch"]),
        ]
        + [_value(metric, row[column]) for column in beside]
        for row in table.to_dict("records")
    ]
    headings = ["figure", "line", metric.axis.lower(), "n", "epoch", *beside.values()]
    print_table(headings, rows, title, has_sections=True)


def _value(metric: Metric, mean: float, std: float = float("nan")) -> str:
    if pd.isna(mean):
        return MISSING
    return metric.text(mean) if pd.isna(std) else f"{metric.text(mean)} ± {metric.text(std)}"


def _epoch(epoch: int) -> str:
    return MISSING if pd.isna(epoch) else str(epoch)
