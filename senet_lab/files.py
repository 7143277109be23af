"""Atomic, durable writing of files, and strict reading of untrusted ones."""

import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml

from senet_lab.errors import UsageError

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C loader if PyYAML has it: ten times as fast."""

TEXT_LIMIT = 1 << 30
"""Maximal size, bytes, of a text file: three times a plan of 100,000 runs."""

YAML_LIMIT = 1 << 20
"""Maximal size, bytes, of a YAML file; the largest of `conf/` has five thousand."""

YAML_DEPTH = 100
"""Maximal depth of the nodes of a YAML file; the deepest of `conf/` has less than ten."""

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Start of an escaped half of a UTF-16 pair in JSON."""

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A recorded number of something."""
Seconds = Annotated[float, msgspec.Meta(ge=0, lt=1e12)]
"""A recorded duration."""
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""A recorded share of something."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""Flags to open a folder."""

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
"""Names of `write_atomic`'s temporary files."""

NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Errors of file systems that cannot or need not sync folders."""

T = TypeVar("T")


def write_atomic(path: Path, content: str | bytes | memoryview, root: Path | None = None) -> None:
    """Write `content` to `path` atomically: temporary file, fsync, rename, fsync of the folder.

    Text is written as UTF-8. On failure, an older file at `path` stays unchanged and no temporary file
    remains.

    Args:
        path: the file; missing folders are made.
        content: the file's content.
        root: a folder above it, below which no symbolic link is followed.

    Raises:
        UsageError: no space, no permission, a link; names the path and the needed bytes.
    """
    data = memoryview(content.encode() if isinstance(content, str) else content)
    try:
        with open_folder(path.parent, root, make=True) as folder:
            _replace(folder, path.name, data)
    except OSError as error:
        raise _cannot_write(path, error, len(data)) from error


def append_lines(path: Path, lines: str, root: Path | None = None) -> None:
    """Append whole lines durably to the file at `path`; on failure it stays unchanged.

    Raises:
        UsageError: see `write_atomic`.
    """
    data = memoryview(lines.encode())
    try:
        with (
            open_folder(path.parent, root) as folder,
            _opened(folder, path, os.O_WRONLY | os.O_APPEND) as file,
        ):
            size = os.fstat(file).st_size
            try:
                _write_all(file, data)
                os.fsync(file)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file, size)
                raise
    except OSError as error:
        raise _cannot_write(path, error, len(data)) from error


def move(path: Path, to: str, root: Path | None = None) -> None:
    """Rename the file at `path` to `to` within its folder.

    Raises:
        UsageError: see `write_atomic`.
    """
    try:
        with open_folder(path.parent, root) as folder:
            os.rename(path.name, to, src_dir_fd=folder, dst_dir_fd=folder)
            sync_folder(folder)
    except OSError as error:
        raise UsageError(f"{path} cannot be renamed to {to}: {error.strerror}") from error


def remove(path: Path, root: Path | None = None) -> None:
    """Delete the file at `path`, if there is one.

    Raises:
        UsageError: see `write_atomic`.
    """
    try:
        with open_folder(path.parent, root) as folder, suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=folder)
    except OSError as error:
        raise UsageError(f"{path} cannot be deleted: {error.strerror}") from error


def is_folder(path: Path, root: Path) -> bool:
    """Whether a folder is there; no symbolic link below `root` is followed.

    Raises:
        UsageError: a link, something else than a folder, or the system refuses to answer.
    """
    try:
        with open_folder(path, root):
            return True
    except FileNotFoundError:
        return False
    except OSError as error:
        raise cannot_read(path, error) from error


def remove_folder(path: Path, root: Path) -> None:
    """Delete the folder at `path` with all that it holds; no symbolic link below `root` is followed.

    Raises:
        UsageError: a link, or the system refuses.
    """
    try:
        with open_folder(path.parent, root) as folder:
            shutil.rmtree(path.name, dir_fd=folder)
    except OSError as error:
        raise UsageError(f"{path} cannot be deleted: {error.strerror or error}") from error


def make_folder(folder: Path, root: Path | None = None) -> None:
    """Make a folder and its parents durably.

    Raises:
        OSError: it cannot be made.
        UsageError: a symbolic link below `root`.
    """
    with open_folder(folder, root, make=True):
        pass


def make_writable(folder: Path, root: Path | None = None) -> None:
    """Create `folder`, and remove partial files of killed commands from it.

    Args:
        folder: the folder to create.
        root: a parent folder, below which no symbolic link is followed.

    Raises:
        UsageError: it cannot be created or written.
    """
    try:
        make_folder(folder, root)
    except OSError as error:
        raise UsageError(f"outputs: {folder} cannot be created: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"outputs: {folder} cannot be written: choose another folder with outputs=")
    remove_temporaries(folder, root)


def remove_temporaries(folder: Path, root: Path | None = None) -> None:
    """Delete temporary files that killed calls of `write_atomic` left in `folder`, but no live process's.

    Raises:
        UsageError: the folder cannot be read.
    """
    try:
        with open_folder(folder, root) as handle:
            for name in filter(TEMPORARY.fullmatch, os.listdir(handle)):  # noqa: PTH208
                with suppress(OSError, UsageError):  # a link, or still being written
                    _remove_unlocked(handle, folder / name)
    except OSError as error:
        raise cannot_read(folder, error) from error


@contextmanager
def open_folder(folder: Path, root: Path | None = None, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder, to open files relative to it even if its path changes.

    Args:
        folder: the folder to open.
        root: a folder above it, below which no symbolic link is followed; None to follow all.
        make: make missing folders durably.

    Raises:
        OSError: it cannot be opened or made.
        UsageError: a symbolic link below `root`.
    """
    start = root or next(path for path in (folder, *folder.parents) if path.exists() or not make)
    handle = _open_below(start, _parts(folder, start), follow=root is None, make=make)
    try:
        yield handle
    finally:
        os.close(handle)


