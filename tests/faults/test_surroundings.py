"""Where a sweep runs must not change what it finds, or whether it can say so."""

import ctypes
import locale
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sweeps import records, start, sweep

from senet_lab.cli import main


def obey_permissions() -> None:
    """Let permissions hold for this process even where it is root's: give CAP_DAC_OVERRIDE away."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    assert libc.capget(header, sets) == 0
    sets[0] &= ~2
    sets[1] &= ~2
    assert libc.capset(header, sets) == 0


@pytest.mark.parametrize(("locked", "code"), [("", 2), ("default", 2), ("default/runs", 1)])
def test_a_read_only_output_folder_is_told(tmp_path: Path, locked: str, code: int) -> None:
    arguments = sweep(tmp_path)
    folder = tmp_path / "outputs" / locked
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    process = start(arguments, tmp_path / "log.txt", obey_permissions)
    process.join()
    told = (tmp_path / "log.txt").read_text()
    assert process.exitcode == code, told
    assert str(folder) in told
    assert "Permission denied" in told or "cannot be written" in told
    assert "Traceback" not in told
    assert list(folder.iterdir()) == []


def test_without_a_terminal(tmp_path: Path) -> None:
    main(sweep(tmp_path))
    environment = {key: value for key, value in os.environ.items() if key not in ("TERM", "HOME", "LANG")}
    done = subprocess.run(
        [sys.executable, "-m", "senet_lab", *sweep(tmp_path)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={**environment, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "2 of 2 runs finished" in done.stdout


def change_to(folder: Path, encoding: str) -> None:
    os.chdir(folder)
    os.environ["PYTHONIOENCODING"] = encoding
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding=encoding)  # type: ignore[union-attr]


def test_a_path_that_is_no_utf8(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff"))
    folder.mkdir()
    arguments = [*sweep(tmp_path, "epochs=4"), "outputs=here"]
    process = start(arguments, tmp_path / "log.txt", partial(change_to, folder, "ascii"))
    process.join()
    assert process.exitcode == 0, (tmp_path / "log.txt").read_text()
    assert records(folder) == undisturbed


def use_decimal_comma(folder: Path) -> None:
    os.environ["LOCPATH"] = str(folder)
    locale.setlocale(locale.LC_ALL, "comma")
    assert f"{0.5:n}" == "0,5"


@pytest.mark.skipif(shutil.which("localedef") is None, reason="needs localedef to make a locale")
def test_a_locale_with_decimal_comma(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "comma"], capture_output=True, check=False
    )
    if made.returncode > 1:
        pytest.skip("needs the source of a locale")
    process = start(sweep(tmp_path, "epochs=4"), tmp_path / "log.txt", partial(use_decimal_comma, tmp_path))
    process.join()
    assert process.exitcode == 0, (tmp_path / "log.txt").read_text()
    assert records(tmp_path) == undisturbed
