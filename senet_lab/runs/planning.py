"""Planning: find a command's runs in the sweep's plan, freeze new ones."""

import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import Timeout

from senet_lab.composition.command import Command, Point
from senet_lab.config import PlanMode, TrainConfig, as_plain, comparable
from senet_lab.dotted import difference
from senet_lab.errors import UsageError
from senet_lab.files import YAML_LIMIT, is_there, make_writable, read_bytes
from senet_lab.records.figures import chosen_figures
from senet_lab.records.plan import (
    NOT_RESULTS,
    Plan,
    PlannedRun,
    config_hash,
    read_plan,
    require_plan,
    results_of,
    source_hash,
)
from senet_lab.records.run import State, Status
from senet_lab.records.selection import select
from senet_lab.records.survey import Survey, living_status
from senet_lab.records.sweep import SweepDirectory, require_inside, sweep_directory
from senet_lab.runs.launchers import build_launcher, in_packs
from senet_lab.text import counted

EXECUTION_KEYS = ("name", "outputs", "plan", "fail_fast", "pack", "tracker", "power", "hydra")
"""Keys of a command line that affect execution, not results."""


@dataclass(frozen=True)
class Request:
    """The runs that one command requests."""

    plan: Plan
    runs: list[PlannedRun]
    """In plan order."""
    notes: list[str]
    """Messages for the user: dropped duplicates, edits that do not change the plan."""


def request_runs(command: Command) -> Request:
    """Find the command's runs in the frozen plan; freeze new ones if that is allowed.

    A repeated command line selects the runs that it planned, even if the YAML has changed since. A single
    run is added to an existing plan without `plan=extend`; a sweep needs it. `plan=extend` can also give
    planned runs more epochs.

    Args:
        command: the composed command; its points are read only if the plan does not know the command.

    Raises:
        UsageError: points that are not in the plan without `plan=extend`; a directory whose config differs;
            `plan=new` over runs that have begun; a folder that cannot be written.
    """
    config: TrainConfig = command.config
    sweep = sweep_directory(config.outputs, config.name)
    line = shlex.join(without_execution_keys(command.words))
    # Before the folder is created, so that a refused command leaves nothing behind.
    first = None if is_there(sweep.plan_file) else _first(sweep, command, line)
    make_writable(sweep.path)
    with sweep.plan_lock():
        plan = read_plan(sweep)
        if plan is not None and config.plan is PlanMode.new:
            require_empty(plan)
            plan = None
        if plan is not None and plan.protocol is not None:
            raise UsageError(
                f"{sweep.plan_file} is of the comparison senet-lab train {plan.protocol.command} "
                f"{sweep.words}: another name= keeps these runs apart"
            )
        if plan is not None:
            return _join(plan, command, line)
        first = first or _first(sweep, command, line)
        first.plan.write()
        return first


def request_retry(command: Command) -> Request:
    """The failed, diverged and damaged runs that the command selects; all but failed ones start over.

    Raises:
        UsageError: no plan, no such run, or one that another process holds or that cannot be locked.
    """
    sweep = sweep_directory(command.config.outputs, command.config.name)
    plan = require_plan(sweep)
    survey = Survey(sweep, select(plan.runs, command.selection)).refresh()
    runs = survey.with_state(State.FAILED, State.DIVERGED, State.DAMAGED)
    if not runs:
        raise UsageError(f"{sweep.path}: no run has failed or diverged, so there is nothing to retry")
    for run in survey.with_state(State.DIVERGED, State.DAMAGED):
        record = sweep.run(run.directory)
        try:
            with record.lock():
                record.set_aside()  # first: a run that ended and has no rows is damaged, and can be retried
                record.write_status(Status(State.INTERRUPTED, epochs=run.config.epochs))
        except Timeout as error:
            raise UsageError(f"{record.path} is held by another process: repeat the command later") from error
        except OSError as error:
            raise UsageError(f"{record.path} cannot be locked: {error.strerror}") from error
    return Request(plan, runs, [])


def _first(sweep: SweepDirectory, command: Command, line: str) -> Request:
    """The sweep's first plan: all points of the command, not yet on disk."""
    notes: list[str] = []
    asked = _distinct(command.points, sweep, notes)
    runs = freeze_first(asked.values(), line, command.launcher)
    commands = {line: _yaml_digest(command)}
    plan = Plan(sweep, source_hash(), runs, commands, figures=chosen_figures(command))
    return Request(plan, runs, notes)


