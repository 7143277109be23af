"""`senet-lab train`: bring every run that is asked for to its end."""

import shlex
from collections.abc import Sequence

from rich.console import Console

from senet_lab.commands.terminal import print_table
from senet_lab.compose import Command
from senet_lab.records.run import FINAL, State
from senet_lab.session import Session, train_command


def train(command: Command, arguments: Sequence[str]) -> int:
    """Run what `command` asks for and is not done; `arguments` are what the person typed.

    Returns:
        0 when all runs are finished, 1 when some failed or diverged (but of a comparison, where those that
        diverged are outcomes), 130 or 143 when interrupted.

    Raises:
        UsageError: before any run starts.
    """
    session = train_command(command, arguments, Console())
    code = tell_end(session, ["train", *arguments])
    ended = session.signal_number is None and not session.survey.without_state(*FINAL)
    if command.config.protocol is not None and ended:
        from senet_lab.commands.verdict import conclude  # imports pandas

        conclude(session.survey.sweep)
        return 0
    return code


def tell_end(session: Session, words: Sequence[str]) -> int:
    """Say how a session ended, and which command goes on; its exit code."""
    if session.signal_number is not None:
        print(f"interrupted; go on with: {_command_line(words)}")
        return 128 + session.signal_number
    _print_outcome(session, words)
    return 0 if not session.survey.without_state(State.FINISHED) else 1


def _print_outcome(session: Session, words: Sequence[str]) -> None:
    """Say where the records lie, and what did not finish, where its traceback is and how to retry."""
    survey, sweep = session.survey, session.survey.sweep
    unfinished = survey.without_state(State.FINISHED)
    print(f"{len(survey.runs) - len(unfinished)} of {len(survey.runs)} runs finished: {sweep.runs}")
    if not unfinished:
        return
    rows = []
    for run in unfinished:
        status = survey.statuses[run.directory]
        trace = sweep.run(run.directory).error_file
        holder = f"held by process {status.pid} on {status.host}"
        error = holder if status.state is State.RUNNING else status.error or ""
        where = str(trace) if trace.exists() else ""
        rows.append((run.directory, status.state, error, where))
    print_table(("run", "state", "error", "traceback"), rows)
    held = survey.with_state(State.RUNNING)
    if held:
        watch = [f"name={sweep.name}", f"outputs={sweep.path.parent}", "watch=true"]
        print(f"held runs go on where they are, which tells: {shlex.join(['senet-lab', 'status', *watch])}")
    if len(held) + len(survey.with_state(State.DIVERGED)) < len(unfinished):
        print(f"run those again that did not reach an end: {_command_line(words)}")


def _command_line(words: Sequence[str]) -> str:
    return shlex.join(["senet-lab", *words])
