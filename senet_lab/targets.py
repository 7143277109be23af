"""Resolution of `_target_` in config nodes to classes, and of nodes to objects; the only such code.

Nodes are untrusted data: a target is imported only from allowed packages, and called only if it is a class of
the expected kind. Strings in a node are plain values: nothing is interpolated.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, get_type_hints

import msgspec

from senet_lab.errors import UsageError

PACKAGES = "SENET_LAB_PACKAGES"
"""Environment variable with the user's own allowed packages, separated by commas."""

FOR_PEOPLE = ("name", "label", "style", "reference")
"""Keys of a node for figures and tables; passed only to constructors that take them."""

Kinds = Sequence[type]
"""Base classes, or protocols with required methods: the first for a node, any for nodes inside it."""


def own_packages() -> list[str]:
    """The packages that the user allows besides this one."""
    return [name for name in os.environ.get(PACKAGES, "").split(",") if name]


def find_class(key: str, path: object, kinds: Kinds, allowed: Sequence[str]) -> type:
    """The class at `path`.

    Args:
        key: the key that holds the path, for messages.
        path: dotted path of the class.
        kinds: expected kinds, of which one must match.
        allowed: allowed packages, modules and single classes.

    Raises:
        UsageError: a target that is not allowed, does not exist or is of another kind; a module that cannot
            be imported.
    """
    if not isinstance(path, str) or not any(path == one or path.startswith(f"{one}.") for one in allowed):
        known = ", ".join(allowed)
        raise UsageError(f"{key}={path}: must name a class in one of {known}; {PACKAGES} adds others")
    target = getattr(_module(key, path), path.rpartition(".")[2], None)
    if not isinstance(target, type):
        raise UsageError(f"{key}={path}: there is no such class")
    if not any(_is_a(target, kind) for kind in kinds):
        raise UsageError(f"{key}={path}: must be {' or '.join(map(_description, kinds))}")
    return target


def construct(key: str, node: Mapping[str, Any], kinds: Kinds, allowed: Sequence[str], **given: Any) -> Any:
    """The object of a node, with the objects of the nodes inside it.

    Args:
        key: key of the node, for messages.
        node: `_target_` and arguments of the constructor.
        kinds: see `Kinds`.
        allowed: see `find_class`.
        given: further arguments.

    Raises:
        UsageError: see `find_class`; an argument that is missing, unknown or of the wrong type; any other
            error of the constructor.
    """
    path = node.get("_target_")
    target = find_class(f"{key}._target_", path, kinds[:1], allowed)
    signature = inspect.signature(target)
    own = {
        name: _with_objects(f"{key}.{name}", value, kinds, allowed)
        for name, value in node.items()
        if name != "_target_" and (name not in FOR_PEOPLE or name in signature.parameters)
    }
    try:
        signature.bind(**own, **given)
    except TypeError as error:
        raise UsageError(f"{key}: {path} {error}") from error
    _check_types(key, target, own)
    try:
        return target(**own, **given)
    except UsageError:
        raise
    except Exception as error:  # any error of a class for a wrong argument
        raise UsageError(f"{key}: {path}: {_one_line(error)}") from error


def _with_objects(key: str, value: Any, kinds: Kinds, allowed: Sequence[str]) -> Any:
    """`value` with each node inside replaced by its object."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            part = find_class(f"{key}._target_", value["_target_"], kinds, allowed)
            return construct(key, value, [part, *kinds], allowed)
        return {name: _with_objects(f"{key}.{name}", one, kinds, allowed) for name, one in value.items()}
    if isinstance(value, list):
        return [_with_objects(f"{key}.{place}", one, kinds, allowed) for place, one in enumerate(value)]
    return value


def _check_types(key: str, target: type, arguments: Mapping[str, Any]) -> None:
    """Check arguments against the constructor's annotations, for types of plain values."""
    hints = get_type_hints(getattr(target, "__init__"))  # noqa: B009
    for name in arguments.keys() & hints.keys():
        try:
            msgspec.convert(arguments[name], hints[name])
        except msgspec.ValidationError as error:
            raise UsageError(f"{key}.{name}={arguments[name]}: {error}") from error
        except TypeError:
            continue  # not a type of plain values: left to the constructor


def _module(key: str, path: str) -> ModuleType:
    """The module of the class at `path`."""
    name = path.rpartition(".")[0]
    is_own = name.split(".")[0] in own_packages()
    try:
        return import_module(name)
    except Exception as error:  # any error of a module's code at import
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            hint = (
                f": {PACKAGES} allows {name}, but Python does not find it: see PYTHONPATH" if is_own else ""
            )
            raise UsageError(f"{key}={path}: there is no such class{hint}") from error
        hint = f" (a package that {PACKAGES} allows)" if is_own else ""
        raise UsageError(f"{key}={path}: importing {name}{hint} failed: {_one_line(error)}") from error


def _is_a(target: type, kind: type) -> bool:
    methods = _methods(kind)
    if methods:
        return all(callable(getattr(target, method, None)) for method in methods)
    return issubclass(target, kind)


def _description(kind: type) -> str:
    methods = _methods(kind)
    if methods:
        return f"a class with the methods {', '.join(methods)}"
    return f"a subclass of {kind.__module__}.{kind.__qualname__}"


def _methods(kind: type) -> list[str]:
    """The methods that a protocol requires; none for another class."""
    if not getattr(kind, "_is_protocol", False):
        return []
    names = [name for name, value in vars(kind).items() if inspect.isfunction(value)]
    return [name for name in names if name == "__call__" or not name.startswith("_")]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