def _join(plan: Plan, command: Command, line: str) -> Request:
    """The command's runs in an existing plan, after adding the new ones."""
    notes: list[str] = []
    is_new_code = plan.source != source_hash()
    if is_new_code:
        notes.append("the code has changed since this sweep was planned: new attempts use the new code")
    again = command.is_sweep and any(run.command == line for run in plan.runs)
    if again and not is_new_code and plan.commands.get(line) == _yaml_digest(command):
        return Request(plan, [run for run in plan.runs if run.command == line], notes)
    asked = _distinct(command.points, plan.sweep, notes)
    extends = command.config.plan is PlanMode.extend
    if extends:
        plan = _with_figures(_with_more_epochs(plan, asked, notes), command)
    frozen = {run.directory: run for run in plan.runs}
    notes += _changes(frozen, asked, plan.sweep)
    fresh = [point for directory, point in asked.items() if directory not in frozen]
    if fresh and (extends or not command.is_sweep):
        # No more than the planned runs have: the thread count affects the last bits of a result.
        share = build_launcher(command.launcher).threads(len(fresh))
        threads = min([share, *(run.threads for run in plan.runs)])
        runs = [*plan.runs, *freeze(fresh, line, threads)]
        plan = replace(plan, runs=runs, commands={**plan.commands, line: _yaml_digest(command)})
        plan.write()
    elif fresh and not again:
        raise UsageError(
            f"not in {plan.sweep.plan_file}: {len(fresh)} of {counted(len(asked), 'run')}, the first "
            f"{fresh[0].directory}; plan=extend adds them, another name= keeps them apart"
        )
    elif fresh:
        notes.append(
            f"the YAML now asks for {counted(len(fresh), 'more run')}, the first {fresh[0].directory}; "
            "the frozen plan goes on without them: plan=extend adds them"
        )
    mine = [run for run in plan.runs if run.directory in asked or (again and run.command == line)]
    return Request(plan, mine, notes)


def _with_more_epochs(plan: Plan, asked: Mapping[str, Point], notes: list[str]) -> Plan:
    """The plan with the requested epochs for its runs; written if it changed.

    Raises:
        UsageError: a run whose learning rates depend on the number of epochs, so that it cannot go on.
    """
    runs = []
    kept: Counter[bool] = Counter()
    for run in plan.runs:
        point = asked.get(run.directory)
        if point is None or point.config.epochs <= run.config.epochs:
            runs.append(run)
            continue
        before, after = results_of(run.config), results_of(point.config)
        differing = {key for key in after if before.get(key) != after[key]}
        if differing == {"epochs", "schedule"}:
            raise UsageError(
                f"plan=extend epochs={point.config.epochs}: the schedule of {run.directory} depends on the "
                "number of epochs, so a longer run is another one: give it another name="
            )
        if differing != {"epochs"}:
            runs.append(run)  # _changes reports the difference
            continue
        plain = {**run.plain, "epochs": point.config.epochs}
        longer = replace(run, plain=plain, hash=config_hash(plain), continues=[*run.continues, run.hash])
        runs.append(longer)
        kept[is_there(plan.sweep.run(run.directory).checkpoint_file)] += 1
    if not kept:
        return plan
    if kept[True]:
        notes.append(f"more epochs for {counted(kept[True], 'run')}: resumed from checkpoints")
    if kept[False]:
        notes.append(
            f"more epochs for {counted(kept[False], 'run')}: trained from the start, without a kept "
            "checkpoint (checkpoint.keep=true keeps it)"
        )
    plan = replace(plan, runs=runs)
    plan.write()
    return plan


def _with_figures(plan: Plan, command: Command) -> Plan:
    """The plan with the figures of the command that extends it; earlier ones stay unless typed anew."""
    kept = {key: value for key, value in plan.figures.items() if f"figures.{key}" not in command.keys}
    figures = {**chosen_figures(command), **kept}
    if figures != plan.figures:
        plan = replace(plan, figures=figures)
        plan.write()
    return plan


def _yaml_digest(command: Command) -> str:
    """SHA-256 of all YAML from which a command may have been composed."""
    digest = hashlib.sha256()
    for folder in command.folders:
        for file in sorted(filter(Path.is_file, folder.rglob("*.yaml"))):
            content = read_bytes(file, limit=YAML_LIMIT)
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


def without_execution_keys(arguments: Sequence[str]) -> list[str]:
    """A command line without its `EXECUTION_KEYS`."""
    return [word for word in arguments if re.split("[=/.]", word.lstrip("+~"))[0] not in EXECUTION_KEYS]


