"""Checks of device and memory before a sweep starts."""

import json
from collections.abc import Sequence

from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun
from senet_lab.runs.environment import device_name
from senet_lab.runs.launchers import Pack
from senet_lab.text import byte_size
from senet_lab.training.engine import choose_engine
from senet_lab.training.memory import PROCESS_BYTES, free_bytes, run_bytes


def describe_execution(runs: Sequence[PlannedRun]) -> list[str]:
    """Device, precision, threads and decoding processes of the runs, one line per combination.

    Raises:
        UsageError: a device that this machine does not have.
    """
    lines = []
    for run in runs:
        engine = choose_engine(run.config.trainer)
        each = _count(run.threads, "thread", "threads")
        if "workers" in run.config.dataset:  # decoding processes; null is as many as threads
            workers = run.config.dataset["workers"]
            processes = run.threads if workers is None else workers
            each += f" and {_count(processes, 'decoding process', 'decoding processes')}"
        lines.append(f"{engine.device} {device_name(engine.device)}, {engine.precision}, {each} per run")
    return list(dict.fromkeys(lines))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def check_memory(packs: Sequence[Pack], workers: int) -> None:
    """Refuse packs that, by an estimate, do not fit into memory.

    Args:
        packs: packs of several runs.
        workers: number of packs at a time.

    Raises:
        UsageError: with the number of runs that fit.
    """
    known: dict[str, int] = {}
    for pack in packs:
        engine = choose_engine(pack[0].config.trainer)
        sizes = []
        for run in pack:
            parts = {key: value for key, value in run.plain.items() if key not in ("seed", "lr")}
            text = json.dumps(parts, sort_keys=True)
            if text not in known:
                known[text] = run_bytes(run.config, run.checkpoint_bytes, engine)
            sizes.append(known[text])
        room = free_bytes(engine.device) // workers - PROCESS_BYTES
        if sum(sizes) > room:
            raise UsageError(
                f"pack={len(pack)}: a run like {pack[0].directory} takes about {byte_size(max(sizes))} of "
                f"memory on {engine.device}, and each of {workers} processes can have "
                f"{byte_size(max(0, room))}; {max(0, room) // max(sizes)} fit"
            )
