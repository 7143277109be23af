"""The shim does what the crash harness takes it to do."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from shim import Fault

PROGRAM = """
import ctypes, os, sys
folder, fault, error = sys.argv[1], int(sys.argv[2]), int(sys.argv[4])
shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
shim.faults_kinds.restype = shim.faults_at_risk.restype = ctypes.c_char_p
shim.faults_arm(folder.encode(), sys.argv[5].encode(), ctypes.c_long(int(sys.argv[3])), fault, error)
try:
    new = os.open(folder + "/new", os.O_CREAT | os.O_WRONLY)
    os.write(new, b"123456")
    os.fsync(new)
    os.replace(folder + "/new", folder + "/old")
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.unlink("other", dir_fd=handle)
    os.mkdir(folder + "/made")
    os.truncate(folder + "/old", 3)
except OSError as error:
    print(error.errno)
print(shim.faults_kinds().decode(), shim.faults_at_risk().decode())
"""
FOUND = {"old": "before", "other": "there"}


def run(
    library: Path, folder: Path, fault: Fault, point: int, error: int = 0
) -> tuple[int, str, dict[str, str]]:
    """Exit code, output, and the files that are left."""
    work, backups = folder / "work", folder / "backups"
    work.mkdir()
    backups.mkdir()
    for name, text in FOUND.items():
        (work / name).write_text(text)
    words = [str(work), str(int(fault)), str(point), str(error), str(backups)]
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM, *words],
        env={**os.environ, "LD_PRELOAD": str(library)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    left = {path.name: path.read_text() if path.is_file() else "/" for path in work.iterdir()}
    return done.returncode, done.stdout, left


def test_points_are_counted(shim: Path, tmp_path: Path) -> None:
    done = {"old": "123", "made": "/"}
    assert run(shim, tmp_path, Fault.NONE, 0) == (0, "owsrisumt 232220222\n", done)


@pytest.mark.parametrize(
    ("fault", "point", "left"),
    [
        (Fault.BEFORE, 1, FOUND),
        (Fault.AFTER, 1, {**FOUND, "new": ""}),
        (Fault.HALF, 2, {**FOUND, "new": "123"}),
        (Fault.AFTER, 2, {**FOUND, "new": "123456"}),
        (Fault.DROP_DATA, 2, {**FOUND, "new": ""}),
        (Fault.DROP_DATA, 3, {**FOUND, "new": "123456"}),
        (Fault.DROP_NAMES, 3, FOUND),
        (Fault.AFTER, 4, {**FOUND, "old": "123456"}),
        (Fault.DROP_NAMES, 4, FOUND),
        (Fault.DROP_NAMES, 6, {**FOUND, "old": "123456"}),
        (Fault.AFTER, 7, {"old": "123456"}),
        (Fault.DROP_NAMES, 8, {**FOUND, "old": "123456"}),
    ],
)
def test_deaths(shim: Path, tmp_path: Path, fault: Fault, point: int, left: dict[str, str]) -> None:
    assert run(shim, tmp_path, fault, point) == (-9, "", left)


@pytest.mark.parametrize(
    ("fault", "point", "error", "left"),
    [
        (Fault.FAIL, 1, errno.EIO, FOUND),
        (Fault.FAIL, 4, errno.EIO, {**FOUND, "new": "123456"}),
        (Fault.FAIL_ON, 2, errno.ENOSPC, {"old": "123"}),  # half fits, then mkdir fails
        (Fault.FAIL_ON, 2, errno.EMFILE, {**FOUND, "old": "123456"}),
    ],
)
def test_errors(
    shim: Path, tmp_path: Path, fault: Fault, point: int, error: int, left: dict[str, str]
) -> None:
    code, told, found = run(shim, tmp_path, fault, point, error)
    assert (code, told.splitlines()[0], found) == (0, str(error), left)
