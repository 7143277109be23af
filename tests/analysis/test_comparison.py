"""The comparison with published runs, fed with those runs themselves and with ones off by a known amount."""

import numpy as np
import pandas as pd
import pytest
from records_on_disk import panels_of, run_config, write_plan, write_run
from scipy import stats

from senet_lab.analysis.comparison import compare_epochs, compare_finals, other_sweep, rankings
from senet_lab.analysis.curves import values
from senet_lab.analysis.metrics import find_metric
from senet_lab.analysis.published import FOLDER, published
from senet_lab.commands.compare import compare
from senet_lab.composition.command import compose_command
from senet_lab.errors import UsageError

ERROR = find_metric("test_error")


def read(name):
    """A table of published curves, whose columns are model, lr and activation here."""
    table = pd.read_csv(FOLDER / "six_plots" / name).rename(columns=lambda key: key.split(".")[0])
    return table.assign(model=table["model"].str.removeprefix("published/"))


PUBLISHED = read("runs.csv")
RELU = PUBLISHED.query("model == 'mobilenetv2' and activation == 'relu'")


def published_runs(sweep, shift=0.0, epochs=100, runs=(1, 2, 3), names=("relu", "swish", "mish")):
    """The published MobileNetV2 runs as if they were ours, their top-1 shifted by `shift`."""
    for name in names:
        for run in runs:
            known = PUBLISHED.query("model == 'mobilenetv2' and activation == @name and run == @run")
            config = run_config("published/mobilenetv2", name, seed=run, dataset="cifar10")
            write_run(sweep, config, [float(v) + shift for v in known["test_top1"][:epochs]])


def both(sweep):
    """Our runs and what was published for them."""
    panels = panels_of(sweep)
    return values(panels, ERROR), published(panels, "six_plots", ERROR)


def test_the_published_runs_agree_with_themselves(tmp_path):
    published_runs(tmp_path)
    finals = compare_finals(*both(tmp_path))
    assert finals["epoch"].tolist() == [99] * 3
    assert finals["difference"].abs().max() < 2e-6, "the slides round"
    assert finals["curve_distance"].max() < 2e-6
    assert finals["curve_epochs"].tolist() == [100] * 3
    assert finals["p_holm"].min() > 0.99
    assert compare_epochs(*both(tmp_path))["inside"].all()
    (ranking,) = rankings(*both(tmp_path)).to_dict("records")
    assert ranking["ours"] == ranking["others"] == "Swish < Mish < ReLU"
    assert (ranking["same_order"], ranking["kendall"]) == (True, pytest.approx(1))


