"""A small sweep with a fault at one point, and the same command again: what is left must be the same."""

import csv
import errno
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from shim import Fault, Server
from support import tiny

CHANGES = "owrumt"
"""The kinds of points that change what is on disk."""
KILLS = (Fault.BEFORE, Fault.HALF, Fault.AFTER, Fault.DROP_DATA, Fault.DROP_NAMES)


@dataclass(frozen=True)
class Trial:
    """One fault in one command."""

    point: int
    fault: Fault
    error: int = 0

    @property
    def kind(self) -> str:
        """The fault, and which error."""
        return " ".join([self.fault.name, *([errno.errorcode[self.error]] if self.error else [])])

    def __str__(self) -> str:
        return f"{self.kind} at point {self.point}"


@dataclass
class Stage:
    """A command, where it begins, and what it comes to when nobody disturbs it."""

    arguments: list[str]
    start: Path
    """A copy of the folder before the command."""
    result: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    kinds: str = ""
    at_risk: str = ""

    def trials(self) -> Iterator[Trial]:
        """Every fault at every point where it can make a difference.

        A death before a call leaves what the one after the call before it left, so one is enough.
        """
        yield Trial(1, Fault.BEFORE)
        for point, (kind, at_risk) in enumerate(zip(self.kinds, self.at_risk, strict=True), start=1):
            if kind in CHANGES:
                yield Trial(point, Fault.AFTER)
            if kind == "w":
                yield Trial(point, Fault.HALF)
            if at_risk in "13" and kind in CHANGES:
                yield Trial(point, Fault.DROP_DATA)
            if at_risk in "23" and kind in CHANGES + "s":
                yield Trial(point, Fault.DROP_NAMES)
            yield Trial(point, Fault.FAIL, errno.EIO)
            if kind in "owm":
                yield Trial(point, Fault.FAIL_ON, errno.ENOSPC)
            if kind in "oi":
                yield Trial(point, Fault.FAIL_ON, errno.EMFILE)


def sweep_of(folder: Path, *overrides: str) -> list[str]:
    """Two runs of two epochs, one with learned coefficients."""
    settings = ["checkpoint.min_seconds=0", "hydra/launcher=serial", "activation=relu,tact", *overrides]
    return ["train", "-m", *tiny(folder), *settings]


def stages(server: Server, folder: Path, names: Sequence[str], *overrides: str) -> dict[str, Stage]:
    """Train, extend, plot, report, each from where the one before it ended, run once undisturbed.

    Args:
        server: what runs them.
        folder: for the data set and copies of the sweep.
        names: which of them.
        overrides: of the sweep.
    """
    outputs = folder / "sweep" / "outputs"
    train = sweep_of(outputs.parent, *overrides)
    commands = {
        "train": train,
        "extend": [*train, "seed=1", "plan=extend"],
        "plot": ["plot", f"outputs={outputs}", "formats=[html]"],
        "report": ["report", f"outputs={outputs}"],
    }
    outputs.mkdir()
    found = {}
    for name in names:
        arguments = commands[name]
        stage = found[name] = Stage(arguments, folder / name)
        shutil.copytree(outputs, stage.start)
        outcome = server.run(arguments, outputs)
        assert outcome.code == 0, outcome.said
        stage.result = result(outputs)
        stage.epochs, stage.kinds, stage.at_risk = outcome.epochs, outcome.kinds, outcome.at_risk
    return found


def faults_of(server: Server, stage: Stage, folder: Path, trial: Trial, together: int = 1) -> list[str]:
    """Everything that is wrong after a trial, a sentence each.

    Args:
        server: what runs the commands.
        stage: which of them.
        folder: the same as that of `stages`, whose sweep is put back to where the stage begins.
        trial: the fault.
        together: runs that share a process, each of which may lose the epoch under way.
    """
    outputs = folder / "sweep" / "outputs"
    shutil.rmtree(outputs)
    shutil.rmtree(outputs.with_name("backups"), ignore_errors=True)
    shutil.copytree(stage.start, outputs)
    disturbed = server.run(stage.arguments, outputs, trial.point, trial.fault, trial.error)
    wrong = torn(outputs)
    if trial.fault in KILLS and disturbed.code != -9:
        wrong.append(f"the fault was not reached: exit code {disturbed.code}")
    if trial.fault not in KILLS and disturbed.code not in (0, 1, 2):
        wrong.append(f"exit code {disturbed.code}: {disturbed.said}")
    found = result(outputs)
    # A checkpoint that cannot be deleted is named on the terminal and left to the next command.
    done = {name: content for name, content in found.items() if name in stage.result}
    if disturbed.code == 0 and done != stage.result:
        wrong.append(f"exit code 0, but not done: {difference(found, stage.result)}")
    again = server.run(stage.arguments, outputs)
    if again.code != 0:
        wrong.append(f"again: exit code {again.code}: {again.said}")
    elif result(outputs) != stage.result:
        wrong.append(f"again: {difference(result(outputs), stage.result)}")
    if disturbed.epochs + again.epochs > stage.epochs + together:
        wrong.append(f"{disturbed.epochs} + {again.epochs} epochs trained, where {stage.epochs} were needed")
    return [f"{trial}: {sentence}" for sentence in wrong]


def result(folder: Path) -> dict[str, Any]:
    """The files below `folder`, but for what time and process leave in them."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.endswith(".lock")]
    return {str(file.relative_to(folder)): _content(file) for file in files}


def difference(found: dict[str, Any], expected: dict[str, Any]) -> str:
    """The files in which two results differ."""
    return ", ".join(
        name if name in found and name in expected else f"{name} is {'there' if name in found else 'missing'}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    )


def torn(folder: Path) -> list[str]:
    """Files that are neither an old nor a new one but half of one."""
    found = []
    for file in folder.rglob("*"):
        whole = True
        if file.suffix == ".json":
            whole = file.read_text().endswith("}\n")
        elif file.suffix == ".html":
            whole = file.read_text().rstrip().endswith("</html>")
        elif file.suffix == ".csv" and file.parent.name == "figures":
            whole = file.read_text().endswith("\n")
        if not whole:
            found.append(f"{file} is torn")
    return found


def _content(file: Path) -> Any:
    if file.name == "status.json":
        status = json.loads(file.read_text())
        return {
            key: status[key] for key in ("state", "epochs_done", "test_top1", "config_hash", "images_done")
        }
    if file.name == "metrics.csv":
        rows = csv.DictReader(io.StringIO(file.read_text()))
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    if file.suffix == ".pt":
        weights = torch.load(file, weights_only=True, map_location="cpu")["network"]
        return {key: value.numpy().tobytes() for key, value in weights.items()}
    if file.suffix == ".html":  # which has names that bokeh draws, and the time
        return file.read_text().rstrip()[-7:]
    if file.name in ("environment.json", "error.txt"):
        return ""
    return file.read_bytes()
