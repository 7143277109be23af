from functools import partial
from pathlib import Path
from typing import Any

import pytest
from random_kill import trial
from sweeps import at_step, held_in, hold, start, statuses, sweep, wait_until

from senet_lab.cli import main


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_a_random_time_nothing_is_lost(
    tmp_path: Path, undisturbed: dict[str, Any], seed: int
) -> None:
    counts = trial(seed, tmp_path, undisturbed)
    assert counts["lost"] == 0
    assert counts["disorder"] == 0


def test_status_tells_that_the_process_of_a_run_is_dead(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    process = start(sweep(tmp_path), tmp_path / "log.txt", partial(at_step, 1, 0, partial(hold, gate)))
    wait_until(held_in(tmp_path, 1, "seed=0"))
    question = ["status", f"outputs={tmp_path / 'outputs'}", "format=json"]
    capfd.readouterr()
    assert main(question) == 0
    assert '"state": "running"' in capfd.readouterr().out
    process.kill()
    process.join()
    assert statuses(tmp_path)["seed=0"]["state"] == "running"
    assert main(question) == 0
    out = capfd.readouterr().out
    assert '"state": "running"' not in out
    assert f"process {process.pid} on " in out
    assert "ended without recording why" in out
