"""Runs as Ray tasks: on several GPUs of one machine, or on a cluster with a shared file system."""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from senet_lab.errors import UsageError
from senet_lab.extras import require_extra
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
    threads_of,
)
from senet_lab.runs.signals import Stop


@dataclass(frozen=True)
class Ray:
    """Ray tasks, one per pack; Ray places them and assigns GPUs.

    Args:
        address: address of a running cluster, or `auto`; None starts Ray on this machine for this sweep.
        num_cpus: cores of a Ray started here; None for all.
        gpus_per_run: share of a GPU per task: 0.25 puts four tasks on one.
    """

    address: str | None = None
    num_cpus: int | None = None
    gpus_per_run: float = 0.0
    takes_packs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_extra("ray", "ray")
        require_count("num_cpus", self.num_cpus)
        if not (isinstance(self.gpus_per_run, int | float) and 0 <= self.gpus_per_run < float("inf")):
            raise UsageError(f"hydra.launcher.gpus_per_run={self.gpus_per_run}: must be a number, 0 or more")
        if self.address is not None and self.num_cpus is not None:
            raise UsageError(
                "hydra.launcher.num_cpus is for a Ray started here: leave it out with an address"
            )

    @property
    def is_here(self) -> bool:
        """See `Launcher`."""
        return self.address is None

    def threads(self, runs: int) -> int:
        """See `Launcher`; one on a cluster: a task that asks for more than a host has would never start."""
        return equal_share(runs, self.num_cpus) if self.is_here else 1

    def workers(self, packs: Sequence[Pack]) -> int:
        """See `Launcher`; an estimate for a cluster, whose size only Ray knows.

        Raises:
            UsageError: runs on GPUs without a share: Ray would hide all GPUs, or show all of them.
        """
        gpus = gpus_for(packs)
        if not gpus:
            return side_by_side(packs, self.num_cpus or cpu_count())
        if not self.gpus_per_run:
            raise UsageError(
                "hydra.launcher.gpus_per_run=0: these runs use a GPU, so give each a share of one, such as "
                "1 or 0.25; or trainer.device=cpu"
            )
        return min(len(packs), max(1, int(gpus / self.gpus_per_run)))

    def launch(self, sweep: SweepDirectory, packs: Sequence[Pack], stop: Stop) -> Iterator[State]:
        """See `Launcher`."""
        # All at once: Ray starts as many as its resources allow.
        return drive(_Tasks(self, sweep), sweep, packs, len(packs), stop)


class _Tasks:
    """An `Executor` on Ray."""

    def __init__(self, launcher: Ray, sweep: SweepDirectory) -> None:
        self.launcher = launcher
        self.sweep = SweepDirectory(sweep.path.resolve())

    def __enter__(self) -> "_Tasks":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self.ray = ray
        handler = signal.getsignal(signal.SIGTERM)
        options: dict[str, Any] = {"address": self.launcher.address}
        if self.launcher.address is None:
            options |= {"address": "local", "num_cpus": self.launcher.num_cpus, "include_dashboard": False}
        ray.init(**options, logging_level=logging.ERROR, configure_logging=False)
        signal.signal(signal.SIGTERM, handler)  # ray replaces it
        return self

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    def submit(self, packs: Sequence[Pack]) -> list[Any]:
        """See `Executor`."""
        task = self.ray.remote(max_retries=0)(execute_in_worker)
        return [
            task.options(
                num_cpus=threads_of(pack), num_gpus=self.launcher.gpus_per_run, name=pack[0].directory
            ).remote(self.sweep, pack)
            for pack in packs
        ]

    def ended(self, jobs: Sequence[Any]) -> list[Any]:
        """See `Executor`."""
        return self.ray.wait(list(jobs), num_returns=1, timeout=POLL_SECONDS)[0] if jobs else []

    def states(self, job: Any) -> list[State]:
        """See `Executor`."""
        try:
            return self.ray.get(job)
        except self.ray.exceptions.RayError as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise LostWorkerError(f"Ray lost the worker: {reason}") from error

    def interrupt(self, jobs: Sequence[Any]) -> None:
        """See `Executor`; Ray sends Ctrl-C, which a run checks between two steps."""
        for job in jobs:
            self.ray.cancel(job)