def _parts(path: Path, start: Path) -> tuple[str, ...]:
    """The parts of `path` below `start`; a fifth of the time of `relative_to`.

    Raises:
        ValueError: it is not below.
    """
    count = len(start.parts)
    if path.parts[:count] != start.parts:
        raise ValueError(f"{path} is not below {start}")
    return path.parts[count:]


def _open_below(start: Path, parts: Sequence[str], follow: bool, make: bool = False) -> int:
    """A descriptor of the folder that `parts` lead to from `start`; see `open_folder`.

    Without a `Path` for each part, as it reads ten thousand runs' records.
    """
    flags = FOLDER if follow else FOLDER | os.O_NOFOLLOW
    handle = os.open(start, FOLDER)
    for number, part in enumerate(parts, start=1):
        try:
            if make and _make(handle, part):
                sync_folder(handle)
            below = os.open(part, flags, dir_fd=handle)
        except OSError as error:
            _refuse_link(start.joinpath(*parts[:number]), error)
            raise
        finally:
            os.close(handle)
        handle = below
    return handle


def sync_folder(handle: int) -> None:
    """Sync a folder's entries to disk, if its file system supports that."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def is_there(path: Path) -> bool:
    """Whether anything exists at `path`, even a dangling link.

    Raises:
        UsageError: the system refuses to answer.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise cannot_read(path, error) from error
    return True


def read_bytes(path: Path, root: Path | None = None, limit: int | None = None) -> bytes:
    """The content of the regular file at `path`.

    Args:
        path: the file.
        root: a folder above it, below which no symbolic link is followed; None to follow all.
        limit: maximal size in bytes.

    Raises:
        UsageError: it cannot be read, is no regular file (a pipe would hang), or is too large.
    """
    try:
        return _content(path, root, limit)
    except OSError as error:
        raise cannot_read(path, error) from error


def find_bytes(path: Path, root: Path, limit: int) -> bytes | None:
    """The content of the regular file at `path`, None if there is none; for the arguments see `read_bytes`.

    Raises:
        UsageError: see `read_bytes`.
    """
    try:
        return _content(path, root, limit)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise cannot_read(path, error) from error


def _content(path: Path, root: Path | None, limit: int | None) -> bytes:
    """See `read_bytes`."""
    flags = os.O_RDONLY | os.O_NONBLOCK  # opening a pipe without a writer would block
    start = root or path.parent
    folder = _open_below(start, _parts(path, start)[:-1], follow=root is None)
    try:
        file = _open(folder, path, flags, root is None)
    finally:
        os.close(folder)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file")
        if limit is not None and status.st_size > limit:
            raise UsageError(f"{path} has {status.st_size:,} bytes: more than {limit:,} are not read")
        return b"".join(iter(lambda: os.read(file, status.st_size + 1), b""))
    finally:
        os.close(file)


def read_text(path: Path, root: Path | None = None, limit: int = TEXT_LIMIT) -> str:
    """The text of the regular file at `path`; for the arguments see `read_bytes`.

    Raises:
        UsageError: see `read_bytes`; no UTF-8.
    """
    return as_text(read_bytes(path, root, limit), path)


