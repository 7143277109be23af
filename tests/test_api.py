"""What `import senet_lab as sl` offers: documented, typed, and strict in what it takes."""

import inspect
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import senet_lab as sl
from senet_lab.composition.command import Point
from senet_lab.documentation import field_lines
from senet_lab.figures.drawings import Figure
from senet_lab.records.rows import PreActivation

CLASSES = (sl.Sweep, Figure, Point)
"""What its functions return."""
RECORDS = Path(__file__).parent / "records" / "sweeps"


def functions() -> Iterator[Callable[..., Any]]:
    yield from (sl.compose, sl.train, sl.open_sweep)
    for kind in CLASSES:
        for name, member in vars(kind).items():
            if not name.startswith("_"):
                found = member.fget if isinstance(member, property) else member
                found = found.func if isinstance(found, cached_property) else found
                if inspect.isfunction(found):
                    yield found


@pytest.mark.parametrize("function", [*functions()], ids=lambda function: function.__qualname__)
def test_every_public_function_is_typed_and_says_what_it_takes(function: Callable[..., Any]) -> None:
    signature = inspect.signature(function)
    taken = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    text = inspect.getdoc(function) or ""
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in taken:
        assert parameter.annotation is not inspect.Parameter.empty
        assert f"\n    {parameter.name}: " in text, parameter.name


def test_every_public_class_says_what_it_holds() -> None:
    for kind in CLASSES:
        text = inspect.getdoc(kind) or ""
        assert text.strip()
        for field in fields(kind) if is_dataclass(kind) else ():
            assert field_lines(kind)[field.name] or f"\n    {field.name}: " in text, field.name


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, senet_lab; senet_lab.UsageError; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "bokeh", "pandas", "hydra"} & set(done.stdout.split())
    assert set(dir(sl)) >= {"compose", "train", "open_sweep", "Sweep", "UsageError"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": "time"}, "x=time: x must be one of epoch, seconds, images"),
        ({"band": "range"}, "band=range: band must be one of std, sem, none"),
        ({"metric": "speed"}, "figures.metric=speed: there is no such metric"),
        ({"name": "other"}, "other: no such figure here; there is resnet18_lr0.001, resnet18_lr1e"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_in_one_line(
    arguments: dict[str, str], message: str, tmp_path: Path
) -> None:
    shutil.copytree(RECORDS, tmp_path, dirs_exist_ok=True)
    sweep = sl.open_sweep(tmp_path / "d55bf84")
    with pytest.raises(sl.UsageError) as error:
        sweep.figure(**({"name": "resnet18_lr0.001"} | arguments))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_figure_has_the_y_axis_of_its_sweep(tmp_path: Path) -> None:
    shutil.copytree(RECORDS, tmp_path, dirs_exist_ok=True)
    drawn = {}
    for scale in ("linear", "log"):
        sweep = sl.open_sweep(tmp_path / "d55bf84", f"figures.y_scale={scale}")
        drawn[scale] = sweep.figure("resnet18_lr0.001", metric="train_loss", x="seconds").drawing.item
    assert "LogScale" in drawn["log"]
    assert "LogScale" not in drawn["linear"]


def test_recorded_pre_activations_are_a_tidy_frame(tmp_path: Path) -> None:
    shutil.copytree(RECORDS / "d55bf84", tmp_path, dirs_exist_ok=True)
    assert sl.open_sweep(tmp_path).pre_activations.empty
    run = "runs/resnet18/tact/lr=0.001/seed=0"
    rows = [PreActivation(epoch, "stem.act1", "q50", epoch / 7) for epoch in range(4)]
    sl.open_sweep(tmp_path).directory.run(run).append_pre_activations(rows)
    found = sl.open_sweep(tmp_path).pre_activations
    assert set(found["run"]) == {run}
    assert found[["epoch", "value"]].to_numpy().tolist() == [[row.epoch, row.value] for row in rows]
    assert set(found["activation"]) == {"tact"}


def test_values_of_runs_select_as_they_do_after_a_verb(tmp_path: Path) -> None:
    shutil.copytree(RECORDS, tmp_path, dirs_exist_ok=True)
    assert len(sl.open_sweep(tmp_path / "d55bf84").runs) == 5
    sweep = sl.open_sweep(tmp_path / "d55bf84", "activation=tact", "lr=0.001")
    assert set(sweep.runs["activation"]) == {"tact"}
    assert list(sweep.final()["line"]) == ["TAct"]
    page = sweep.report().read_text("utf-8")
    assert "2 runs: " in page
    with pytest.raises(sl.UsageError, match="activation=gelu: no such run here; there is relu, tact"):
        _ = sl.open_sweep(tmp_path / "d55bf84", "activation=gelu").runs
