"""`senet-lab retry`: repeat only the failed, diverged and damaged runs of a sweep."""

from rich.console import Console

from senet_lab.commands.train import tell_end
from senet_lab.composition.command import Command
from senet_lab.runs.planning import request_retry
from senet_lab.session import train_runs


def retry(command: Command) -> int:
    """Execute the failed, diverged and damaged runs of a plan again; all but failed ones start over.

    Returns:
        See `train`.

    Raises:
        UsageError: no plan, or no such run.
    """
    session = train_runs(command, lambda: request_retry(command), Console())
    return tell_end(session, ["retry", *command.words])
