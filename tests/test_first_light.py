"""First light without a GPU: its rehearsal from measuring to the report, and the rules for defaults."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_arrays

SCRIPT = Path(__file__).parent.parent / "scripts" / "first_light.py"


@pytest.fixture
def first_light(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import first_light

    return first_light


def test_the_rehearsal_on_a_cpu_goes_from_measuring_to_the_report(
    first_light: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, threads = tmp_path / "first_light.json", str(torch.get_num_threads())
    tiny = ["--device", "cpu", "--models", "cnn3", "--steps", "2", "--test-images", "64", "--rounds", "1"]
    tiny += ["--data", str(tiny_arrays(tmp_path, 256, 64)), "--threads", threads]
    options = [*tiny, "--pack", "2", "--epochs", "2", "--out", str(out), "--minutes", "10"]
    monkeypatch.setattr(first_light, "copy_bandwidth", lambda _: 10e9)  # tests/test_benchmark.py measures it
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "measure", *options])
    first_light.main()
    rows = json.loads(out.read_text())["rows"]
    assert [row for row in rows if "error" in row or row.get("exit")] == []
    assert {row["stage"] for row in rows} == {"smoke", "speed", "levers", "pack", "real"}
    real = rows[-1]
    assert real["epochs"] == 2 * 2
    assert len(real["top1"]) == 2
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "report", *options])
    capsys.readouterr()
    first_light.main()
    assert capsys.readouterr().out.splitlines()[0] == "trainer.compile=false"
    report = (tmp_path / "benchmark_gpu.md").read_text()
    assert "- `trainer.compile=false`" in report
    (captured,) = (row for row in rows if row["stage"] == "speed" and row["way"] == "captured")
    assert f"| speed | cnn3 | captured | relu | 1 | {captured['train']:.0f} |" in report


def rates(
    stage: str, way: str, train: float, model: str = "a", pack: int = 1, processes: int = 1, lever: str = ""
) -> dict[str, Any]:
    row = {"stage": stage, "model": model, "way": way, "train": train, "pack": pack, "processes": processes}
    return row | {"levers": [lever] if lever else []}


CAPTURED = [rates("speed", "captured", 100.0, model) for model in "ab"]
FAST, SLOW = (
    [rates("speed", "compiled", 120.0, "a"), rates("speed", "compiled", second, "b")]
    for second in (118.0, 117.0)
)


def test_compiling_becomes_the_default_where_it_pays_on_two_networks(first_light: Any) -> None:
    """A step of 0.85 of a captured one has 117.6 images/s for each 100."""
    assert first_light.recommend([*CAPTURED, *FAST])["trainer.compile"] == "true"
    assert first_light.recommend([*CAPTURED, *SLOW])["trainer.compile"] == "false"
    assert first_light.recommend([*CAPTURED, FAST[0]])["trainer.compile"] == "false"


@pytest.mark.parametrize(
    ("two", "four", "eight", "best"),
    [(110, 130, 131, "4"), (104, 130, 140, "1"), (110, 111, 140, "2"), (200, 250, None, "4")],
)
def test_the_default_pack_is_the_largest_that_still_gains(
    first_light: Any, two: float, four: float, eight: float | None, best: str
) -> None:
    rows = [
        rates("pack", "captured", rate, model, pack)
        for pack, rate in ((2, two), (4, four), (8, eight))
        for model in "ab"
        if rate is not None
    ]
    rows.append(rates("pack", "captured", 900.0, processes=2))
    assert first_light.recommend([*CAPTURED, *rows])["pack"] == best


def test_levers_are_judged_against_their_own_way(first_light: Any) -> None:
    levers = [
        rates("levers", "captured", 99.0, lever="search_off"),
        rates("levers", "compiled", 124.0, lever="combo_kernels"),
    ]
    chosen = first_light.recommend([*CAPTURED, *FAST, *levers])
    assert (chosen["search"], chosen["combo_kernels"]) == ("false", "true")
    levers = [
        rates("levers", "captured", 97.0, lever="search_off"),
        rates("levers", "compiled", 123.0, lever="combo_kernels"),
    ]
    chosen = first_light.recommend([*CAPTURED, *FAST, *levers])
    assert (chosen["search"], chosen["combo_kernels"]) == ("true", "false")


def test_a_measurement_that_took_too_long_is_a_row_of_the_report(first_light: Any) -> None:
    row = rates("speed", "compiled", 0.0) | {
        "name": "compiled",
        "activation": "relu",
        "error": "no time left",
    }
    del row["train"]
    about = {"device": "x", "date": "", "torch": "2", "python": "3", "precision": "float32", "commit": None}
    found = {"machine": about, "matrix_rate": 1.0, "copy_bandwidth": 1.0, "rows": [row]}
    assert "| speed | a | compiled | relu | 1 | no time left |" in first_light.markdown(found)
