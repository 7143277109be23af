import re
from pathlib import Path

import pandas as pd
import pytest
from records_on_disk import STYLES, run_config, write_plan, write_run

from senet_lab.commands.plot import plot
from senet_lab.composition.command import compose_command
from senet_lab.config import as_plain
from senet_lab.errors import UsageError
from senet_lab.figures.kinds import draw_points


def run_plot(outputs: Path, *overrides: str) -> int:
    return plot(compose_command("plot", ["name=sweep", f"outputs={outputs}", *overrides]))


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "sweep"
    for model in ("senet18", "published/mobilenetv2"):
        for activation in STYLES:
            for seed in range(2):
                config = run_config(model, activation, seed=seed, dataset="cifar10")
                write_run(folder, config, [0.5, 0.6 + 0.125 * seed])
    return folder


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_curves_and_finals_are_written_as_csv(sweep, tmp_path, capsys):
    write_plan(sweep, [run_config(seed=seed, dataset="cifar10") for seed in range(3)])
    assert run_plot(tmp_path, "formats=[html]") == 0
    lines = (sweep / "figures" / "curves.csv").read_text().splitlines()
    assert lines[0] == "figure,line,epoch,n,mean,std"
    assert lines[1] == "senet18_lr0.001,ReLU,0,2,0.5,0.0"
    assert len(lines) == 1 + 2 * 5 * 2
    *key, mean, std = lines[2].split(",")
    assert key == ["senet18_lr0.001", "ReLU", "1", "2"]
    assert float(mean) == pytest.approx((0.4 + 0.275) / 2, rel=1e-15)
    assert float(std) == pytest.approx(0.125 / 2**0.5, rel=1e-14)
    final = pd.read_csv(sweep / "figures" / "final.csv")
    assert final.columns.tolist() == [
        *("figure", "line", "n", "epoch", "mean", "std"),
        *("runs", "finished", "running", "interrupted", "failed", "diverged", "missing"),
        *("sem", "t_low", "t_high", "best_epoch", "best_mean", "target_error", "target_epoch"),
        *("area", "area_epoch"),
    ]
    assert final["missing"].tolist() == [1] * 5 + [0] * 5
    output = capsys.readouterr().out
    assert f"{sweep}/figures/senet18_lr0.001.html\n" in output
    assert re.search(r"mobilenetv2_lr0\.001  +ReLU +0\.3375 ± 0\.0884  2  1\n", output)


def test_reference_adds_the_published_value_and_the_difference(sweep, tmp_path, capsys):
    assert run_plot(tmp_path, "formats=[html]", "reference=true", "published=six_plots") == 0
    assert "no published values" not in capsys.readouterr().out
    final = pd.read_csv(sweep / "figures" / "final.csv").set_index(["figure", "line"])
    assert final.loc[("mobilenetv2_lr0.001", "ReLU"), "published"] == pytest.approx(1 - 0.859935)
    assert pd.isna(final.loc[("senet18_lr0.001", "ReLU"), "published"])
    assert final["difference"].isna().all(), "two epochs are not a hundred"
    assert (
        "Dotted: published mean and band of 3 runs."
        in (sweep / "figures" / "mobilenetv2_lr0.001.html").read_text()
    )


def test_a_reference_without_any_value_is_told(sweep, tmp_path, capsys):
    assert run_plot(tmp_path, "formats=[html]", "reference=true", "published=efficientnets") == 0
    assert "no published values of the data set and networks of these runs" in capsys.readouterr().out


def test_a_figure_on_the_command_line_is_the_only_one_drawn(sweep, tmp_path):
    assert run_plot(tmp_path, "formats=[html]", "figure=mobilenetv2_lr0.001", "activation=relu,mish") == 0
    assert names(sweep / "figures") == {"curves.csv", "final.csv", "mobilenetv2_lr0.001.html"}
    final = pd.read_csv(sweep / "figures" / "final.csv")
    assert final["line"].tolist() == ["ReLU", "Mish"]
    with pytest.raises(UsageError, match=r"is mobilenetv2_lr0\.001, standard/senet18_lr0\.001"):
        run_plot(tmp_path, "figure=senet18_lr0.001")


@pytest.mark.browser
def test_all_formats_and_nothing_else_in_the_folder(sweep, tmp_path):
    assert run_plot(tmp_path, "formats=[html,png,svg,pdf]") == 0
    figures = ("senet18_lr0.001", "mobilenetv2_lr0.001")
    assert names(sweep / "figures") == {"curves.csv", "final.csv"} | {
        f"{figure}.{form}" for figure in figures for form in ("html", "png", "svg", "pdf")
    }
    assert names(sweep) == {"runs", "figures"}


