"""Compose the points of a sweep from the command line and `conf/`, through Hydra's compose API.

Nothing here builds an object or writes a file.
"""

import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from senet_lab.config import (
    PLANNING_VERBS,
    SCHEMAS,
    FiguresConfig,
    RunConfig,
    TrainConfig,
    check_name,
    run_config,
)
from senet_lab.errors import UsageError
from senet_lab.files import read_yaml
from senet_lab.groups import config_folder, is_group, option_file, options
from senet_lab.overrides import MOST, Axis, axes_of, parse
from senet_lab.variants import Axes, Variants

RUN_KEYS = [field.name for field in fields(RunConfig)]

GROUPS_IN_PATH = {"figure", "model", "activation", "lr", "seed"}
"""Sweep axes that the run directory names in any case."""

EMPTY = "senet_lab_empty"
"""An option without content, for groups that are filled in afterwards."""


@dataclass(frozen=True)
class Point:
    """One requested run."""

    overrides: tuple[str, ...]
    config: RunConfig
    directory: str
    """Relative to the sweep's folder: `runs/<model>/<activation>/lr=<lr>/[<axis>=<value>/]seed=<seed>`."""


@dataclass(frozen=True)
class Command:
    """A composed command line."""

    config: Any
    """The verb's own schema class, range-checked."""
    launcher: dict[str, Any]
    node: DictConfig
    """The same config before interpolations were resolved."""
    is_sweep: bool
    compose_points: Callable[[], list[Point]]
    config_dir: Path | None
    """The user's own folder of YAML, besides `conf/`."""
    selection: Mapping[str, Sequence[str]]
    """Values of run configs on the command line, by dotted key: verbs that read a plan select by them."""
    under: Callable[[Sequence[str]], "Command"]
    """The same command line under further overrides."""

    @cached_property
    def points(self) -> list[Point]:
        """The requested runs, composed on first access: a plan that knows the command needs none.

        Raises:
            UsageError: see `compose_command`.
        """
        return self.compose_points()


def register_schemas() -> None:
    """Register the schemas with Hydra as `<verb>_schema`, the base of the primary configs."""
    for verb, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{verb}_schema", node=schema)


def register_resolvers() -> None:
    """Register the resolvers that `conf/` uses beyond OmegaConf's own."""
    OmegaConf.register_new_resolver("stem", lambda name: Path(name).name, replace=True)
    OmegaConf.register_new_resolver("power", lambda base, exponent: float(base) ** exponent, replace=True)


def compose_command(
    verb: str, overrides: Sequence[str], multirun: bool = False, config_dir: Path | None = None
) -> Command:
    """Compose the command `senet-lab <verb> <overrides>`.

    Args:
        verb: the verb, which selects the primary config.
        overrides: in Hydra's syntax.
        multirun: whether `-m` was given; an experiment can imply it.
        config_dir: the user's own folder of YAML, besides `conf/`.

    Raises:
        UsageError: an override that Hydra cannot parse, an unknown option or key, a value of the wrong
            type or out of range, a sweep without `-m`.
    """
    folders = folders_of(config_dir)
    asked = axes_of(parse(overrides), folders)
    base = _compose_first(verb, asked, folders)
    is_sweep = multirun or base.hydra.mode == RunMode.MULTIRUN
    swept = next((axis for axis in asked.values() if axis.is_swept), None)
    if swept and not is_sweep and verb in PLANNING_VERBS:
        raise UsageError(f"{swept.line} asks for several values: add -m to sweep over them")
    planned = _axes_in(base, folders) if is_sweep else {}
    axes = planned | asked
    _check_axes(axes.values())
    # An experiment's axis is part of its runs' directories even if a command fixes its value.
    named = [key for key, axis in axes.items() if axis.is_swept or key in planned]
    node = base.copy()
    OmegaConf.set_struct(node, False)
    del node["hydra"]
    points = partial(_points, verb, axes, named, folders)
    chosen = {
        key: [str(value) for value in axis.values]
        for key, axis in asked.items()
        if key.split(".")[0] in RUN_KEYS
    }

    def under(more: Sequence[str]) -> Command:
        return compose_command(verb, [*overrides, *more], multirun, config_dir)

    launcher = _plain(base.hydra.launcher)
    return Command(_checked(node), launcher, node, is_sweep, points, config_dir, chosen, under)


