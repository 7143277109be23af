"""Each run over all processes that torchrun started: DistributedDataParallel."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from senet_lab.errors import UsageError
from senet_lab.runs.directory import State
from senet_lab.runs.plan import PlannedRun
from senet_lab.runs.signals import Stop


@dataclass(frozen=True)
class Torchrun:
    """The first process plans and records, the others train along: NCCL on GPUs, gloo on CPUs."""

    def __post_init__(self) -> None:
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            raise UsageError(
                "hydra/launcher=torchrun: start it with torchrun --nproc-per-node=N --local-ranks-filter=0 "
                "-m senet_lab train …"
            )

    def workers(self, runs: Sequence[PlannedRun]) -> int:  # noqa: ARG002
        """See `Launcher`."""
        return 1

    def launch(self, sweep: Path, runs: Sequence[PlannedRun], stop: Stop) -> Iterator[State]:
        """See `Launcher`. Ends at the first run that fails, because the processes are then out of step."""
        with stop.at_once():
            import torch
            import torch.distributed as dist

            from senet_lab.runs.execute import execute
            from senet_lab.training.distributed import current_group
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        group = current_group()
        try:
            for run in runs:
                if group.any(stop()):
                    return
                mine = replace(run, threads=max(1, run.threads // group.size))
                state = execute(sweep, mine, stop) if group.rank == 0 else follow(mine, stop)
                yield state
                if state not in (State.FINISHED, State.DIVERGED):
                    return
                dist.barrier()  # the record is complete before another process reads it
        finally:
            dist.destroy_process_group()


def follow(run: PlannedRun, stop: Stop) -> State:
    """Train a run along with the first process, without a record."""
    from senet_lab.training.engine import choose_engine
    from senet_lab.training.loop import Training
    from senet_lab.training.seeding import seed_global

    trainer = run.config["trainer"]
    engine = choose_engine(trainer["device"], trainer["precision"], trainer["deterministic"])
    with engine.settings(run.threads):
        seed_global(run.config["seed"])
        training = Training(run.config, engine)
        training.agree()
        while training.epochs_done < run.config["epochs"]:
            metrics = training.epoch(stop)
            if metrics is None:
                return State.INTERRUPTED
            if not math.isfinite(metrics.train_loss + metrics.test_loss):
                return State.DIVERGED
    return State.FINISHED