def as_text(content: bytes, path: Path) -> str:
    """The content of the file at `path` as text.

    Raises:
        UsageError: no UTF-8; names the file.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: {error}") from error


def find_json(path: Path, root: Path) -> Any | None:
    """The plain values in the JSON file at `path`, None if there is none; for the arguments see `read_bytes`.

    Raises:
        UsageError: see `read_text`; no JSON.
    """
    content = find_bytes(path, root, TEXT_LIMIT)
    return None if content is None else parse_json(as_text(content, path), path)


def parse_json(text: str, path: Path) -> Any:
    """The plain values in the text of the JSON file at `path`.

    Raises:
        UsageError: no JSON; names the file.
    """
    try:
        content = json.loads(text)
        if SURROGATE.search(text):  # half of a pair is no character: nothing could write it on
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error


def typed(kind: type[T], content: Any, source: object, remedy: str = "") -> T:
    """Plain values as a `kind`; converts only lists to tuples and whole numbers to floats.

    Args:
        kind: a dataclass, or any other type that msgspec knows.
        content: plain values, which may have fields that `kind` does not know.
        source: their origin, for the message.
        remedy: advice for the message.

    Raises:
        UsageError: a missing field or one of another type; names its place.
    """
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{source}: {error}{remedy and f'; {remedy}'}") from error


def read_yaml(path: Path, root: Path | None = None) -> Any:
    """The plain values in the YAML file at `path`.

    Raises:
        UsageError: no YAML, more than `YAML_LIMIT`, tags that would build objects, aliases, which can expand
            a few lines beyond memory, or nodes nested deeper than `YAML_DEPTH`, which crash PyYAML.
    """
    text = read_text(path, root, YAML_LIMIT)
    depth = 0
    try:
        for event in yaml.parse(text, Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > YAML_DEPTH:
                raise UsageError(f"{path}: YAML nested more than {YAML_DEPTH} deep is not read")
            if isinstance(event, yaml.AliasEvent):
                raise UsageError(
                    f"{path}: YAML aliases are not allowed; write the value out, or ${{key}} for it"
                )
        return yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise UsageError(f"{path}{line} is not plain YAML: {problem}") from error


def _replace(folder: int, name: str, data: memoryview) -> None:
    """Replace the file `name` in an open folder by `data`, through a temporary file."""
    temporary, file = _temporary(folder, name)
    try:
        _write_all(file, data)
        os.fsync(file)
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(file)
    sync_folder(folder)


def _temporary(folder: int, name: str) -> tuple[str, int]:
    """Name and descriptor of a new file, locked while open, so that it does not count as a leftover."""
    while True:
        temporary = f".{name}.{secrets.token_hex(6)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o666, dir_fd=folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process is removing it as a leftover
            os.close(file)
            continue
        except OSError:  # a file system without locks: no other process can remove it either
            pass
        if os.fstat(file).st_nlink:
            return temporary, file
        os.close(file)


@contextmanager
def _opened(folder: int, path: Path, flags: int, follow: bool = False) -> Iterator[int]:
    """A descriptor of the file `path`, in its open folder."""
    file = _open(folder, path, flags, follow)
    try:
        yield file
    finally:
        os.close(file)


def _open(folder: int, path: Path, flags: int, follow: bool = False) -> int:
    """See `_opened`."""
    links = 0 if follow else os.O_NOFOLLOW
    try:
        return os.open(path.name, flags | os.O_CLOEXEC | links, dir_fd=folder)
    except OSError as error:
        _refuse_link(path, error)
        raise


def _refuse_link(path: Path, error: OSError) -> None:
    """Raise UsageError if `path` was not opened because it is a symbolic link."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
        raise UsageError(f"{path} is a symbolic link: it is not followed") from error


def _remove_unlocked(folder: int, path: Path) -> None:
    """Delete a regular file in its open folder, unless a process holds a lock on it."""
    with _opened(folder, path, os.O_RDONLY | os.O_NONBLOCK) as file:
        if stat.S_ISREG(os.fstat(file).st_mode):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path.name, dir_fd=folder)


def _make(folder: int, name: str) -> bool:
    """Make a folder inside an open one; False if it exists."""
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return False
    return True


def _write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]


def _cannot_write(path: Path, error: OSError, size: int) -> UsageError:
    return UsageError(f"{path} cannot be written: {error.strerror}; {size:,} bytes are needed")


def cannot_read(path: Path, error: OSError) -> UsageError:
    """The one line for a path that the system does not let us read."""
    return UsageError(f"{path} cannot be read: {error.strerror}")
