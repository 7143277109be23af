"""The measurement of processes and threads freezes the threads that it names."""

from pathlib import Path

import pytest

from senet_lab.composition.command import compose_command
from senet_lab.runs.planning import request_runs

SCRIPTS = Path(__file__).parent.parent / "scripts"


def test_the_planned_threads_are_those_of_the_same_command_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    from cores import plan_with

    words = ["experiment=six_plots", "dataset=digits", "figure=senet18_lr0.001", f"outputs={tmp_path}"]
    words += ["model=cnn3", "seed=0,1"]
    plan_with(2, words)
    again = request_runs(compose_command("train", words)).runs
    assert len(again) == 10  # five activations, two seeds
    assert {run.threads for run in again} == {2}
