"""Progress of a sweep, read from its run directories, for any launcher."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from senet_lab.errors import UsageError
from senet_lab.files import is_there
from senet_lab.records.check import digest_fault, rows_fault
from senet_lab.records.plan import PlannedRun, config_hash
from senet_lab.records.run import FINAL, RunDirectory, State, Status
from senet_lab.records.sweep import SweepDirectory
from senet_lab.text import counted

PLANNED = Status()
"""The status of a run before its first epoch."""


@dataclass
class Survey:
    """The status of each run; `refresh` re-reads those that have not ended."""

    sweep: SweepDirectory
    runs: Sequence[PlannedRun]
    statuses: dict[str, Status] = field(default_factory=dict)
    """Statuses by run directory."""

    def refresh(self) -> "Survey":
        """Read the status of each run that has not ended."""
        for run in self.runs:
            if run.directory not in self.statuses or self.state(run) not in FINAL:
                self.statuses[run.directory] = readable_status(self.sweep.run(run.directory), run)
        return self

    def state(self, run: PlannedRun) -> State:
        """The run's state."""
        return self.statuses[run.directory].state

    def with_state(self, *states: State) -> list[PlannedRun]:
        """The runs in one of `states`, in plan order."""
        return [run for run in self.runs if self.state(run) in states]

    def without_state(self, *states: State) -> list[PlannedRun]:
        """The runs in none of `states`, in plan order."""
        return [run for run in self.runs if self.state(run) not in states]

    def counts(self) -> Counter[State]:
        """Runs by state."""
        return Counter(status.state for status in self.statuses.values())

    def stages(self) -> list[str]:
        """A sentence on the planned stages of a comparison; none for another sweep."""
        stages: dict[str, list[bool]] = {}
        for run in self.runs:
            if run.role is not None:
                stages.setdefault(run.role.stage, []).append(self.state(run) in FINAL)
        parts = [
            f"{stage}: {sum(ended)} of {counted(len(ended), 'run')} at the end"
            for stage, ended in stages.items()
        ]
        return ["; ".join(parts)] if parts else []

    def epochs(self) -> tuple[float, int]:
        """Completed epochs, with the finished parts of current ones, and requested epochs."""
        done = sum((_begun(run, self.statuses[run.directory]) for run in self.runs), 0.0)
        return done, sum(run.config.epochs for run in self.runs)

    def seconds_left(self, workers: int, marks: Mapping[str, Status] = MappingProxyType({})) -> float | None:
        """Estimated seconds for the remaining epochs on `workers` workers, from the epochs so far.

        Epochs count by their multiply-accumulates, or alike if those of a run are unknown. Each model has its
        own seconds per count: since its runs' marks or, without an epoch since, over all its epochs; before
        its first epoch, those of all models. Partial epochs count on both sides; None before the first part
        of one. A run is never divided among workers.

        Args:
            workers: number of runs at a time.
            marks: earlier statuses of the runs, since which they are measured; a run that has failed since
                will not be repeated.
        """
        is_known = all(run.epoch_macs for run in self.runs)
        costs = {run.directory: run.epoch_macs if is_known else 1 for run in self.runs}
        since: dict[str, _Pace] = defaultdict(_Pace)
        in_all: dict[str, _Pace] = defaultdict(_Pace)
        for run in self.runs:
            model, status = run.config.model["name"], self.statuses[run.directory]
            for paces, before in ((since, marks.get(run.directory, status)), (in_all, PLANNED)):
                epochs = _begun(run, status) - _begun(run, before)
                seconds = status.seconds + status.epoch_seconds - before.seconds - before.epoch_seconds
                if epochs > 0 and seconds > 0:  # else it went back, or has not begun
                    paces[model].add(seconds, costs[run.directory] * epochs)
        means = [_Pace.total(paces.values()) for paces in (since, in_all)]
        if not means[1].work:
            return None
        times = [0.0]
        for run in self.without_state(*FINAL, State.DAMAGED):
            status = self.statuses[run.directory]
            if status.state is State.FAILED and status != marks.get(run.directory, status):
                continue
            model = run.config.model["name"]
            pace = next(pace for pace in (since[model], in_all[model], *means) if pace.work)
            work = costs[run.directory] * (run.config.epochs - _begun(run, status))
            times.append(pace.seconds / pace.work * work)
        return max(sum(times) / workers, *times)


