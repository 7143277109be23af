"""The stages of a comparison: tune, choose, confirm.

Each stage's runs follow from the frozen plan, its rules and the records of the previous stage, and join the
plan before they start: stages resume as sweeps do.
"""

import shlex
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from senet_lab.composition.command import Command, Point
from senet_lab.config import PlanMode, ProtocolConfig, WhenTested
from senet_lab.errors import UsageError
from senet_lab.files import make_writable
from senet_lab.records.figures import chosen_figures
from senet_lab.records.plan import Plan, PlannedRun, read_plan, source_hash
from senet_lab.records.protocol import Cell, Protocol, Role, Stage
from senet_lab.records.run import FINAL
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import SweepDirectory, require_inside, sweep_directory
from senet_lab.records.trials import (
    Outcome,
    Side,
    Trial,
    TunedRun,
    borders,
    chosen,
    outcomes,
    ranked,
    role_of,
    tuned,
)
from senet_lab.runs.declare import declare
from senet_lab.runs.planning import (
    Request,
    freeze,
    freeze_first,
    require_empty,
    without_execution_keys,
)
from senet_lab.runs.space import Rung, epochs_of, rungs, trials, widened
from senet_lab.text import counted

TESTS = {Stage.tune: WhenTested.never, Stage.confirm: WhenTested.end}
"""The value of `test` for the runs of each stage."""

Found = Mapping[str, Outcome]
Confirms = Callable[[Plan, Protocol], bool]


@dataclass(frozen=True)
class _Draft:
    """A run to be added to the plan, or to get more epochs in it."""

    point: Point
    role: Role


def stages(command: Command, confirms: Confirms) -> Iterator[Request]:
    """The requests of a comparison, one per stage, each based on the current plan.

    The caller executes the runs of a request before taking the next one; if some did not end, there is none.

    Args:
        command: a command with a protocol; its points are the arms in the blocks.
        confirms: called before the confirmation is planned; True to continue.

    Raises:
        UsageError: see `open_plan`.
    """
    plan, notes = open_plan(command)
    while True:
        yield Request(plan, plan.runs, notes)
        if Survey(plan.sweep, plan.runs).refresh().without_state(*FINAL):
            return
        before = plan
        plan, notes = _advance(plan.sweep, confirms)
        if plan.runs == before.runs:
            return


def open_plan(command: Command) -> tuple[Plan, list[str]]:
    """The frozen plan of a comparison, created if there is none, and messages for the user.

    Raises:
        UsageError: a declaration that does not fit the sweep (see `declare`); the plan of a plain sweep or of
            another command; a folder that cannot be written.
    """
    config, line = command.config, shlex.join(without_execution_keys(command.words))
    sweep = sweep_directory(config.outputs, config.name)
    make_writable(sweep.path)
    with sweep.plan_lock():
        plan = read_plan(sweep)
        if config.plan is PlanMode.new and plan is not None:
            require_empty(plan)
            plan = None
        if plan is None:
            protocol = declare(config.protocol, command, line)
            empty = Plan(sweep, source_hash(), [], protocol=protocol, figures=chosen_figures(command))
            points = trials(config.protocol)
            drafts = [one for block in protocol.blocks for one in _first_rung(protocol, block, points)]
            plan = _extended(empty, drafts, lambda points: freeze_first(points, line, command.launcher))
            return plan, [costs(protocol)]
        if plan.protocol is None:
            raise UsageError(f"{sweep.plan_file} is of a plain sweep: give the comparison another name=")
        plan, notes = _known(plan, plan.protocol, config.protocol, line, config.plan)
        return plan, notes


def _known(
    plan: Plan, protocol: Protocol, declared: ProtocolConfig, command: str, mode: PlanMode
) -> tuple[Plan, list[str]]:
    """The plan, if it is `command`'s; before the confirmation, `plan=extend` may change its seeds.

    Raises:
        UsageError: another command's plan, or new seeds after the confirmation was planned.
    """
    notes = [costs(protocol)]
    if plan.source != source_hash():
        notes.append("the code has changed since this was planned: new attempts use the new code")
    if command == protocol.command:
        if declared != protocol.declared:
            notes.append("the YAML's protocol has changed: the comparison goes on with the frozen one")
        return plan, notes
    seeds = declared.confirmation_seeds
    if mode is not PlanMode.extend or declared != replace(protocol.declared, confirmation_seeds=seeds):
        raise UsageError(
            f"{plan.sweep.plan_file} belongs to the command senet-lab train {protocol.command} "
            f"{plan.sweep.words}: that one goes on with it; give a new comparison another name="
        )
    if not plan.is_open:
        raise UsageError(
            "protocol.confirmation_seeds: the confirmation has begun, and other seeds for results that are "
            "known would spoil its error rate: give a new comparison another name="
        )
    changed = replace(protocol.declared, confirmation_seeds=seeds)
    plan = replace(plan, protocol=replace(protocol, command=command, declared=changed))
    plan.write()
    return plan, notes


