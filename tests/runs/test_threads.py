"""The choice of CPU threads, by stand-ins for the times of a step: a test must not depend on the machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support import tiny

from senet_lab.composition.command import compose_command
from senet_lab.runs import planning, threads
from senet_lab.training.engine import Engine

CPU = Engine(torch.device("cpu"), "float32", deterministic=False)


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Threads of each measured step; four make it twice as fast."""
    asked: list[int] = []

    def seconds(self: threads._Step, count: int) -> float:
        asked.append(count)
        torch.set_num_threads(count)
        return 1.0 / 2 if count == 4 else 1.0

    monkeypatch.setattr(threads._Step, "seconds", seconds)
    monkeypatch.setattr(threads, "SECONDS", 0.0)
    return asked


@pytest.mark.parametrize(("times", "chosen"), [(1.2, 4), (1.05, 1), (0.5, 1)])
def test_all_threads_only_if_they_are_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, times: float, chosen: int
) -> None:
    monkeypatch.setattr(threads._Step, "seconds", lambda _, count: times if count == 1 else 1.0)
    monkeypatch.setattr(threads, "SECONDS", 0.0)
    assert threads.useful_threads(CPU, 8192, most=4) == chosen


def test_a_single_slow_step_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = iter([1.0, 0.5, 1.0, 0.5, 1.0, 50.0, 1.0, 0.5, 1.0, 0.5, 1.0, 0.5])
    monkeypatch.setattr(threads._Step, "seconds", lambda *_: next(slow))
    monkeypatch.setattr(threads, "SECONDS", 0.0)
    assert threads.useful_threads(CPU, 8192, most=4) == 4


def test_omp_num_threads_is_the_limit_and_one_thread_needs_no_measurement(asked: list[int]) -> None:
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 does at the start
    assert threads.useful_threads(CPU, 8192, most=4) == 1
    assert not asked


def test_on_a_gpu_all_of_a_runs_threads_decode(asked: list[int]) -> None:
    engine = Engine(torch.device("cuda"), "bfloat16", deterministic=False)
    assert threads.useful_threads(engine, 8192, most=4) == 4
    assert not asked


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_measuring_leaves_no_trace_in_the_process(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "SECONDS", 0.0)
    before = torch.get_rng_state()
    engine = Engine(torch.device("cpu"), precision, deterministic=False)
    assert threads.useful_threads(engine, 100, most=4) in (1, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 4


def test_a_plan_measures_each_size_once_and_a_sweep_of_all_cores_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[int]
) -> None:
    monkeypatch.setattr(planning, "cpu_count", lambda: 8)
    words = [*tiny(tmp_path), "seed=0,1", "activation=relu,mish"]
    points = compose_command("train", words, multirun=True).points
    assert len(points) == 4
    share = planning.threads_per_run(2)
    assert share == 4
    assert [run.threads for run in planning.freeze(points, "", share)] == [4] * 4
    assert len(asked) == 2 + 2 * 5
    asked.clear()
    assert [run.threads for run in planning.freeze(points, "", planning.threads_per_run(8))] == [1] * 4
    assert not asked
