"""`senet-lab train`: bring every run that is asked for to its end."""

import shlex
import shutil
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from senet_lab.compose import Command
from senet_lab.config import TrainConfig
from senet_lab.records.plan import PlannedRun
from senet_lab.records.run import FINAL, State
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import sweep_directory
from senet_lab.runs.launchers import Launcher, build_launcher
from senet_lab.runs.planning import Request, request_runs
from senet_lab.runs.progress import SweepProgress
from senet_lab.runs.signals import Stop, stop_on_signal
from senet_lab.trackers.mirror import mirror
from senet_lab.trackers.tracker import build_tracker


def train(command: Command, arguments: Sequence[str]) -> int:
    """Run what `command` asks for and is not done; `arguments` are what the person typed.

    Returns:
        0 when all runs are finished, 1 when some failed or diverged, 130 or 143 when interrupted.

    Raises:
        UsageError: before any run starts.
    """
    console = Console()
    with stop_on_signal() as stop:
        with stop.at_once():
            launcher = build_launcher(command.launcher)
            tracker = build_tracker(
                command.config.tracker, sweep_directory(command.config.outputs, command.config.name)
            )
            request = request_runs(command.config, command.points, command.is_sweep, arguments)
            survey = Survey(request.plan.sweep, request.runs).refresh()
        if not stop():
            for note in request.notes:
                print(note)
            with mirror(tracker, survey, command):
                _run(launcher, request, survey, stop, command.config, console)
    if stop.signal_number is not None:
        print(f"interrupted; go on with: {_command_line(arguments)}")
        return 128 + stop.signal_number
    survey.refresh()
    _print_outcome(console, request, survey, arguments)
    return 0 if not survey.without_state(State.FINISHED) else 1


def _run(
    launcher: Launcher, request: Request, survey: Survey, stop: Stop, config: TrainConfig, console: Console
) -> None:
    """Execute the runs that are not at their end."""
    pending = survey.without_state(*FINAL)
    if len(pending) < len(request.runs):
        print(f"{len(request.runs) - len(pending)} of {len(request.runs)} runs are finished already")
    if not pending:
        return
    packs = [pending[first : first + config.pack] for first in range(0, len(pending), config.pack)]
    workers = launcher.workers(packs)
    at_a_time = workers * len(packs[0])
    if launcher.is_here:
        with stop.at_once():
            from senet_lab.runs.machine import check_memory, ways  # imports torch

            if config.pack > 1:
                check_memory(packs, workers)
            print("\n".join(ways(pending)))
    print(_space(request, pending, at_a_time), flush=True)
    with SweepProgress(survey, at_a_time, console):
        for state in launcher.launch(request.plan.sweep, packs, stop):
            if state is State.FAILED and config.fail_fast:
                stop.ask()


def _space(request: Request, pending: Sequence[PlannedRun], at_a_time: int) -> str:
    """What checkpoints will take on disk at most."""
    kept = sum(run.checkpoint_bytes for run in request.runs if run.config.checkpoint.keep)
    # The one before stays until the next is down.
    passing = 2 * sum(sorted((run.checkpoint_bytes for run in pending), reverse=True)[:at_a_time])
    free = shutil.disk_usage(request.plan.sweep.path).free
    text = f"{len(pending)} runs, {at_a_time} at a time; checkpoints take up to {_size(kept + passing)}"
    return f"{text} of {_size(free)} free" + (": NOT ENOUGH" if kept + passing > free else "")


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _print_outcome(console: Console, request: Request, survey: Survey, arguments: Sequence[str]) -> None:
    """Say where the records lie, and what did not finish, where its traceback is and how to retry."""
    unfinished = survey.without_state(State.FINISHED)
    finished = len(request.runs) - len(unfinished)
    print(f"{finished} of {len(request.runs)} runs finished: {request.plan.sweep.runs}")
    if not unfinished:
        return
    table = Table("run", "state", "error", "traceback")
    for run in unfinished:
        status = survey.statuses[run.directory]
        trace = request.plan.sweep.run(run.directory).error_file
        holder = f"held by process {status.pid} on {status.host}"
        error = holder if status.state is State.RUNNING else status.error or ""
        where = str(trace) if trace.exists() else ""
        table.add_row(Text(run.directory), status.state, Text(error), Text(where))
    console.print(table)
    held = survey.with_state(State.RUNNING)
    if held:
        watch = [f"name={request.plan.sweep.name}", f"outputs={request.plan.sweep.path.parent}", "watch=true"]
        print(f"held runs go on where they are, which tells: {shlex.join(['senet-lab', 'status', *watch])}")
    if len(held) + len(survey.with_state(State.DIVERGED)) < len(unfinished):
        print(f"run those again that did not reach an end: {_command_line(arguments)}")


def _command_line(arguments: Sequence[str]) -> str:
    return shlex.join(["senet-lab", "train", *arguments])
