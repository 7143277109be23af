"""Writing so that a reader, or a power cut, never sees half a file; strict reading of what others wrote."""

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from senet_lab.errors import UsageError

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where PyYAML has it, which is ten times as fast."""

TEXT_LIMIT = 1 << 30
"""Bytes of the largest text file that is read: a plan of 100,000 runs has a third of it."""

T = TypeVar("T")


def write_atomic(path: Path, content: str | bytes | memoryview) -> None:
    """Put `content` at `path` whole or not at all: temporary file, fsync, rename, fsync of the folder.

    Text is written as UTF-8. When anything fails, an older file at `path` is left as it was and no
    temporary file remains.

    Raises:
        UsageError: no space, no permission; with the path and the bytes that are needed.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error, len(data)) from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


def append_lines(path: Path, lines: str) -> None:
    """Add whole lines to the file at `path` and have them on disk; it stays as it was when that fails.

    Raises:
        UsageError: no space, no permission; with the path and the bytes that are needed.
    """
    size = path.stat().st_size
    data = lines.encode()
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if path.stat().st_size > size:
            os.truncate(path, size)
        raise _cannot_write(path, error, len(data)) from error


def remove_temporaries(folder: Path) -> None:
    """Delete what a killed `write_atomic` left in `folder`; the caller is the only one who writes there."""
    for file in folder.glob(".*.tmp"):
        file.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """The text of the regular file at `path`.

    Raises:
        UsageError: it cannot be read, is no regular file (a pipe would hang), too large, or no UTF-8.
    """
    try:
        # Not blocking: to open a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} is not a regular file")
            if status.st_size > TEXT_LIMIT:
                raise UsageError(
                    f"{path} has {status.st_size:,} bytes: more than {TEXT_LIMIT:,} are not read"
                )
            return file.read().decode()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}") from error


def read_json(path: Path) -> Any:
    """The plain values in the JSON file at `path`.

    Raises:
        UsageError: see `read_text`; no JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error


def typed(kind: type[T], content: Any, source: object, remedy: str = "") -> T:
    """Plain values as a `kind`; nothing is converted but lists to tuples and whole numbers to floats.

    Args:
        kind: a dataclass, or any other type that msgspec knows.
        content: plain values, which may have fields that `kind` does not know.
        source: where they are from, for the message.
        remedy: what to do about wrong ones.

    Raises:
        UsageError: a field that is missing or of another type, with its place.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{source}: {error}{remedy and f'; {remedy}'}") from error


def read_yaml(path: Path) -> Any:
    """The plain values in the YAML file at `path`.

    Raises:
        UsageError: no YAML, tags that would build objects, or aliases, with which a few lines can stand for
            more than fits in memory.
    """
    text = read_text(path)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader)):
            raise UsageError(f"{path}: YAML aliases are not allowed; write the value out, or ${{key}} for it")
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not plain YAML: {' '.join(str(error).split())}") from error


def _cannot_write(path: Path, error: OSError, size: int) -> UsageError:
    return UsageError(f"{path} cannot be written: {error.strerror}; {size:,} bytes are needed")


def _sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
