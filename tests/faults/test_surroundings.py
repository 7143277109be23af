"""Where a sweep runs must not change what it finds, or whether it can say so."""

import ctypes
import json
import locale
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("locked", "mode", "code"),
    [("", 0o555, 2), ("default", 0o555, 2), ("default/runs", 0o555, 1), ("default", 0, 2)],
)
def test_an_output_folder_without_permission_is_told(
    tmp_path: Path, locked: str, mode: int, code: int
) -> None:
    arguments = sweep(tmp_path)
    folder = tmp_path / "outputs" / locked
    folder.mkdir(parents=True)
    folder.chmod(mode)
    process = start(arguments, tmp_path / "log.txt", obey_permissions)
    process.join()
    told = (tmp_path / "log.txt").read_text()
    assert process.exitcode == code, told
    assert str(folder) in told
    assert "Permission denied" in told or "cannot be written" in told
    assert "Traceback" not in told
    assert list(folder.iterdir()) == []


def test_a_run_in_another_users_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = sweep(tmp_path, "seed=0")
    with monkeypatch.context() as patch:
        patch.setattr("senet_lab.session._execute", lambda *_: 0)
        assert main(arguments) == 1
    plan = json.loads((tmp_path / "outputs" / "default" / "plan.json").read_text())
    folder = tmp_path / "outputs" / "default" / plan["runs"][0]["directory"]
    folder.mkdir(parents=True)
    folder.chmod(0)
    process = start(arguments, tmp_path / "log.txt", obey_permissions)
    process.join()
    told = (tmp_path / "log.txt").read_text()
    assert process.exitcode == 1, told
    assert "Permission denied" in told
    assert "Traceback" not in told


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


def lose_the_reader() -> None:
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)
    sys.stdout = os.fdopen(1, "w")


def test_output_that_nobody_reads_is_no_success(tmp_path: Path) -> None:
    process = start(sweep(tmp_path, "seed=0"), tmp_path / "log.txt", lose_the_reader)
    process.join()
    assert process.exitcode == 128 + signal.SIGPIPE
    assert (tmp_path / "log.txt").read_text() == ""


@pytest.mark.parametrize(
    "words", [["--help"], ["status"], ["status", "format=json"], ["verify"], ["plot", "formats=[html]"]]
)
def test_an_output_without_space_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    shutil.copytree(Path(__file__).parents[1] / "records/sweeps/d55bf84", tmp_path / "sweep")
    place = [] if words == ["--help"] else ["name=sweep", f"outputs={tmp_path}"]
    assert main_without_space(monkeypatch, [*words, *place]) == 1
    assert capfd.readouterr().err == NO_SPACE


NO_SPACE = "senet-lab: standard output cannot be written: No space left on device\n"


def main_without_space(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> int:
    """`main`, with an output that takes nothing."""
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        return main(arguments)


def test_a_sweep_whose_output_has_no_space_loses_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    undisturbed: dict[str, Any],
) -> None:
    assert main_without_space(monkeypatch, sweep(tmp_path, "epochs=4")) == 1
    assert capfd.readouterr().err == NO_SPACE
    assert main(sweep(tmp_path, "epochs=4")) == 0
    assert records(tmp_path) == undisturbed


@pytest.mark.parametrize("output", ["stdout", "stderr"])
def test_nothing_fails_at_the_end_of_a_process_without_space(output: str) -> None:
    words = ["--help"] if output == "stdout" else ["status", "name=../x"]
    with Path("/dev/full").open("w") as full:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {output: full}
        done = subprocess.run([sys.executable, "-m", "senet_lab", *words], text=True, check=False, **streams)
    assert done.returncode == (1 if output == "stdout" else 2)
    assert (done.stderr or "") == (NO_SPACE if output == "stdout" else "")


def close_the_output() -> None:
    os.close(1)
    sys.stdout = None  # type: ignore[assignment]


def test_with_a_closed_output_a_sweep_is_trained(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    process = start(sweep(tmp_path, "epochs=4"), tmp_path / "log.txt", close_the_output)
    process.join()
    assert process.exitcode == 0
    assert records(tmp_path) == undisturbed
    assert (tmp_path / "log.txt").read_text() == ""


def count_cores_in_words() -> None:
    os.environ["LOKY_MAX_CPU_COUNT"] = "many"


def leave_nowhere(folder: Path) -> None:
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()


@pytest.mark.parametrize(
    ("before", "message"),
    [
        (count_cores_in_words, "LOKY_MAX_CPU_COUNT=many: must be a whole number of cores"),
        (leave_nowhere, "the working directory no longer exists: cd to another one"),
        (obey_permissions, "default/.plan.lock cannot be locked: Permission denied"),
    ],
)
def test_surroundings_that_are_off_are_told_in_one_line(
    tmp_path: Path, before: Callable[..., None], message: str
) -> None:
    if before is obey_permissions:  # a lock file that another user made
        (tmp_path / "outputs/default").mkdir(parents=True)
        (tmp_path / "outputs/default/.plan.lock").touch(mode=0o000)
    act = partial(before, tmp_path / "gone") if before is leave_nowhere else before
    process = start(sweep(tmp_path), tmp_path / "log.txt", act)
    process.join()
    assert process.exitcode == 2
    (line,) = (tmp_path / "log.txt").read_text().splitlines()
    assert line.startswith("senet-lab: ")
    assert line.endswith(message)
    assert not list((tmp_path / "outputs").rglob("plan.json"))
