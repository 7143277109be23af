"""The plan of a sweep: its runs, composed and checked once, then frozen in `plan.json`.

Later edits of YAML do not reach a sweep under way: what runs is what the plan says.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import senet_lab
from senet_lab.config import TrainConfig
from senet_lab.errors import UsageError
from senet_lab.files import remove_temporaries, write_atomic

FORMAT = 1

NOT_RESULTS = ("checkpoint",)
"""Fields of a run's config that its numbers do not depend on."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan."""

    directory: str
    """Below the sweep's folder."""
    hash: str
    command: str
    """The command line that planned it, without `EXECUTION_KEYS`."""
    overrides: list[str]
    threads: int
    """CPU threads: part of the plan because sums depend on it in their last bits."""
    checkpoint_bytes: int
    """What a checkpoint of it takes on disk."""
    config: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What `plan.json` holds."""

    sweep: Path
    """The sweep's folder."""
    source: str
    """SHA-256 of the code that planned it."""
    runs: list[PlannedRun]

    @property
    def file(self) -> Path:
        """Where the plan lies."""
        return plan_file(self.sweep)

    def write(self) -> None:
        """Freeze the plan."""
        remove_temporaries(self.sweep)
        content = {"format": FORMAT, "source": self.source, "runs": [vars(run) for run in self.runs]}
        write_atomic(self.file, json.dumps(content, indent=1) + "\n")


def plan_file(sweep: Path) -> Path:
    """Where the plan of the sweep in folder `sweep` lies."""
    return sweep / "plan.json"


def sweep_folder(config: TrainConfig) -> Path:
    """`outputs/<name>`.

    Raises:
        UsageError: where a symbolic link leads out of `outputs`.
    """
    outputs = Path(config.outputs)
    require_inside(outputs, config.name)
    return outputs / config.name


def require_inside(folder: Path, name: str) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{path} leads out of {folder}, to {path.resolve()}: nothing was written there")


def read_plan(sweep: Path) -> Plan | None:
    """The frozen plan, or None where there is none yet.

    Raises:
        UsageError: a file that is no plan of this format.
    """
    file = plan_file(sweep)
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise UsageError(f"{file} has plan format {content['format']}; this version reads {FORMAT}")
        plan = Plan(sweep, content["source"], [PlannedRun(**run) for run in content["runs"]])
        for run in plan.runs:
            if run.directory.startswith("/") or ".." in run.directory.split("/"):
                raise UsageError(f"{file} names a run that leads out of {sweep}: {run.directory}")
        return plan
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is not a plan: {error}; move it away to plan anew") from error


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of what a run's numbers depend on."""
    kept = {key: value for key, value in config.items() if key not in NOT_RESULTS}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def source_hash() -> str:
    """SHA-256 of this package's code when it was first asked for, for telling whether it was edited."""
    package = Path(senet_lab.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """The first key, dotted, in which two configs differ, and both values."""
    for key in dict.fromkeys([*first, *second]):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one != other:
            inner, one, other = difference(one, other)
            return f"{key}.{inner}", one, other
        if one != other:
            return key, one, other
    raise ValueError("the configs are equal")
