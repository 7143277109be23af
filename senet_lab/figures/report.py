"""The report of a sweep: one page with all results, for offline reading and print."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from senet_lab.analysis.comparison import compare_epochs, compare_finals, rankings
from senet_lab.analysis.grouping import Panel, group
from senet_lab.analysis.results import Results, results
from senet_lab.analysis.runs import read_records, selected, usable_runs
from senet_lab.analysis.statistics import pairwise, what_it_can_show, with_statistics
from senet_lab.config import ReportConfig
from senet_lab.figures import sections
from senet_lab.figures.axes import Axes, axes_of, require_curves
from senet_lab.figures.page import Section, render, table
from senet_lab.figures.style import Look, looks_of
from senet_lab.figures.verdict import verdict_sections
from senet_lab.files import make_writable, write_atomic
from senet_lab.records.plan import read_plan
from senet_lab.records.selection import Selection
from senet_lab.records.sweep import SweepDirectory
from senet_lab.version import __version__


def write_report(
    sweep: SweepDirectory, config: ReportConfig, made_by: str, selection: Selection = MappingProxyType({})
) -> Path:
    """Write the report into the sweep's folder.

    Args:
        sweep: a sweep with at least one run.
        config: defines the grouping into figures and lines, and the metrics.
        made_by: the command, quoted on the page.
        selection: selection of runs; by default all.

    Returns:
        The page's path.

    Raises:
        UsageError: no runs, no selected run, runs that cannot be grouped, an unknown metric, a
            folder that cannot be written.
    """
    records = selected(read_records(sweep), selection)
    left_out = {one.directory: one.status for one in records if not one.is_whole}
    runs = usable_runs(records)
    panels = group(runs, config.figures)
    looks = looks_of(panels)
    charts = axes_of(config.figures, panels)
    require_curves(charts, panels)
    found = {axes: results(panels, axes.metric, config.published) for axes in charts}
    states = sections.runs_section(panels, charts[0].metric, left_out)
    parts = [
        *verdict_sections(sweep),
        *(_panels(panels, looks, found, config) if panels else []),
        *_published(found),
        *(sections.coefficient_section(panel, looks, sweep) for panel in panels),
        states,
        sections.failures_section(sweep, runs, left_out),
        sections.plan_section(read_plan(sweep), sweep, [made_by]),
        sections.environment_section(sweep, runs),
    ]
    now = datetime.now(UTC).isoformat(" ", "minutes")
    lead = [*states.notes, f"Written {now} by senet-lab {__version__}."]
    make_writable(sweep.path)
    page = render(f"{sweep.name}: report", lead, [part for part in parts if part is not None])
    write_atomic(sweep.report_file, page, sweep.path)
    return sweep.report_file


def _panels(
    panels: Sequence[Panel], looks: Mapping[str, Look], found: Mapping[Axes, Results], config: ReportConfig
) -> list[Section]:
    """One section per panel and metric: plot, statistics of the lines, pairwise tests."""
    parts = []
    for axes, result in found.items():
        target = config.target_error if axes.metric.is_complement else None
        values = with_statistics(result.finals, result.curves, axes.metric, target)
        pairs = pairwise(result.runs)
        for panel in panels:
            mine = values[values["figure"] == panel.name]
            tables = [table("At the last epoch", mine, sections.statistics_headings(values, axes.metric))]
            if panel.name in set(pairs["figure"]):
                caption = (
                    "Pairs of lines, first minus second; p (Holm) is corrected for all pairs of this figure"
                )
                beside = pairs[pairs["figure"] == panel.name]
                tables.append(table(caption, beside, sections.PAIRWISE_HEADINGS))
            means = result.curves_of(panel)
            parts.append(
                sections.figure_section(panel, means, looks, axes, config.band, result.others, tables)
            )
    counts = sorted({int(n) for result in found.values() for n in result.finals["n"] if n > 0})
    return [*parts, Section("Power of the tests", [what_it_can_show(n) for n in counts])]


def _published(found: Mapping[Axes, Results]) -> list[Section]:
    """A short comparison with published runs, if there are any; `senet-lab compare` makes the full one."""
    parts = []
    for result in found.values():
        values = compare_finals(result.runs, result.others)
        if len(values):
            epochs = compare_epochs(result.runs, result.others)
            parts.append(sections.published_section(values, epochs, rankings(result.runs, result.others)))
    return parts
