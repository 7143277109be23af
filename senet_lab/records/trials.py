"""Outcomes of a protocol's runs, and the trial chosen for each arm."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
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

MEASURED = {Stage.tune: "val", Stage.confirm: "test"}
"""The images whose error is the outcome of a stage's runs, as columns of the record begin."""


@dataclass(frozen=True)
class Outcome:
    """The result of an ended run."""

    error: float
    """The protocol's metric, a fraction: validation error in tuning, test error in confirmation; the error of
    chance for a diverged run."""
    train_error: float
    """Training error over the last epoch, a fraction; that of chance for a diverged run."""
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
            repair = f"senet-lab retry {plan.sweep.words} trains it again"
            raise UsageError(f"{run.directory} is damaged: {status.error}; {repair}")
        if status.state in FINAL:
            role = role_of(run)
            diverged = status.state is State.DIVERGED
            cell, metric = protocol.cell(role.block, role.arm), protocol.declared.metric
            error, train_error = (
                cell.chance(of) if diverged else _last_error(directory, column)
                for column, of in (
                    (f"{MEASURED[role.stage]}_{metric}", metric),
                    ("train_top1", ErrorMetric.top1),
                )
            )
            found[run.directory] = Outcome(error, train_error, diverged, status.seconds)
    return found


def _last_error(directory: RunDirectory, column: str) -> float:
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


def ranked(runs: Iterable[TunedRun], error: Callable[[Outcome], float]) -> list[Trial]:
    """The trials by their mean error over the tuning seeds, best first; ties: the lower trial first."""
    errors: dict[Trial, list[float]] = {}
    for tuned_run in runs:
        errors.setdefault(tuned_run.trial, []).append(error(tuned_run.outcome))
    return sorted(errors, key=lambda trial: (fmean(errors[trial]), trial))


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
            choices[cell.block, cell.arm] = ranked(whole, attrgetter("error"))[0]
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
