"""From the command line and `conf/` to the points of a sweep, through Hydra's compose API.

Hydra composes each point; nothing here builds an object or writes a file.
"""

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from senet_lab.config import RunConfig, TrainConfig, check_name, register_schemas, run_config
from senet_lab.errors import UsageError
from senet_lab.files import read_yaml

GROUPS_IN_PATH = {"figure", "model", "activation", "lr", "seed"}
"""Sweep axes that the run directory names in any case."""


@dataclass(frozen=True)
class Point:
    """One run that a command asks for."""

    overrides: tuple[str, ...]
    config: RunConfig
    directory: str
    """Below the sweep's folder: `runs/<model>/<activation>/lr=<lr>/[<axis>=<value>/]seed=<seed>`."""


@dataclass(frozen=True)
class Command:
    """A composed command line."""

    config: Any
    """The verb's own schema class, range-checked."""
    launcher: dict[str, Any]
    node: DictConfig
    """The same config before interpolations were resolved."""
    points: list[Point]
    is_sweep: bool
    config_dir: Path | None = None
    """The person's own folder of YAML, beside `conf/`."""


def config_folder() -> Path:
    """`conf/`: the wheel's own copy, or the checkout's."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "conf"


def register_resolvers() -> None:
    """Interpolations that `conf/` uses beyond OmegaConf's own."""
    OmegaConf.register_new_resolver("stem", lambda name: Path(name).name, replace=True)
    OmegaConf.register_new_resolver("power", lambda base, exponent: float(base) ** exponent, replace=True)


def compose_command(
    verb: str,
    overrides: Sequence[str],
    multirun: bool = False,
    config_dir: Path | None = None,
    with_points: bool = True,
) -> Command:
    """Compose what `senet-lab <verb> <overrides>` asks for.

    Args:
        verb: whose primary config to start from.
        overrides: in Hydra's syntax.
        multirun: whether `-m` was given; an experiment can imply it.
        config_dir: the person's own folder of YAML, beside `conf/`.
        with_points: compose each point, too; a verb that reads a frozen plan does without.

    Raises:
        UsageError: an override that Hydra cannot parse, an unknown option or key, a value of the wrong
            type or out of range, a sweep without `-m`.
    """
    with _hydra(config_dir) as search:
        parsed = _parse([_literal(override) for override in overrides])
        _check_choices(parsed, config_dir)
        fixed = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
        base = _compose(verb, [*search, *fixed], config_dir)
        is_sweep = multirun or base.hydra.mode == RunMode.MULTIRUN
        swept = [o.input_line for o in parsed if o.is_sweep_override()]
        if swept and not is_sweep:
            raise UsageError(f"{swept[0]} asks for several values: add -m to sweep over them")
        config = _checked(base)
        points = []
        if with_points and isinstance(config, RunConfig):
            params = base.hydra.sweeper.params if is_sweep else None
            given = [f"{key}={value}" for key, value in (params or {}).items()]
            sweep = _parse(given)
            axes = _axes([*sweep, *parsed])
            _check_axes(axes)
            # An experiment's axis names its runs' directories, also where a command fixes its value.
            named = [key for key in axes if len(axes[key]) > 1 or key in _axes(sweep)]
            points = list(_points(verb, search, axes, named, config_dir))
        launcher = _plain(base.hydra.launcher)
        node = base.copy()
        OmegaConf.set_struct(node, False)
        del node["hydra"]
    return Command(config, launcher, node, points, is_sweep, config_dir)


@contextmanager
def _hydra(config_dir: Path | None) -> Iterator[list[str]]:
    """Hydra set up on `conf/`; yields the overrides that add the user's own folder."""
    register_schemas()
    register_resolvers()
    if config_dir is not None and not config_dir.is_dir():
        raise UsageError(f"--config-dir {config_dir}: there is no such folder")
    for file in [] if config_dir is None else sorted(config_dir.rglob("*.yaml")):
        read_yaml(file)  # Hydra would build whatever stands there
    search = [] if config_dir is None else [f"hydra.searchpath=['file://{config_dir.resolve()}']"]
    with initialize_config_dir(config_dir=str(config_folder()), version_base="1.3", job_name="senet-lab"):
        yield search


def _parse(overrides: Sequence[str]) -> list[Override]:
    try:
        loader = GlobalHydra.instance().config_loader()
        return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    except HydraException as error:
        raise UsageError(_one_line(error)) from error


def is_swept(overrides: Sequence[str]) -> bool:
    """Whether a key is given several values; what cannot be parsed is left to `compose_command`."""
    try:
        parsed = OverridesParser.create().parse_overrides([_literal(override) for override in overrides])
    except HydraException:
        return False
    return any(override.is_sweep_override() for override in parsed)


def _literal(override: str) -> str:
    """Escape the `=` of a plain value, which paths of run directories have and Hydra's grammar takes not."""
    key, _, value = override.partition("=")
    if "=" in value and not set(value) & set("\\'\"[]{}()"):
        return f"{key}={value.replace('=', chr(92) + '=')}"
    return override