def test_without_chromium_html_is_written_and_one_line_says_what_to_install(
    sweep, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_plot(tmp_path) == 0
    assert names(sweep / "figures") == {
        *("curves.csv", "final.csv", "senet18_lr0.001.html", "mobilenetv2_lr0.001.html"),
    }
    assert capsys.readouterr().err == (
        "no Chromium, so HTML only; to install it: apt-get install chromium chromium-driver\n"
    )


def test_a_broken_chromium_leaves_old_figures_alone_and_counts_as_an_error(
    sweep, tmp_path, monkeypatch, capsys
):
    for name in ("chromium", "chromedriver"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (sweep / "figures").mkdir()
    old = sweep / "figures" / "senet18_lr0.001.png"
    old.write_bytes(b"old")
    assert run_plot(tmp_path) == 1
    assert old.read_bytes() == b"old"
    assert (sweep / "figures" / "senet18_lr0.001.html").exists()
    assert capsys.readouterr().err.startswith("Chromium failed")


def test_a_figure_without_an_epoch_is_told_and_not_drawn(sweep, tmp_path, capsys):
    write_run(sweep, run_config(lr=0.5, dataset="cifar10"), [], state="failed")
    assert run_plot(tmp_path, "formats=[html]") == 0
    assert "senet18_lr0.5: no epoch yet, so no figure" in capsys.readouterr().out
    assert "senet18_lr0.5.html" not in names(sweep / "figures")
    final = pd.read_csv(sweep / "figures" / "final.csv").set_index("figure")
    assert final.loc["senet18_lr0.5", ["n", "failed"]].tolist() == [0, 1]


def test_a_run_whose_process_is_dead_is_called_interrupted(sweep, tmp_path):
    write_run(sweep, run_config(seed=2, dataset="cifar10"), [0.5], state="running")
    assert run_plot(tmp_path, "formats=[html]") == 0
    final = pd.read_csv(sweep / "figures" / "final.csv").set_index(["figure", "line"])
    assert final.loc[("senet18_lr0.001", "ReLU"), ["running", "interrupted"]].tolist() == [0, 1]
    page = (sweep / "figures" / "senet18_lr0.001.html").read_text("utf-8")
    assert "Interrupted: ReLU seed 2 after epoch 0." in page


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["formats=[gif]"], r"formats=\['gif'\]: formats must be one or more of html, png, svg, pdf"),
        (["formats=[]"], "formats must be"),
        (
            ["figures.metric=test_eror"],
            r"test_eror: there is no such metric; .*test_error",
        ),
        (["figures.metric=[]"], r"figures\.metric=\[\]"),
        (["figures.metric=val_error"], r"figures\.metric=val_error: no run of .* has recorded it"),
        (["figures.x=images"], r"figures\.x=images: no run of .* has recorded it"),
        (["figures.y_range=[1,0]"], r"figures\.y_range=\[1\.0, 0\.0\]"),
        (["figures.y_range=[0,1]", "figures.y_scale=log"], "above 0 on a log axis"),
    ],
)
def test_bad_input(sweep, tmp_path, overrides, message):
    with pytest.raises(UsageError, match=message):
        run_plot(tmp_path, *overrides)
    assert not (sweep / "figures").exists()


def test_nothing_to_plot(tmp_path):
    with pytest.raises(UsageError, match="holds no runs"):
        run_plot(tmp_path)
    write_run(tmp_path / "sweep", run_config(), [], state="running")
    with pytest.raises(UsageError, match="no run has finished an epoch yet"):
        run_plot(tmp_path)


def test_grouping_comes_from_the_config(sweep, tmp_path):
    overrides = [
        "figures.name=${activation.name}",
        "figures.title=${activation.label}",
        "figures.line=${model.label}",
        "figures.style=null",
    ]
    assert run_plot(tmp_path, "formats=[html]", *overrides) == 0
    assert {"relu.html", "mtact.html"} <= names(sweep / "figures")
    assert "senet18_lr0.001.html" not in names(sweep / "figures")
    final = pd.read_csv(sweep / "figures" / "final.csv")
    assert set(final["line"]) == {"SENet-18", "MobileNetV2"}


def test_a_folder_that_cannot_be_written_is_told_in_one_line(sweep, tmp_path):
    (sweep / "figures").write_text("in the way")
    with pytest.raises(UsageError, match="figures cannot be created"):
        run_plot(tmp_path)


def test_published_values_stand_at_their_cost_or_at_ours(tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_text(
        "source: paper\nwhere: {dataset.name: digits}\nends:\n"
        "  - {se.name: none, test_error: 0.25, macs: 12000000}\n  - {se.name: standard, test_error: 0.2}\n"
    )
    points = compose_command("train", ["model=cnn3", "se=none,standard,bump"], multirun=True).points
    for point in points:
        write_run(tmp_path / "sweep", as_plain(point.config), [0.5], extra=f"se={point.config.se['name']}")
    drawn = []

    def keep(*arguments):
        drawn.append(draw_points(*arguments))
        return drawn[-1]

    monkeypatch.setattr("senet_lab.figures.kinds.draw_points", keep)
    command = ["figures.macs=true", "figures.line=${se.label}", "figures.style=null", "formats=[html]"]
    command.append(f"published={tmp_path / 'own.yaml'}")
    assert run_plot(tmp_path, *command, "reference=true") == 0
    assert run_plot(tmp_path, *command) == 0
    ours = pd.read_csv(tmp_path / "sweep" / "figures" / "macs.csv").set_index("line")["macs"]
    with_published, without = ([outline(one) for one in chart.figure.renderers] for chart in drawn)
    assert list(filter(None, with_published)) == [("no SE", 12e6, 0.25), ("SE", ours["SE"], 0.2)]
    assert without == [None] * 3


def outline(renderer):
    """The point that is drawn as an outline."""
    if renderer.glyph.fill_alpha != 0:
        return None
    return tuple(renderer.data_source.data[column][0] for column in ("line", "macs", "mean"))
