"""Runs as jobs of submitit: a Slurm array, or processes of this machine that outlive the terminal."""

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from joblib import cpu_count

from senet_lab.errors import UsageError
from senet_lab.extras import require_extra
from senet_lab.records.run import State
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.launchers import (
    POLL_SECONDS,
    LostWorkerError,
    Pack,
    drive,
    execute_in_worker,
    require_count,
    side_by_side,
)
from senet_lab.runs.signals import Stop


@dataclass(frozen=True)
class Submitit:
    """Submitit's own executors, one job a pack; logs lie in the sweep's folder `jobs`.

    Args:
        cluster: `slurm`, or `local` for processes of this machine.
        at_a_time: jobs handed over at a time; None for all on Slurm (one array, which
            `slurm_array_parallelism` limits), and for as many as the cores feed on this machine.
        parameters: submitit's own, as `executor.update_parameters` takes them.
    """

    cluster: str
    at_a_time: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_extra("submitit", "slurm")
        require_count("at_a_time", self.at_a_time)
        if self.cluster not in ("slurm", "local"):
            raise UsageError(f"hydra.launcher.cluster={self.cluster}: must be slurm or local")

    @property
    def is_here(self) -> bool:
        """See `Launcher`."""
        return self.cluster == "local"

    def workers(self, packs: Sequence[Pack]) -> int:
        """See `Launcher`."""
        jobs = len(packs)
        if self.cluster == "slurm":
            return min(self.at_a_time or self.parameters.get("slurm_array_parallelism", jobs), jobs)
        return min(self.at_a_time or side_by_side(packs, cpu_count()), jobs)

    def launch(self, sweep: SweepDirectory, packs: Sequence[Pack], stop: Stop) -> Iterator[State]:
        """See `Launcher`."""
        at_a_time = self.at_a_time or (len(packs) if self.cluster == "slurm" else self.workers(packs))
        return drive(_Jobs(self, sweep), sweep, packs, at_a_time, stop)


@dataclass(frozen=True)
class Job:
    """What a job calls; submitit asks `checkpoint` what to queue again after Slurm's warning."""

    sweep: SweepDirectory

    def __call__(self, pack: Pack) -> list[State]:
        """Execute the runs."""
        return execute_in_worker(self.sweep, pack)

    def checkpoint(self, pack: Pack) -> Any:
        """The same again: each run goes on from its last epoch boundary that is down.

        Called by the process that executes the runs, and so holds their locks, in a signal handler.
        """
        from submitit.helpers import DelayedSubmission

        for run in pack:
            directory = self.sweep.run(run.directory)
            status = directory.status()
            if status.state is State.RUNNING:
                error = "preempted, and queued again"
                directory.write_status(replace(status, state=State.INTERRUPTED, error=error))
        return DelayedSubmission(self, pack)


class _Jobs:
    """An `Engine` on submitit."""

    def __init__(self, launcher: Submitit, sweep: SweepDirectory) -> None:
        self.launcher = launcher
        self.sweep = SweepDirectory(sweep.path.resolve())
        self.jobs: list[Any] = []

    def __enter__(self) -> "_Jobs":
        os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")  # read when submitit is imported
        import submitit

        self.errors = (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError)
        folder = self.sweep.jobs
        try:
            self.executor = submitit.AutoExecutor(folder, cluster=self.launcher.cluster)
            self.executor.update_parameters(**self.launcher.parameters)
        except (RuntimeError, NameError, ValueError, TypeError) as error:
            raise UsageError(f"hydra/launcher: submitit says: {' '.join(str(error).split())}") from error
        return self

    def __exit__(self, *_: object) -> None:
        for job in self.jobs:
            if not job.done():
                job.cancel(check=False)

    def submit(self, packs: Sequence[Pack]) -> list[Any]:
        """See `Engine`."""
        jobs = self.executor.map_array(Job(self.sweep), packs) if packs else []
        self.jobs += jobs
        return jobs

    def ended(self, jobs: Sequence[Any]) -> list[Any]:
        """See `Engine`."""
        time.sleep(POLL_SECONDS)
        return [job for job in jobs if job.done()]

    def states(self, job: Any) -> list[State]:
        """See `Engine`."""
        try:
            return job.result()
        except self.errors as error:
            reason = str(error).strip().splitlines()[0]
            raise LostWorkerError(f"job {job.job_id} was lost: {reason} ({job.paths.stderr})") from error

    def interrupt(self, jobs: Sequence[Any]) -> None:
        """See `Engine`."""
        for job in jobs:
            if self.launcher.cluster == "local":
                os.kill(int(job.job_id), signal.SIGTERM)  # `cancel` leaves no time to write anything down
            else:
                job.cancel(check=False)
