"""The plan of a sweep: its runs, composed and checked once, then frozen in `plan.json`.

Later edits of YAML do not reach a sweep under way: what runs is what the plan says.
"""

import hashlib
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock
from joblib import cpu_count

import senet_lab
from senet_lab.compose import Point
from senet_lab.config import PlanMode, TrainConfig
from senet_lab.errors import UsageError
from senet_lab.files import remove_temporaries, write_atomic
from senet_lab.runs.directory import RunDirectory, State

FORMAT = 1

NOT_RESULTS = ("checkpoint",)
"""Fields of a run's config that its numbers do not depend on."""

MANNER = ("name", "outputs", "plan", "fail_fast", "pack", "tracker", "hydra")
"""What a command line says about how to run, not what."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan."""

    directory: str
    """Below the sweep's folder."""
    hash: str
    command: str
    """The command line that planned it, without `MANNER`."""
    overrides: list[str]
    threads: int
    """CPU threads: part of the plan because sums depend on it in their last bits."""
    checkpoint_bytes: int
    """What a checkpoint of it takes on disk."""
    config: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What `plan.json` holds."""

    sweep: Path
    """The sweep's folder."""
    source: str
    """SHA-256 of the code that planned it."""
    runs: list[PlannedRun]

    @property
    def file(self) -> Path:
        """Where the plan lies."""
        return plan_file(self.sweep)

    def write(self) -> None:
        """Freeze the plan."""
        remove_temporaries(self.sweep)
        content = {"format": FORMAT, "source": self.source, "runs": [vars(run) for run in self.runs]}
        write_atomic(self.file, json.dumps(content, indent=1) + "\n")


def plan_file(sweep: Path) -> Path:
    """Where the plan of the sweep in folder `sweep` lies."""
    return sweep / "plan.json"


def sweep_folder(config: TrainConfig) -> Path:
    """`outputs/<name>`.

    Raises:
        UsageError: where a symbolic link leads out of `outputs`.
    """
    outputs = Path(config.outputs)
    _require_inside(outputs, config.name)
    return outputs / config.name


def _require_inside(folder: Path, name: str) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{path} leads out of {folder}, to {path.resolve()}: nothing was written there")


def read_plan(sweep: Path) -> Plan | None:
    """The frozen plan, or None where there is none yet.

    Raises:
        UsageError: a file that is no plan of this format.
    """
    file = plan_file(sweep)
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise UsageError(f"{file} has plan format {content['format']}; this version reads {FORMAT}")
        plan = Plan(sweep, content["source"], [PlannedRun(**run) for run in content["runs"]])
        for run in plan.runs:
            if run.directory.startswith("/") or ".." in run.directory.split("/"):
                raise UsageError(f"{file} names a run that leads out of {sweep}: {run.directory}")
        return plan
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is not a plan: {error}; move it away to plan anew") from error


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of what a run's numbers depend on."""
    kept = {key: value for key, value in config.items() if key not in NOT_RESULTS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


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
    sweep = sweep_folder(config)
    command = shlex.join(_what(arguments))
    notes: list[str] = []
    make_writable(sweep)
    asked = _distinct(points, notes)
    for directory in asked:
        _require_inside(sweep, directory)
    with FileLock(sweep / ".plan.lock"):
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
                f"{plan.file}: plan=extend adds them, another name= keeps them apart"
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


@lru_cache(maxsize=1)
def source_hash() -> str:
    """SHA-256 of this package's code when it was first asked for, for telling whether it was edited."""
    package = Path(senet_lab.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _what(arguments: Sequence[str]) -> list[str]:
    """A command line without what it says about `MANNER`."""
    return [word for word in arguments if re.split("[=/.]", word.lstrip("+~"))[0] not in MANNER]


def _distinct(points: Sequence[Point], notes: list[str]) -> dict[str, Point]:
    """One point for each directory."""
    distinct: dict[str, Point] = {}
    for point in points:
        twin = distinct.setdefault(point.directory, point)
        if config_hash(twin.config) != config_hash(point.config):
            key, first, second = difference(twin.config, point.config)
            raise UsageError(
                f"two runs of this sweep would share {point.directory}: they differ in {key} "
                f"({first}, {second}); sweep over {key} itself or give them different names"
            )
    if len(distinct) < len(points):
        notes.append(f"{len(points) - len(distinct)} duplicate runs dropped")
    return distinct


def _freeze(points: Collection[Point], command: str, threads: int) -> list[PlannedRun]:
    """Check the points and plan them; torch is imported here, if at all.

    Each different network, optimizer and data set is built once, on no device.
    """
    from senet_lab.build import check_run
    from senet_lab.runs.checkpoint import checkpoint_bytes

    sizes: dict[str, int] = {}
    runs = []
    for point in points:
        parts = {key: value for key, value in point.config.items() if key not in ("seed", "lr", *NOT_RESULTS)}
        text = json.dumps(parts, sort_keys=True)
        if text not in sizes:
            sizes[text] = checkpoint_bytes(*check_run(point.config))
        runs.append(
            PlannedRun(
                point.directory,
                config_hash(point.config),
                command,
                list(point.overrides),
                threads,
                sizes[text],
                point.config,
            )
        )
    return runs


def _changes(frozen: Mapping[str, PlannedRun], asked: Mapping[str, Point], sweep: Path) -> list[str]:
    """What the YAML says otherwise than the plan, one sentence a change.

    Raises:
        UsageError: where it is the command line that says so.
    """
    changes: Counter[tuple[str, str, str]] = Counter()
    for directory in frozen.keys() & asked.keys():
        run, point = frozen[directory], asked[directory]
        if run.config != point.config:
            key, was, now = difference(run.config, point.config)
            if run.hash != config_hash(point.config) and _what(run.overrides) != _what(point.overrides):
                raise UsageError(
                    f"{sweep / directory} was planned with {key}={was}, not {key}={now}: "
                    "give this run another name= (nothing was changed)"
                )
            changes[key, str(was), str(now)] += 1
    return [
        f"{key} is now {now}, but the frozen plan goes on with {key}={was} in {count} runs"
        for (key, was, now), count in sorted(changes.items())
    ]


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """The first key, dotted, in which two configs differ, and both values."""
    for key in dict.fromkeys([*first, *second]):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one != other:
            inner, one, other = difference(one, other)
            return f"{key}.{inner}", one, other
        if one != other:
            return key, one, other
    raise ValueError("the configs are equal")


def _require_empty(plan: Plan) -> None:
    for run in plan.runs:
        if RunDirectory(plan.sweep / run.directory).status()["state"] != State.PLANNED:
            raise UsageError(
                f"plan=new: {plan.sweep / run.directory} has begun; use another name=, or plan=extend"
            )
