"""Runs as submitit jobs: a Slurm array, or local processes that outlive the terminal."""

import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from senet_lab.errors import UsageError
from senet_lab.extras import require_extra
from senet_lab.files import make_folder
from senet_lab.records.run import State
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.cores import cpu_count, equal_share
from senet_lab.runs.launchers import (
    POLL_SECONDS,
    LostWorkerError,
    Pack,
    drive,
    execute_in_worker,
    gpus_for,
    require_count,
    side_by_side,
)
from senet_lab.runs.signals import Stop


@dataclass(frozen=True)
class Submitit:
    """Submitit executors, one job per pack; logs are in the sweep's folder `jobs`.

    Args:
        cluster: `slurm`, or `local` for processes of this machine.
        at_a_time: jobs submitted at a time; None for all on Slurm (one array, limited by
            `slurm_array_parallelism`), or locally for as many as fill the cores.
        parameters: arguments of submitit's `executor.update_parameters`.
    """

    cluster: str
    at_a_time: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    takes_packs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_extra("submitit", "slurm")
        require_count("at_a_time", self.at_a_time)
        require_count("parameters.cpus_per_task", self.parameters.get("cpus_per_task", 1))
        if self.cluster not in ("slurm", "local"):
            raise UsageError(f"hydra.launcher.cluster={self.cluster}: must be slurm or local")

    @property
    def is_here(self) -> bool:
        """See `Launcher`."""
        return self.cluster == "local"

    def threads(self, runs: int) -> int:
        """See `Launcher`; on Slurm those that its job has."""
        return equal_share(runs) if self.is_here else self.parameters.get("cpus_per_task", 1)

    def workers(self, packs: Sequence[Pack]) -> int:
        """See `Launcher`.

        Raises:
            UsageError: runs on GPUs of this machine, which submitit hides unless it is told a number.
        """
        jobs = len(packs)
        if self.cluster == "slurm":
            return min(self.at_a_time or self.parameters.get("slurm_array_parallelism", jobs), jobs)
        if not gpus_for(packs):
            return min(self.at_a_time or side_by_side(packs, cpu_count()), jobs)
        if not self.parameters.get("gpus_per_node"):
            raise UsageError(
                "hydra/launcher=submitit_local: submitit hides the GPU from these runs; add "
                "+hydra.launcher.parameters.gpus_per_node=1, or use trainer.device=cpu or "
                "hydra/launcher=joblib"
            )
        return min(self.at_a_time or 1, jobs)  # submitit gives all of them the same GPUs

    def launch(self, sweep: SweepDirectory, packs: Sequence[Pack], stop: Stop) -> Iterator[State]:
        """See `Launcher`."""
        at_a_time = self.at_a_time or (len(packs) if self.cluster == "slurm" else self.workers(packs))
        return drive(_Jobs(self, sweep), sweep, packs, at_a_time, stop)


@dataclass(frozen=True)
class Job:
    """The callable of a job; after Slurm's warning, submitit requeues the result of `checkpoint`."""

    sweep: SweepDirectory

    def __call__(self, pack: Pack) -> list[State]:
        """Execute the runs."""
        return execute_in_worker(self.sweep, pack)

    def checkpoint(self, pack: Pack) -> Any:
        """The job to requeue: each run resumes from its last checkpoint.

        Called in a signal handler of the process that executes the runs and holds their locks.
        """
        from submitit.helpers import DelayedSubmission

        for run in pack:
            directory = self.sweep.run(run.directory)
            status = directory.status()
            if status.state is State.RUNNING:
                error = "preempted and requeued"
                directory.write_status(replace(status, state=State.INTERRUPTED, error=error))
        return DelayedSubmission(self, pack)


class _Jobs:
    """An `Executor` on submitit."""

    def __init__(self, launcher: Submitit, sweep: SweepDirectory) -> None:
        self.launcher = launcher
        self.sweep = SweepDirectory(sweep.path.resolve())
        self.jobs: list[Any] = []

    def __enter__(self) -> "_Jobs":
        os.environ.setdefault("SUBMITIT_PREEMPT_SIGNAL", "USR1")  # read when submitit is imported
        import submitit

        self.errors = (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError)
        # A new one for each command: submitit unpickles what it finds under a job's number.
        folder = self.sweep.jobs / secrets.token_hex(8)
        make_folder(folder, self.sweep.path)
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
        """See `Executor`."""
        jobs = self.executor.map_array(Job(self.sweep), packs) if packs else []
        self.jobs += jobs
        return jobs

    def ended(self, jobs: Sequence[Any]) -> list[Any]:
        """See `Executor`."""
        time.sleep(POLL_SECONDS)
        return [job for job in jobs if job.done()]

    def states(self, job: Any) -> list[State]:
        """See `Executor`."""
        try:
            return job.result()
        except self.errors as error:
            reason = str(error).strip().splitlines()[0]
            raise LostWorkerError(f"job {job.job_id} was lost: {reason} ({job.paths.stderr})") from error

    def interrupt(self, jobs: Sequence[Any]) -> None:
        """See `Executor`."""
        for job in jobs:
            if self.launcher.cluster == "local":
                os.kill(int(job.job_id), signal.SIGTERM)  # `cancel` leaves no time to write records
            else:
                job.cancel(check=False)
