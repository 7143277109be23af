"""`senet-lab train`: train a run or a sweep, or resume it."""

import os
import shlex
from collections.abc import Sequence

from rich.console import Console

from senet_lab.commands.terminal import print_table
from senet_lab.composition.command import Command
from senet_lab.records.run import FINAL, State
from senet_lab.session import Session, train_command
from senet_lab.text import counted


def train(command: Command) -> int:
    """Execute the unfinished runs of `command`, if any, and print the final values by line.

    Returns:
        0 if all runs are finished, 1 if some failed or diverged (in a comparison, diverged runs are valid
        outcomes), 130 or 143 if interrupted.

    Raises:
        UsageError: before any run starts.
    """
    session = train_command(command, Console())
    code = tell_end(session, ["train", *command.words])
    ended = session.signal_number is None and not session.survey.without_state(*FINAL)
    if command.config.protocol is not None and ended:
        from senet_lab.commands.verdict import conclude  # imports pandas

        conclude(session.survey.sweep)
        return 0
    if command.config.protocol is None and session.executed and session.signal_number is None:
        from senet_lab.commands.finals import tell_results  # imports pandas

        tell_results(session.survey, command)
    return code


def tell_end(session: Session, words: Sequence[str]) -> int:
    """Print a session's outcome and the command that resumes it; returns the exit code."""
    if session.signal_number is not None:
        print(f"interrupted; resume with: {_command_line(words)}")
        return 128 + session.signal_number
    _print_outcome(session, words)
    return 0 if not session.survey.without_state(State.FINISHED) else 1


def _print_outcome(session: Session, words: Sequence[str]) -> None:
    """Print the records' folder, unfinished runs with their tracebacks' paths, and the retry command."""
    survey, sweep = session.survey, session.survey.sweep
    unfinished = survey.without_state(State.FINISHED)
    print(
        f"{len(survey.runs) - len(unfinished)} of {counted(len(survey.runs), 'run')} finished: {sweep.runs}"
    )
    if not unfinished:
        return
    rows = []
    for run in unfinished:
        status = survey.statuses[run.directory]
        trace = sweep.run(run.directory).error_file
        holder = f"held by process {status.pid} on {status.host}"
        error = holder if status.state is State.RUNNING else status.error or ""
        where = str(trace) if os.access(trace, os.R_OK) else ""  # not in another user's folder
        rows.append((run.directory, status.state, error, where))
    print_table(("run", "state", "error", "traceback"), rows)
    held = survey.with_state(State.RUNNING)
    if held:
        watch = f"senet-lab status {sweep.words} watch=true"
        print(f"held runs continue in their process; watch them with: {watch}")
    damaged = survey.with_state(State.DAMAGED)
    if len(held) + len(survey.with_state(State.DIVERGED)) + len(damaged) < len(unfinished):
        print(f"resume unfinished runs with: {_command_line(words)}")
    if damaged:
        print(f"train damaged and diverged runs from the start with: senet-lab retry {sweep.words}")


def _command_line(words: Sequence[str]) -> str:
    return shlex.join(["senet-lab", *words])
