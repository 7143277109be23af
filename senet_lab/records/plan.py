"""The plan of a sweep: its runs, composed and checked once, then frozen in `plan.json`.

Runs follow the plan: later edits of YAML do not change a sweep in progress.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec

from senet_lab.config import NODES, RunConfig, comparable
from senet_lab.errors import UsageError
from senet_lab.files import SURROGATE, Count, is_there, parse_json, read_text, typed, write_atomic
from senet_lab.records.migrations import PLAN_FORMAT, current_plan, recorded_config
from senet_lab.records.protocol import Cell, Protocol, Role, Stage
from senet_lab.records.sweep import SweepDirectory, is_run
from senet_lab.version import PACKAGE

NOT_RESULTS = ("checkpoint", "pre_activations")
"""Fields of a run's config that do not affect its results."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a plan."""

    directory: str
    """Path relative to the sweep's folder."""
    hash: str
    """`config_hash` of `plain`."""
    command: str
    """The command line that planned it, without its execution keys."""
    overrides: list[str]
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    """CPU threads: part of the plan because sums depend on it in their last bits."""
    checkpoint_bytes: Count
    """Size of its checkpoint on disk."""
    plain: dict[str, Any]
    """The config as it was frozen, without fields of later versions."""
    continues: list[str] = field(default_factory=list)
    """Its earlier hashes, with fewer epochs; checkpoints with one of them are valid, too."""
    role: Role | None = None
    """Its role in a comparison."""
    epoch_macs: Annotated[int, msgspec.Meta(ge=0, lt=2**62)] = 0
    """Multiply-accumulates of the network over all training images, forward; 0: unknown."""

    @cached_property
    def config(self) -> RunConfig:
        """The typed config; fields of later versions have their defaults."""
        config = recorded_config(self.plain, f"the plan of {self.directory}")
        for key in NODES & self.plain.keys():
            setattr(config, key, self.plain[key])  # which the plan's runs share, instead of a copy
        return config


_FIELDS = tuple(field.name for field in fields(PlannedRun) if field.name != "role")


def _plain(run: PlannedRun) -> dict[str, Any]:
    """A run as plain values for JSON; by hand, because `asdict` copies each config."""
    plain = {key: getattr(run, key) for key in _FIELDS}
    return plain if run.role is None else {**plain, "role": asdict(run.role)}


@dataclass(frozen=True)
class Plan:
    """The content of `plan.json`."""

    sweep: SweepDirectory
    source: str
    """SHA-256 of the code that planned it."""
    runs: list[PlannedRun]
    commands: dict[str, str] = field(default_factory=dict)
    """Digest of the YAML from which each command line was planned."""
    protocol: Protocol | None = None
    """The comparison's protocol; None for a plain sweep."""
    data: dict[str, str] = field(default_factory=dict)
    """Fingerprint of each data set that runs have started with, by the digest of its config node."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Keys of `figures` that the planning commands set; see `records.figures`."""

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The hash of each run, by directory."""
        return {run.directory: run.hash for run in self.runs}

    def fingerprint(self, run: PlannedRun) -> str | None:
        """Fingerprint of the data with which the sweep's first run on this data set started."""
        return self.data.get(_data_key(run))

    @property
    def is_open(self) -> bool:
        """Whether more runs are to come: a comparison whose confirmation is not planned yet."""
        roles = [run.role for run in self.runs]
        return self.protocol is not None and not any(role and role.stage is Stage.confirm for role in roles)

    def without(self, runs: Collection[PlannedRun]) -> "Plan":
        """The plan without these runs."""
        gone = {run.directory for run in runs}
        return replace(self, runs=[run for run in self.runs if run.directory not in gone])

    def write(self) -> None:
        """Freeze the plan."""
        content = {
            "format": PLAN_FORMAT,
            "source": self.source,
            "commands": self.commands,
            "data": self.data,
            "figures": self.figures,
        }
        if self.protocol is not None:
            content["protocol"] = asdict(self.protocol)
        # A run a line: with an indent, json is many times slower.
        runs = ",\n".join(json.dumps(_plain(run)) for run in self.runs)
        text = f'{json.dumps(content)[:-1]}, "runs": [\n{runs}\n]}}\n'
        write_atomic(self.sweep.plan_file, text, self.sweep.path)


