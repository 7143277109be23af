"""The choice of CPU threads, by stand-ins for the times of a step: a test must not depend on the machine."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from support import tiny

from senet_lab.composition.command import compose_command
from senet_lab.config import RunConfig
from senet_lab.runs import cores, planning, ray_launcher, submitit_launcher, threads
from senet_lab.runs.launchers import Joblib, Serial
from senet_lab.runs.ray_launcher import Ray
from senet_lab.runs.submitit_launcher import Submitit
from senet_lab.training.engine import Engine


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    monkeypatch.setattr(threads, "SECONDS", 0.0)
    yield
    torch.set_num_threads(before)


def configs(folder: Path, *words: str) -> list[RunConfig]:
    command = compose_command("train", [*tiny(folder), "trainer.device=cpu", *words], multirun=True)
    return [point.config for point in command.points]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images of each measurement; four threads make a step twice as fast."""
    images: list[int] = []

    def seconds(self: threads._Step, count: int) -> float:
        torch.set_num_threads(count)
        return 0.5 if count == 4 else 1.0

    make = threads._Step.__init__

    def noted(self: threads._Step, engine: Engine, images_of_it: int) -> None:
        images.append(images_of_it)
        make(self, engine, images_of_it)

    monkeypatch.setattr(threads._Step, "__init__", noted)
    monkeypatch.setattr(threads._Step, "seconds", seconds)
    return images


def times(one: Sequence[float], every: Sequence[float]) -> Callable[[threads._Step, int], float]:
    """Stand-ins for the times of steps with one thread and with all, after those that warm up."""
    left = {1: iter([9.0, *one]), 4: iter([9.0, *every])}
    return lambda _, count: next(left[count])


@pytest.mark.parametrize(
    ("every", "chosen"),
    [((0.8, 0.8, 0.8), 4), ((0.95, 0.95, 0.95), 1), ((2, 2, 2), 1), ((50, 0.8, 0.8), 4), ((0.1, 2, 2), 1)],
)
def test_all_threads_only_where_most_steps_are_clearly_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: tuple[float, ...], chosen: int
) -> None:
    monkeypatch.setattr(threads._Step, "seconds", times([1, 1, 1], every))
    assert threads.useful_threads(configs(tmp_path), most=4) == chosen


def test_omp_num_threads_limits_a_cpu(tmp_path: Path, measured: list[int]) -> None:
    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 does at the start
    assert threads.useful_threads(configs(tmp_path), most=4) == 1
    assert not measured


def test_on_a_gpu_all_threads_decode_whatever_omp_num_threads_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[int]
) -> None:
    torch.set_num_threads(1)  # torchrun sets it
    engine = Engine(torch.device("cuda"), "bfloat16", deterministic=False)
    monkeypatch.setattr(threads, "choose_engine", lambda _: engine)
    assert threads.useful_threads(configs(tmp_path), most=4) == 4
    assert not measured


def test_the_smallest_batch_counts_and_large_ones_take_no_longer(tmp_path: Path, measured: list[int]) -> None:
    sizes = [
        (["batch_size=1", "augment.size=8"], 1),
        (["batch_size=4,64", "augment.size=32"], 16),
        (["batch_size=96", "augment.size=224"], 64),
    ]
    for words, _ in sizes:
        assert threads.useful_threads(configs(tmp_path, *words), most=4) == 4
    assert measured == [images for _, images in sizes]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_measuring_leaves_generator_and_threads_as_they_were(tmp_path: Path, precision: str) -> None:
    before = torch.get_rng_state()
    assert threads.useful_threads(configs(tmp_path, f"trainer.precision={precision}"), most=4) in (1, 4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 4


def test_a_new_plan_measures_once_and_what_is_added_has_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[int]
) -> None:
    monkeypatch.setattr(cores, "cpu_count", lambda: 8)
    words = [*tiny(tmp_path), "trainer.device=cpu", "name=a", f"outputs={tmp_path}"]

    def planned(*more: str) -> list[int]:
        command = compose_command("train", [*words, *more], multirun=True)
        return [run.threads for run in planning.request_runs(command).plan.runs]

    assert planned("seed=0,1") == [4, 4]
    assert len(measured) == 1
    assert planned("seed=2,3", "plan=extend") == [4] * 4
    assert len(measured) == 1
    assert planned("seed=0,1,2,3,4,5,6,7", "name=b") == [1] * 8
    assert len(measured) == 1


def test_runs_elsewhere_have_what_their_launcher_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[int]
) -> None:
    monkeypatch.setattr(cores, "cpu_count", lambda: 8)
    for module in (ray_launcher, submitit_launcher):  # neither is needed for that
        monkeypatch.setattr(module, "require_extra", lambda *_: None)
    assert [one.threads(2) for one in (Serial(), Joblib(), Ray(), Ray(num_cpus=2))] == [4, 4, 4, 1]
    assert Ray(address="auto").threads(2) == 1
    assert Submitit("local").threads(2) == 4
    assert Submitit("slurm", parameters={"cpus_per_task": 6}).threads(2) == 6
    words = [*tiny(tmp_path), "trainer.device=cpu", "hydra/launcher=submitit_slurm"]
    command = compose_command("train", [*words, "hydra.launcher.parameters.cpus_per_task=6"])
    (run,) = planning.freeze_first(command.points, "", command.launcher)
    assert run.threads == 6
    assert not measured
