import re
from pathlib import Path

import pandas as pd
import pytest

from senet_lab.cli import main

TRAIN = ["train", "epochs=1", "checkpoint.keep=true", "hydra/launcher=serial", "trainer.device=cpu"]


def inspect(run: Path, kind: str, *more: str) -> int:
    return main(["inspect", f"run={run}", f"kind={kind}", "formats=[html]", *more])


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network with SE and a learned activation, its weights kept."""
    outputs = tmp_path_factory.mktemp("outputs")
    network = ["model=cnn3", "se=standard", "activation=mtact"]
    assert main([*TRAIN, *network, f"outputs={outputs}"]) == 0
    return outputs / "default" / "runs" / "cnn3" / "mtact" / "lr=0.001" / "seed=0"


def test_excitations(cnn: Path) -> None:
    assert inspect(cnn, "excitations", "classes=[3,7]") == 0
    table = pd.read_csv(cnn / "figures" / "excitations.csv")
    assert set(table["class"]) == {"all", *(f"class {number}" for number in range(10))}
    assert table["gate"].between(0, 1).all()
    page = (cnn / "figures" / "excitations_stage0.html").read_text("utf-8")
    assert "class 7" in page
    assert "class 4" not in page


def test_class_activation_map_refuses_a_last_map_of_one_pixel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN, "model=cnn3", "dataset.image_size=4", f"outputs={tmp_path}"]) == 0
    run = tmp_path / "default" / "runs" / "cnn3" / "relu" / "lr=0.001" / "seed=0"
    capsys.readouterr()
    assert inspect(run, "class_activation_map") == 2
    assert "larger images" in capsys.readouterr().err


def test_activation_shapes_are_those_of_the_recorded_coefficients(cnn: Path) -> None:
    assert inspect(cnn, "activation_shapes") == 0
    table = pd.read_csv(cnn / "figures" / "activation_shapes_sites.csv")
    assert {"sigmoid", "SiLU", "ReLU", "stem.act1"} <= set(table["curve"])
    learned = table[table["alpha"].notna()]
    far = learned[learned["x"] == learned["x"].max()]
    # mTAct is α²x + 1 − α² far to the right, but for a gate of σ(6 and more).
    line = far["alpha"] ** 2 * far["x"] + 1 - far["alpha"] ** 2
    assert ((far["y"] - line).abs() < 0.003 * line).all()
    assert (cnn / "figures" / "activation_shapes_epochs.html").exists()


def test_class_activation_map(cnn: Path) -> None:
    assert inspect(cnn, "class_activation_map", "images=[0,359]") == 0
    page = (cnn / "figures" / "class_activation_map.html").read_text("utf-8")
    assert re.findall(r"\b(\d+): class (\d), predicted", page)[:2] == [("0", "0"), ("359", "8")]


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("feature_reuse", [], "is for DenseNet, not cnn3"),
        ("excitations", ["classes=[10]"], "classes are 0..9"),
        ("class_activation_map", ["images=[360]"], "test images are 0..359"),
        ("excitations", ["formats=[gif]"], "html, png, svg"),
    ],
)
def test_bad_input_gets_one_line(
    cnn: Path, capsys: pytest.CaptureFixture[str], kind: str, more: list[str], says: str
) -> None:
    assert inspect(cnn, kind, *more) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_run_without_weights_says_how_to_keep_them(
    cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "lr=0.1"
    run.mkdir()
    (run / "config.yaml").write_bytes((cnn / "config.yaml").read_bytes())
    assert inspect(run, "excitations") == 2
    assert "checkpoint.keep=true" in capsys.readouterr().err
    assert inspect(tmp_path / "nowhere", "excitations") == 2
    assert "is no run directory" in capsys.readouterr().err
