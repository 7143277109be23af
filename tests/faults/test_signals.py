import os
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sweeps import has_begun, leftovers, records, start, statuses, sweep, wait_until

from senet_lab.cli import main
from senet_lab.runs import plan
from senet_lab.runs.directory import RunDirectory
from senet_lab.runs.survey import living_status

EPOCHS = 12
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What nobody interrupted."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        assert main(sweep(folder, f"epochs={EPOCHS}")) == 0
    return records(folder)


def interrupt(folder: Path, number: int, times: int, *launcher: str) -> int | None:
    """Send a signal to a sweep under way, at a random time; the sweep's exit code."""
    draws = random.Random(number)
    process = start(sweep(folder, f"epochs={EPOCHS}", *launcher), folder / "log.txt")
    assert process.pid is not None
    wait_until(has_begun(folder))
    for pause in (draws.uniform(0, 0.2), draws.uniform(0, 0.02))[:times]:
        process.join(pause)
        os.kill(process.pid, number)
    process.join()
    return process.exitcode


@pytest.mark.parametrize(
    ("number", "code", "launcher"),
    [(*SIGNALS[0], ()), (*SIGNALS[1], ()), (*SIGNALS[1], JOBLIB)],
    ids=["SIGINT", "SIGTERM", "SIGTERM, joblib"],
)
def test_a_signal_interrupts_and_the_same_command_goes_on(
    tmp_path: Path, expected: dict[str, Any], number: int, code: int, launcher: tuple[str, ...]
) -> None:
    assert interrupt(tmp_path, number, 1, *launcher) == code
    states = {status["state"] for status in statuses(tmp_path).values()}
    assert "interrupted" in states
    assert states <= {"interrupted", "finished"}
    assert "interrupted; go on with: senet-lab train -m" in (tmp_path / "log.txt").read_text()
    assert main(sweep(tmp_path, f"epochs={EPOCHS}")) == 0
    assert records(tmp_path) == expected


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_second_signal_ends_at_once_and_leaves_valid_files(
    tmp_path: Path, expected: dict[str, Any], number: int, code: int
) -> None:
    # Killed by the signal itself, which a shell shows as the same code, unless the first was quicker.
    assert interrupt(tmp_path, number, 2) in (-number, code)
    assert {status["state"] for status in statuses(tmp_path).values()} <= {"running", "interrupted"}
    assert main(sweep(tmp_path, f"epochs={EPOCHS}")) == 0
    assert records(tmp_path) == expected
    assert leftovers(tmp_path) == []


def test_workers_end_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    process = start(sweep(tmp_path, "epochs=1000", *JOBLIB), tmp_path / "log.txt")
    wait_until(has_begun(tmp_path))
    process.kill()
    process.join()
    workers = {status["pid"] for status in statuses(tmp_path).values()}
    assert process.pid not in workers
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
    # On a busy machine a worker may be ended before it could write so: then its free lock tells.
    runs = [RunDirectory(file.parent) for file in tmp_path.rglob("status.json")]
    assert {living_status(run)["state"] for run in runs} == {"interrupted"}


def is_alive(pid: int) -> bool:
    """Whether there is such a process; one that nobody has asked for its exit code is none."""
    try:
        return "(python" in (text := Path(f"/proc/{pid}/stat").read_text()) and ") Z" not in text
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_while_the_sweep_is_planned(tmp_path: Path, number: int, code: int) -> None:
    process = start(sweep(tmp_path), tmp_path / "log.txt", partial(signal_in_plan, number))
    process.join()
    assert process.exitcode == code
    assert "interrupted; go on with: senet-lab train -m" in (tmp_path / "log.txt").read_text()
    assert not list(tmp_path.rglob("plan.json"))
    assert leftovers(tmp_path) == []


def signal_in_plan(number: int) -> None:
    def freeze(*_: object) -> None:
        os.kill(os.getpid(), number)

    plan._freeze = freeze  # type: ignore[assignment]
