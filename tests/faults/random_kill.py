"""Kill -9 at random times and in the middle of writes, again and again, and compare what is left at the end.

    python tests/faults/random_kill.py --trials 60

A trial starts a sweep of two runs, kills it up to three times, lets it end, and compares rows, learned
coefficients and final weights with those of a sweep that nobody disturbed.
"""

import argparse
import os
import random
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweeps import leftovers, records, start, statuses, sweep

from senet_lab import files
from senet_lab.cli import main

EPOCHS = 4
WRITES = 2 * (3 + 4 * EPOCHS)
"""About as many as a sweep makes: config, environment and status of each run, and what an epoch writes."""


def die_in_write(number: int, moment: str) -> None:
    """Arrange that this process kills itself in its `number`-th write: half way, before or after."""
    calls = iter(range(number))

    def dying(original: Callable[..., Any], before: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            last = next(calls, None) is None
            if last and before:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **options)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    if moment == "half":

        def half(descriptor: int) -> None:
            if next(calls, None) is None:
                status = os.fstat(descriptor)
                if stat.S_ISREG(status.st_mode):
                    os.ftruncate(descriptor, status.st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        files.os.fsync = half  # type: ignore[assignment]
    else:
        Path.replace = dying(Path.replace, before=moment == "before")  # type: ignore[method-assign]


def trial(seed: int, folder: Path, expected: dict[str, Any]) -> Counter[str]:
    """One sweep, killed up to three times; counts of kills by kind, and of runs that were lost."""
    draws = random.Random(seed)
    arguments = sweep(folder, f"epochs={EPOCHS}")
    counts: Counter[str] = Counter()
    for _ in range(draws.randint(1, 3)):
        moment = draws.choice(["time", "time", "half", "before", "after"])
        if moment == "time":
            process = start(arguments, folder / "log.txt")
            time.sleep(draws.uniform(0, 1.5))
            process.kill()
        else:
            die = partial(die_in_write, draws.randrange(WRITES), moment)
            process = start(arguments, folder / "log.txt", die)
        process.join()
        counts[moment if process.exitcode == -signal.SIGKILL else "ended before"] += 1
    process = start(arguments, folder / "log.txt")
    process.join()
    found = records(folder)
    finished = [name for name, status in statuses(folder).items() if status["state"] == "finished"]
    counts["lost"] = sum(found.get(run) != expected[run] or run not in finished for run in expected)
    counts["disorder"] = process.exitcode != 0 or bool(leftovers(folder))
    return counts


def trials(seeds: range, folder: Path, expected: dict[str, Any]) -> Counter[str]:
    """The sum over trials; the folder of one that went wrong stays."""
    total: Counter[str] = Counter()
    for seed in seeds:
        path = folder / str(seed)
        counts = trial(seed, path, expected)
        print(f"trial {seed}: {dict(counts)}", flush=True)
        total += counts
        if not counts["lost"] and not counts["disorder"]:
            shutil.rmtree(path)
    return total


def _run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial")
    options = parser.parse_args()
    os.environ["LOKY_MAX_CPU_COUNT"] = "1"
    folder = Path(tempfile.mkdtemp(prefix="random_kill_"))
    main(sweep(folder / "undisturbed", f"epochs={EPOCHS}"))
    expected = records(folder / "undisturbed")
    total = trials(range(options.seed, options.seed + options.trials), folder, expected)
    kills = sum(total[moment] for moment in ("time", "half", "before", "after"))
    print(f"{options.trials} trials, {kills} kills, {total['lost']} runs lost, {dict(total)}")
    return 1 if total["lost"] or total["disorder"] else 0


if __name__ == "__main__":
    sys.exit(_run())