@dataclass
class _Pace:
    """Seconds that some work took."""

    seconds: float = 0.0
    work: float = 0.0

    @classmethod
    def total(cls, paces: Iterable["_Pace"]) -> "_Pace":
        """All of the work."""
        several = list(paces)
        return cls(sum(pace.seconds for pace in several), sum(pace.work for pace in several))

    def add(self, seconds: float, work: float) -> None:
        """Add some work and its seconds."""
        self.seconds += seconds
        self.work += work


def _begun(run: PlannedRun, status: Status) -> float:
    """Completed epochs plus the finished part of the current one; of a wrong record, the planned ones."""
    return min(status.epochs_begun, float(run.config.epochs))


def as_planned(run: PlannedRun, status: Status) -> Status:
    """A status checked against the plan: a finished run that has since got more epochs is unfinished.

    A run that ended with another config, or after a different number of epochs, is damaged; records of
    earlier versions may lack the config's hash.
    """
    if status.state is State.FINISHED and status.config_hash in run.continues:
        return replace(status, state=State.INTERRUPTED, epochs=run.config.epochs)
    if status.state not in FINAL or status.config_hash is None:
        return status
    if status.config_hash != run.hash:
        return _damaged(status, "it ended with another config than the plan has")
    if status.state is State.FINISHED and status.epochs_done != run.config.epochs:
        return _damaged(
            status, f"it finished after {status.epochs_done} of {counted(run.config.epochs, 'epoch')}"
        )
    return status


def checked_status(directory: RunDirectory, run: PlannedRun | None = None) -> Status:
    """`living_status`, with the state `damaged` for an ended run whose record is incomplete or changed.

    Args:
        directory: the run's directory.
        run: the run as planned; None for a run in no plan.

    Raises:
        UsageError: the record cannot be read.
    """
    status = living_status(directory)
    if status.state in FINAL:
        faults = [digest_fault(directory, status, table) for table in directory.tables]
        if directory.metrics_file.name not in status.digests:
            faults.append(rows_fault(directory, status))
        fault = next(filter(None, faults), None)
        status = _damaged(status, fault) if fault else status
    if run is not None:
        return as_planned(run, status)
    if status.config_hash is not None and status.config_hash != config_hash(directory.plain_config()):
        return _damaged(status, f"{directory.config_file} is not the config that the run had")
    return status


def readable_status(directory: RunDirectory, run: PlannedRun | None = None) -> Status:
    """`checked_status`, with the state `unreadable` instead of an error."""
    try:
        return checked_status(directory, run)
    except UsageError as error:
        return Status(State.UNREADABLE, error=str(error))


def _damaged(status: Status, reason: str) -> Status:
    return replace(status, state=State.DAMAGED, error=reason)


def living_status(directory: RunDirectory) -> Status:
    """The status of a run; `running` becomes `interrupted` if its process is dead.

    A run with rows and without a status, which is written before any row, is damaged.
    """
    status = directory.status()
    if status.state is State.PLANNED and is_there(directory.metrics_file):
        return _damaged(status, "there is a metrics.csv, but no status.json")
    if status.state is not State.RUNNING or directory.is_held():
        return status
    status = directory.status()  # again: it may have ended in between
    if status.state is State.RUNNING:
        owner = f"process {status.pid} on {status.host}"
        return replace(status, state=State.INTERRUPTED, error=f"{owner} ended without recording why")
    return status
