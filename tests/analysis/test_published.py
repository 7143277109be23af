"""Published values beside ours: for which runs they are, and for which they are not."""

from pathlib import Path

import pandas as pd
import pytest
from records_on_disk import STYLES, panels_of, run_config, write_run

from senet_lab.analysis.metrics import find_metric
from senet_lab.analysis.published import FOLDER, published, read_published
from senet_lab.analysis.results import results
from senet_lab.cli import main
from senet_lab.composition.command import compose_command
from senet_lab.composition.groups import options
from senet_lab.config import as_plain
from senet_lab.errors import UsageError

ERROR = find_metric("test_error")
SIX = [
    ("densenet121", 0.1),
    ("densenet121", 0.01),
    ("mobilenetv2", 0.001),
    ("mobilenetv2", 0.0001),
    ("senet18", 0.001),
    ("senet18", 0.0001),
]
OWN = "source: paper\nwhere: {dataset.name: digits}\n"


def test_every_line_of_the_six_plots_has_its_published_curve(tmp_path):
    for model, lr in SIX:
        for activation in STYLES:
            write_run(tmp_path, run_config(f"published/{model}", activation, lr, dataset="cifar10"), [0.5])
    others = published(panels_of(tmp_path), "six_plots", ERROR)
    assert len(others.ends) == 30
    curves = dict(iter(others.means.groupby(["figure", "line"])))
    assert len(curves) == 30
    ends = others.ends.set_index(["figure", "line"])["value"]
    for line, curve in curves.items():
        assert curve["epoch"].is_monotonic_increasing
        assert len(curve) == 100 or len(curve) <= 7
        # The curve and the slides' table tell of the same runs; a curve may be read off a plot.
        assert abs(curve["mean"].iloc[-1] - ends[line]) < 0.005


def test_the_mean_and_band_are_those_of_three_runs(tmp_path):
    write_run(tmp_path, run_config("published/mobilenetv2", dataset="cifar10"), [0.5])
    others = published(panels_of(tmp_path), "six_plots", ERROR)
    assert others.means["epoch"].tolist() == list(range(100))
    raw = pd.read_csv(FOLDER / "six_plots" / "runs.csv")
    mine = raw.query(
        "`model.name` == 'published/mobilenetv2' and `activation.name` == 'relu' and epoch == 99"
    )
    last = others.means.iloc[-1]
    assert last["mean"] == pytest.approx(1 - mine["test_top1"].mean())
    assert last["std"] == pytest.approx(mine["test_top1"].std())
    assert others.notes == {"mobilenetv2_lr0.001": "Dotted: published mean and band of 3 runs."}


def test_a_curve_that_was_read_off_a_plot_has_no_band_and_says_so(tmp_path):
    write_run(tmp_path, run_config("published/densenet121", "swish", 0.01, dataset="cifar10"), [0.5])
    others = published(panels_of(tmp_path), "six_plots", ERROR)
    assert others.means["epoch"].tolist() == [0, 5, 10, 20, 50, 75, 99]
    assert others.means["std"].isna().all()
    (note,) = others.notes.values()
    assert note == "Dotted: published mean of 3 runs, read off the published plot at 7 epochs."


@pytest.mark.parametrize(
    "config",
    [
        run_config("mobilenetv2", dataset="cifar10"),
        run_config("published/mobilenetv2", dataset="digits"),
        run_config("published/mobilenetv2", lr=0.5, dataset="cifar10"),
    ],
    ids=["standard network", "other data", "other learning rate"],
)
def test_nothing_is_published_for_other_experiments(tmp_path, config):
    write_run(tmp_path, config, [0.5])
    others = published(panels_of(tmp_path), "six_plots", ERROR)
    assert all(frame.empty for frame in (others.means, others.runs, others.ends))
    assert others.notes == {}
    assert "published" not in results(panels_of(tmp_path), ERROR, "six_plots").finals


def test_the_difference_is_taken_at_the_published_epoch_alone(tmp_path):
    write_run(tmp_path, run_config("published/senet18", "relu", dataset="cifar10"), [0.5] * 99 + [0.9])
    write_run(tmp_path, run_config("published/senet18", "tact", dataset="cifar10"), [0.5] * 99)
    table = results(panels_of(tmp_path), ERROR, "six_plots").finals.set_index("line")
    assert table["published"].tolist() == pytest.approx([1 - 0.901833, 1 - 0.889076])
    assert table.loc["ReLU", "difference"] == pytest.approx(0.1 - (1 - 0.901833))
    assert pd.isna(table.loc["TAct", "difference"])


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for activation in ("relu", "mish"):
        for seed in range(2):
            write_run(tmp_path / "sweep", run_config(activation=activation, seed=seed), [0.5, 0.75])
    return tmp_path / "sweep"


