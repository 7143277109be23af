"""Composition of a sweep's points from the command line and `conf/`, with Hydra's compose API.

This module builds no objects and writes no files.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from senet_lab.composition.explain import (
    did_you_mean,
    explain,
    located,
    one_line,
    place_of,
    unknown_key,
    unknown_option,
)
from senet_lab.composition.groups import config_folder, option_file
from senet_lab.composition.groups import options as options
from senet_lab.composition.overrides import MOST, Axis, axes_of, parse
from senet_lab.composition.sources import load, search_path, syntax_problem
from senet_lab.composition.variants import Axes, Variants
from senet_lab.config import (
    PLANNING_VERBS,
    SCHEMAS,
    SELECTING_VERBS,
    FiguresConfig,
    RunConfig,
    TrainConfig,
    check_name,
    run_config,
)
from senet_lab.errors import UsageError

RUN_KEYS = [field.name for field in fields(RunConfig)]

GROUPS_IN_PATH = {"figure", "model", "activation", "lr", "seed"}
"""Sweep axes that are always part of the run directory."""

SELECTING = {*RUN_KEYS, "figure"}
"""Keys by which verbs select planned runs; a figure stands for a network and a learning rate."""

EMPTY = "senet_lab_empty"
"""Name of an option without content, for groups that are filled in later."""


@dataclass(frozen=True)
class Point:
    """One requested run."""

    overrides: tuple[str, ...]
    """Its values of the command's keys, as overrides."""
    config: RunConfig
    """Typed and range-checked."""
    directory: str
    """Relative to the sweep's folder: `runs/<model>/<activation>/lr=<lr>/[<axis>=<value>/]seed=<seed>`."""


@dataclass(frozen=True)
class Choice:
    """Values of a key by which verbs select planned runs."""

    values: Sequence[str]
    """As typed; a config group's value is its option's name."""
    is_glob: bool = False
    """Whether the values are the options that a glob matches, of which one suffices."""


@dataclass(frozen=True)
class Command:
    """A composed command line."""

    config: Any
    """The verb's own schema class, range-checked."""
    launcher: dict[str, Any]
    """The node of `hydra/launcher=…`."""
    is_sweep: bool
    """Whether several runs are requested, by `-m` or by an experiment."""
    compose_points: Callable[[], list[Point]]
    """Composes `points`."""
    folders: Sequence[Path]
    """The folders of config groups: `conf/`, and the user's own."""
    choices: Mapping[str, str]
    """The option of each config group that is not swept over."""
    selection: Mapping[str, Choice]
    """Values of run configs on the command line, by dotted key, with which verbs select planned runs."""
    keys: frozenset[str]
    """The keys on the command line."""
    words: Sequence[str]
    """The words after the verb, as typed."""
    under: Callable[[Sequence[str]], "Command"]
    """Composes the same command line with further overrides."""

    @cached_property
    def points(self) -> list[Point]:
        """The requested runs, composed on first access: a plan that knows the command needs none.

        Raises:
            UsageError: see `compose_command`.
        """
        return self.compose_points()

    def located(self, message: str) -> str:
        """The message, preceded by file and line if the user's YAML sets the key at its start."""
        return located(message, self.choices, self.folders)


@cache  # since it takes a tenth of the time of composing a command
def register_schema(verb: str) -> None:
    """Register a verb's schema with Hydra as `<verb>_schema`, the base of its primary config."""
    ConfigStore.instance().store(name=f"{verb}_schema", node=SCHEMAS[verb])


def register_resolvers() -> None:
    """Register the resolvers that `conf/` uses beyond OmegaConf's own."""
    OmegaConf.register_new_resolver("stem", lambda name: Path(name).name, replace=True)
    OmegaConf.register_new_resolver("power", lambda base, exponent: float(base) ** exponent, replace=True)


