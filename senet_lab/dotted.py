"""Values of nested mappings by dotted key, such as `optimizer.weight_decay`."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below `node` with its dotted key; lists count as values."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def get_value(node: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key.

    Raises:
        KeyError: there is none.
    """
    value: Any = node
    for part in key.split("."):
        if not isinstance(value, Mapping):
            raise KeyError(key)
        value = value[part]
    return value


def set_value(node: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key, below mappings that exist."""
    *path, last = key.split(".")
    for part in path:
        node = node[part]
    node[last] = value


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """The first dotted key in which two mappings differ, and both values.

    Raises:
        ValueError: they are equal.
    """
    for key in dict.fromkeys([*first, *second]):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one != other:
            inner, one, other = difference(one, other)
            return f"{key}.{inner}", one, other
        if one != other:
            return key, one, other
    raise ValueError("the mappings are equal")
