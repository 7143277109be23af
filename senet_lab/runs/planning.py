"""Requests on a sweep's plan: which of its runs a command means, and which new ones it freezes."""

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from joblib import cpu_count

from senet_lab.compose import Point
from senet_lab.config import CheckpointConfig, PlanMode, RunConfig, TrainConfig, as_plain
from senet_lab.errors import UsageError
from senet_lab.records.plan import (
    NOT_RESULTS,
    Plan,
    PlannedRun,
    config_hash,
    difference,
    read_plan,
    source_hash,
)
from senet_lab.records.run import State
from senet_lab.records.sweep import SweepDirectory, require_inside, sweep_directory

EXECUTION_KEYS = ("name", "outputs", "plan", "fail_fast", "pack", "tracker", "hydra")
"""What a command line says about how to run, not what."""


@dataclass(frozen=True)
class Request:
    """What one command asks of a plan."""

    plan: Plan
    runs: list[PlannedRun]
    """The runs asked for, in plan order."""
    notes: list[str]
    """What the person should know: duplicates dropped, edits that do not reach the plan."""


def request_runs(
    config: TrainConfig, points: Sequence[Point], is_sweep: bool, arguments: Sequence[str]
) -> Request:
    """Find the command's runs in the frozen plan; freeze those that are new, where that is allowed.

    The same command line again means the runs that it planned, whatever the YAML says by now. A single
    run joins an existing plan by itself; a sweep must say `plan=extend`.

    Args:
        arguments: what the person typed.

    Raises:
        UsageError: points that are not in the plan without `plan=extend`; a directory whose config
            differs; `plan=new` over runs that have begun; a folder that cannot be written.
    """
    sweep = sweep_directory(config.outputs, config.name)
    command = shlex.join(without_execution_keys(arguments))
    notes: list[str] = []
    make_writable(sweep.path)
    asked = _distinct(points, notes)
    for directory in asked:
        require_inside(sweep.path, directory)
    with sweep.plan_lock():
        plan = read_plan(sweep)
        if config.plan is PlanMode.new and plan is not None:
            _require_empty(plan)
            plan = None
        if plan is None:
            threads = threads_per_run(len(asked))
            plan = Plan(sweep, source_hash(), _freeze(asked.values(), command, threads))
            plan.write()
            return Request(plan, plan.runs, notes)
        if plan.source != source_hash():
            notes.append("the code has changed since this sweep was planned: runs from here on use the new")
        frozen = {run.directory: run for run in plan.runs}
        fresh = [point for directory, point in asked.items() if directory not in frozen]
        notes += _changes(frozen, asked, sweep)
        again = is_sweep and any(run.command == command for run in plan.runs)
        if fresh and (config.plan is PlanMode.extend or not is_sweep):
            # Not more than the runs have that stand beside them: threads reach the last bits of a result.
            threads = min([threads_per_run(len(fresh)), *(run.threads for run in plan.runs)])
            plan = Plan(sweep, plan.source, [*plan.runs, *_freeze(fresh, command, threads)])
            plan.write()
        elif fresh and not again:
            raise UsageError(
                f"{len(fresh)} of {len(asked)} runs, the first of them {fresh[0].directory}, are not in "
                f"{plan.sweep.plan_file}: plan=extend adds them, another name= keeps them apart"
            )
        elif fresh:
            notes.append(
                f"the YAML now asks for {len(fresh)} more runs, the first of them {fresh[0].directory}; "
                "the frozen plan goes on without them: plan=extend adds them"
            )
    mine = [run for run in plan.runs if run.directory in asked or (again and run.command == command)]
    return Request(plan, mine, notes)


def threads_per_run(runs: int) -> int:
    """All cores for a single run; for many runs one each, since small networks scale by runs."""
    return max(1, cpu_count() // runs)


def make_writable(folder: Path) -> None:
    """Create `folder`.

    Raises:
        UsageError: where it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"outputs: {folder} cannot be created: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"outputs: {folder} cannot be written: choose another folder with outputs=")


def without_execution_keys(arguments: Sequence[str]) -> list[str]:
    """A command line without what it says about `EXECUTION_KEYS`."""
    return [word for word in arguments if re.split("[=/.]", word.lstrip("+~"))[0] not in EXECUTION_KEYS]


def _distinct(points: Sequence[Point], notes: list[str]) -> dict[str, Point]:
    """One point for each directory."""
    distinct: dict[str, Point] = {}
    for point in points:
        twin = distinct.setdefault(point.directory, point)
        if without_checkpoint(twin.config) != without_checkpoint(point.config):
            key, first, second = difference(as_plain(twin.config), as_plain(point.config))
            raise UsageError(
                f"two runs of this sweep would share {point.directory}: they differ in {key} "
                f"({first}, {second}); sweep over {key} itself or give them different names"
            )
    if len(distinct) < len(points):
        notes.append(f"{len(points) - len(distinct)} duplicate runs dropped")
    return distinct


def without_checkpoint(config: RunConfig) -> RunConfig:
    """The config without what its numbers do not depend on."""
    return replace(config, checkpoint=CheckpointConfig())


def _freeze(points: Collection[Point], command: str, threads: int) -> list[PlannedRun]:
    """Check the points and plan them; torch is imported here, if at all.

    Each different network, optimizer and data set is built once, on no device.
    """
    from senet_lab.build import check_run
    from senet_lab.runs.checkpoint import checkpoint_bytes

    sizes: dict[str, int] = {}
    runs = []
    for point in points:
        plain = as_plain(point.config)
        parts = {key: value for key, value in plain.items() if key not in ("seed", "lr", *NOT_RESULTS)}
        text = json.dumps(parts, sort_keys=True)
        if text not in sizes:
            sizes[text] = checkpoint_bytes(*check_run(point.config))
        runs.append(
            PlannedRun(
                point.directory,
                config_hash(plain),
                command,
                list(point.overrides),
                threads,
                sizes[text],
                plain,
            )
        )
    return runs


def _changes(
    frozen: Mapping[str, PlannedRun], asked: Mapping[str, Point], sweep: SweepDirectory
) -> list[str]:
    """What the YAML says otherwise than the plan, one sentence a change.

    Raises:
        UsageError: where it is the command line that says so.
    """
    changes: Counter[tuple[str, str, str]] = Counter()
    for directory in frozen.keys() & asked.keys():
        run, point = frozen[directory], asked[directory]
        if run.config != point.config:
            key, was, now = difference(as_plain(run.config), as_plain(point.config))
            is_another = without_checkpoint(run.config) != without_checkpoint(point.config)
            said = without_execution_keys(run.overrides) != without_execution_keys(point.overrides)
            if is_another and said:
                raise UsageError(
                    f"{sweep.path / directory} was planned with {key}={was}, not {key}={now}: "
                    "give this run another name= (nothing was changed)"
                )
            changes[key, str(was), str(now)] += 1
    return [
        f"{key} is now {now}, but the frozen plan goes on with {key}={was} in {count} runs"
        for (key, was, now), count in sorted(changes.items())
    ]


def _require_empty(plan: Plan) -> None:
    for run in plan.runs:
        if plan.sweep.run(run.directory).status().state != State.PLANNED:
            raise UsageError(
                f"plan=new: {plan.sweep.path / run.directory} has begun; use another name=, or plan=extend"
            )