def _advance(sweep: SweepDirectory, confirms: Confirms) -> tuple[Plan, list[str]]:
    """The plan with the runs that follow from the ended ones, if any, and messages about them."""
    with sweep.plan_lock():
        plan = read_plan(sweep)
        if plan is None or plan.protocol is None:
            raise UsageError(
                f"{sweep.plan_file} is no longer the plan of a comparison: put it back as it was"
            )
        protocol, found = plan.protocol, outcomes(plan, plan.protocol)
        if not plan.is_open or len(found) < len(plan.runs):  # another process has extended the plan
            return plan, []
        drafts: list[_Draft] = []
        notes: list[str] = []
        for block in protocol.blocks:
            more, said = _next_rung(plan, protocol, found, block)
            drafts += more
            notes += said
        if not drafts and confirms(plan, protocol):
            choices = chosen(plan, protocol, found)
            drafts = _confirmation(protocol, choices)
            notes = _choices(plan, protocol, found, choices)
        if not drafts:
            return plan, []
        # Equally many threads in all runs, since they are compared, and one that is promoted goes on.
        threads = plan.runs[0].threads
        extended = _extended(plan, drafts, lambda points: freeze(points, protocol.command, threads))
        _drop_checkpoints(plan, protocol, {draft.point.directory for draft in drafts})
        return extended, notes


def _next_rung(plan: Plan, protocol: Protocol, found: Found, block: str) -> tuple[list[_Draft], list[str]]:
    """The next tuning runs of a block: of the next rung, or beyond the border of the space."""
    runs = tuned(plan, protocol, found, block)
    wide = any(one.role.widened for one in runs)
    bracket = [one for one in runs if one.role.widened is wide]
    rung = max(one.role.rung for one in bracket)
    cells = [cell for cell in protocol.cells if cell.block == block]
    ladder = rungs(len({one.trial for one in bracket}), cells[0].plain["epochs"], protocol.declared.tuning)
    if rung + 1 < len(ladder):
        best = [one for one in bracket if one.role.rung == rung]
        return [draft for cell in cells for draft in _promoted(cell, best, ladder)], []
    if wide or not protocol.declared.widen:
        return [], []
    choices = chosen(plan, protocol, found)
    sides = borders([choices[block, cell.arm] for cell in cells], [one.trial for one in runs])
    more = widened(protocol.declared, sides)
    return _first_rung(protocol, block, more, wide=True), [_widening(block, sides, more)] if sides else []


def _first_rung(protocol: Protocol, block: str, points: Sequence[Trial], wide: bool = False) -> list[_Draft]:
    """The first tuning runs of a block, or of its widened space."""
    if not points:
        return []
    cells = [cell for cell in protocol.cells if cell.block == block]
    ladder = rungs(len(points), cells[0].plain["epochs"], protocol.declared.tuning)
    return [
        _tuning_run(cell, Role(Stage.tune, block, cell.arm, wide), trial, seed, ladder)
        for cell in cells
        for trial in points
        for seed in protocol.declared.tuning_seeds
    ]


def _promoted(cell: Cell, rung: Sequence[TunedRun], ladder: Sequence[Rung]) -> list[_Draft]:
    """The best trials of an arm's rung by training error, promoted to the next one (see `PROMOTION`)."""
    mine = [one for one in rung if one.role.arm == cell.arm]
    role = replace(mine[0].role, rung=mine[0].role.rung + 1)
    kept = ranked(mine, attrgetter("train_error"))[: ladder[role.rung][1]]
    seeds = {one.run.plain["seed"]: None for one in mine}
    return [_tuning_run(cell, role, trial, seed, ladder) for trial in kept for seed in seeds]


def _tuning_run(cell: Cell, role: Role, trial: Trial, seed: int, ladder: Sequence[Rung]) -> _Draft:
    """A run up to a rung; below the last rung it keeps its checkpoint, to resume from."""
    values = {"seed": seed, "epochs": ladder[role.rung][0]}
    if role.rung + 1 < len(ladder):
        values["checkpoint.keep"] = True
    return _Draft(_point(cell, role.stage, trial, values), role)


