"""Execution of one command: find its runs in the plan, execute unfinished ones, mirror them to a tracker."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from senet_lab.analysis.templates import whole_figures_first
from senet_lab.composition.command import Command
from senet_lab.config import TrainConfig
from senet_lab.records.plan import Plan, PlannedRun
from senet_lab.records.protocol import Protocol
from senet_lab.records.run import FINAL, State
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import sweep_directory
from senet_lab.runs.launchers import Launcher, build_launcher, in_packs
from senet_lab.runs.planning import Request, request_runs
from senet_lab.runs.progress import SweepProgress, transient_progress
from senet_lab.runs.signals import Stop, stop_on_signal
from senet_lab.runs.stages import stages
from senet_lab.text import byte_size, counted, plain
from senet_lab.trackers.mirror import mirror
from senet_lab.trackers.tracker import build_tracker


@dataclass(frozen=True)
class Session:
    """The outcome of a command."""

    survey: Survey
    """The requested runs and their states; empty if a signal came before they were found."""
    signal_number: int | None
    """The signal that interrupted it, if any."""
    executed: int
    """Number of runs that had not ended before this command."""


def train_command(command: Command, console: Console) -> Session:
    """Execute a sweep, or a comparison stage by stage.

    Args:
        command: the composed command.
        console: output for messages and progress.

    Raises:
        UsageError: before any run starts.
    """
    if command.config.protocol is None:
        return train_runs(command, lambda: request_runs(command), console)

    def confirms(plan: Plan, protocol: Protocol) -> bool:
        from senet_lab.analysis.trials import power_sentences  # imports pandas

        print("\n".join(power_sentences(plan, protocol)))
        return not command.config.power

    asked = stages(command, confirms)
    return train_runs(command, lambda: next(asked), console, lambda: next(asked, None))


def train_runs(
    command: Command,
    find: Callable[[], Request],
    console: Console,
    find_more: Callable[[], Request | None] = lambda: None,
) -> Session:
    """Execute a command's unfinished runs.

    Args:
        command: the composed command.
        find: finds the runs in the plan, after adding missing ones.
        console: output for messages and progress.
        find_more: finds the following runs once these have ended; None if there are none.

    Raises:
        UsageError: before any run starts.
    """
    sweep = sweep_directory(command.config.outputs, command.config.name)
    survey = Survey(sweep, [])
    request: Request | None = None
    executed = 0
    with stop_on_signal() as stop:
        with stop.at_once(), transient_progress(console) as progress:
            progress.add_task("planning the runs", total=None)
            launcher = build_launcher(command.launcher)
            tracker = build_tracker(command.config.tracker, sweep)
            request = find()
        while request is not None and not stop():
            survey = Survey(sweep, request.runs).refresh()
            for note in request.notes:
                print(plain(note))
            with mirror(tracker, survey, command):
                executed += _execute(launcher, request, survey, stop, command.config, console)
            request = None
            if not stop():
                with stop.at_once():
                    request = find_more()
    return Session(survey.refresh(), stop.signal_number, executed)


def _execute(
    launcher: Launcher, request: Request, survey: Survey, stop: Stop, config: TrainConfig, console: Console
) -> int:
    """Execute the runs that have not ended; returns their number."""
    for run in survey.with_state(State.FINISHED):
        survey.sweep.run(run.directory).tidy(run.config.checkpoint.keep)  # if its process died before
    unfinished = survey.without_state(*FINAL, State.DAMAGED)
    pending = whole_figures_first(unfinished, config.figures)
    ended = survey.with_state(*FINAL)
    if ended:
        print(f"{len(ended)} of {counted(len(request.runs), 'run is', 'runs are')} finished already")
    if not pending:
        return 0
    with stop.at_once():
        if launcher.is_here:
            from senet_lab.runs.machine import choose_packs, describe_execution  # imports torch

            packs = choose_packs(launcher, pending, config.pack)
            print("\n".join(describe_execution(pending)))
        else:
            packs = in_packs(pending, config.pack or 1)
        workers = launcher.workers(packs)  # may import torch
    at_a_time = workers * len(packs[0])
    print(_space(request, pending, at_a_time), flush=True)
    with SweepProgress(survey, at_a_time, console):
        for state in launcher.launch(request.plan.sweep, packs, stop):
            if state is State.FAILED and config.fail_fast:
                stop.ask()
    return len(pending)


def _space(request: Request, pending: Sequence[PlannedRun], at_a_time: int) -> str:
    """The maximal disk space of checkpoints, and the free space, as a sentence."""
    kept = sum(run.checkpoint_bytes for run in request.runs if run.config.checkpoint.keep)
    # The previous checkpoint stays until the next one is written.
    passing = 2 * sum(sorted((run.checkpoint_bytes for run in pending), reverse=True)[:at_a_time])
    free = shutil.disk_usage(request.plan.sweep.path).free
    text = f"{counted(len(pending), 'run')}, {at_a_time} at a time; checkpoints take up to "
    return f"{text}{byte_size(kept + passing)} of {byte_size(free)} free" + (
        ": NOT ENOUGH" if kept + passing > free else ""
    )
