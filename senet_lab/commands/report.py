"""`senet-lab report`: write one HTML page with all results of a sweep, for reading offline and in print."""

import shlex

from senet_lab.analysis.runs import left_out, read_records, selected, usable_runs
from senet_lab.commands.whole import tell_left_out
from senet_lab.composition.command import Command
from senet_lab.config import ReportConfig
from senet_lab.records.figures import planned_config
from senet_lab.records.sweep import sweep_directory


def report(command: Command) -> int:
    """Write `report.html` into the sweep's folder.

    Returns:
        The exit code: 0, or 1 if a run was left out.

    Raises:
        UsageError: no runs, no selected run, runs that cannot be grouped, an unknown metric.
    """
    # Imported late: bokeh and chartify take a second.
    from senet_lab.figures.report import write_report

    sweep = sweep_directory(command.config.outputs, command.config.name)
    config: ReportConfig = planned_config(command, sweep)
    made_by = shlex.join(["senet-lab", "report", *command.words])
    records = selected(read_records(sweep), command.selection)
    others = left_out(records)
    print(write_report(sweep, usable_runs(records), others, config, made_by))
    return 0 if tell_left_out(others, f"senet-lab verify {sweep.words}") else 1
