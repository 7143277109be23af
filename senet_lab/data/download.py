"""Downloads that several processes may ask for at once: whole and verified, or not there."""

import http.client
import logging
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from senet_lab.errors import UsageError

T = TypeVar("T")

STALLED_SECONDS = 60.0

log = logging.getLogger(__name__)


def fetch(name: str, folder: Path, opener: Callable[[Path, bool], T], download: bool) -> T:
    """What `opener(folder, download)` returns, from a folder that is downloaded first where it has to be.

    The first process downloads into a folder beside the final one, the opener verifies it there, and it is
    renamed; the others wait. A damaged folder is replaced only by a verified one.

    Args:
        name: the data set's name, for messages.
        folder: where its files lie, or will lie.
        opener: raises RuntimeError where files are missing or damaged.
        download: whether to download.
    """
    try:
        return opener(folder, False)
    except RuntimeError:
        problem = f"dataset={name}: the files in {folder} are {'damaged' if folder.exists() else 'missing'}"
    except OSError as error:
        raise UsageError(f"dataset={name}: the files in {folder} cannot be read ({error})") from None
    if not download:
        raise UsageError(
            f"{problem}, and dataset.download is false: set it, or dataset.root=DIR that has them"
        )
    partial = folder.with_name(f".{name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{name}.lock")):
            try:
                return opener(folder, False)  # another process has been here meanwhile
            except RuntimeError:
                shutil.rmtree(partial, ignore_errors=True)  # left behind by a process that was killed
            try:
                log.warning("%s: downloading", problem)
                with _no_endless_wait():
                    opener(partial, True)
                for archive in partial.glob("*.tar.gz"):
                    archive.unlink()
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            return opener(folder, False)
    except RuntimeError:
        reason = "what arrived is not the published file: its MD5 differs"
    except (OSError, http.client.HTTPException) as error:
        reason = str(error)
    raise UsageError(
        f"{problem}, and downloading them failed ({reason}): try again, or dataset.root=DIR that has them"
    )


@contextmanager
def _no_endless_wait() -> Iterator[None]:
    """A server that stops sending is an error, not a wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