def compose_command(
    verb: str,
    overrides: Sequence[str],
    multirun: bool = False,
    config_dir: str | Path | None = None,
    words: Sequence[str] | None = None,
) -> Command:
    """Compose the command `senet-lab <verb> <overrides>`.

    Args:
        verb: the verb, which selects the primary config.
        overrides: in Hydra's syntax.
        multirun: whether `-m` was given; an experiment can imply it.
        config_dir: the user's own folder of YAML, in addition to `conf/`.
        words: the words after the verb, as typed; the overrides by default.

    Raises:
        UsageError: an override that Hydra cannot parse, an unknown option or key, a value of the wrong
            type or out of range, a sweep without `-m`.
    """
    folders, parsed = _folders(parse(overrides), config_dir)
    asked = axes_of(parsed, folders)
    base = _compose_first(verb, asked, folders)
    is_sweep = multirun or base.hydra.mode == RunMode.MULTIRUN
    if not is_sweep and verb in PLANNING_VERBS:
        _check_single(asked.values())
    planned = _axes_in(base, folders) if is_sweep else {}
    axes = planned | asked
    _check_axes(axes.values())
    swept = {key for key, axis in axes.items() if axis.is_swept}
    # An experiment's axis is part of its runs' directories even if a command fixes its value.
    named = [key for key in axes if key in swept or key in planned]
    choices = {group: name for group, name in base.hydra.runtime.choices.items() if group not in swept}
    selection = _selection(verb, asked.values())
    return Command(
        config=_checked(base, choices, folders),
        launcher=_plain(base.hydra.launcher),
        is_sweep=is_sweep,
        compose_points=partial(_points, verb, axes, named, folders, base),
        folders=folders,
        choices=choices,
        selection=selection,
        keys=frozenset(asked),
        words=words or overrides,
        under=lambda more: compose_command(verb, [*overrides, *more], multirun, config_dir),
    )


def _selection(verb: str, asked: Iterable[Axis]) -> dict[str, Choice]:
    """The values of run configs among the axes of a command line; see `Command.selection`."""
    selection = {}
    for axis in asked:
        key = axis.key.lstrip("+~")
        if key.split(".")[0] not in SELECTING:
            continue
        if axis.key[0] == "~" and verb in SELECTING_VERBS:
            raise UsageError(f"{axis.line}: a value taken away selects no run; write {key}=value")
        selection[key] = Choice([str(value) for value in axis.values], axis.is_glob)
    return selection


def compose_node(
    verb: str, overrides: Sequence[str], config_dir: str | Path | None = None
) -> tuple[DictConfig, Sequence[Path]]:
    """The config of a command line, and the folders of its groups.

    Returns:
        The config with Hydra's own, ranges unchecked (for swept keys, the first value); the folders.

    Raises:
        UsageError: see `compose_command`.
    """
    folders, parsed = _folders(parse(overrides), config_dir)
    return _compose_first(verb, axes_of(parsed, folders), folders), folders


def _folders(
    overrides: Sequence[Override], config_dir: str | Path | None
) -> tuple[list[Path], list[Override]]:
    """The folders of config groups, `conf/` first, and the overrides other than `hydra.searchpath`."""
    folders = [config_folder(), *([] if config_dir is None else [Path(config_dir)])]
    others = []
    for override in overrides:
        if override.get_key_element() != "hydra.searchpath":
            others.append(override)
            continue
        named: Any = override.value()
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise UsageError(f"{override.input_line}: must be a list of folders")
        folders += [Path(one.removeprefix("file://")) for one in named]
    return folders, others