def _distinct(points: Sequence[Point], sweep: SweepDirectory, notes: list[str]) -> dict[str, Point]:
    """One point for each directory."""
    distinct: dict[str, Point] = {}
    for point in points:
        twin = distinct.setdefault(point.directory, point)
        if twin is point:
            continue
        before, after = (results_of(one.config) for one in (twin, point))
        if before != after:
            key, first, second = difference(before, after)
            raise UsageError(
                f"two runs of this sweep would share {point.directory}: they differ in {key} "
                f"({first}, {second}); sweep over {key} itself or give them different names"
            )
    if len(distinct) < len(points):
        notes.append(f"{counted(len(points) - len(distinct), 'duplicate run')} dropped")
    require_inside(sweep.path, *distinct)
    return distinct


def freeze_first(points: Collection[Point], command: str, launcher: Mapping[str, Any]) -> list[PlannedRun]:
    """`freeze` for the first runs of a plan, all with the threads that make them fast on this machine.

    Args:
        points: the runs.
        command: the command line that asks for them.
        launcher: the node of `hydra/launcher=…`.

    Raises:
        UsageError: runs that the launcher cannot execute.
    """
    executes = build_launcher(launcher)
    most = executes.threads(len(points))
    runs = freeze(points, command, most)
    executes.workers(in_packs(runs, 1))  # refuses what it cannot execute, before anything is written
    if most == 1 or not executes.is_here:
        return runs
    from senet_lab.runs.threads import useful_threads

    threads = useful_threads([run.config for run in runs], most)
    return [replace(run, threads=threads) for run in runs]


def freeze(points: Collection[Point], command: str, threads: int) -> list[PlannedRun]:
    """Check and plan the points; imports torch if any needs it.

    Each distinct network, optimizer and data set is built once, on the meta device.

    Args:
        points: the runs.
        command: the command line that asks for them.
        threads: CPU threads of each run.
    """
    from senet_lab.build import check_run, epoch_macs
    from senet_lab.runs.checkpoint import checkpoint_bytes
    from senet_lab.training.engine import choose_engine

    sizes: dict[str, tuple[int, int]] = {}
    runs = []
    for point in points:
        plain = as_plain(point.config)
        parts = {key: value for key, value in plain.items() if key not in ("seed", "lr", *NOT_RESULTS)}
        text = json.dumps(parts, sort_keys=True)
        if text not in sizes:
            choose_engine(point.config.trainer)
            network, optimizer = check_run(point.config)
            copies = 2 if point.config.ema else 1
            size = checkpoint_bytes(network, optimizer, copies)
            sizes[text] = size, epoch_macs(point.config, network)
        size, macs = sizes[text]
        runs.append(
            PlannedRun(
                point.directory,
                config_hash(plain),
                command,
                list(point.overrides),
                threads,
                size,
                plain,
                epoch_macs=macs,
            )
        )
    return runs


def _changes(
    frozen: Mapping[str, PlannedRun], asked: Mapping[str, Point], sweep: SweepDirectory
) -> list[str]:
    """Differences of the YAML from the plan, one sentence each.

    Raises:
        UsageError: a difference that comes from the command line.
    """
    changes: Counter[tuple[str, str, str]] = Counter()
    for directory in frozen.keys() & asked.keys():
        run, point = frozen[directory], asked[directory]
        if run.config == point.config:  # as nearly always, and faster than the rest
            continue
        before, after = comparable(run.config), comparable(point.config)
        if before != after:
            key, was, now = difference(before, after)
            is_another = key.split(".")[0] not in NOT_RESULTS
            said = without_execution_keys(run.overrides) != without_execution_keys(point.overrides)
            if is_another and said:
                raise UsageError(
                    f"{sweep.path / directory} was planned with {key}={was}, not {key}={now}: "
                    "give this run another name= (nothing was changed)"
                )
            changes[key, str(was), str(now)] += 1
    return [
        f"{key} is now {now}, but the frozen plan keeps {key}={was} in {counted(count, 'run')}"
        for (key, was, now), count in sorted(changes.items())
    ]


def require_empty(plan: Plan) -> None:
    """Raise UsageError unless no run of the plan has begun."""
    for run in plan.runs:
        if living_status(plan.sweep.run(run.directory)).state != State.PLANNED:
            raise UsageError(
                f"plan=new: {plan.sweep.path / run.directory} has begun; use another name=, or plan=extend"
            )
