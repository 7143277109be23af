"""`senet-lab plot`: a sweep's curves and final values as CSV, its figures as HTML, PNG, SVG and PDF."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from senet_lab.analysis.baselines import source_note, with_published
from senet_lab.analysis.curves import CURVES_COLUMNS, curves, finals, notes
from senet_lab.analysis.grouping import Figure, group, read_runs
from senet_lab.analysis.references import with_references
from senet_lab.analysis.statistics import with_statistics
from senet_lab.compose import Command
from senet_lab.config import PlotConfig
from senet_lab.errors import UsageError
from senet_lab.figures.write import check_formats, write_csv, write_drawings
from senet_lab.records.sweep import sweep_directory
from senet_lab.runs.planning import make_writable

if TYPE_CHECKING:
    from senet_lab.figures.export import Drawing

REFERENCE_COLUMNS = {"top5_mean": "top-5", "reference_top1": "paper", "reference_top5": "top-5"}


def plot(command: Command, arguments: Sequence[str]) -> int:  # noqa: ARG001
    """Draw the figures of a sweep into its folder `figures`.

    Returns:
        The exit code: 0, or 1 where a browser is there and could not render a figure.

    Raises:
        UsageError: nothing to plot, runs that cannot be grouped, an unknown format, no place to write.
    """
    config: PlotConfig = command.config
    check_formats(config.formats)
    sweep = sweep_directory(config.outputs, config.name)
    # Unresolved: each run fills the templates in with its own values.
    templates = OmegaConf.to_container(command.node.figures)
    assert isinstance(templates, dict)
    figures = group(read_runs(sweep), {str(key): value for key, value in templates.items()})

    table = finals(figures)
    begun = table.groupby("figure")["n"].max() > 0
    if not begun.any():
        raise UsageError(f"{sweep.path}: no run has finished an epoch yet, so there is nothing to plot")
    if config.reference:
        table = with_published(table, figures)
    if config.references:
        table = with_references(table, figures, config.references)
    folder = sweep.figures
    make_writable(folder)
    write_csv(folder / "curves.csv", curves(figures)[list(CURVES_COLUMNS)])
    write_csv(folder / "final.csv", with_statistics(table, figures))

    drawn = [figure for figure in figures if begun[figure.name]]
    drawings = _draw(drawn, table, config)
    if templates.get("macs"):
        drawings |= _draw_macs(drawn, table, folder)
    complete = write_drawings(drawings, folder, config.formats)

    for name in begun.index[~begun]:
        print(f"{name}: no epoch yet, so no figure")
    _print_finals(table)
    return 0 if complete else 1


def _draw(figures: list[Figure], table: pd.DataFrame, config: PlotConfig) -> "dict[str, Drawing]":
    # Here, because bokeh and chartify take a second to import, and errors above should not wait for it.
    from senet_lab.figures.charts import draw
    from senet_lab.figures.export import compile_chart

    drawings = {}
    for figure in figures:
        remarks = notes(figure) + (source_note(figure) if config.reference else [])
        chart = draw(figure, config.band, config.reference, remarks)
        values = table[table["figure"] == figure.name].drop(columns="figure")
        drawings[figure.name] = compile_chart(chart, remarks, values)
    return drawings


def _draw_macs(figures: list[Figure], table: pd.DataFrame, folder: Path) -> "dict[str, Drawing]":
    """Each figure's last errors against the multiply-accumulates of its lines."""
    from senet_lab.commands.summary import describe
    from senet_lab.figures.views import Words, draw_points

    lines = [(figure.name, line) for figure in figures for line in figure.lines]
    costs = pd.DataFrame([describe(line.config) for _, line in lines])[["macs", "parameters", "image_size"]]
    costs = costs.assign(figure=[name for name, _ in lines], line=[line.label for _, line in lines])
    values = table.merge(costs).dropna(subset="mean")
    write_csv(folder / "macs.csv", values)
    drawings = {}
    for figure in figures:
        mine = values[values["figure"] == figure.name].drop(columns="figure")
        words = Words(
            figure.title, "error at the last epoch", "Multiply-accumulates of an image", "Error", "Values"
        )
        drawings[f"{figure.name}_macs"] = draw_points(
            mine,
            "macs",
            "mean",
            "line",
            {line.label: line.style for line in figure.lines if line.label in set(mine["line"])},
            words,
        )
    return drawings


def _print_finals(table: pd.DataFrame) -> None:
    """Mean ± std of the last epoch, a row for each figure and line."""
    grid = Table(title="Test error at the last epoch, mean ± sample standard deviation", title_justify="left")
    grid.add_column("figure", no_wrap=True)
    grid.add_column("line")
    for column in ("error", "n", "epoch"):
        grid.add_column(column, justify="right")
    extra = [column for column in REFERENCE_COLUMNS if column in table]
    for column in extra:
        grid.add_column(REFERENCE_COLUMNS[column], justify="right")
    previous = None
    for row in table.to_dict("records"):
        if previous not in (None, row["figure"]):
            grid.add_section()
        first = row["figure"] if row["figure"] != previous else ""
        previous = row["figure"]
        grid.add_row(
            first,
            row["line"],
            _error(row["mean"], row["std"]),
            str(row["n"]),
            _epoch(row["epoch"]),
            *(_error(row[column], float("nan")) for column in extra),
        )
    Console().print(grid)


def _error(mean: float, std: float) -> str:
    if pd.isna(mean):
        return "–"
    return f"{mean:.4f}" if pd.isna(std) else f"{mean:.4f} ± {std:.4f}"


def _epoch(epoch: object) -> str:
    return "–" if pd.isna(epoch) else str(epoch)
