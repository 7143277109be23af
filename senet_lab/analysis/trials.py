"""The records of a comparison as tidy frames: tuning runs, choices, confirmation runs."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from senet_lab.analysis.effects import FINALS_COLUMNS, Rules, mean_of, power
from senet_lab.analysis.verdict import Verdict, judge, points
from senet_lab.config import ProtocolConfig
from senet_lab.errors import UsageError
from senet_lab.records.plan import Plan, PlannedRun, read_plan
from senet_lab.records.protocol import Protocol, Stage
from senet_lab.records.sweep import SweepDirectory
from senet_lab.records.trials import Outcome, Trial, chosen, outcomes, role_of, trial_of
from senet_lab.text import counted

RUN_COLUMNS = (*FINALS_COLUMNS, "epochs", "seconds", "images", "directory")
TUNING_COLUMNS = (*RUN_COLUMNS, "rung", "widened", "chosen")
RATES_COLUMNS = (
    "block", "arm", "epochs", "n", "error", "std", "low", "high", "diverged", "chosen", "at_border",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A comparison's plan and records. Errors are fractions, by the protocol's metric."""

    plan: Plan
    protocol: Protocol
    finals: pd.DataFrame
    """`RUN_COLUMNS` and the tuned values (`lr`, …), one row per ended confirmation run: `error` on the test
    images, `seconds` of all its epochs, `images` trained on."""
    tuning: pd.DataFrame
    """`TUNING_COLUMNS` and the tuned values, one row per ended tuning run: `error` on the validation part;
    `chosen` marks the arm's chosen trial at its last epoch, once all arms are tuned."""
    unfinished: list[str]
    """Directories of planned runs that have not ended."""

    @property
    def rules(self) -> Rules:
        """The rules for claims, with labels, and fractions instead of points."""
        declared = self.protocol.declared
        return Rules(self.protocol.baseline, declared.smallest_difference / 100, declared.family)

    @property
    def axes(self) -> list[str]:
        """Column names of the tuned values."""
        return list(self.protocol.declared.space)

    @cached_property
    def common_rate(self) -> tuple[dict[str, Trial], pd.DataFrame]:
        """See `at_common_rate`."""
        return at_common_rate(self)

    @cached_property
    def common_verdict(self) -> Verdict | None:
        """The verdict on the runs at a common rate; None if no block has any."""
        trials, runs = self.common_rate
        return judge(runs, self.rules) if trials else None

    def require_complete(self) -> None:
        """Raise UsageError unless all runs have ended: a verdict on some of them could differ."""
        command = f"senet-lab train {self.protocol.command} {self.plan.sweep.words}"
        total = len(self.plan.runs)
        if self.unfinished:
            done = f"{total - len(self.unfinished)} of {counted(total, 'planned run')} at the end"
            raise UsageError(f"no verdict yet: {done}; go on with: {command}")
        if self.plan.is_open:
            raise UsageError(f"no verdict yet: the confirmation has not begun; go on with: {command}")


def read_comparison(sweep: SweepDirectory) -> Comparison:
    """The comparison in a sweep's folder.

    Raises:
        UsageError: no plan of a comparison, or a record that cannot be read.
    """
    plan = read_plan(sweep)
    if plan is None or plan.protocol is None:
        raise UsageError(
            f"{sweep.path} holds no comparison: senet-lab train experiment=verdict makes one, name= names it"
        )
    return comparison(plan, plan.protocol)


def comparison(plan: Plan, protocol: Protocol) -> Comparison:
    """The comparison of a plan, with its ended runs."""
    found = outcomes(plan, protocol)
    unfinished = [run.directory for run in plan.runs if run.directory not in found]
    is_tuned = not (plan.is_open and unfinished)
    choices = chosen(plan, protocol, found) if is_tuned else {}
    rows: dict[Stage, list[dict[str, Any]]] = {Stage.tune: [], Stage.confirm: []}
    for run in plan.runs:
        if run.directory in found:
            rows[role_of(run).stage].append(_row(protocol, run, found[run.directory], choices))
    axes = list(protocol.declared.space)
    return Comparison(
        plan,
        protocol,
        pd.DataFrame(rows[Stage.confirm], columns=[*RUN_COLUMNS, *axes]),
        pd.DataFrame(rows[Stage.tune], columns=[*TUNING_COLUMNS, *axes]),
        unfinished,
    )


