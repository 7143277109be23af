"""Launchers execute the runs of a sweep: in this process, or in worker processes on this machine.

A launcher executes packs (the runs of one process, usually a single one) and reports the runs' states;
everything else is in the plan, the run directories and their locks.
"""

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar

from filelock import Timeout
from joblib.externals.loky.process_executor import ProcessPoolExecutor

from senet_lab.composition.groups import targets
from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun
from senet_lab.records.run import FINAL, State
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.cores import cpu_count, equal_share
from senet_lab.runs.signals import Stop, stop_on_signal
from senet_lab.targets import construct

POLL_SECONDS = 0.1
"""Polling interval, seconds."""

GRACE_SECONDS = 0.8
"""Seconds for interrupted workers to write their records before they are killed."""


T = TypeVar("T")

Pack = Sequence[PlannedRun]
"""Runs that alternate step by step in one process."""


def in_packs(things: Sequence[T], count: int) -> list[Sequence[T]]:
    """The things in order, `count` together; the last ones may be fewer."""
    return [things[first : first + count] for first in range(0, len(things), count)]


class Launcher(Protocol):
    """The interface of a launcher."""

    takes_packs: ClassVar[bool]
    """Whether a process may execute several runs."""

    @property
    def is_here(self) -> bool:
        """Whether the runs are executed on this machine."""

    def threads(self, runs: int) -> int:
        """Most CPU threads that each of so many runs may have."""

    def workers(self, packs: Sequence[Pack]) -> int:
        """Number of `packs` executed at a time."""

    def launch(self, sweep: SweepDirectory, packs: Sequence[Pack], stop: Stop) -> Iterator[State]:
        """Execute `packs` until done or `stop`; yields the states of each pack's runs as it ends."""


def build_launcher(node: Mapping[str, Any]) -> Launcher:
    """The launcher that `hydra/launcher=…` names.

    Raises:
        UsageError: a launcher that is not this package's, or an unknown argument.
    """
    return construct("hydra.launcher", node, [Launcher], targets("hydra/launcher"))


def require_count(key: str, value: object) -> None:
    """Refuse a value that is neither null nor a positive integer.

    Raises:
        UsageError: naming `key`.
    """
    if value is not None and not (isinstance(value, int) and value >= 1):
        raise UsageError(f"hydra.launcher.{key}={value}: must be an integer of 1 or more, or null")


def threads_of(pack: Pack) -> int:
    """CPU threads that a pack keeps busy: those of one run, since its runs alternate."""
    return max(run.threads for run in pack)


def gpus_for(packs: Sequence[Pack]) -> int:
    """Number of this machine's GPUs that the packs may use; 0 if all their runs compute on the CPU."""
    devices = {run.config.trainer.device for pack in packs for run in pack} - {"cpu"}
    if not devices:
        return 0
    import torch

    count = torch.cuda.device_count()
    return min(count, len(devices)) if all(device.startswith("cuda:") for device in devices) else count


