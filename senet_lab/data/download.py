"""Downloads, safe under concurrent processes: complete and verified, or absent."""

import hashlib
import http.client
import logging
import shutil
import socket
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from filelock import FileLock

from senet_lab.errors import UsageError

T = TypeVar("T")

STALLED_SECONDS = 60.0

LISTING = ".senet-lab.sha256"
"""A file in each downloaded folder with the sums of its files, in the format of `sha256sum`."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A published file: URL, SHA-256, and target folder relative to the data set's."""

    url: str
    sha256: str
    folder: str = "."

    def path(self, folder: Path) -> Path:
        """The file's path after the download into the data set's `folder`."""
        return folder / self.folder / self.url.rpartition("/")[2]


def fetch(
    name: str,
    folder: Path,
    opener: Callable[[Path, bool], T],
    download: bool,
    archives: Sequence[Archive],
    unchecked: str | None = None,
) -> T:
    """Open a data set in `folder`, after downloading it if needed.

    The first process downloads into a folder beside the final one, where the opener verifies it, and renames
    it; the others wait. A damaged folder is replaced only by a verified one, and only if every file in it
    came from a download.

    Args:
        name: the data set's name, for messages.
        folder: the data set's folder, which may not exist yet.
        opener: takes a folder and whether to unpack the archives in it; raises RuntimeError if files are
            missing or damaged.
        download: whether to download.
        archives: the files to download before the opener is called.
        unchecked: glob of the files that the opener does not verify; these are checked against the sums that
            the download recorded.

    Raises:
        UsageError: missing or damaged data, a folder with foreign files, a failed download.
    """

    def open_verified() -> T:
        if unchecked is not None:
            _verify(folder, unchecked)
        return opener(folder, False)

    try:
        return open_verified()
    except RuntimeError:
        problem = f"dataset={name}: the files in {folder} are {'damaged' if folder.exists() else 'missing'}"
    except OSError as error:
        raise UsageError(f"dataset={name}: the files in {folder} cannot be read ({error})") from None
    if not download:
        raise UsageError(
            f"{problem}, and dataset.download is false: set it, or dataset.root=DIR that has them"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{name}.lock")):
            try:
                return open_verified()  # another process has downloaded it in between
            except RuntimeError:
                _require_own(name, folder)
                log.warning("%s: downloading", problem)
                _download(folder, opener, archives)
            return open_verified()
    except (RuntimeError, OSError, http.client.HTTPException, tarfile.TarError) as error:
        raise UsageError(
            f"{problem}, and downloading them failed ({' '.join(str(error).split())}): try again, or "
            "dataset.root=DIR that has them"
        ) from error


def _download(folder: Path, opener: Callable[[Path, bool], object], archives: Sequence[Archive]) -> None:
    """Download and unpack beside `folder`, then put the result in its place."""
    from torchvision.datasets.utils import download_url

    partial = folder.with_name(f".{folder.name}.partial")
    if (partial / LISTING).exists():
        shutil.rmtree(partial)  # left behind by a process that was killed
    elif partial.exists():
        partial.rmdir()  # left by one that was killed at once; fails if it holds anyone's files
    partial.mkdir()
    (partial / LISTING).touch()
    try:
        for archive in archives:
            file = archive.path(partial)
            with _no_endless_wait():
                download_url(archive.url, str(file.parent))
            if _sha256(file) != archive.sha256:
                raise RuntimeError(f"{archive.url} is not the published file: its SHA-256 differs")
            _require_inside(file)
        opener(partial, True)
        for archive in archives:
            if archive.path(partial).suffix in (".gz", ".tgz", ".zip"):  # unpacked by now
                archive.path(partial).unlink()
        listing = (f"{_sha256(file)}  {file.relative_to(partial)}\n" for file in _files(partial))
        (partial / LISTING).write_text("".join(listing), "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_own(name: str, folder: Path) -> None:
    """Refuse to replace a folder that holds files which no download put there."""
    made = _listed(folder)
    for file in [folder] if folder.is_symlink() or folder.is_file() else _files(folder):
        if str(file.relative_to(folder)) not in made:
            raise UsageError(
                f"dataset={name}: {folder} does not hold the data set, and no download put {file} there: "
                "move it away, or set dataset.root=DIR"
            )


def _verify(folder: Path, pattern: str) -> None:
    """Raise RuntimeError if a file of `pattern` has changed since its download."""
    for name, sha256 in _listed(folder).items():
        file = folder / name
        if file.match(pattern) and not (file.is_file() and _sha256(file) == sha256):
            raise RuntimeError(f"{file} is not as it was downloaded")


def _listed(folder: Path) -> dict[str, str]:
    """The files that a download put into `folder`, with their SHA-256."""
    listing = folder / LISTING
    lines = listing.read_text("utf-8").splitlines() if listing.is_file() else []
    return {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def _files(folder: Path) -> list[Path]:
    """All files below `folder` except the listing."""
    found = (file for file in folder.rglob("*") if file.is_symlink() or not file.is_dir())
    return sorted(file for file in found if file != folder / LISTING)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _require_inside(archive: Path) -> None:
    """Refuse an archive with a link, or a member that would be unpacked outside its folder."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as members:
            for member in members:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise RuntimeError(f"{member.name} in {archive.name} leads out of its folder")


@contextmanager
def _no_endless_wait() -> Iterator[None]:
    """Within, a server that stops sending is an error instead of an endless wait."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
