"""`senet-lab report`: one HTML page with all that a sweep has to show, for reading offline and in print."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from senet_lab.analysis.comparison import compare_epochs, compare_finals, published_baselines, rankings
from senet_lab.analysis.curves import finals
from senet_lab.analysis.grouping import Figure, group, read_runs
from senet_lab.analysis.references import with_references
from senet_lab.analysis.statistics import pairwise, what_it_can_show, with_statistics
from senet_lab.compose import Command
from senet_lab.config import ReportConfig
from senet_lab.figures.sweep import templates_of
from senet_lab.files import write_atomic
from senet_lab.records.plan import read_plan
from senet_lab.records.sweep import sweep_directory
from senet_lab.runs.planning import make_writable
from senet_lab.version import __version__

if TYPE_CHECKING:
    from senet_lab.figures.page import Section


def report(command: Command, arguments: Sequence[str]) -> int:
    """Write `report.html` into the sweep's folder; `arguments` are what the person typed.

    Raises:
        UsageError: no runs, or runs that cannot be grouped.
    """
    # Here, because bokeh and chartify take a second to import, and a usage error should not wait for it.
    from senet_lab.figures import sections
    from senet_lab.figures.page import render

    config: ReportConfig = command.config
    sweep = sweep_directory(config.outputs, config.name)
    unreadable: dict[str, str] = {}
    runs = read_runs(sweep, unreadable)
    figures = group(runs, templates_of(command))
    made_by = shlex.join(["senet-lab", "report", *arguments])
    states = sections.runs_section(figures, sweep, unreadable)
    parts = [
        *(_figures(figures, config) if figures else []),
        *_published(figures),
        *(sections.coefficient_section(figure, sweep) for figure in figures),
        states,
        sections.failures_section(sweep, runs, unreadable),
        sections.plan_section(read_plan(sweep), sweep, [made_by]),
        sections.environment_section(sweep, runs),
    ]
    now = datetime.now(UTC).isoformat(" ", "minutes")
    lead = [*states.notes, f"Written {now} by senet-lab {__version__}."]
    make_writable(sweep.path)
    page = sweep.report_file
    write_atomic(page, render(f"{config.name}: report", lead, [part for part in parts if part is not None]))
    print(page)
    return 0


def _figures(figures: Sequence[Figure], config: ReportConfig) -> "list[Section]":
    """A part a figure: the plot, the statistics of its lines, every two of them against one another."""
    from senet_lab.figures import sections
    from senet_lab.figures.page import Section, table

    values = finals(figures)
    if config.references:
        values = with_references(values, figures, config.references)
    values = with_statistics(values, figures, config.target_error)
    pairs = pairwise(figures)
    parts = []
    for figure in figures:
        mine = values[values["figure"] == figure.name]
        tables = [table("At the last epoch", mine, sections.statistics_headings(values))]
        if figure.name in set(pairs["figure"]):
            caption = (
                "Every two lines, first minus second; p (Holm) is corrected for all pairs of this figure"
            )
            found = pairs[pairs["figure"] == figure.name]
            tables.append(table(caption, found, sections.PAIRWISE_HEADINGS))
        parts.append(sections.figure_section(figure, config.band, True, tables))
    counts = sorted(values.loc[values["n"] > 0, "n"].unique())
    return [*parts, Section("What so few runs can show", [what_it_can_show(int(n)) for n in counts])]


def _published(figures: Sequence[Figure]) -> "list[Section]":
    """The comparison with the published runs, where there is one; `senet-lab compare` has it in full."""
    from senet_lab.figures import sections

    baselines = published_baselines(figures)
    values = compare_finals(figures, baselines)
    if values.empty:
        return []
    epochs = compare_epochs(figures, baselines)
    return [sections.published_section(values, epochs, rankings(figures, baselines))]