def _row(
    protocol: Protocol, run: PlannedRun, outcome: Outcome, choices: dict[tuple[str, str], Trial]
) -> dict[str, Any]:
    role, trial = role_of(run), trial_of(protocol, run)
    cell, epochs = protocol.cell(role.block, role.arm), run.plain["epochs"]
    is_whole = epochs == cell.plain["epochs"]
    return {
        "block": role.block,
        "arm": role.arm,
        "seed": run.plain["seed"],
        "error": outcome.error,
        "diverged": outcome.diverged,
        "epochs": epochs,
        "seconds": outcome.seconds,
        "images": cell.images * epochs,
        "directory": run.directory,
        "rung": role.rung,
        "widened": role.widened,
        "chosen": is_whole and choices.get((role.block, role.arm)) == trial,
        **dict(trial),
    }


def rates(found: Comparison) -> pd.DataFrame:
    """Error by tuned values: each trial of each arm at its last rung.

    Returns:
        `RATES_COLUMNS` and the tuned values, the lowest first: `error` is the mean validation error over `n`
        tuning seeds after `epochs`, `std` their sample standard deviation, `low` and `high` the mean's
        interval; `chosen` marks the arm's choice, and `at_border` a choice at the border of the block's
        tried values.
    """
    axes = found.axes
    rows = []
    for (block, arm), runs in found.tuning.groupby(["block", "arm"], sort=False):
        tried = found.tuning.loc[found.tuning["block"] == block, axes]
        for values, own in runs.groupby(axes, sort=True):
            last = own[own["rung"] == own["rung"].max()]
            is_chosen = bool(last["chosen"].all())
            edges = [
                value in (tried[axis].min(), tried[axis].max())
                for axis, value in zip(axes, values, strict=True)
            ]
            rows.append(
                {
                    "block": block,
                    "arm": arm,
                    "epochs": last["epochs"].max(),
                    **mean_of(last),
                    "chosen": is_chosen,
                    "at_border": is_chosen and any(edges),
                    **dict(zip(axes, values, strict=True)),
                }
            )
    return pd.DataFrame(rows, columns=[*RATES_COLUMNS, *axes])


def at_common_rate(found: Comparison) -> tuple[dict[str, Trial], pd.DataFrame]:
    """The tuning runs of every arm of a block at the baseline's chosen trial.

    That is the comparison at a common learning rate, without tuning per arm.

    Returns:
        The trial of each block, and its runs for `effects.effects`; a block is missing if an arm did not
        train that trial to its last epoch.
    """
    tuning, axes = found.tuning, found.axes
    trials: dict[str, Trial] = {}
    parts = []
    for block, runs in tuning.groupby("block", sort=False):
        choice = runs[(runs["arm"] == found.protocol.baseline) & runs["chosen"]]
        if choice.empty:
            continue
        values = choice.iloc[0]
        same = runs[(runs[axes] == values[axes]).all(axis="columns") & (runs["epochs"] == values["epochs"])]
        if same["arm"].nunique() == runs["arm"].nunique():
            trials[str(block)] = tuple((axis, float(values[axis])) for axis in axes)
            parts.append(same)
    return trials, pd.concat(parts) if parts else tuning.iloc[:0]


def power_sentences(plan: Plan, protocol: Protocol) -> list[str]:
    """The power of the confirmation in words, from the spread of the tuning runs."""
    found = comparison(plan, protocol)
    chosen_runs = found.tuning[found.tuning["chosen"]]
    table = power(chosen_runs, len(protocol.declared.confirmation_seeds), found.rules)
    return [_power(row, protocol.declared) for row in table.itertuples()]


def _power(row: Any, declared: ProtocolConfig) -> str:
    if not row.std > 0:
        return f"{row.block}: no spread over {counted(row.seeds, 'tuning seed')}, so the power is not known"
    found, needed = f"{points(row.detectable, 2)} points", f"{row.needed:.0f}"
    if row.comparisons > 1:
        found += (
            f" in a single comparison, {points(row.detectable_holm, 2)} as the first of {row.comparisons}"
        )
        needed += f" and {row.needed_holm:.0f}"
    return (
        f"{row.block}: {counted(row.n, 'confirmation seed finds', 'confirmation seeds find')}, with power "
        f"0.8, a difference of {found}; "
        f"{counted(declared.smallest_difference, 'point needs', 'points need')} {needed} seeds (standard "
        f"deviation of paired differences {points(row.std, 2)} points, from "
        f"{counted(row.seeds, 'tuning seed')})"
    )
