"""One-line messages for errors of composing a config: the error, its file and line, and a remedy."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from hydra.errors import MissingConfigException
from omegaconf.errors import OmegaConfBaseException

from senet_lab.composition.groups import is_group, option_file, options
from senet_lab.files import read_text

COMPOSING = re.compile(r"In '([^']+)': (?:\w+ raised while composing config:\s*)?(.*)", re.DOTALL)
"""Hydra's message for a config that cannot be merged: its name and the reason."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name; empty if none is close."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}? " if near else ""


def unknown_key(error: BaseException) -> str | None:
    """The key that an error of Hydra or OmegaConf calls unknown."""
    text = f"{error} {error.__cause__ or ''}"
    named = re.search(r"Could not override '([^']+)'", text)
    if named and ("not in" in text or "No match in the defaults list" in text):
        return named[1]
    missing = re.search(r"Key '([^']+)' (?:is not in struct|not in)", text)
    full = re.search(r"full_key: (\S+)", text)
    return (full or missing)[1] if missing and (full or missing) else None


def unknown_option(error: MissingConfigException, folders: Sequence[Path]) -> str:
    """The message for an option that its group lacks."""
    group, _, name = (error.missing_cfg_file or "").partition("/")
    while "/" in name and is_group(f"{group}/{name.partition('/')[0]}", folders) and group == "hydra":
        head, _, name = name.partition("/")
        group = f"{group}/{head}"
    known = options(group, *folders[1:])
    hint = did_you_mean(name, known)
    where = _line_with(rf"{group}[^:]*:.*\b{re.escape(name)}\b", folders[1:])
    return f"{where}{group}={name}: there is no such {group}; {hint}known: {', '.join(known)}"


def explain(error: BaseException, folders: Sequence[Path]) -> str:
    """Any other error of Hydra or OmegaConf as one line."""
    text, cause = str(error), error.__cause__
    override = re.search(r"Error merging override (.*)", text)
    if override and cause is not None:
        return f"{override[1]}: {one_line(cause)}"
    composing = COMPOSING.match(text)
    if composing:
        key = re.search(r"full_key: (\S+)", text)
        name = key[1] if key else ""
        return f"{place_of(error, name, folders)}{name}: {one_line(composing[2])}"
    inner = cause if isinstance(cause, OmegaConfBaseException) else error
    missing = re.search(r"[mM]issing mandatory value: (\w+)", str(inner))
    if missing:
        known = ", ".join(options(missing[1], *folders[1:]))
        return f"{missing[1]}: has no value; {f'one of {known}' if known else 'give it one'}"
    key = re.search(r"full_key: (\S+)", str(inner))
    line = one_line(inner)
    return f"{key[1]}: {line}" if key and key[1] not in line else line


def located(message: str, choices: Mapping[str, str], folders: Sequence[Path]) -> str:
    """The message, preceded by file and line if a user's file sets the key at its start.

    Args:
        message: `activation.alpha=…` or `activation: …`.
        choices: the option of each config group.
        folders: folders of config groups, `conf/` first.
    """
    match = re.match(r"(\w+(?:\.\w+)*)(?:=|: )", message)
    if match is None:
        return message
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", message)
    key = f"{match[1]}.{unexpected[1]}" if unexpected else match[1]
    group, _, name = key.partition(".")
    for place in (group, "experiment", "figure"):
        file = option_file(place, choices[place], folders[1:]) if choices.get(place) else None
        lines = dict(_keys(file)) if file else {}
        line = lines.get(name if place == group else key)
        if line or (file and place == group):
            return f"{file}{f':{line}' if line else ''}: {message}"
    return message


def place_of(error: BaseException, key: str, folders: Sequence[Path]) -> str:
    """`FILE:LINE: ` of `key` in the config that Hydra failed to compose; empty if there is none."""
    composing = COMPOSING.match(str(error))
    files = [folder / f"{composing[1]}.yaml" for folder in folders] if composing else []
    file = next((file for file in files if file.is_file()), None)
    if composing is None or file is None:
        return ""
    group = composing[1].replace("/", ".").rpartition(".")[0]
    lines = dict(_keys(file))
    # A group that defaults override is no key.
    overridden = _line_in(file, rf"override /?{re.escape(key)}\b") if key else None
    line = lines.get(key) or lines.get(key.removeprefix(f"{group}.")) or overridden
    return f"{file}:{line}: " if line else f"{file}: "


def one_line(error: object) -> str:
    """A message on one line, without OmegaConf's details of types."""
    lines = [line.strip() for line in str(error).splitlines()]
    details = ("full_key:", "reference_type=", "object_type=")
    return " ".join(line for line in lines if line and not line.startswith(details))


def _keys(file: Path) -> Iterator[tuple[str, int]]:
    """The dotted keys of a YAML file with their lines, counted from 1."""

    def walk(node: yaml.Node | None, path: str) -> Iterator[tuple[str, int]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = f"{path}{key.value}"
                yield name, key.start_mark.line + 1
                yield from walk(value, f"{name}.")

    yield from walk(yaml.compose(read_text(file), yaml.SafeLoader), "")


def _line_with(pattern: str, folders: Sequence[Path]) -> str:
    """`FILE:LINE: ` of the only file in `folders` that has `pattern`; empty if none or several have it."""
    files = [file for folder in folders for file in folder.rglob("*.yaml") if file.is_file()]
    found = [(file, line) for file in files if (line := _line_in(file, pattern))]
    return "{}:{}: ".format(*found[0]) if len(found) == 1 else ""


def _line_in(file: Path, pattern: str) -> int | None:
    """The first line of a file that has `pattern`, counted from 1."""
    lines = enumerate(read_text(file).splitlines(), start=1)
    return next((number for number, line in lines if re.search(pattern, line)), None)
