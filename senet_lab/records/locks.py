"""A lock file that names its owner."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from senet_lab.errors import UsageError
from senet_lab.files import read_text
from senet_lab.text import plain

SILENT_SECONDS = 1.0
PATIENT_SECONDS = 300.0
LONGEST_SIGNATURE = 100
"""Maximal size, bytes, of an owner's process id and host name."""


@contextmanager
def wait_for(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; name its owner if the wait takes longer than a moment.

    Raises:
        UsageError: it cannot be locked, or another process holds it for minutes.
    """
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=SILENT_SECONDS)
        except Timeout:
            print(plain(f"waiting for {path}, held by {_holder(path)}"), file=sys.stderr, flush=True)
            lock.acquire(timeout=PATIENT_SECONDS)
        if not isinstance(lock, SoftFileLock):  # which names its owner itself, in the same format
            with suppress(OSError):  # a full disk; the command may not need to write anything
                _sign(path)
    except Timeout as error:
        lock.release()
        raise UsageError(f"{path} is still held by {_holder(path)}: repeat the command later") from error
    except OSError as error:
        lock.release()
        raise UsageError(f"{path} cannot be locked: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _sign(path: Path) -> None:
    """Write the owner into a held lock file; a larger file, hard-linked to this name, stays as it is."""
    file = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(file).st_size <= LONGEST_SIGNATURE:
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n{socket.gethostname()}\n".encode())
    finally:
        os.close(file)


def _holder(path: Path) -> str:
    try:
        pid, host = read_text(path).split()[:2]
    except (UsageError, ValueError):
        return "another process"
    return f"process {pid} on {host}"
