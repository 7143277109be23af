import pandas as pd
import pytest
from records_on_disk import STYLES, TEMPLATES, run_config, write_run

from senet_lab.analysis.baselines import FINAL_EPOCH, published, source_note, with_published
from senet_lab.analysis.curves import finals
from senet_lab.analysis.grouping import group, read_runs
from senet_lab.records.sweep import SweepDirectory

SIX = [
    ("densenet121", 0.1),
    ("densenet121", 0.01),
    ("mobilenetv2", 0.001),
    ("mobilenetv2", 0.0001),
    ("senet18", 0.001),
    ("senet18", 0.0001),
]


def figures_of(sweep):
    return group(read_runs(SweepDirectory(sweep)), TEMPLATES)


def test_every_line_of_the_six_plots_has_its_published_curve(tmp_path):
    for model, lr in SIX:
        for activation in STYLES:
            write_run(tmp_path, run_config(f"published/{model}", activation, lr, dataset="cifar10"), [0.5])
    lines = [line for figure in figures_of(tmp_path) for line in figure.lines]
    known = [published(line) for line in lines]
    assert len(known) == 30
    for values in known:
        assert values is not None
        assert values.curve["epoch"].is_monotonic_increasing
        # The curve and the slides' table tell of the same runs; a curve may be read off a plot.
        last = values.curve[values.curve["epoch"] == FINAL_EPOCH]["mean"]
        assert last.empty or abs(last.item() - values.final) < 0.005


def test_the_mean_curve_is_that_of_three_runs(tmp_path):
    write_run(tmp_path, run_config("published/mobilenetv2", dataset="cifar10"), [0.5])
    (figure,) = figures_of(tmp_path)
    values = published(figure.lines[0])
    assert values is not None
    assert values.curve["epoch"].tolist() == list(range(100))
    assert values.final == pytest.approx(1 - 0.859935)
    assert source_note(figure) == ["Dotted: published mean of 3 runs."]


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
    (figure,) = figures_of(tmp_path)
    assert published(figure.lines[0]) is None
    assert source_note(figure) == []
    table = with_published(finals([figure]), [figure])
    assert table[["published", "difference"]].isna().all(axis=None)


def test_the_difference_is_taken_at_the_published_epoch_alone(tmp_path):
    write_run(tmp_path, run_config("published/senet18", "relu", dataset="cifar10"), [0.5] * 99 + [0.9])
    write_run(tmp_path, run_config("published/senet18", "tact", dataset="cifar10"), [0.5] * 99)
    figures = figures_of(tmp_path)
    table = with_published(finals(figures), figures).set_index("line")
    assert table["published"].tolist() == pytest.approx([1 - 0.901833, 1 - 0.889076])
    assert table.loc["ReLU", "difference"] == pytest.approx(0.1 - (1 - 0.901833))
    assert pd.isna(table.loc["TAct", "difference"])
