import base64
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import tiny

from senet_lab.cli import main
from senet_lab.composition.command import options
from senet_lab.figures.inspections import (
    FORMULA_WIDTH,
    SITES,
    Portrait,
    draw_gallery,
    draw_signals_over_epochs,
)
from senet_lab.records.rows import MEASURES
from senet_lab.records.run import RunDirectory

TRAIN = ["train", "epochs=1", "checkpoint.keep=true", "hydra/launcher=serial", "trainer.device=cpu"]


def inspect(run: Path, kind: str, *more: str) -> int:
    return main(["inspect", f"run={run}", f"kind={kind}", "formats=[html]", *more])


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network with SE and a learned activation, its weights kept."""
    outputs = tmp_path_factory.mktemp("outputs")
    network = ["model=cnn3", "se=standard", "activation=mtact", "pre_activations=true"]
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


def test_no_figure_is_written_through_a_link(
    cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(cnn, run, ignore=shutil.ignore_patterns("figures"))
    (tmp_path / "elsewhere").mkdir()
    (run / "figures").symlink_to(tmp_path / "elsewhere")
    assert inspect(run, "activation_shapes") == 2
    assert f"{run / 'figures'} is a symbolic link: it is not followed" in capsys.readouterr().err
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_weights_of_another_network_are_refused(
    cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(cnn, run)
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    for network in (None, {"other": torch.zeros(1)}):
        torch.save({**content, "network": network}, run / "checkpoint.pt")
        assert inspect(run, "excitations") == 2
        assert "does not fit the network that the code builds now" in capsys.readouterr().err


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
    rows = RunDirectory(cnn).activations()
    alpha = rows[(rows["site"] == "stem.act1") & (rows["coefficient"] == "alpha")]["value"].item()
    far = table[(table["curve"] == "stem.act1") & (table["x"] == table["x"].max())]
    # mTAct is α²x + 1 − α² far to the right, but for a gate of σ(6 and more).
    assert far["y"].item() == pytest.approx(alpha**2 * far["x"].item() + 1 - alpha**2, rel=0.003)
    assert (cnn / "figures" / "activation_shapes_epochs.html").exists()


def test_the_gallery_shows_every_activation_with_its_formula(tmp_path: Path) -> None:
    assert main(["inspect", "kind=activations", f"folder={tmp_path}", "formats=[html]"]) == 0
    table = pd.read_csv(tmp_path / "activations.csv")
    assert set(table["activation"]) == set(options("activation"))
    relu = table[table["activation"] == "relu"]
    assert (relu["y"] == relu["x"].clip(lower=0)).all()
    page = (tmp_path / "activations.html").read_text("utf-8")
    assert "Mish(x) = x·tanh(softplus(x))." in page
    assert page.count("<figure") == len(options("activation"))


def test_a_long_formula_stands_on_several_lines_in_print() -> None:
    table = pd.DataFrame({"x": [0.0, 1.0], "y": [0.0, 1.0], "slope": [1.0, 1.0]})
    sheet = draw_gallery([Portrait("long", "Long", "term + " * 30, "source", (), table)]).item
    (formula,) = (text for text in re.findall(r'"text": "([^"]*)"', sheet) if "term" in text)
    lines = formula.split("\\n")
    assert len(lines) > 3
    assert max(map(len, lines)) <= FORMULA_WIDTH


def test_pre_activations_of_a_record_are_those_of_the_weights_and_need_none(
    cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def table_of(without: str) -> pd.DataFrame:
        run = tmp_path / without
        shutil.copytree(cnn, run, ignore=shutil.ignore_patterns("figures", without))
        status = json.loads((run / "status.json").read_text())
        status["digests"].pop(without, None)
        (run / "status.json").write_text(json.dumps(status))
        assert inspect(run, "pre_activations") == 0
        return pd.read_csv(run / "figures" / "pre_activations.csv")

    recorded = table_of(without="checkpoint.pt")
    assert recorded["epoch"].unique().tolist() == [0, 1]
    assert "a run with pre_activations=true" not in capsys.readouterr().out
    pages = tmp_path / "checkpoint.pt" / "figures"
    over_epochs = (pages / "pre_activations_epochs.html").read_text("utf-8")
    assert all(f"{depth}: {site}" in over_epochs for depth, site in enumerate(recorded["site"].unique(), 1))
    assert all((pages / f"{name}.html").exists() for name in ("pre_activations", "dead_channels_epochs"))
    computed = table_of(without="pre_activations.csv")
    assert "a run with pre_activations=true" in capsys.readouterr().out
    assert computed["weights"].unique().tolist() == ["at the start", "trained"]
    measures = list(MEASURES)
    # The record was computed by fast layers, perhaps in bfloat16.
    assert (recorded[measures] - computed[measures]).abs().max().max() < 0.05


def test_over_epochs_each_site_has_its_median_and_bands() -> None:
    epochs, sites = [0, 1, 2], [f"stages.{number}.act" for number in range(20)]
    table = pd.DataFrame(
        {"epoch": epoch, "depth": depth, "site": site, "q05": depth - 2.5, "q25": depth - 1.5}
        | {"q50": depth + 0.25 * epoch, "q75": depth + 1.5, "q95": depth + 2.5, "mean": 0, "std": 1}
        | {"dead": epoch / 4}
        for epoch in epochs
        for depth, site in enumerate(sites, start=1)
    )
    drawings = draw_signals_over_epochs("a network", table)
    panels = drawings["pre_activations_epochs"]
    assert panels.html.count("<figure") == SITES
    drawn = arrays(panels.item)
    for depth in (1, 20):
        assert f"{depth}: stages.{depth - 1}.act" in panels.html
        bands = [[depth + edge] * 3 for edge in (-2.5, -1.5, 1.5, 2.5)]
        assert all(line in drawn for line in [*bands, [depth, depth + 0.25, depth + 0.5]])
    assert arrays(drawings["dead_channels_epochs"].item).count([0, 0.25, 0.5]) >= SITES
    assert "20: stages.19.act" in drawings["dead_channels_epochs"].html


def arrays(item: str) -> list[list[float]]:
    """The arrays of numbers in a figure for print."""
    found = re.findall(r'"data": "([^"]*)"}, "shape": \[\d+\], "dtype": "float64"', item)
    return [np.frombuffer(gzip.decompress(base64.b64decode(data))).tolist() for data in found]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one line and one of another, their weights kept."""
    outputs = tmp_path_factory.mktemp("seeds")
    points = ["activation=relu", "seed=0,1"]
    assert main([*TRAIN, "-m", "model=cnn3", *points, f"outputs={outputs}"]) == 0
    assert main([*TRAIN, "model=cnn3", "activation=tanh", f"outputs={outputs}"]) == 0
    return outputs / "default"


