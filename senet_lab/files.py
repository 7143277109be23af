"""Writing so that a reader, or a power cut, never sees half a file; reading YAML that others wrote."""

import os
import secrets
from pathlib import Path
from typing import Any

import yaml

from senet_lab.errors import UsageError

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where PyYAML has it, which is ten times as fast."""


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


def read_yaml(path: Path) -> Any:
    """The plain values in the YAML file at `path`.

    Raises:
        UsageError: no YAML, tags that would build objects, or aliases, with which a few lines can stand for
            more than fits in memory.
    """
    try:
        text = path.read_text("utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader)):
            raise UsageError(f"{path}: YAML aliases are not allowed; write the value out, or ${{key}} for it")
        return yaml.load(text, Loader)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
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
