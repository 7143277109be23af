"""Checks of device and memory before a sweep starts."""

import json
import math
from collections.abc import Sequence

from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun
from senet_lab.runs.environment import device_name
from senet_lab.runs.launchers import Launcher, Pack, gpus_for, in_packs
from senet_lab.text import byte_size, counted
from senet_lab.training.engine import choose_engine
from senet_lab.training.memory import PROCESS_BYTES, free_bytes, run_bytes

GPU_PACK = 4
"""Runs that share a GPU by default: on an H200 four were 1.2 to 1.6 times as fast as one, and eight not
faster than four (docs/results/gpu_h200.md)."""


def describe_execution(runs: Sequence[PlannedRun]) -> list[str]:
    """Device, precision, threads and decoding processes, with their ground, one line per combination.

    Raises:
        UsageError: a device that this machine does not have.
    """
    lines = []
    for run in runs:
        engine = choose_engine(run.config.trainer)
        each = counted(run.threads, "thread")
        if "workers" in run.config.dataset:  # decoding processes; null is as many as threads
            workers = run.config.dataset["workers"]
            processes = run.threads if workers is None else workers
            ground = "one per thread" if workers is None else "dataset.workers"
            each += f" and {counted(processes, 'decoding process', 'decoding processes')} ({ground})"
        lines.append(f"{engine.device} {device_name(engine.device)}, {engine.precision}, {each} per run")
    return list(dict.fromkeys(lines))


def choose_packs(launcher: Launcher, runs: Sequence[PlannedRun], pack: int | None) -> list[Pack]:
    """Divide runs into packs.

    Args:
        launcher: executes the packs on this machine.
        runs: the runs, in order.
        pack: number of runs in a pack. None for up to `GPU_PACK` where processes have a GPU of their own, as
            many as its memory holds by an estimate, and for 1 elsewhere.

    Raises:
        UsageError: packs that were asked for do not fit into memory, by the estimate; says how many runs do.
    """
    alone = in_packs(runs, 1)
    if pack == 1 or (pack is None and not _have_own_gpus(launcher, alone)):
        return alone
    sizes = _run_sizes(runs)
    device = choose_engine(runs[0].config.trainer).device
    most = math.ceil(len(runs) / launcher.workers(alone))  # no GPU is left without work
    for count in [pack] if pack else range(min(GPU_PACK, most), 0, -1):
        packs = in_packs(runs, count)
        workers = launcher.workers(packs)
        sharing = math.ceil(workers / max(1, gpus_for(packs)))  # processes on one device
        room = max(0, free_bytes(device) // sharing - PROCESS_BYTES)
        too_large = [some for some in in_packs(sizes, count) if sum(some) > room]
        if not too_large or (pack is None and count == 1):
            return packs
    each = max(too_large[0])
    like = runs[sizes.index(each)].directory
    raise UsageError(
        f"pack={pack}: a run like {like} takes about {byte_size(each)} of memory on {device}, and each of "
        f"{workers} processes can have {byte_size(room)}; {room // each} fit"
    )


def _have_own_gpus(launcher: Launcher, packs: Sequence[Pack]) -> bool:
    """Whether each process of the launcher has a GPU of this machine for itself."""
    return launcher.takes_packs and launcher.workers(packs) <= gpus_for(packs)


def _run_sizes(runs: Sequence[PlannedRun]) -> list[int]:
    """Estimated bytes of each run; seeds and learning rates share an estimate."""
    known: dict[str, int] = {}
    sizes = []
    for run in runs:
        parts = {key: value for key, value in run.plain.items() if key not in ("seed", "lr")}
        text = json.dumps(parts, sort_keys=True)
        if text not in known:
            known[text] = run_bytes(run.config, run.checkpoint_bytes, choose_engine(run.config.trainer))
        sizes.append(known[text])
    return sizes