def test_error_against_noise_begins_at_the_recorded_error(seeds: Path) -> None:
    assert inspect(seeds, "noise", "levels=[0,100]") == 0
    table = pd.read_csv(seeds / "figures" / "noise.csv")
    assert table.groupby("line")["run"].nunique().to_dict() == {"ReLU": 2, "Tanh": 1}
    for run, errors in table.groupby("run"):
        recorded = 1 - RunDirectory(Path(str(run))).metrics()["test_top1"].item()
        assert errors["error"].iloc[0] == pytest.approx(recorded, abs=0.01)
        assert errors["error"].iloc[1] > 0.7


def test_error_against_depth_is_the_recorded_error_by_activation_sites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*tiny(tmp_path), "epochs=1", "hydra/launcher=serial", "trainer.device=cpu"]
    assert main(["train", "-m", *words, "scaling.depth=1,2", "activation=relu,tanh", "seed=0,1"]) == 0
    sweep = tmp_path / "outputs" / "default"
    assert inspect(sweep, "depth") == 0
    table = pd.read_csv(sweep / "figures" / "depth.csv")
    # A stem with one site and two stages of one or two basic units with two.
    assert table.groupby(["line", "depth"])["run"].nunique().to_dict() == {
        (line, depth): 2 for line in ("ReLU", "Tanh") for depth in (5, 9)
    }
    for row in table.to_dict("records"):
        assert f"scaling.depth={(row['depth'] - 1) // 4}/" in row["run"]
        recorded = RunDirectory(Path(row["run"])).metrics()["test_top1"].item()
        assert row["error"] == pytest.approx(1 - recorded)
    assert "Activation sites" in (sweep / "figures" / "depth.html").read_text("utf-8")
    damaged = next(sweep.rglob("tanh/lr=0.001/scaling.depth=2/seed=1"))
    with (damaged / "metrics.csv").open("a") as file:
        file.write("7")
    capsys.readouterr()
    assert inspect(sweep, "depth") == 1
    assert f"left out, damaged: {damaged}: " in capsys.readouterr().err
    assert str(damaged) not in set(pd.read_csv(sweep / "figures" / "depth.csv")["run"])
    shallow = next(sweep.rglob("relu/lr=0.001/scaling.depth=1"))
    assert inspect(shallow, "depth") == 2
    assert "needs finished runs of several depths" in capsys.readouterr().err


def test_a_landscape_lies_between_two_seeds_of_a_line(seeds: Path) -> None:
    assert inspect(seeds, "landscape") == 0
    table = pd.read_csv(seeds / "figures" / "landscape.csv")
    assert set(table["line"]) == {"ReLU, seeds 0 and 1"}
    assert {0.0, 1.0} <= set(table["place"])
    assert table["loss"].gt(0).all()


def test_figures_go_where_they_are_asked_to(cnn: Path, tmp_path: Path) -> None:
    assert inspect(cnn, "excitations", f"folder={tmp_path / 'mine'}") == 0
    assert (tmp_path / "mine" / "excitations.csv").exists()


def test_class_activation_map(cnn: Path) -> None:
    assert inspect(cnn, "class_activation_map", "images=[0,359]") == 0
    page = (cnn / "figures" / "class_activation_map.html").read_text("utf-8")
    assert set(re.findall(r"\b(\d+): class (\d), predicted", page)) == {("0", "0"), ("359", "8")}


def test_class_activation_maps_of_several_networks_side_by_side(seeds: Path) -> None:
    assert inspect(seeds, "class_activation_map", "images=[0,359]") == 0
    table = pd.read_csv(seeds / "figures" / "class_activation_map.csv")
    assert table[["line", "image", "class"]].to_numpy().tolist() == [
        [line, image, number] for line in ("ReLU", "Tanh") for image, number in ((0, 0), (359, 8))
    ]
    page = (seeds / "figures" / "class_activation_map.html").read_text("utf-8")
    assert all(words in page for words in ("2 networks: class activation maps", "ReLU", "Tanh"))


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("feature_reuse", [], "is for DenseNet, not cnn3"),
        ("excitations", ["classes=[10]"], "classes are 0..9"),
        ("class_activation_map", ["images=[360]"], "test images are 0..359"),
        ("excitations", ["formats=[gif]"], "html, png, svg"),
        ("landscape", [], "needs two runs below it that differ only in the seed"),
        ("noise", ["levels=[-1]"], "0 or more each"),
        ("noise", ["run=null"], "kind=noise needs run="),
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
    assert inspect(run, "pre_activations") == 2
    assert "train with pre_activations=true, under another name=" in capsys.readouterr().err
    assert inspect(tmp_path / "nowhere", "excitations") == 2
    assert "is no run directory" in capsys.readouterr().err