def compose_node(verb: str, overrides: Sequence[str], config_dir: Path | None = None) -> DictConfig:
    """The config of a command line, with Hydra's own; for swept keys, the first value.

    Raises:
        UsageError: see `compose_command`; ranges are not checked.
    """
    folders = folders_of(config_dir)
    return _compose_first(verb, axes_of(parse(overrides), folders), folders)


def folders_of(config_dir: Path | None) -> list[Path]:
    """The folders of config groups: `conf/`, and the user's own."""
    return [config_folder(), *([config_dir] if config_dir else [])]


def _compose_first(verb: str, asked: dict[str, Axis], folders: Sequence[Path]) -> DictConfig:
    """The config with the first value of each requested axis."""
    first = [axis.overrides[0] for axis in asked.values()]
    with _hydra(folders) as search:
        try:
            return _compose(verb, [*search, *first], folders)
        except UsageError:
            # A key may belong to an option that an experiment chooses, by an axis of its own.
            groups = [axis.overrides[0] for axis in asked.values() if axis.is_group]
            planned = _axes_in(_compose(verb, [*search, *groups], folders), folders)
            if not planned:
                raise
            first = [axis.overrides[0] for axis in (planned | asked).values()]
            return _compose(verb, [*search, *first], folders)


def _axes_in(node: DictConfig, folders: Sequence[Path]) -> dict[str, Axis]:
    """The axes of an experiment: Hydra's `sweeper.params`."""
    params = node.hydra.sweeper.params or {}
    return axes_of(parse([f"{key}={value}" for key, value in params.items()]), folders)


@contextmanager
def _hydra(folders: Sequence[Path]) -> Iterator[list[str]]:
    """Hydra set up on `folders`, the first of them `conf/`; yields the overrides that add the others."""
    register_schemas()
    register_resolvers()
    conf, *persons = folders
    for folder in persons:
        if not folder.is_dir():
            raise UsageError(f"--config-dir {folder}: there is no such folder")
        for file in sorted(folder.rglob("*.yaml")):
            read_yaml(file)  # refuses tags, from which Hydra would build objects
    search = [f"hydra.searchpath=[{','.join(repr(f'file://{folder.resolve()}') for folder in persons)}]"]
    with initialize_config_dir(config_dir=str(conf), version_base="1.3", job_name="senet-lab"):
        yield search if persons else []


def _check_axes(axes: Iterable[Axis]) -> None:
    """Refuse to sweep over options that are not part of a run's config."""
    manner = {field.name for field in fields(TrainConfig)} - set(RUN_KEYS)
    count = 1
    for axis in axes:
        count *= len(axis.overrides)
        if axis.is_swept and re.split(r"[./]", axis.key.lstrip("+"))[0] in {*manner, "hydra"}:
            raise UsageError(
                f"{axis.key} says how to run, not what: give it one value instead of {len(axis.overrides)}"
            )
    if count > MOST:
        raise UsageError(f"{count:,} runs are more than the {MOST:,} that a sweep can have")


def _points(
    verb: str, axes: Mapping[str, Axis], named: Sequence[str], folders: Sequence[Path]
) -> list[Point]:
    """The product of `axes`, in order."""
    outer, variants = _variants(verb, axes, folders)
    extra = [key for key in named if key not in GROUPS_IN_PATH]
    points = []
    for overrides in itertools.product(*(axis.overrides for axis in axes.values())):
        by_key = dict(zip(axes, overrides, strict=True))
        try:
            config = variants[tuple(by_key[key] for key in outer)].config(by_key)
        except OmegaConfBaseException as error:
            raise UsageError(f"{' '.join(overrides)}: {_explain(error)}") from error
        run = run_config(config, " ".join(overrides))
        points.append(Point(overrides, run, _directory(run, [by_key[key] for key in extra])))
    return points


def _variants(
    verb: str, axes: Mapping[str, Axis], folders: Sequence[Path]
) -> tuple[list[str], dict[tuple[str, ...], Variants]]:
    """Compose, through Hydra, each combination of options that affect more than their group.

    Returns:
        The keys of these options, and the runs that share them, by their overrides.
    """
    swept = [axis for axis in axes.values() if axis.is_swept and axis.key[0] not in "+~"]
    values = {axis.key: axis.choices for axis in swept if not axis.is_group}
    lone = {axis.key: contents for axis in swept if (contents := _lone_options(axis, folders))}
    with _hydra(folders) as search:
        for options in (lone, {}) if lone else ({},):
            inner: Axes = {**options, **values}
            outer = {key: axis.overrides for key, axis in axes.items() if key not in inner}
            composed = {
                overrides: _compose_run(verb, [*search, *overrides], list(options), folders)
                for overrides in itertools.product(*outer.values())
            }
            if all(composed.values()):
                break
    return list(outer), {overrides: Variants(node, inner) for overrides, node in composed.items() if node}