@dataclass(frozen=True)
class _Content:
    """`plan.json`."""

    format: int
    source: str
    runs: list[PlannedRun]
    commands: dict[str, str] = field(default_factory=dict)
    protocol: Protocol | None = None
    data: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


_CONTENT = tuple(field.name for field in fields(_Content) if field.name != "format")


@dataclass(frozen=True)
class _TextRun(PlannedRun):
    """A run whose config's values are JSON texts."""

    plain: dict[str, msgspec.Raw]


@dataclass(frozen=True)
class _TextContent(_Content):
    """`plan.json` with configs of JSON texts."""

    runs: list[_TextRun]  # type: ignore[assignment]


def read_plan(sweep: SweepDirectory) -> Plan | None:
    """The frozen plan; None before there is one.

    Parsed anew only if its file is another: a verb asks for it in several places, and every run of thousands.

    Raises:
        UsageError: a file that is no plan of this format, a run outside the folder of runs, a config that was
            changed after it was frozen.
    """
    file = sweep.plan_file
    if not is_there(file):
        return None
    found = file.lstat()  # changes whenever the file is replaced or written
    return _parsed(sweep, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


@lru_cache(maxsize=1)
def _parsed(sweep: SweepDirectory, _identity: tuple[int, ...]) -> Plan:
    """The content of the plan's file of this identity."""
    file = sweep.plan_file
    text = read_text(file, sweep.path)
    plan = _sharing(text) or _converted(text, file)
    _check(plan, file)
    return Plan(sweep, **{key: getattr(plan, key) for key in _CONTENT})


def _converted(text: str, file: Path) -> _Content:
    """The content of any plan, or why it is none.

    Raises:
        UsageError: see `read_plan`.
    """
    content = current_plan(parse_json(text, file))
    found = content.get("format") if isinstance(content, dict) else None
    if found != PLAN_FORMAT:
        raise UsageError(f"{file} has plan format {found}; this version reads up to {PLAN_FORMAT}")
    plan = typed(_Content, content, file, "move it away to plan anew")
    for run in plan.runs:
        if config_hash(run.plain) != run.hash:
            raise UsageError(
                f"{file}: the config of {run.directory} is not the one that was planned (its hash differs): "
                "put it back, or plan it under another name="
            )
    return plan


def _sharing(text: str) -> _Content | None:
    """`_converted` in a fifth of the time and memory, as runs share their configs' equal values.

    None for what `_converted` is to judge: another format, numbers or characters that JSON lacks, a
    changed plan.
    """
    if SURROGATE.search(text):
        return None
    try:
        plan = msgspec.json.decode(text, type=_TextContent)
        runs = _shared(plan.runs)
    except (msgspec.DecodeError, RecursionError):
        return None
    is_current = plan.format == PLAN_FORMAT and len(runs) == len(plan.runs)
    return _Content(**{**vars(plan), "runs": runs}) if is_current else None


def _shared(runs: Sequence[_TextRun]) -> list[PlannedRun]:
    """The runs up to the first with a wrong hash; values of configs with the same text are one object."""
    known: dict[bytes, tuple[Any, str]] = {}
    found: list[PlannedRun] = []
    for run in runs:
        values = {}
        for key, raw in run.plain.items():
            text = bytes(raw)
            if text not in known:
                value = json.loads(text)
                known[text] = value, _canonical(value)
            values[key] = known[text]
        if _hash({key: canonical for key, (_, canonical) in values.items()}) != run.hash:
            break
        plain = {key: value for key, (value, _) in values.items()}
        found.append(PlannedRun(**{**vars(run), "plain": plain}))
    return found


def _check(plan: _Content, file: Path) -> None:
    """Raise UsageError for a plan that this package cannot have written."""
    for run in plan.runs:
        if not is_run(run.directory):
            raise UsageError(f"{file} names a run that cannot be one, below runs/: {run.directory}")
        if run.hash in run.continues:
            raise UsageError(f"{file} has {run.directory} continue itself, so it would never finish")
    parts: list[Role | Cell] = [run.role for run in plan.runs if run.role is not None]
    parts += plan.protocol.cells if plan.protocol is not None else []
    if not all(part.block.isprintable() and part.arm.isprintable() for part in parts):
        raise UsageError(f"{file} names an arm or a block with characters that cannot be printed")
    for before, name in pairwise(sorted(run.directory.split("/") for run in plan.runs)):
        if name == before:
            raise UsageError(f"{file} names {'/'.join(name)} twice, where each run belongs once")
        if name[: len(before)] == before:
            raise UsageError(f"{file} names {'/'.join(name)}, which lies within another run")


def require_plan(sweep: SweepDirectory) -> Plan:
    """The frozen plan.

    Raises:
        UsageError: see `read_plan`; no plan.
    """
    plan = read_plan(sweep)
    if plan is None:
        raise UsageError(
            f"{sweep.plan_file} does not exist: senet-lab train writes it, name= chooses the sweep"
        )
    return plan


def require_planned(sweep: SweepDirectory, run: PlannedRun) -> Plan:
    """The plan on disk, after checking that it still contains `run`, which is about to start.

    Raises:
        UsageError: another command has replaced the plan, or it cannot be read.
    """
    plan = read_plan(sweep)
    if plan is None or plan.hashes.get(run.directory) != run.hash:
        raise UsageError(f"{sweep.plan_file} was replaced: this run is not in it any more")
    return plan


def agree_on_data(sweep: SweepDirectory, run: PlannedRun, fingerprint: str) -> None:
    """Check that the data are unchanged since the sweep's first run on this data set.

    The caller holds the plan's lock.

    Raises:
        UsageError: the data have changed.
    """
    plan = require_planned(sweep, run)
    key, known = _data_key(run), plan.fingerprint(run)
    if known is None:
        replace(plan, data={**plan.data, key: fingerprint}).write()
    elif known != fingerprint:
        raise UsageError(
            f"dataset={run.plain['dataset'].get('name', '')}: the data have changed since this sweep began "
            f"(SHA-256 {fingerprint[:12]}, was {known[:12]}): put them back, use another name=, or delete "
            f'{key} under "data" in {sweep.plan_file} to go on with the new ones'
        )


def _data_key(run: PlannedRun) -> str:
    """Digest of a run's data set's config node."""
    return hashlib.sha256(json.dumps(run.plain["dataset"], sort_keys=True).encode()).hexdigest()[:16]


def config_hash(plain: Mapping[str, Any]) -> str:
    """SHA-256 of the fields of a plain config that affect a run's results."""
    return _hash({key: _canonical(value) for key, value in plain.items()})


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


_key = cache(json.dumps)


def _hash(texts: Mapping[str, str]) -> str:
    """SHA-256 of the canonical JSON of a mapping of which the values are given as such."""
    kept = [f"{_key(key)}: {texts[key]}" for key in sorted(texts) if key not in NOT_RESULTS]
    return hashlib.sha256(f"{{{', '.join(kept)}}}".encode()).hexdigest()


def results_of(config: RunConfig) -> dict[str, Any]:
    """The values of a config that affect a run's results, equal in different versions of this package."""
    return {key: value for key, value in comparable(config).items() if key not in NOT_RESULTS}


def _source_hash() -> str:
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


_SOURCE = _source_hash()  # on import: later edits do not change the code that runs


def source_hash() -> str:
    """SHA-256 of this package's code as this process loaded it, to detect edits."""
    return _SOURCE
