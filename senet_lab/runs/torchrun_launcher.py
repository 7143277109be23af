"""Each run on all processes of torchrun, with DistributedDataParallel."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun
from senet_lab.records.run import State
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.cores import equal_share
from senet_lab.runs.launchers import Pack, gpus_for
from senet_lab.runs.signals import Stop


@dataclass(frozen=True)
class Torchrun:
    """Rank 0 plans and records, all ranks train: NCCL between GPUs, gloo between CPUs and for control."""

    def __post_init__(self) -> None:
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            raise UsageError(
                "hydra/launcher=torchrun: start it with torchrun --nproc-per-node=N --local-ranks-filter=0 "
                "-m senet_lab train …"
            )

    takes_packs: ClassVar[bool] = False
    is_here: ClassVar[bool] = True

    def threads(self, runs: int) -> int:
        """See `Launcher`."""
        return equal_share(runs)

    def workers(self, packs: Sequence[Pack]) -> int:
        """See `Launcher`.

        Raises:
            UsageError: packs of several runs, or compiled runs.
        """
        if any(len(pack) > 1 for pack in packs):
            raise UsageError("pack: with hydra/launcher=torchrun, processes share one run; use pack=1")
        if any(run.config.trainer.compile for pack in packs for run in pack):
            raise UsageError(
                "trainer.compile=true: hydra/launcher=torchrun cannot compile its parallel network; use false"
            )
        return 1

    def launch(self, sweep: SweepDirectory, packs: Sequence[Pack], stop: Stop) -> Iterator[State]:
        """See `Launcher`. Stops at the first failed run, because the ranks are then out of step."""
        with stop.at_once():
            import torch
            import torch.distributed as dist

            from senet_lab.runs.execute import execute
            from senet_lab.training.distributed import current_group
        on_gpus = gpus_for(packs) > 0
        if on_gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")
        group = current_group()
        try:
            for (run,) in packs:
                if group.any(stop()):
                    return
                mine = replace(run, threads=max(1, run.threads // group.size))
                state = execute(sweep, [mine], stop)[0] if group.rank == 0 else follow(mine, stop)
                yield state
                if state not in (State.FINISHED, State.DIVERGED):
                    return
                dist.barrier()  # the record is complete before another process reads it
        finally:
            dist.destroy_process_group()


def follow(run: PlannedRun, stop: Stop) -> State:
    """Train a run together with rank 0, without a record."""
    from senet_lab.training.turns import finish
    from senet_lab.training.unrecorded import unrecorded

    with unrecorded(run.config, run.threads) as training:
        return finish(training.run(stop))
