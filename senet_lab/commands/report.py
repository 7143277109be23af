"""`senet-lab report`: write one HTML page with all results of a sweep, for reading offline and in print."""

import shlex

from senet_lab.composition.command import Command
from senet_lab.config import ReportConfig
from senet_lab.records.figures import planned_config
from senet_lab.records.sweep import sweep_directory


def report(command: Command) -> int:
    """Write `report.html` into the sweep's folder.

    Raises:
        UsageError: no runs, no selected run, runs that cannot be grouped, an unknown metric.
    """
    # Imported late: bokeh and chartify take a second.
    from senet_lab.figures.report import write_report

    sweep = sweep_directory(command.config.outputs, command.config.name)
    config: ReportConfig = planned_config(command, sweep)
    made_by = shlex.join(["senet-lab", "report", *command.words])
    print(write_report(sweep, config, made_by, command.selection))
    return 0