def side_by_side(packs: Sequence[Pack], cores: int) -> int:
    """Number of `packs` to run at a time: one per GPU; on CPUs, so that processes × threads = cores."""
    return min(len(packs), gpus_for(packs) or max(1, cores // max(map(threads_of, packs))))


@dataclass(frozen=True)
class Serial:
    """One pack after another, in this process."""

    takes_packs: ClassVar[bool] = True
    is_here: ClassVar[bool] = True

    def threads(self, runs: int) -> int:
        """See `Launcher`."""
        return equal_share(runs)

    def workers(self, _packs: Sequence[Pack]) -> int:
        """See `Launcher`."""
        return 1

    def launch(self, sweep: SweepDirectory, packs: Sequence[Pack], stop: Stop) -> Iterator[State]:
        """See `Launcher`."""
        with stop.at_once():
            from senet_lab.runs.execute import execute  # imports torch
        for pack in packs:
            if stop():
                return
            yield from execute(sweep, pack, stop)


class LostWorkerError(Exception):
    """A pack's process died; the message gives the cause."""


class Executor(Protocol):
    """Worker processes of one kind. A job is its handle for a pack."""

    def submit(self, packs: Sequence[Pack]) -> Sequence[Any]:
        """Submit packs; returns a job for each."""

    def ended(self, jobs: Sequence[Any]) -> Sequence[Any]:
        """Those of `jobs` that have ended, after waiting about `POLL_SECONDS` at most."""

    def states(self, job: Any) -> Sequence[State]:
        """Final states of a job's runs; raises LostWorkerError if its process died before reporting them."""

    def interrupt(self, jobs: Sequence[Any]) -> None:
        """Ask the jobs to stop."""


def drive(
    executor: AbstractContextManager[Executor],
    sweep: SweepDirectory,
    packs: Sequence[Pack],
    at_a_time: int,
    stop: Stop,
) -> Iterator[State]:
    """Execute `packs` on an executor's worker processes.

    A lost worker ends only its own pack. After `stop`, workers have `GRACE_SECONDS`; then leaving the
    executor's context kills them.
    """
    queue = list(packs)
    busy: dict[Any, Pack] = {}
    asked: float | None = None
    try:
        with executor as started:
            while busy or (queue and not stop()):
                if not stop():
                    fresh, queue = queue[: at_a_time - len(busy)], queue[at_a_time - len(busy) :]
                    busy.update(zip(started.submit(fresh), fresh, strict=True))
                elif asked is None:
                    started.interrupt(list(busy))
                    asked = time.monotonic()
                elif time.monotonic() > asked + GRACE_SECONDS:
                    break
                for job in started.ended(list(busy)):
                    pack = busy.pop(job)
                    try:
                        yield from started.states(job)
                    except LostWorkerError as error:
                        end = State.INTERRUPTED if stop() else State.FAILED
                        for run in pack:
                            yield record_end(sweep, run, end, str(error))
    finally:
        for pack in busy.values():
            for run in pack:
                record_end(sweep, run, State.INTERRUPTED, "ended together with the sweep")


def execute_in_worker(sweep: SweepDirectory, pack: Pack, gpu: int | None = None) -> list[State]:
    """Execute a pack in a worker process, which receives signals itself.

    Args:
        sweep: the sweep of the runs.
        pack: the runs.
        gpu: the GPU for runs that name none; None for the first one.
    """
    with stop_on_signal() as stop:
        with stop.at_once():
            from senet_lab.runs.execute import execute

            if gpu is not None:
                import torch

                torch.cuda.set_device(gpu)
        return [State.INTERRUPTED] * len(pack) if stop() else execute(sweep, pack, stop)


def record_end(sweep: SweepDirectory, run: PlannedRun, state: State, error: str) -> State:
    """Record the end of a run whose process died.

    A run that has not begun stays planned.

    Returns:
        The run's state; not `state` if another process has taken the run over.
    """
    directory = sweep.run(run.directory)
    try:
        with directory.lock():
            status = directory.status()
            if status.state is State.RUNNING or (state is State.FAILED and status.state not in FINAL):
                directory.write_status(replace(status, state=state, error=error))
    except Timeout:
        pass
    return directory.status().state


@dataclass(frozen=True)
class Joblib:
    """Worker processes through joblib's process engine.

    Args:
        n_jobs: number of processes, which share the GPUs evenly; None for one per GPU, or on CPUs for as many
            as fill the cores.
    """

    n_jobs: int | None = None
    takes_packs: ClassVar[bool] = True
    is_here: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count("n_jobs", self.n_jobs)

    def threads(self, runs: int) -> int:
        """See `Launcher`."""
        return equal_share(runs)

    def workers(self, packs: Sequence[Pack]) -> int:
        """See `Launcher`."""
        return min(self.n_jobs or side_by_side(packs, cpu_count()), len(packs))

    def launch(self, sweep: SweepDirectory, packs: Sequence[Pack], stop: Stop) -> Iterator[State]:
        """See `Launcher`."""
        workers = self.workers(packs)
        if workers == 1:
            return Serial().launch(sweep, packs, stop)
        return drive(_Pools(sweep, workers, gpus_for(packs)), sweep, packs, workers, stop)


LOKY_WARNING = "A worker stopped while some jobs were given to the "
"""Start of joblib's warning when it replaces a worker whose memory grew, as intended."""
# Ignored permanently: joblib warns from a thread at any time, and a context's filters end for all threads.
warnings.filterwarnings("ignore", LOKY_WARNING)


class _Pools:
    """An `Executor` of one-worker pools, because a killed worker fails all jobs of its pool."""

    def __init__(self, sweep: SweepDirectory, workers: int, gpus: int) -> None:
        self.sweep = sweep
        self.idle = [(_pool(), worker % gpus if gpus else None) for worker in range(workers)]
        self.busy: dict[Future, tuple[ProcessPoolExecutor, int | None]] = {}

    def __enter__(self) -> "_Pools":
        return self

    def __exit__(self, *_: object) -> None:
        for pool, _gpu in [*self.idle, *self.busy.values()]:
            pool.shutdown(kill_workers=True)

    def submit(self, packs: Sequence[Pack]) -> list[Future]:
        """See `Executor`."""
        # Workers start with Ctrl-C blocked: a terminal sends it to all processes, we forward it once.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            pools = [self.idle.pop() for _ in packs]
            jobs = [
                pool.submit(execute_in_worker, self.sweep, pack, gpu)
                for (pool, gpu), pack in zip(pools, packs, strict=True)
            ]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.busy.update(zip(jobs, pools, strict=True))
        return jobs

    def ended(self, jobs: Sequence[Future]) -> list[Future]:
        """See `Executor`."""
        return list(wait(jobs, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done)

    def states(self, job: Future) -> list[State]:
        """See `Executor`."""
        pool, gpu = self.busy.pop(job)
        error = job.exception()
        if error is not None:
            pool.shutdown(kill_workers=True)
            pool = _pool()
        self.idle.append((pool, gpu))
        if error is not None:
            killed = "the worker process was killed (by a user, or by the system for lack of memory)"
            raise LostWorkerError(killed) from error
        return job.result()

    def interrupt(self, jobs: Sequence[Future]) -> None:
        """See `Executor`."""
        for job in jobs:
            for pid in list(self.busy[job][0]._processes or {}):
                os.kill(pid, signal.SIGTERM)


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=1, initializer=_leave_with, initargs=(os.getpid(),))


def _leave_with(launcher: int) -> None:
    """End this worker process when its launcher dies, for any reason."""

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
