"""The six plots on `digits` by each launcher, with one worker killed in the middle, against the serial sweep.

    python scripts/killed_sweeps.py epochs=1

Further overrides go to every sweep (`figure=senet18_lr0.001 seed=0` makes it short). Prints, for each
launcher, what the kill cost and whether `curves.csv` equals the serial one after the command was given again.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LAUNCHERS = ("joblib", "ray", "submitit_local")


def command(folder: Path, launcher: str, verb: str = "train") -> list[str]:
    """A sweep of the six plots whose records go to `folder`."""
    arguments = ["experiment=six_plots", "dataset=digits", f"outputs={folder / launcher}", *sys.argv[1:]]
    if verb == "train":
        # The executing process writes a checkpoint at each epoch, so that there is one to go on from.
        arguments += [f"hydra/launcher={launcher}", "checkpoint.min_seconds=0"]
    return [sys.executable, "-m", "senet_lab", verb, *arguments]


def statuses(folder: Path) -> list[dict[str, Any]]:
    """Each run's `status.json`."""
    return [json.loads(file.read_text()) for file in folder.rglob("status.json")]


def kill_a_worker(folder: Path, sweep: subprocess.Popen) -> str:
    """Wait until a third of the sweep is done, then kill the process of a run."""
    while sweep.poll() is None:
        states = statuses(folder)
        running = [status for status in states if status["state"] == "running"]
        planned = len(json.loads(plan.read_text())["runs"]) if (plan := find_plan(folder)) else 1
        if running and len(states) - len(running) >= planned // 3:
            os.kill(running[0]["pid"], signal.SIGKILL)
            return f"process {running[0]['pid']} killed after {len(states) - len(running)} of {planned} runs"
        time.sleep(0.1)
    return "no worker was killed"


def find_plan(folder: Path) -> Path | None:
    """The plan of the one sweep in `folder`, once it is there."""
    return next(iter(folder.glob("*/plan.json")), None)


def curves(folder: Path, launcher: str) -> bytes:
    """The content of a sweep's `curves.csv`, after `plot`."""
    subprocess.run([*command(folder, launcher, "plot"), "formats=[html]"], check=True, capture_output=True)
    return next((folder / launcher).rglob("curves.csv")).read_bytes()


def main() -> int:
    """Run all sweeps; 1 where one differs from the serial one."""
    folder = Path(tempfile.mkdtemp(prefix="killed_sweeps_"))
    started = time.monotonic()
    subprocess.run(command(folder, "serial"), check=True, stdout=subprocess.DEVNULL)
    expected = curves(folder, "serial")
    print(f"serial: {len(statuses(folder / 'serial'))} runs, {time.monotonic() - started:.0f} s", flush=True)
    different = 0
    for launcher in LAUNCHERS:
        started = time.monotonic()
        sweep = subprocess.Popen(
            command(folder, launcher), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        killed = kill_a_worker(folder / launcher, sweep)
        code = sweep.wait()
        failed = sum(status["state"] == "failed" for status in statuses(folder / launcher))
        again = subprocess.run(command(folder, launcher), check=False, stdout=subprocess.DEVNULL).returncode
        equal = curves(folder, launcher) == expected
        different += not equal
        print(
            f"{launcher}: {killed}; {failed} failed, exit code {code}; again: exit code {again}, "
            f"curves.csv {'equal' if equal else 'DIFFERENT'}; {time.monotonic() - started:.0f} s",
            flush=True,
        )
    print(folder)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