def _confirmation(protocol: Protocol, choices: Mapping[tuple[str, str], Trial]) -> list[_Draft]:
    """The confirmation runs: every arm at its chosen trial, with the same seeds."""
    return [
        _Draft(
            _point(cell, Stage.confirm, choices[cell.block, cell.arm], {"seed": seed}),
            Role(Stage.confirm, cell.block, cell.arm),
        )
        for cell in protocol.cells
        for seed in protocol.declared.confirmation_seeds
    ]


def _point(cell: Cell, stage: Stage, trial: Trial, values: Mapping[str, int]) -> Point:
    """A run of a cell, in `runs/<stage>/<model>/<activation>/lr=<lr>/[<axis>=<value>/]seed=<seed>`."""
    changes = {**dict(trial), **values, "test": str(TESTS[stage])}
    folders = cell.directory.split("/")
    place = folders.index(f"lr={cell.plain['lr']!r}")
    axes = [f"{key}={value!r}" for key, value in trial if key != "lr"]
    parts = [
        *("runs", str(stage), *folders[1:place], f"lr={dict(trial)['lr']!r}"),
        *(*folders[place + 1 : -1], *axes, f"seed={values['seed']}"),
    ]
    overrides = [*cell.overrides, *(f"{key}={value}" for key, value in changes.items())]
    return Point(tuple(overrides), cell.derive(changes), "/".join(parts))


def _extended(
    plan: Plan, drafts: Sequence[_Draft], check_and_plan: Callable[[list[Point]], list[PlannedRun]]
) -> Plan:
    """The plan with drafts checked and frozen: replacing a run with fewer epochs, or appended."""
    points = [draft.point for draft in drafts]
    require_inside(plan.sweep.path, *(point.directory for point in points))
    runs = {run.directory: run for run in plan.runs}
    for run, draft in zip(check_and_plan(points), drafts, strict=True):
        shorter = runs.get(run.directory)
        continues = [*shorter.continues, shorter.hash] if shorter else []
        runs[run.directory] = replace(run, role=draft.role, continues=continues)
    plan = replace(plan, runs=list(runs.values()))
    plan.write()
    return plan


def _drop_checkpoints(plan: Plan, protocol: Protocol, longer: Container[str]) -> None:
    """Delete the checkpoints of tuning runs that were not promoted, unless weights are to be kept."""
    for run in plan.runs:
        role = role_of(run)
        keep = protocol.cell(role.block, role.arm).plain["checkpoint"]["keep"]
        if role.stage is Stage.tune:
            plan.sweep.run(run.directory).tidy(keep_checkpoint=keep or run.directory in longer)


def costs(protocol: Protocol) -> str:
    """The cost of a comparison in words, in image passes: training images times epochs."""
    declared = protocol.declared
    count = len(trials(declared))
    tuning = full = confirmation = 0
    for cell in protocol.cells:
        epochs = cell.plain["epochs"]
        passes = cell.images * len(declared.tuning_seeds)
        tuning += passes * epochs_of(rungs(count, epochs, declared.tuning))
        full += passes * count * epochs
        confirmation += cell.images * epochs * len(declared.confirmation_seeds)
    share = "" if tuning == full else f" ({tuning / full:.2f} of the {full:,} of full tuning)"
    return (
        f"{len(protocol.arms)} arms in {counted(len(protocol.blocks), 'block')}: {tuning:,} image passes to "
        f"tune{share}, {confirmation:,} to confirm"
    )


def _widening(block: str, sides: Sequence[Side], points: Sequence[Trial]) -> str:
    places = " and ".join(f"the {end} border of {key}" for key, end in sides)
    more = counted(len(points), "more trial")
    return f"{block}: a best trial lies at {places}: {more} beyond it, for every arm"


def _choices(
    plan: Plan, protocol: Protocol, found: Found, choices: Mapping[tuple[str, str], Trial]
) -> list[str]:
    """The chosen trial of each arm, and whether it lies at the border of the space."""
    notes = []
    for (block, arm), trial in choices.items():
        tried = [one.trial for one in tuned(plan, protocol, found, block)]
        at_border = " at the border of the space" if borders([trial], tried) else ""
        values = ", ".join(f"{key}={value!r}" for key, value in trial)
        notes.append(f"{block}: {arm} takes {values}{at_border}")
    return notes
