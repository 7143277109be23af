"""JSON Schemas of the YAML in `conf/`, with which editors complete and check it.

A group's schema follows from the constructors that its options name, an experiment's from the dataclasses of
`config.py`. A file can be partial, so no key is required; an interpolation may stand for any value.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from enum import EnumType
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from senet_lab.build import KINDS, PACKAGES
from senet_lab.composition.groups import options, targets
from senet_lab.config import SCHEMAS, TrainConfig
from senet_lab.documentation import argument_lines, field_lines
from senet_lab.files import read_yaml
from senet_lab.optim import parameter_groups
from senet_lab.targets import find_class, own_packages

Schema = dict[str, Any]

NODES = (*KINDS, "tracker", "hydra/launcher")
"""Groups whose options become objects."""

PRIMARY = "primary"
"""Name of the schema of the primary configs, one file per verb."""

GIVEN: Mapping[str, Collection[str]] = {
    "model": ("num_classes", "act_layer", "se"),
    "activation": ("channels",),
    "optimizer": ("params", "lr", "network", "coefficients"),
    "schedule": ("optimizer",),
    "tracker": ("folder",),
}
"""Constructor arguments that are never in YAML."""

MORE: Mapping[str, Sequence[Callable[..., Any]]] = {"optimizer": [parameter_groups]}
"""Functions whose arguments are also keys of a group's nodes."""

PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}

INTERPOLATION: Schema = {"type": "string", "pattern": r"\$\{"}

DEFAULTS: Schema = {
    "description": "Hydra's defaults list: files that this one builds on.",
    "type": "array",
    "items": {"anyOf": [{"type": "string"}, {"type": "object"}]},
}

FOR_PEOPLE: Schema = {
    "name": {"description": "The option's name in folders and tables.", "type": "string"},
    "label": {"description": "The option's name in figures.", "type": "string"},
    "style": {
        "description": "Place in the legend, and color as '#rrggbb'; null: by order of appearance.",
        "type": ["object", "null"],
        "properties": {"order": {"type": "number"}, "color": {"type": "string"}},
        "additionalProperties": False,
    },
    "reference": {"description": "Published values with their source.", "type": ["object", "null"]},
}
"""Keys that figures and tables read: `targets.FOR_PEOPLE`."""


def schemas(folders: Sequence[Path]) -> dict[str, Schema]:
    """The schema of each config group, and `PRIMARY`'s, in JSON Schema draft 7.

    Args:
        folders: `conf/`, and the user's own folders, whose options may name further classes.

    Raises:
        UsageError: an option that names no class of an allowed package.
    """
    found = {group: _group(group, folders) for group in NODES}
    verbs = [_fields(schema) for schema in SCHEMAS.values()]
    found["experiment"] = _file("A sweep", _fields(TrainConfig))
    found["figure"] = _file("Network and learning rate of a plot", _fields(TrainConfig))
    found[PRIMARY] = _file("Defaults of a verb", {key: one for verb in verbs for key, one in verb.items()})
    return {
        group: {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
        for group, schema in found.items()
    }


def _file(title: str, properties: Schema) -> Schema:
    """A file of whole configs rather than of one node."""
    hydra = {"description": "Hydra's settings: mode, sweeper, launcher.", "type": "object"}
    return {"title": title, **_closed({"defaults": DEFAULTS, "hydra": hydra, **properties})}


def _group(group: str, folders: Sequence[Path]) -> Schema:
    """A node: the keys of its class, or of all classes of the group if the file inherits its class."""
    arguments = {path: _arguments(group, target) for path, target in _classes(group, folders).items()}
    cases = [
        {"if": {"properties": {"_target_": {"const": path}}, "required": ["_target_"]}, "then": _node(own)}
        for path, own in arguments.items()
    ]
    inherits = {"if": {"not": {"required": ["_target_"]}}, "then": _node(_merged(arguments.values()))}
    target = {
        "description": "The class: one of these, or another of an allowed package.",
        "anyOf": [{"enum": list(arguments)}, {"type": "string"}],
    }
    return {
        "title": field_lines(TrainConfig).get(group, "Launcher of the runs."),
        "type": "object",
        "properties": {"defaults": DEFAULTS, "_target_": target, **FOR_PEOPLE},
        "allOf": [*cases, inherits],
    }


def _node(own: Schema) -> Schema:
    """The keys of one class, and those common to all nodes."""
    return _closed({**dict.fromkeys(("defaults", "_target_", *FOR_PEOPLE), True), **own})


def _classes(group: str, folders: Sequence[Path]) -> dict[str, type]:
    """The classes that a group's options name, by path."""
    allowed = [*PACKAGES, *own_packages(), *targets(group)]
    files = [folder / group / f"{name}.yaml" for name in options(group, *folders[1:]) for folder in folders]
    named = {file: read_yaml(file).get("_target_") for file in files if file.is_file()}
    return {
        path: find_class(f"{file}: _target_", path, [object], allowed) for file, path in named.items() if path
    }


def _arguments(group: str, target: type) -> Schema:
    """The arguments of a constructor that YAML can hold."""
    found: Schema = {}
    functions: list[Callable[..., Any]] = [target, *MORE.get(group, ())]
    for function in functions:
        hints = get_type_hints(getattr(function, "__init__") if function is target else function)  # noqa: B009
        lines = argument_lines(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if name in GIVEN.get(group, ()) or parameter.kind in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                continue
            kind = hints.get(name, Any)
            if group == "activation" and kind is float:
                kind = float | list[float]  # a range, from which a run draws
            found[name] = _described(lines.get(name, ""), _of_type(kind))
    return found


def _merged(nodes: Collection[Schema]) -> Schema:
    """The keys of all nodes, each with the schemas that it has in one of them."""
    found: dict[str, list[Schema]] = {}
    for node in nodes:
        for name, schema in node.items():
            if schema not in found.setdefault(name, []):
                found[name].append(schema)
    return {name: kinds[0] if len(kinds) == 1 else {"anyOf": kinds} for name, kinds in found.items()}


def _fields(schema: type) -> Schema:
    """The fields of a dataclass; of those that are nodes, their group's schema."""
    lines = field_lines(schema)
    return {
        name: _described(
            lines[name], {"allOf": [{"$ref": f"{name}.json"}]} if name in NODES else _of_type(kind)
        )
        for name, kind in get_type_hints(schema).items()
    }


def _of_type(kind: Any) -> Schema:
    """The values that an annotation allows, or an interpolation."""
    found = _alternatives(kind)
    if {} in found:
        return {}
    if not is_dataclass(kind) and {"type": "string"} not in found:
        found = [*found, INTERPOLATION]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _alternatives(kind: Any) -> list[Schema]:
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return [{}]
    if origin in (Union, UnionType):
        return [schema for part in parts for schema in _alternatives(part)]
    if kind in PLAIN:
        return [{"type": PLAIN[kind]}]
    if isinstance(kind, EnumType) or origin is Literal:
        return [{"enum": list(kind if isinstance(kind, EnumType) else parts)}]
    if is_dataclass(kind):
        return [_closed(_fields(kind))]  # type: ignore[arg-type]
    if isinstance(origin, type) and issubclass(origin, Collection) and not issubclass(origin, Mapping):
        return [{"type": "array", "items": _of_type(parts[0])}]
    return [{"type": "object"}]  # a mapping, or a class that is written as a node


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _described(line: str, schema: Schema) -> Schema:
    return {"description": line, **schema} if line else schema
