"""A fault at every point of a small sweep in turn, and the same command again after each.

    python tests/faults/all_crash_points.py

takes train and extend of plain runs and of runs that share a process, then plot and report. A trial is one
fault in one command. It is wrong where the same command then does not give what nobody disturbed has, trains
an epoch again that was safely down, or leaves a file behind; and where the disturbed one says 0 without being
done, or ends in a traceback. The folders of wrong ones stay.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

sys.path.insert(0, str(Path(__file__).parents[1]))

from crash_points import Stage, Trial, faults_of, stages
from shim import Server, build


@dataclass(frozen=True)
class Variant:
    """Commands that are disturbed, and of which sweep."""

    names: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    together: int = 1
    """Runs that share a process."""
    before: tuple[str, ...] = ()
    """Commands that come first, undisturbed."""


VARIANTS = {
    "plain": Variant(("train", "extend")),
    "packed": Variant(("train", "extend"), ("pack=2", "checkpoint.keep=true"), together=2),
    "pages": Variant(("plot", "report"), before=("train",)),
}


def run(title: str, folder: Path, servers: int, chosen: slice) -> int:
    """Take the chosen trials of a variant and say how many went wrong."""
    variant = VARIANTS[title]
    folder.mkdir()
    library = build(folder)
    idle: SimpleQueue[tuple[Server, Path, dict[str, Stage]]] = SimpleQueue()

    def one(name: str, trial: Trial) -> list[str]:
        server, own, found = idle.get()
        wrong = faults_of(server, found[name], own, trial, variant.together)
        for sentence in wrong:
            print(f"{title} {name}: {sentence}", flush=True)
        if wrong:
            shutil.copytree(own / "sweep" / "outputs", folder / "wrong" / f"{name} {trial}")
        idle.put((server, own, found))
        return wrong

    with ExitStack() as stack:
        for number in range(servers):
            own = folder / str(number)
            own.mkdir()
            server = stack.enter_context(Server(library))
            found = stages(server, own, [*variant.before, *variant.names], *variant.overrides)
            idle.put((server, own, found))
        pool = stack.enter_context(ThreadPoolExecutor(servers))
        return sum(
            _trials(f"{title} {name}", found[name], chosen, partial(one, name), pool)
            for name in variant.names
        )


def _trials(
    title: str, stage: Stage, chosen: slice, one: Callable[[Trial], list[str]], pool: Executor
) -> int:
    trials = list(stage.trials())[chosen]
    wrong = [trial for trial, told in zip(trials, pool.map(one, trials), strict=True) if told]
    kinds = Counter(trial.kind for trial in trials)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    print(f"{title}: {len(stage.kinds)} points, {len(trials)} trials ({told}), {len(wrong)} wrong")
    return len(wrong)


def _run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS), help=", ".join(VARIANTS))
    parser.add_argument("--servers", type=int, default=2, help="trials at a time")
    parser.add_argument("--every", type=int, default=1, help="take each n-th trial alone")
    parser.add_argument("--first", type=int, default=0, help="and begin with this one: a part of a long run")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="crash_points_"))
    wrong = sum(
        run(title, folder / title, options.servers, slice(options.first, None, options.every))
        for title in options.variants
    )
    if wrong:
        print(f"{wrong} trials went wrong: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(_run())