def _axes(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Each key with the overrides it sweeps over; a later override of a key replaces an earlier one."""
    axes: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise UsageError(f"{override.input_line}: only lists and ranges of values can be swept")
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            axes[key] = [override.input_line or f"{key}={override.get_value_element_as_str()}"]
    return axes


def _check_axes(axes: Mapping[str, Sequence[str]]) -> None:
    """Refuse to sweep over what no run is told: the same run would come twice."""
    manner = {field.name for field in fields(TrainConfig)} - {field.name for field in fields(RunConfig)}
    for key, values in axes.items():
        if len(values) > 1 and re.split(r"[./]", key.lstrip("+"))[0] in {*manner, "hydra"}:
            raise UsageError(f"{key} says how to run, not what: give it one value instead of {len(values)}")


def _points(
    verb: str, search: list[str], axes: dict[str, list[str]], named: Sequence[str], config_dir: Path | None
) -> Iterator[Point]:
    """Compose each point of the product; points that differ in plain values alone share one composition."""
    run_keys = [field.name for field in fields(RunConfig)]
    swept = [key for key, values in axes.items() if len(values) > 1]
    extra = [key for key in named if key not in GROUPS_IN_PATH]
    values = [key for key in swept if not _is_group(key, config_dir) and key[0] not in "+~"]
    composed: dict[tuple[str, ...], DictConfig] = {}
    for overrides in itertools.product(*axes.values()):
        by_key = dict(zip(axes, overrides, strict=True))
        groups = tuple(override for key, override in by_key.items() if key not in values)
        if groups not in composed:
            composed[groups] = _compose(verb, [*search, *groups], config_dir)
        node = composed[groups].copy()
        for key in values:
            _set(node, key, by_key[key])
        config = run_config(_plain(OmegaConf.masked_copy(node, run_keys)), "the config")
        yield Point(overrides, config, _directory(config, [by_key[key] for key in extra]))


def _plain(node: DictConfig) -> dict[str, Any]:
    """Interpolations resolved, enums as their names: what JSON and YAML can hold."""
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True, enum_to_str=True))


def _set(node: DictConfig, key: str, override: str) -> None:
    try:
        OmegaConf.update(node, key, _parse([override])[0].value())
    except OmegaConfBaseException as error:
        raise UsageError(f"{override}: {_one_line(error)}") from error


def _directory(config: RunConfig, named: Sequence[str]) -> str:
    model = config.model["name"].split("/")
    activation = config.activation["name"]
    for key, part in [*(("model.name", part) for part in model), ("activation.name", activation)]:
        check_name(key, part)
    extra = [re.sub(r"[^\w.=+,-]", "_", override.lstrip("+")) for override in named]
    for part in extra:
        check_name("a swept value", part)
    return "/".join(["runs", *model, activation, f"lr={config.lr!r}", *extra, f"seed={config.seed}"])


def _compose(verb: str, overrides: Sequence[str], config_dir: Path | None) -> DictConfig:
    try:
        return compose(config_name=verb, overrides=list(overrides), return_hydra_config=True)
    except MissingConfigException as error:
        raise _unknown_option(error, config_dir) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_explain(error)) from error


def _checked(node: DictConfig) -> Any:
    """The schema's own class, which checks its ranges; every interpolation resolves.

    But for `figures`: those are templates for each run to fill in, and this node need not be able to.
    """
    plain = node.copy()
    OmegaConf.set_struct(plain, False)
    for key in {"hydra", "figures"} & set(plain):
        del plain[key]
    if "figures" in plain:
        plain["figures"] = None  # templates, which each run fills in with its own values
    try:
        return OmegaConf.to_object(plain)
    except OmegaConfBaseException as error:
        raise UsageError(_explain(error)) from error


def _check_choices(overrides: Sequence[Override], config_dir: Path | None) -> None:
    """Refuse a group option that is a path out of the config tree, before Hydra opens it."""
    for override in overrides:
        values = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
        for value in values:
            if _is_group(override.key_or_group, config_dir) and isinstance(value, str):
                parts = value.strip("'\"").split("/")
                if ".." in parts or "" in parts or any("\0" in part for part in parts):
                    raise UsageError(
                        f"{override.key_or_group}={value}: an option's name, not a path; "
                        f"one of {', '.join(options(override.key_or_group, config_dir))}"
                    )


def _folders(config_dir: Path | None) -> list[Path]:
    return [config_folder(), *([config_dir] if config_dir else [])]


def _is_group(key: str, config_dir: Path | None) -> bool:
    return any((folder / key).is_dir() for folder in _folders(config_dir))


def options(group: str, config_dir: Path | None = None) -> list[str]:
    """The options of a config group, nested ones as `published/senet18`, in alphabetical order."""
    found = {
        str(file.relative_to(folder / group).with_suffix(""))
        for folder in _folders(config_dir)
        for file in (folder / group).rglob("*.yaml")
    }
    return sorted(found, key=lambda name: (name.count("/"), name))


def _unknown_option(error: MissingConfigException, config_dir: Path | None) -> UsageError:
    missing = error.missing_cfg_file or ""
    group, _, name = missing.partition("/")
    while _is_group(f"{group}/{name.partition('/')[0]}", config_dir) and "/" in name and "hydra" in group:
        head, _, name = name.partition("/")
        group = f"{group}/{head}"
    known = options(group, config_dir)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return UsageError(f"{group}={name}: there is no such {group}; {hint}known: {', '.join(known)}")


def _explain(error: Exception) -> str:
    """Hydra's and OmegaConf's messages as one line that names the key."""
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
