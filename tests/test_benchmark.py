"""The benchmark's rival computes what ours computes, and its report can be read."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from support import tiny_arrays

SCRIPT = Path(__file__).parent.parent / "scripts" / "benchmark.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    short = ["--models", "cnn3", "--activations", "tact", "--steps", "2", "--rounds", "1"]
    short += ["--lone", "cnn3:8", "--test-images", "64", "--threads", str(torch.get_num_threads())]
    short += ["--data", str(tiny_arrays(folder, 256, 64))]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        patch.setattr(sys, "argv", [str(SCRIPT), "--device", "cpu", *short, "--out", str(folder)])
        import benchmark

        benchmark.main()
    return folder


def test_a_case_has_both_sides_and_a_floor(results: Path) -> None:
    result = json.loads((results / "benchmark_cpu.json").read_text())
    (row,) = result["cases"]
    assert row["train_ratios"] == [pytest.approx(row["ours"]["train"] / row["rival"]["train"])]
    assert row["floor"] > 0
    assert result["images"] == [256, 64]
    report = (results / "benchmark_cpu.md").read_text()
    assert f"| cnn3 | tact | {row['ours']['train']:.0f} | {row['rival']['train']:.0f} |" in report


def test_a_run_alone_is_measured_in_each_state_of_the_machine(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from benchmark import lone_row

    (row,) = json.loads((results / "benchmark_cpu.json").read_text())["lone"]
    assert row["pixels"] == 128 * 8 * 8
    for state in ("quiet", "niced", "busy"):
        assert min(row[state].values()) > 0
    row["quiet"] = {"one": 300.0, "all": 400.0, "chosen": 1}
    row["niced"] = {"one": 1, "all": 4, "chosen": 4}
    row["busy"] = {"one": 200.0, "all": 50.0, "chosen": 4}
    said = "| cnn3, 8×8 | 8,192 | 300 | 400 | 1 | **0.75** | 1 | 4 | 4 | **1.00** | 200 | 50 | 4 | **0.25** |"
    assert lone_row(row) == said
    assert (results / "benchmark_cpu.md").read_text().endswith(" |\n")


@pytest.mark.parametrize(
    ("has_gpu", "words", "device"),
    [(True, [], "cuda"), (False, [], "cpu"), (True, ["--device", "cpu"], "cpu")],
)
def test_a_gpu_is_measured_unless_the_cpu_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_gpu: bool, words: list[str], device: str
) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import benchmark

    measured: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(benchmark, "benchmark", lambda device, *_: measured.append(device) or {})
    monkeypatch.setattr(benchmark, "markdown", lambda _: "")
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words, "--out", str(tmp_path)])
    benchmark.main()
    assert measured == [device]
    assert {file.name for file in tmp_path.iterdir()} == {
        f"benchmark_{device}.json",
        f"benchmark_{device}.md",
    }


def test_a_neighbour_is_niced_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    from benchmark import busy_neighbours

    with busy_neighbours(1, 10) as (process,):
        deadline = time.monotonic() + 30
        while os.getpriority(os.PRIO_PROCESS, process.pid) != min(19, os.nice(0) + 10):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert process.poll() is None
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("activation", ["mish", "tact"])
def test_the_rival_is_the_same_network(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from senet_lab.build import build_network
    from senet_lab.composition.command import compose_command

    monkeypatch.syspath_prepend(SCRIPT.parent)
    from benchmark import compose

    words = [
        "model=published/senet18",
        "model.depths=[1,1]",
        "model.widths=[8,12]",
        f"activation={activation}",
    ]
    config = compose_command("train", words).points[0].config
    ours, rival = build_network(config, 10), compose(build_network(config, 10))
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in rival.parameters())
    kinds = {type(module).__name__ for module in rival.modules()}
    assert kinds & {"ComposedMish", "ComposedTAct"}
    assert not kinds & {"Mish", "TAct"}
    images = torch.randn(4, 3, 8, 8)
    # 12 layers of float32 rounding.
    torch.testing.assert_close(ours(images), rival(images), rtol=1e-4, atol=1e-5)
