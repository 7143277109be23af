"""Outcomes of a protocol's runs, and the trial chosen for each arm."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from senet_lab.config import ErrorMetric
from senet_lab.dotted import get_value
from senet_lab.errors import UsageError
from senet_lab.records.plan import Plan, PlannedRun
from senet_lab.records.protocol import Protocol, Role, Stage
from senet_lab.records.run import FINAL, RunDirectory, State
from senet_lab.records.survey import checked_status

Trial = tuple[tuple[str, float], ...]
"""A point of the space: dotted keys and their values, in the order of the declared space."""


Side = tuple[str, Literal["low", "high"]]
"""A border of the space: the axis and its end."""


@dataclass(frozen=True)
class Outcome:
    """The result of an ended run."""

    error: float
    """The protocol's metric, a fraction: validation error in tuning, test error in confirmation; the error of
    chance for a diverged run."""
    diverged: bool
    seconds: float
    """Seconds of all its epochs, over all attempts."""


@dataclass(frozen=True)
class TunedRun:
    """A tuning run with its outcome."""

    run: PlannedRun
    role: Role
    trial: Trial
    outcome: Outcome


def role_of(run: PlannedRun) -> Role:
    """The run's role in its protocol.

    Raises:
        UsageError: it has none, because the plan was edited.
    """
    if run.role is None:
        raise UsageError(f"{run.directory} has no role in the plan of a comparison: put it back as it was")
    return run.role


def trial_of(protocol: Protocol, run: PlannedRun) -> Trial:
    """The point of the space at which a run was trained."""
    return tuple((key, float(get_value(run.plain, key))) for key in protocol.declared.space)


def outcomes(plan: Plan, protocol: Protocol) -> dict[str, Outcome]:
    """The outcomes of all ended runs, by directory.

    Raises:
        UsageError: a record that cannot be read, or that lacks the accuracy that the protocol needs.
    """
    found = {}
    for run in plan.runs:
        directory = plan.sweep.run(run.directory)
        status = checked_status(directory, run)
        if status.state is State.DAMAGED:
            raise UsageError(f"{run.directory} is damaged: {status.error}; senet-lab retry trains it again")
        if status.state in FINAL:
            role = role_of(run)
            diverged = status.state is State.DIVERGED
            chance = protocol.cell(role.block, role.arm).chance(protocol.declared.metric)
            error = chance if diverged else _last_error(directory, role.stage, protocol.declared.metric)
            found[run.directory] = Outcome(error, diverged, status.seconds)
    return found


def _last_error(directory: RunDirectory, stage: Stage, metric: ErrorMetric) -> float:
    column = f"{'val' if stage is Stage.tune else 'test'}_{metric}"
    accuracy = directory.metric(column)[-1:]
    if not accuracy or accuracy[0] != accuracy[0]:
        raise UsageError(f"{directory.metrics_file} has no {column} in its last epoch")
    return 1 - accuracy[0]


def tuned(
    plan: Plan, protocol: Protocol, found: Mapping[str, Outcome], block: str, arm: str | None = None
) -> list[TunedRun]:
    """The ended tuning runs of a block, of one arm or of all, in plan order."""
    return [
        TunedRun(run, role, trial_of(protocol, run), found[run.directory])
        for run in plan.runs
        if run.directory in found
        and (role := role_of(run)).stage is Stage.tune
        and role.block == block
        and arm in (None, role.arm)
    ]


def scores(runs: Iterable[TunedRun]) -> dict[Trial, float]:
    """Each trial's mean validation error over the tuning seeds, best first; in a tie, lower values first."""
    errors: dict[Trial, list[float]] = {}
    for tuned_run in runs:
        errors.setdefault(tuned_run.trial, []).append(tuned_run.outcome.error)
    means = {trial: fmean(values) for trial, values in errors.items()}
    return dict(sorted(means.items(), key=lambda item: (item[1], item[0])))


def chosen(plan: Plan, protocol: Protocol, found: Mapping[str, Outcome]) -> dict[tuple[str, str], Trial]:
    """The trial that the frozen rule chooses for each block and arm, among those trained to the last epoch.

    Args:
        plan: a plan whose tuning runs have all ended.
        protocol: the plan's protocol.
        found: `outcomes` of the plan.
    """
    choices = {}
    for cell in protocol.cells:
        runs = tuned(plan, protocol, found, cell.block, cell.arm)
        whole = [one for one in runs if one.run.plain["epochs"] == cell.plain["epochs"]]
        if whole:
            choices[cell.block, cell.arm] = next(iter(scores(whole)))
    return choices


def borders(choices: Collection[Trial], tried: Collection[Trial]) -> list[Side]:
    """The borders of the trials at which at least one of `choices` lies."""
    sides: list[Side] = []
    for place, (key, _) in enumerate(next(iter(tried))):
        values = {trial[place][1] for trial in tried}
        best = {trial[place][1] for trial in choices}
        if min(values) in best:
            sides.append((key, "low"))
        if max(values) in best:
            sides.append((key, "high"))
    return sides