def _compose_first(verb: str, asked: dict[str, Axis], folders: Sequence[Path]) -> DictConfig:
    """The config with the first value of each requested axis."""
    _check_added(verb, asked.values())
    with _hydra(verb, folders) as search:
        try:
            return _compose(verb, [*search, *(axis.overrides[0] for axis in asked.values())], folders)
        except UsageError as error:
            failure = error
        groups = [axis.overrides[0] for axis in asked.values() if axis.is_group]
        try:
            outline = _compose(verb, [*search, *groups], folders)
        except UsageError as error:
            failure, outline = error, _compose(verb, [], folders)
        planned = _axes_in(outline, folders)
        if planned:
            # The key may belong to an option on an axis of the experiment.
            first = [axis.overrides[0] for axis in (planned | asked).values()]
            try:
                return _compose(verb, [*search, *first], folders)
            except UsageError as error:
                failure = error
    if isinstance(failure, UnknownKeyError):
        raise UsageError(f"{failure.place}{_unknown(verb, failure.key, outline, folders)}") from failure
    raise failure


class UnknownKeyError(UsageError):
    """A key that the config lacks; `place` is the file that sets it, or empty for the command line."""

    def __init__(self, key: str, place: str) -> None:
        super().__init__(f"{place}unknown key {key}")
        self.key, self.place = key, place


def _unknown(verb: str, key: str, node: DictConfig, folders: Sequence[Path]) -> str:
    """The message for a key that `node` lacks, with a suggestion for its first unknown part."""
    groups = [file.name for folder in folders for file in folder.iterdir() if file.is_dir()]
    parent: Any = node
    for name in key.split("."):
        known = [str(one) for one in parent] if isinstance(parent, DictConfig) else []
        if parent is node:
            known += ["hydra/launcher", *groups]
        if name not in known:
            break
        parent = node.get(name) if parent is node else parent[name]
    else:
        return f"{key}: holds a key that it does not take"
    if parent is not node:
        known += RUN_KEYS  # optimizer.lr is lr
    return f"unknown key {key}: {did_you_mean(name, known)}senet-lab {verb} --help all lists the keys"


def _check_added(verb: str, axes: Iterable[Axis]) -> None:
    """Refuse an added key that nothing reads; constructors report their own unknown arguments."""
    for axis in axes:
        path = axis.key.lstrip("+")
        if axis.key[0] != "+" or axis.is_group:
            continue
        schema: Any = SCHEMAS[verb]
        for name in [] if path.startswith("hydra.launcher.") else path.split("."):
            kinds = get_type_hints(schema) if is_dataclass(schema) else {}
            if name not in kinds:
                hint = did_you_mean(name, kinds)
                raise UsageError(
                    f"{axis.line}: unknown key {path}: {hint}senet-lab {verb} --help all lists the keys"
                )
            schema = next(
                (kind for kind in (kinds[name], *get_args(kinds[name])) if is_dataclass(kind)), None
            )
            if schema is None:
                break


def _axes_in(node: DictConfig, folders: Sequence[Path]) -> dict[str, Axis]:
    """The axes of an experiment: Hydra's `sweeper.params`."""
    params = node.hydra.sweeper.params or {}
    for key, value in params.items():
        if get_type_hints(RunConfig).get(key) in (int, float) and not isinstance(value, str | int | float):
            several = ",".join(map(str, value))
            message = f"hydra.sweeper.params.{key}={value}: is one value; write several as '{several}'"
            raise UsageError(located(message, node.hydra.runtime.choices, folders))
    return axes_of(parse([f"{key}={value}" for key, value in params.items()]), folders)


@contextmanager
def _hydra(verb: str, folders: Sequence[Path]) -> Iterator[list[str]]:
    """Hydra set up on `folders`, the first of them `conf/`; yields the overrides that add the others."""
    register_schema(verb)
    register_resolvers()
    conf, *others = folders
    search = search_path(others)
    with initialize_config_dir(config_dir=str(conf), version_base="1.3", job_name="senet-lab"):
        yield search


def _check_single(axes: Iterable[Axis]) -> None:
    """Refuse several values where one run is asked for."""
    for axis in axes:
        if axis.is_swept:
            raise UsageError(f"{axis.line} asks for several values: add -m to sweep over them")