def own_file(folder: Path, text: str) -> str:
    file = folder / "own.yaml"
    file.write_text(OWN + text)
    return str(file)


def plot(sweep: Path, *overrides: str) -> int:
    return main(["plot", "name=sweep", f"outputs={sweep.parent}", "formats=[html]", *overrides])


def test_an_own_file_stands_beside_the_lines_it_names(sweep, tmp_path):
    text = "ends:\n  - {activation.name: relu, test_error: 0.225, test_top5_error: 0.0625}\n"
    assert plot(sweep, f"published={own_file(tmp_path, text)}") == 0
    final = pd.read_csv(sweep / "figures" / "final.csv").set_index("line")
    shown = ["published", "source", "test_top5_error_mean", "published_test_top5_error"]
    assert final.loc["ReLU", shown].tolist() == [0.225, "paper", pytest.approx(0.1), 0.0625]
    assert final.loc["Mish", ["published", "source", "published_test_top5_error"]].isna().all()
    assert final["test_top5_error_mean"].tolist() == pytest.approx(
        [0.1, 0.1]
    )  # the records' test_top5 is 0.9


def test_own_curves_by_line_and_of_any_metric(sweep, tmp_path):
    """In the form of our own curves: the columns figure and line say which they are for."""
    (tmp_path / "own.csv").write_text(
        "figure,line,epoch,train_loss\nsenet18_lr0.001,Mish,0,2.5\nother,ReLU,0,3\n"
    )
    name = own_file(tmp_path, "curves:\n  - {file: own.csv}\n")
    others = published(panels_of(sweep), name, find_metric("train_loss"))
    assert others.means[["line", "epoch", "mean"]].to_numpy().tolist() == [["Mish", 0, 2.5]]
    assert published(panels_of(sweep), name, ERROR).means.empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ends:\n  - {activation.name: relu, test_eror: 0.2}\n", "test_eror is neither a metric nor part"),
        ("ends:\n  - {activation.name: relu}\n", "no metric"),
        ("ends:\n  - {test_error: 0.2}\n  - {test_error: 0.3}\n", "several apply to the line ReLU"),
        ("end:\n  - {test_error: 0.2}\n", "neither ends nor curves"),
        ("curves:\n  - {file: none.csv}\n", "none.csv, a file of published curves, does not exist"),
        ("ends: 3\n", "Expected `array`"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(sweep, tmp_path, capsys, text, message):
    assert plot(sweep, f"published={own_file(tmp_path, text)}") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (sweep / "figures").exists()


def test_values_without_a_data_set_are_refused(sweep, tmp_path):
    (tmp_path / "own.yaml").write_text("source: paper\nends:\n  - {activation.name: relu, test_error: 0.2}\n")
    with pytest.raises(UsageError, match="name the data set"):
        published(panels_of(sweep), str(tmp_path / "own.yaml"), ERROR)


def test_an_unknown_name_is_answered_with_the_known_ones(sweep, capsys):
    assert plot(sweep, "published=six_plot") == 2
    assert "six_plots" in capsys.readouterr().err


@pytest.fixture(scope="module")
def asked_for() -> set[str | None]:
    """The published values that any experiment names."""
    commands = (compose_command("plot", [f"experiment={name}"]) for name in options("experiment"))
    return {command.config.published for command in commands}


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.yaml")))
def test_every_file_of_published_values_can_be_read_and_has_an_experiment(sweep, asked_for, name):
    content, _ = read_published(name)
    assert content.source
    published(panels_of(sweep), name, ERROR)
    assert name in asked_for


@pytest.mark.parametrize(
    ("experiment", "count"),
    [
        ("se_reduction", 6),
        ("se_stages", 5),
        ("se_resnet50_imagenet", 2),
        ("se_gate", 3),
        ("se_condconv", 2),
        ("se_variations_cnn3", 6),
    ],
)
def test_an_experiments_own_runs_meet_its_published_values_and_digits_never(tmp_path, experiment, count):
    asked = [f"experiment={experiment}"]
    figures = compose_command("plot", asked).config.figures
    templates = {key: getattr(figures, key) for key in ("name", "title", "line", "style")}
    for folder, data, found in (("own", [], count), ("digits", ["dataset=digits"], 0)):
        for number, point in enumerate(compose_command("train", [*asked, *data]).points):
            write_run(tmp_path / folder, as_plain(point.config), [0.5], extra=f"point={number}")
        others = published(panels_of(tmp_path / folder, **templates), experiment, ERROR)
        assert len(others.ends) == found