def _lone_options(axis: Axis, folders: Sequence[Path]) -> dict[str, DictConfig]:
    """The contents of a group's swept options, by override, if no option affects more than its group.

    Empty if one has defaults or a package of its own, or if the group is no field of a run.
    """
    contents = {}
    for override, name in axis.choices.items():
        file = option_file(axis.key, name, folders) if axis.key in RUN_KEYS and axis.is_group else None
        if file is None or "@package" in file.read_text("utf-8"):
            return {}
        content = OmegaConf.load(file)
        if not isinstance(content, DictConfig) or "defaults" in content:
            return {}
        contents[override] = content
    return contents


def _compose_run(
    verb: str, overrides: Sequence[str], empty: Sequence[str], folders: Sequence[Path]
) -> DictConfig | None:
    """A run's config with the groups in `empty` left empty; None if that is impossible.

    Nothing but its option may add to such a group: neither an experiment nor another override.
    """
    store = ConfigStore.instance()
    for group in empty:
        store.store(name=EMPTY, group=group, node={})
    try:
        node = _compose(verb, [*overrides, *(f"{group}={EMPTY}" for group in empty)], folders)
    except UsageError:
        if not empty:
            raise
        return None
    return None if any(node[group] for group in empty) else OmegaConf.masked_copy(node, RUN_KEYS)


def _plain(node: DictConfig) -> dict[str, Any]:
    """The config as plain values for JSON and YAML: interpolations resolved, enums as names."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True, enum_to_str=True))


def _directory(config: RunConfig, named: Sequence[str]) -> str:
    model = config.model["name"].split("/")
    activation = config.activation["name"]
    for key, part in [*(("model.name", part) for part in model), ("activation.name", activation)]:
        check_name(key, part)
    extra = [re.sub(r"[^\w.=+,-]", "_", override.lstrip("+")) for override in named]
    for part in extra:
        check_name("a swept value", part)
    return "/".join(["runs", *model, activation, f"lr={config.lr!r}", *extra, f"seed={config.seed}"])


def _compose(verb: str, overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    try:
        return compose(config_name=verb, overrides=list(overrides), return_hydra_config=True)
    except MissingConfigException as error:
        raise _unknown_option(error, folders) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_explain(error)) from error


def _checked(node: DictConfig) -> Any:
    """An instance of the schema's class, range-checked, with all interpolations resolved.

    Except those in `figures`: templates that each run fills in.
    """
    plain = node.copy()
    OmegaConf.set_struct(plain, False)
    for key in {"hydra", "figures"} & set(plain):
        del plain[key]
    try:
        config: Any = OmegaConf.to_object(plain)
    except OmegaConfBaseException as error:
        raise UsageError(_explain(error)) from error
    if "figures" in node:
        config.figures = FiguresConfig(**cast(dict[str, Any], OmegaConf.to_container(node.figures)))
    return config


def _unknown_option(error: MissingConfigException, folders: Sequence[Path]) -> UsageError:
    missing = error.missing_cfg_file or ""
    group, _, name = missing.partition("/")
    while is_group(f"{group}/{name.partition('/')[0]}", folders) and "/" in name and "hydra" in group:
        head, _, name = name.partition("/")
        group = f"{group}/{head}"
    known = options(group, *folders)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return UsageError(f"{group}={name}: there is no such {group}; {hint}known: {', '.join(known)}")


def _explain(error: Exception) -> str:
    """Hydra's or OmegaConf's message as one line that names the key."""
    text = str(error)
    cause = error.__cause__
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' is not in", text)
    if unknown and "not in" in text + str(cause):
        return f"unknown key {unknown[1]}: senet-lab train --cfg job lists the keys"
    group = re.search(r"Could not override '([^']+)'\.\s*No match in the defaults list", text)
    if group:
        return f"unknown key {group[1]}: senet-lab train --cfg job lists the keys"
    override = re.search(r"Error merging override (.*)", text)
    if override and cause is not None:
        return f"{override[1]}: {_one_line(cause)}"
    return _one_line(cause if isinstance(cause, OmegaConfBaseException) else text)


def _one_line(error: object) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [
        line
        for line in lines
        if line and not line.startswith(("full_key:", "reference_type=", "object_type="))
    ]
    return " ".join(kept)
