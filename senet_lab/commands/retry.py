"""`senet-lab retry`: repeat only the failed, diverged and damaged runs of a sweep."""

from rich.console import Console

from senet_lab.commands.train import tell_end
from senet_lab.composition.command import Command
from senet_lab.records.plan import require_plan
from senet_lab.records.selection import select
from senet_lab.records.survey import Survey
from senet_lab.runs.planning import request_retry
from senet_lab.session import train_runs


def retry(command: Command) -> int:
    """Execute the failed, diverged and damaged runs of a plan again; all but failed ones start over.

    Of a plain sweep, print the last values by line, over all selected runs.

    Returns:
        See `train`.

    Raises:
        UsageError: no plan, or no such run.
    """
    session = train_runs(command, lambda: request_retry(command), Console())
    code = tell_end(session, ["retry", *command.words])
    plan = require_plan(session.survey.sweep)
    if plan.protocol is None and session.signal_number is None:
        from senet_lab.commands.finals import tell_results  # imports pandas

        tell_results(Survey(plan.sweep, select(plan.runs, command.selection)).refresh(), command)
    return code