def _check_axes(axes: Iterable[Axis]) -> None:
    """Refuse to sweep over options that are not part of a run's config."""
    execution = {field.name for field in fields(TrainConfig)} - set(RUN_KEYS)
    count = 1
    for axis in axes:
        count *= len(axis.overrides)
        if axis.is_swept and re.split(r"[./]", axis.key.lstrip("+"))[0] in {*execution, "hydra"}:
            raise UsageError(
                f"{axis.key} is not part of a run: give it one value instead of {len(axis.overrides)}"
            )
    if count > MOST:
        raise UsageError(f"{count:,} runs are more than the {MOST:,} that a sweep can have")


def _points(
    verb: str, axes: Mapping[str, Axis], named: Sequence[str], folders: Sequence[Path], base: DictConfig
) -> list[Point]:
    """The product of `axes`, in order; `base` is the command's config."""
    outer, variants = _variants(verb, axes, folders, base)
    extra = [key for key in named if key not in GROUPS_IN_PATH]
    points = []
    for overrides in itertools.product(*(axis.overrides for axis in axes.values())):
        by_key = dict(zip(axes, overrides, strict=True))
        try:
            config = variants[tuple(by_key[key] for key in outer)].config(by_key)
        except OmegaConfBaseException as error:
            key = unknown_key(error)
            message = f"unknown key {key}" if key else explain(error, folders)
            raise UsageError(f"{' '.join(overrides)}: {message}") from error
        run = run_config(_named_by_class(config, axes), " ".join(overrides))
        points.append(Point(overrides, run, _directory(run, [by_key[key] for key in extra])))
    return points


def _named_by_class(config: dict[str, Any], axes: Mapping[str, Axis]) -> dict[str, Any]:
    """`config` with nodes named by their class if an override sets their `_target_`."""
    for key in axes:
        group, _, last = key.lstrip("+").partition(".")
        node = config.get(group)
        if last != "_target_" or not isinstance(node, dict) or not isinstance(node[last], str):
            continue
        names = dict.fromkeys(("name", "label"), node[last].rpartition(".")[2])
        fresh = {**names, "style": None, "reference": None}
        kept = {part for part in fresh if part not in node or f"{group}.{part}" in axes}
        config = {**config, group: {**node, **{part: fresh[part] for part in fresh.keys() - kept}}}
    return config


def _variants(
    verb: str, axes: Mapping[str, Axis], folders: Sequence[Path], base: DictConfig
) -> tuple[list[str], dict[tuple[str, ...], Variants]]:
    """Compose, through Hydra, each combination of options that affect more than their group.

    Returns:
        The keys of these options, and the runs that share them, by their overrides.
    """
    swept = [axis for axis in axes.values() if axis.is_swept and axis.key[0] not in "+~"]
    values = {axis.key: axis.choices for axis in swept if not axis.is_group}
    fixed = {key: axis.overrides[0] for key, axis in axes.items() if not axis.is_swept}
    merged = any(isinstance(value, dict) for choices in values.values() for value in choices.values())
    if len(fixed) + len(values) == len(axes) and not merged and not base.hydra.sweeper.params:
        # Each run replaces the swept values, of which `base` has the first: no need to compose without them.
        return list(fixed), {tuple(fixed.values()): Variants(_run_of(base), values)}
    complete = {axis.key: contents for axis in swept if (contents := _self_contained_options(axis, folders))}
    with _hydra(verb, folders) as search:
        for options in (complete, {}) if complete else ({},):
            inner: Axes = {**options, **values}
            outer = {key: axis.overrides for key, axis in axes.items() if key not in inner}
            composed = {
                overrides: _compose_run(verb, [*search, *overrides], list(options), folders)
                for overrides in itertools.product(*outer.values())
            }
            if all(composed.values()):
                break
    return list(outer), {overrides: Variants(node, inner) for overrides, node in composed.items() if node}


