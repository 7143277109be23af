"""Verification of records: each run's files against the plan, its status, digest and data."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from senet_lab.dotted import get_value
from senet_lab.errors import UsageError
from senet_lab.files import is_there
from senet_lab.records.check import digest_fault, rows_fault
from senet_lab.records.plan import Plan, PlannedRun, config_hash, results_of
from senet_lab.records.rows import Coefficient, PreActivation, Row
from senet_lab.records.run import FINAL, Environment, RunDirectory, State, Status
from senet_lab.records.surroundings import mixture
from senet_lab.records.survey import as_planned, living_status
from senet_lab.records.tables import read_columns
from senet_lab.text import counted

SLACK = 1 << 26
"""Bytes by which a checkpoint may exceed four times its planned size: a larger one is none."""

Check = Callable[[Plan, PlannedRun, RunDirectory, Status], Iterator[str]]


def faults(plan: Plan, run: PlannedRun) -> Iterator[str]:
    """The faults of a run's record, one sentence each; none for a run that has not begun."""
    record = plan.sweep.run(run.directory)
    try:
        status = as_planned(run, living_status(record))
    except UsageError as error:
        yield str(error)
        return
    if status.state is State.PLANNED:
        return
    for check in CHECKS:
        try:
            yield from check(plan, run, record, status)
        except UsageError as error:
            yield str(error)


def notes(plan: Plan, runs: Sequence[PlannedRun]) -> Iterator[str]:
    """Remarks that are no faults: mixed environments, missing digests; for a whole sweep, runs in no plan."""
    attempts: list[Environment] = []
    without_digest = 0
    for run in runs:
        record = plan.sweep.run(run.directory)
        try:
            attempts += record.environments()
            status = record.status()
        except UsageError:
            continue  # `faults` tells it
        without_digest += status.state in FINAL and record.metrics_file.name not in status.digests
    mixed = mixture(attempts)
    if mixed:
        yield f"trained in mixed environments: {mixed}"
    if without_digest:
        runs_without = counted(without_digest, "run")
        yield f"without a digest, so checked by rows alone: {runs_without} of an earlier version"
    known = {run.directory for run in plan.runs}
    for directory in plan.sweep.find_runs() if len(runs) == len(plan.runs) else ():
        if directory not in known:
            yield f"{directory} is in no plan and was not checked"


def _status_faults(_: Plan, run: PlannedRun, record: RunDirectory, status: Status) -> Iterator[str]:
    if status.state is State.DAMAGED:
        yield f"{record.status_file}: {status.error}"
    elif status.config_hash is not None and status.config_hash not in (run.hash, *run.continues):
        yield f"{record.status_file}: the run began with another config than the plan has"


def _rows_faults(_: Plan, __: PlannedRun, record: RunDirectory, status: Status) -> Iterator[str]:
    if status.state in FINAL:
        digests = (digest_fault(record, status, table) for table in record.tables)
        yield from filter(None, (*digests, rows_fault(record, status)))


def _long_table_faults(_: Plan, __: PlannedRun, record: RunDirectory, status: Status) -> Iterator[str]:
    if status.state in FINAL:
        done = status.epochs_done
        yield from _count_faults(record, record.activations_file, Coefficient, done)
        yield from _count_faults(record, record.pre_activations_file, PreActivation, done + 1)


def _count_faults(record: RunDirectory, file: Path, kind: type[Row], epochs: int) -> Iterator[str]:
    """Missing and surplus rows of a table that has as many in each of `epochs` epochs."""
    if not is_there(file):
        return
    counts = Counter(int(epoch) for epoch in read_columns(file, record.root, kind)["epoch"])
    each = max(counts.values(), default=0)
    missing = next(epoch for epoch in itertools.count() if epoch not in counts)
    if missing < epochs:
        yield f"{file} has no row of epoch {missing}"
    for epoch, number in sorted(counts.items()):
        right = each if epoch < epochs else 0
        if number != right:
            yield f"{file} has {counted(number, 'row')} of epoch {epoch}, not {right}"


def _role_faults(plan: Plan, run: PlannedRun, _: RunDirectory, __: Status) -> Iterator[str]:
    """In a comparison, a run's role must be that of the arm from which its config was derived."""
    if plan.protocol is None or run.role is None:
        return
    keys = (*plan.protocol.declared.space, "seed", "epochs", "test")
    role, planned = run.role, results_of(run.config)
    for cell in plan.protocol.cells:
        if (cell.block, cell.arm) == (role.block, role.arm):
            try:
                values = {key: get_value(run.plain, key) for key in keys}
                if results_of(cell.derive(values)) == planned:
                    return
            except KeyError:  # a key of the space that no run has
                break
    yield f"{plan.sweep.plan_file}: the config of {run.directory} is not that of {role.arm} in {role.block}"


def _config_faults(_: Plan, run: PlannedRun, record: RunDirectory, __: Status) -> Iterator[str]:
    if config_hash(record.plain_config()) not in (run.hash, *run.continues):
        yield f"{record.config_file} is not the config that was planned"


def _environment_faults(plan: Plan, run: PlannedRun, record: RunDirectory, status: Status) -> Iterator[str]:
    attempts, known = record.environments(), plan.fingerprint(run)
    if status.state in FINAL and not attempts:
        yield f"{record.environment_file} is missing"
    for number, attempt in enumerate(attempts, start=1):
        if None not in (known, attempt.data) and attempt.data != known:
            yield f"{record.environment_file}: attempt {number} had other data than the sweep began with"


def _checkpoint_faults(_: Plan, run: PlannedRun, record: RunDirectory, status: Status) -> Iterator[str]:
    file = record.checkpoint_file
    if not is_there(file):
        if run.config.checkpoint.keep and status.state is State.FINISHED:
            yield f"{file} is missing, although checkpoint.keep=true keeps it"
        return
    from senet_lab.runs.checkpoint import CheckpointError, load_checkpoint, require_rows  # imports torch

    try:
        content = load_checkpoint(record, {run.hash, *run.continues}, 4 * run.checkpoint_bytes + SLACK)
    except CheckpointError as error:
        yield str(error)
        return
    except MemoryError:
        yield f"{file} does not fit in memory"
        return
    done = content.get("epochs_done")
    if not isinstance(done, int):
        yield f"{file} has no number of epochs"
    elif status.state is State.FINISHED and done != status.epochs_done:
        yield f"{file} is of epoch {done}, the run's last one is {status.epochs_done}"
    elif not 0 <= done <= run.config.epochs:
        yield f"{file} is of epoch {done} of {run.config.epochs}"
    elif status.state not in FINAL:
        try:
            require_rows(record, content)
        except CheckpointError as error:
            yield str(error)


CHECKS: tuple[Check, ...] = (
    _status_faults,
    _rows_faults,
    _long_table_faults,
    _role_faults,
    _config_faults,
    _environment_faults,
    _checkpoint_faults,
)
