"""One command's work on a sweep: its runs in the plan, executed where not done, mirrored to a tracker."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from senet_lab.compose import Command
from senet_lab.config import TrainConfig
from senet_lab.records.plan import Plan, PlannedRun
from senet_lab.records.protocol import Protocol
from senet_lab.records.run import FINAL, State
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import sweep_directory
from senet_lab.runs.launchers import Launcher, build_launcher
from senet_lab.runs.planning import Request, request_runs
from senet_lab.runs.progress import SweepProgress
from senet_lab.runs.protocol import stages
from senet_lab.runs.signals import Stop, stop_on_signal
from senet_lab.trackers.mirror import mirror
from senet_lab.trackers.tracker import build_tracker


@dataclass(frozen=True)
class Session:
    """How the work of a command ended."""

    survey: Survey
    """The runs asked for, as they stand now; none where a signal came before they were found."""
    signal_number: int | None
    """The signal that ended it early."""


def train_command(command: Command, arguments: Sequence[str], console: Console) -> Session:
    """Bring a sweep to its end, or a comparison stage by stage.

    Args:
        command: composed.
        arguments: what the person typed.
        console: takes notes and progress.

    Raises:
        UsageError: before any run starts.
    """
    if command.config.protocol is None:
        return train_runs(command, lambda: request_runs(command, arguments), console)

    def confirms(plan: Plan, protocol: Protocol) -> bool:
        from senet_lab.analysis.trials import power_sentences  # imports pandas

        print("\n".join(power_sentences(plan, protocol)))
        return not command.config.power

    asked = stages(command, arguments, confirms)
    return train_runs(command, lambda: next(asked), console, lambda: next(asked, None))


def train_runs(
    command: Command,
    find: Callable[[], Request],
    console: Console,
    find_more: Callable[[], Request | None] = lambda: None,
) -> Session:
    """Bring the runs that a command asks for to their end; those that are finished stay as they are.

    Args:
        command: says how to execute them.
        find: finds them in the plan, and adds those that it lacks.
        console: takes notes and progress.
        find_more: finds those that follow once these are at their end; None for none.

    Raises:
        UsageError: before any run starts.
    """
    sweep = sweep_directory(command.config.outputs, command.config.name)
    survey = Survey(sweep, [])
    request: Request | None = None
    with stop_on_signal() as stop:
        with stop.at_once():
            launcher = build_launcher(command.launcher)
            tracker = build_tracker(command.config.tracker, sweep)
            request = find()
        while request is not None and not stop():
            survey = Survey(sweep, request.runs).refresh()
            for note in request.notes:
                print(note)
            with mirror(tracker, survey, command):
                _execute(launcher, request, survey, stop, command.config, console)
            request = None
            if not stop():
                with stop.at_once():
                    request = find_more()
    return Session(survey.refresh(), stop.signal_number)


def _execute(
    launcher: Launcher, request: Request, survey: Survey, stop: Stop, config: TrainConfig, console: Console
) -> None:
    """Execute the runs that are not at their end."""
    for run in survey.with_state(State.FINISHED):
        survey.sweep.run(run.directory).tidy(run.config.checkpoint.keep)  # where its process died before
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
            from senet_lab.runs.machine import check_memory, describe_execution  # imports torch

            if config.pack > 1:
                check_memory(packs, workers)
            print("\n".join(describe_execution(pending)))
    print(_space(request, pending, at_a_time), flush=True)
    with SweepProgress(survey, at_a_time, console):
        for state in launcher.launch(request.plan.sweep, packs, stop):
            if state is State.FAILED and config.fail_fast:
                stop.ask()


def _space(request: Request, pending: Sequence[PlannedRun], at_a_time: int) -> str:
    """The space that checkpoints take on disk at most, and what is free."""
    kept = sum(run.checkpoint_bytes for run in request.runs if run.config.checkpoint.keep)
    # The one before stays until the next is down.
    passing = 2 * sum(sorted((run.checkpoint_bytes for run in pending), reverse=True)[:at_a_time])
    free = shutil.disk_usage(request.plan.sweep.path).free
    text = f"{len(pending)} runs, {at_a_time} at a time; checkpoints take up to {_size(kept + passing)}"
    return f"{text} of {_size(free)} free" + (": NOT ENOUGH" if kept + passing > free else "")


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
