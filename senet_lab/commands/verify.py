"""`senet-lab verify`: check all records of a sweep against its plan, digests, data and checkpoints."""

from rich.text import Text

from senet_lab.composition.command import Command
from senet_lab.errors import UsageError
from senet_lab.files import is_there
from senet_lab.records.plan import require_plan
from senet_lab.records.selection import select
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import sweep_directory
from senet_lab.runs.progress import transient_progress
from senet_lab.runs.verify import faults, notes
from senet_lab.text import counted, plain


def verify(command: Command) -> int:
    """Print one line per fault and note on a sweep, or on its selected runs; change no file.

    Returns:
        0 without faults, 1 otherwise.

    Raises:
        UsageError: no plan, or no selected run.
    """
    sweep = sweep_directory(command.config.outputs, command.config.name)
    try:
        plan = require_plan(sweep)
    except UsageError as error:
        if not is_there(sweep.plan_file):
            raise
        print(plain(f"fault: {error}"))
        return 1
    runs = select(plan.runs, command.selection)
    found = 0
    with transient_progress() as progress:
        for run in progress.track(runs, description=f"verifying {sweep.name}"):
            for fault in faults(plan, run):
                found += 1
                progress.console.print(Text(plain(f"fault: {fault}")), soft_wrap=True)
    for note in notes(plan, runs):
        print(plain(f"note: {note}"))
    counts = ", ".join(f"{count} {state}" for state, count in Survey(sweep, runs).refresh().counts().items())
    print(f"{counted(len(runs), 'run')}: {counts}; {counted(found, 'fault') if found else 'no faults'}")
    return 1 if found else 0