def test_a_shift_is_found_with_the_statistic_of_welch(tmp_path):
    published_runs(tmp_path, shift=-0.05, names=("relu",))
    (row,) = compare_finals(*both(tmp_path)).to_dict("records")
    known = 1 - RELU.query("epoch == 99")["test_top1"]
    expected = stats.ttest_ind(known + 0.05, known, equal_var=False)
    assert row["test"] == "Welch's t"
    assert (row["n"], row["other_n"]) == (3, 3)
    assert row["difference"] == pytest.approx(0.05, abs=2e-6)
    assert (row["z"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert row["curve_distance"] == pytest.approx(0.05, abs=2e-6)
    assert row["detectable"] == pytest.approx(3.07 * known.std(), rel=0.01)


def test_a_partial_run_is_compared_at_each_of_its_epochs(tmp_path):
    published_runs(tmp_path, epochs=3, runs=(2,), names=("relu",))
    write_run(tmp_path, run_config("published/mobilenetv2", "tact", dataset="cifar10"), [0.1, 0.1, 0.1])
    epochs = compare_epochs(*both(tmp_path))
    assert epochs["line"].tolist() == ["ReLU"] * 3 + ["TAct"] * 3
    assert epochs["inside"].tolist() == [True] * 3 + [False] * 3
    first = epochs.iloc[0]
    errors = 1 - RELU.query("epoch == 0")["test_top1"]
    assert first["low"] == pytest.approx(errors.min() - 3 * errors.std())
    assert first["high"] == pytest.approx(errors.max() + 3 * errors.std())
    finals = compare_finals(*both(tmp_path)).set_index("line")
    assert finals.loc["ReLU", ["epoch", "n", "test"]].tolist() == [2, 1, "none"]
    assert np.isnan(finals.loc["ReLU", "p"])


def test_a_digitised_mean_has_a_tolerance_and_a_one_sample_test(tmp_path):
    def config(seed):
        return run_config("published/densenet121", "swish", 0.01, seed, "cifar10")

    digitised = read("digitised.csv")
    start = digitised.query("model == 'densenet121' and lr == 0.01 and activation == 'swish' and epoch == 0")
    mean = start["test_error"].item()
    for seed, error in enumerate((mean - 0.049, mean + 0.01, mean + 0.04)):
        write_run(tmp_path, config(seed), [1 - error])
    (row,) = compare_finals(*both(tmp_path)).to_dict("records")
    expected = stats.ttest_1samp([mean - 0.049, mean + 0.01, mean + 0.04], mean)
    assert row["test"] == "one-sample t"
    assert row["p"] == pytest.approx(expected.pvalue)
    (epoch,) = compare_epochs(*both(tmp_path)).to_dict("records")
    assert (epoch["low"], epoch["high"]) == pytest.approx((mean - 0.05, mean + 0.05))
    assert epoch["inside"]


def test_an_exchange_in_the_ranking(tmp_path):
    for name, top1 in (("relu", 0.88), ("swish", 0.87), ("mish", 0.86), ("tact", 0.89), ("mtact", 0.8)):
        config = run_config("published/mobilenetv2", name, dataset="cifar10")
        write_run(tmp_path, config, [top1] * 100)
    (row,) = rankings(*both(tmp_path)).to_dict("records")
    assert row["others"] == "TAct < Swish < Mish < ReLU < mTAct"
    assert row["ours"] == "TAct < ReLU < Swish < Mish < mTAct"
    assert (row["same_order"], row["same_best"]) == (False, True)
    assert row["kendall"] == pytest.approx((8 - 2) / 10)
    assert row["spearman"] == pytest.approx(1 - 6 * (4 + 1 + 1) / (5 * 24))


def test_another_sweep_as_the_baseline(tmp_path):
    for name, shift in (("one", 0.0), ("two", 0.125)):
        for seed in range(3):
            write_run(tmp_path / name, run_config(seed=seed), [0.5 + seed / 64 - shift])
    one, two = (values(panels_of(tmp_path / name), ERROR) for name in ("one", "two"))
    (row,) = compare_finals(one, other_sweep(two)).to_dict("records")
    assert (row["test"], row["difference"]) == ("Welch's t", pytest.approx(-0.125))


def run_compare(outputs, *overrides):
    return compare(
        compose_command("compare", ["name=sweep", f"outputs={outputs}", "published=six_plots", *overrides])
    )


def test_the_command_writes_tables_and_a_page(tmp_path, capsys):
    published_runs(tmp_path / "sweep", epochs=2)
    assert run_compare(tmp_path) == 0
    folder = tmp_path / "sweep" / "compare" / "published"
    assert {file.name for file in folder.iterdir()} == {
        "final.csv",
        "epochs.csv",
        "ranking.csv",
        "compare.html",
    }
    page = (folder / "compare.html").read_text()
    assert "MobileNetV2 with learning rate 0.001" in page
    assert "equality of two lines is never shown" in page
    assert pd.read_csv(folder / "epochs.csv")["inside"].all()
    output = capsys.readouterr().out
    assert str(folder / "compare.html") in output
    assert "6 of 6 compared epochs are near" in output


def test_partial_runs_of_several_networks_and_lengths(tmp_path, capsys):
    """Each by its own rule: three published runs, or a mean read off a plot."""
    digitised = read("digitised.csv")
    swish = digitised.query("model == 'densenet121' and lr == 0.01 and activation == 'swish' and epoch == 0")
    senet = PUBLISHED.query("model == 'senet18' and activation == 'relu' and epoch == 0")["test_top1"]
    for model, lr, name, top1 in (
        ("senet18", 0.001, "relu", [senet.max() + 2.9 * senet.std()]),
        ("densenet121", 0.01, "swish", [1 - swish["test_error"].item() - 0.051]),
        ("mobilenetv2", 0.001, "relu", RELU.query("run == 1")["test_top1"][:3]),
        ("mobilenetv2", 0.001, "mish", [0.5]),
        ("mobilenetv2", 0.001, "tact", [0.1, 0.1, 0.1]),
    ):
        config = run_config(f"published/{model}", name, lr, dataset="cifar10")
        write_run(tmp_path / "sweep", config, [float(value) for value in top1])
    assert run_compare(tmp_path) == 0
    epochs = pd.read_csv(tmp_path / "sweep" / "compare" / "published" / "epochs.csv")
    rows = epochs.set_index(["figure", "line", "epoch"]).sort_index()[["rule", "inside"]]
    assert rows.to_dict("split")["data"] == [
        ["mean ± 0.05", False],
        *[["range ± 3 std", True]] * 4,
        *[["range ± 3 std", False]] * 3,
        ["range ± 3 std", True],
    ]
    assert rows.index.get_level_values("figure").unique().tolist() == [
        "densenet121_lr0.01",
        "mobilenetv2_lr0.001",
        "senet18_lr0.001",
    ]
    output = capsys.readouterr().out
    assert "5 of 9 compared epochs are near" in output
    assert "not near: densenet121_lr0.01, Swish, epochs 0\n" in output
    assert "not near: mobilenetv2_lr0.001, TAct, epochs 0–2\n" in output


def test_the_published_network_against_the_standard_one(tmp_path):
    """Two sweeps over networks of the same stem meet in figures of the same name; the rest is told."""
    for sweep, model, shift in (("sweep", "published/densenet121", 0.0), ("other", "densenet121", 0.25)):
        for name in ("relu", "tact"):
            for seed in range(3):
                top1 = [0.25 + seed / 64 + (0.125 + shift) * (name == "tact")] * 3
                write_run(tmp_path / sweep, run_config(model, name, 0.01, seed, "cifar10"), top1)
    write_run(tmp_path / "sweep", run_config("published/senet18", dataset="cifar10"), [0.5])
    assert run_compare(tmp_path, "against=other") == 0
    folder = tmp_path / "sweep" / "compare" / "other"
    finals = pd.read_csv(folder / "final.csv").set_index("line")
    assert finals["figure"].tolist() == ["densenet121_lr0.01"] * 2
    assert finals["difference"].to_dict() == pytest.approx({"ReLU": 0, "TAct": 0.25})
    assert finals["test"].tolist() == ["Welch's t"] * 2
    page = (folder / "compare.html").read_text()
    assert "DenseNet-121 with learning rate 0.01: sweep</h2>" in page
    assert "DenseNet-121 with learning rate 0.01: other</h2>" in page
    assert "Nothing to compare with: senet18_lr0.001." in page


def test_a_selection_needs_the_values_of_both_sweeps(tmp_path):
    write_run(tmp_path / "sweep", run_config("published/senet18", dataset="cifar10"), [0.5])
    write_run(tmp_path / "other", run_config("senet18", dataset="cifar10"), [0.25])
    for chosen, without in (("senet18_lr0.001", "other"), ("standard/senet18_lr0.001", "sweep")):
        with pytest.raises(
            UsageError, match=f"{tmp_path / without}: figure={chosen}: no such run here.*both"
        ):
            run_compare(tmp_path, "against=other", f"figure={chosen}")
    both = "figure=senet18_lr0.001,standard/senet18_lr0.001"
    assert run_compare(tmp_path, "against=other", both) == 0
    with pytest.raises(UsageError, match=r"^seed=7: no such run here; there is 0$"):
        run_compare(tmp_path, "against=other", both, "seed=0,7")


def test_two_sweeps_stand_side_by_side(tmp_path):
    for name, shift in (("sweep", 0.0), ("other", 0.125)):
        for seed in range(2):
            write_run(tmp_path / name, run_config(seed=seed), [0.5 + seed / 64 - shift])
    assert run_compare(tmp_path, "against=other") == 0
    folder = tmp_path / "sweep" / "compare" / "other"
    assert pd.read_csv(folder / "final.csv")["difference"].tolist() == pytest.approx([-0.125])
    page = (folder / "compare.html").read_text()
    assert page.count("<figure ") == 2
    assert "SENet-18 with learning rate 0.001: other</h2>" in page
    assert page.count("tables above") == 1


def test_nothing_to_compare(tmp_path):
    write_run(tmp_path / "sweep", run_config(), [0.5])
    with pytest.raises(UsageError, match=r"dataset\.label=CIFAR-10.*efficientnets, .*, six_plots"):
        run_compare(tmp_path)
    with pytest.raises(UsageError, match="holds no runs"):
        run_compare(tmp_path, "against=other")
    with pytest.raises(UsageError, match=r"against='\.\./x'"):
        run_compare(tmp_path, "against=../x")
    write_plan(tmp_path / "other", [run_config()])
    with pytest.raises(UsageError, match="same names"):
        run_compare(tmp_path, "against=other")