def _self_contained_options(axis: Axis, folders: Sequence[Path]) -> dict[str, DictConfig]:
    """The contents of a group's swept options, by override, if none affects other groups.

    Empty if an option has defaults or a package of its own, or if the group is no field of a run.
    """
    contents = {}
    for override, name in axis.choices.items():
        file = option_file(axis.key, name, folders) if axis.key in RUN_KEYS and axis.is_group else None
        if file is None or "@package" in file.read_text("utf-8"):
            return {}
        contents[override] = load(file)
        if "defaults" in contents[override]:
            return {}
    return contents


def _compose_run(
    verb: str, overrides: Sequence[str], empty: Sequence[str], folders: Sequence[Path]
) -> DictConfig | None:
    """A run's config with the groups in `empty` left empty; None if that is impossible.

    It is impossible if an experiment or another override adds to such a group.
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
    if any(node[group] for group in empty):
        return None
    return _run_of(node)


def _run_of(node: DictConfig) -> DictConfig:
    """A copy of the part of a command's config that is a run's."""
    run = OmegaConf.masked_copy(node, RUN_KEYS)
    OmegaConf.set_struct(run, True)
    return run


def _plain(node: DictConfig) -> dict[str, Any]:
    """The config as plain values for JSON and YAML: interpolations resolved, enums as names."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True, enum_to_str=True))


def _directory(config: RunConfig, named: Sequence[str]) -> str:
    parts = [("model.name", part) for part in _name("model", config.model).split("/")]
    for key, part in [*parts, ("activation.name", _name("activation", config.activation))]:
        check_name(key, part)
    extra = [re.sub(r"[^\w.=+,-]", "_", override.lstrip("+")) for override in named]
    for part in extra:
        check_name("a swept value", part)
    names = [config.model["name"], config.activation["name"]]
    return "/".join(["runs", *names, f"lr={config.lr!r}", *extra, f"seed={config.seed}"])


def _name(group: str, node: Mapping[str, Any]) -> str:
    name = node.get("name")
    if not isinstance(name, str):
        raise UsageError(f"{group}.name={name}: must be a text: it names the folders of runs")
    return name


def _compose(verb: str, overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    try:
        node = compose(config_name=verb, overrides=list(overrides), return_hydra_config=True)
    except MissingConfigException as error:
        raise UsageError(unknown_option(error, folders)) from error
    except (HydraException, OmegaConfBaseException) as error:
        key = unknown_key(error)
        if key in ("experiment", "figure"):
            place = place_of(error, key, folders)
            raise UsageError(f"{place}its first line must be “# @package _global_”") from error
        if key:
            raise UnknownKeyError(key, place_of(error, key, folders)) from error
        raise UsageError(explain(error, folders)) from error
    except yaml.MarkedYAMLError as error:  # in conf/, which is read without `CheckedFiles`
        raise UsageError(syntax_problem(error)) from error
    except (ValueError, AttributeError) as error:  # Hydra's, for input that it does not check
        raise UsageError(one_line(error)) from error
    if OmegaConf.is_missing(node.hydra, "launcher") or not isinstance(node.hydra.launcher, DictConfig):
        raise UsageError("hydra.launcher=null: choose one with hydra/launcher=…")
    return node


def _checked(node: DictConfig, choices: Mapping[str, str], folders: Sequence[Path]) -> Any:
    """An instance of the schema's class, range-checked, with all interpolations resolved.

    Interpolations in `figures` stay: these are templates, resolved with each run's config.
    """
    plain = node.copy()
    OmegaConf.set_struct(plain, False)
    for key in {"hydra", "figures"} & set(plain):
        del plain[key]
    try:
        config: Any = OmegaConf.to_object(plain)
    except (UsageError, OmegaConfBaseException) as error:
        message = str(error) if isinstance(error, UsageError) else explain(error, folders)
        raise UsageError(located(message, choices, folders)) from error
    if "figures" in node:
        config.figures = FiguresConfig(**cast(dict[str, Any], OmegaConf.to_container(node.figures)))
    return config
