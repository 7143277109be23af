"""Documentation of the command line, read from the source: verbs, keys and their allowed values.

Sources: for a verb, the docstring of its module in `commands/`; for a key, the docstring under its field in
`config.py`, or the comment behind it in YAML. Parsed without importing them.
"""

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from enum import EnumType
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

ARGUMENT = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", re.MULTILINE)
"""Names, and the text after them."""


def verb_line(verb: str) -> str:
    """The purpose of a verb, in one line."""
    file = Path(__file__).parent / "commands" / f"{verb}.py"
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    line = text.splitlines()[0].partition(": ")[2]
    return line[:1].upper() + line[1:]


@cache
def field_lines(schema: type) -> dict[str, str]:
    """The docstring under each field of a dataclass and its bases; by default, its enum's."""
    lines: dict[str, str] = {}
    for base in reversed(schema.__mro__[:-1]):
        (definition,) = ast.parse(inspect.cleandoc(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, following in zip(definition.body, [*definition.body[1:], None], strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                name = statement.target.id
                lines[name] = _docstring(following) or _of_enum(base.__annotations__[name])
    return lines


def argument_lines(function: Callable[..., Any]) -> dict[str, str]:
    """The lines under `Args:` of a function, or of a class and its bases, PyTorch's left out."""
    lines: dict[str, str] = {}
    for owner in reversed(getattr(function, "__mro__", [function])):
        text = "" if owner.__module__.startswith("torch.") else inspect.cleandoc(owner.__doc__ or "")
        for names, line in ARGUMENT.findall(text.partition("Args:\n")[2].partition("\n\n")[0]):
            if not line.startswith("see "):
                lines |= dict.fromkeys(names.split(", "), " ".join(line.split()))
    return lines


def comments(file: Path) -> dict[str, str]:
    """The comments behind the outermost keys of a YAML file, on their lines."""
    return dict(re.findall(r"^(\w+):.*?\s#\s+(.*)$", file.read_text("utf-8"), re.MULTILINE))


def allowed(kind: Any) -> str:
    """The values of a type, in a few words: `std, sem or none`, `true or false`, `a whole number`."""
    if get_origin(kind) in (Union, UnionType):
        parts = [allowed(part) for part in get_args(kind) if part is not NoneType]
        return " or ".join(filter(None, [*parts, "null" if NoneType in get_args(kind) else ""]))
    if isinstance(kind, EnumType):
        *others, last = kind.__members__
        return f"{', '.join(others)} or {last}"
    if get_origin(kind) is list:
        return "a list"
    if is_dataclass(kind):
        return "keys of its own"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(kind, "")


def _docstring(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return inspect.cleandoc(str(statement.value.value)).replace("\n", " ")
    return ""


def _of_enum(kind: Any) -> str:
    return (kind.__doc__ or "").splitlines()[0] if isinstance(kind, EnumType) else ""
