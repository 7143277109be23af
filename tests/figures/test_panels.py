import os
import subprocess
import sys

import numpy as np
import pytest
from records_on_disk import STYLES, chart_of, run_config, write_run

from senet_lab.config import Band, Scale, XAxis
from senet_lab.figures.charts import make_interactive
from senet_lab.figures.style import FADED, PALETTE, Look, distinct, looks


def drawn(chart, name):
    return [renderer for renderer in chart.figure.renderers if renderer.name == name]


def test_a_chart_says_what_it_shows(tmp_path):
    for seed in range(3):
        write_run(tmp_path, run_config(lr=0.0001, seed=seed), [0.5, 0.6])
    chart = chart_of(tmp_path)
    assert chart.title == "SENet-18 with learning rate 0.0001"
    assert chart.subtitle == "Digits, standard network; mean of 3 runs, band: ±1 sample standard deviation"
    assert (chart.axes.xaxis_label, chart.axes.yaxis_label) == ("Epoch", "Error")


@pytest.mark.parametrize(("band", "half"), [(Band.std, 0.1), (Band.sem, 0.1 / 2**0.5)])
def test_the_band_lies_around_the_mean(tmp_path, band, half):
    write_run(tmp_path, run_config(seed=0), [0.5 + 0.1 / 2**0.5, 0.5])
    write_run(tmp_path, run_config(seed=1), [0.5 - 0.1 / 2**0.5, 0.5])
    chart = chart_of(tmp_path, band)
    (area,) = drawn(chart, "band")
    assert list(area.data_source.data["epoch"]) == [0, 1, 1, 0]
    assert list(area.data_source.data["low"]) == pytest.approx([0.5 - half, 0.5, 0.5, 0.5 + half])
    assert area.glyph.line_color is None
    (line,) = drawn(chart, "mean")
    assert list(line.data_source.data["mean"]) == pytest.approx([0.5, 0.5])


def test_no_band_when_none_is_asked_for(tmp_path):
    for seed in range(2):
        write_run(tmp_path, run_config(seed=seed), [0.5, 0.6])
    chart = chart_of(tmp_path, Band.none)
    assert drawn(chart, "band") == []
    assert chart.subtitle == "Digits, standard network; mean of 2 runs"


def test_no_band_for_a_single_seed(tmp_path):
    write_run(tmp_path, run_config(), [0.5, 0.6])
    chart = chart_of(tmp_path)
    assert drawn(chart, "band") == []
    assert chart.subtitle == "Digits, standard network; single runs, no band"


def test_each_series_is_drawn_over_its_own_epochs(tmp_path):
    for seed, length in enumerate([6, 6, 3]):
        write_run(tmp_path, run_config(seed=seed), [0.5 + 0.01 * seed] * length)
    for seed, length in enumerate([4, 2]):
        write_run(tmp_path, run_config(activation="tact", seed=seed), [0.4 + 0.01 * seed] * length)
    chart = chart_of(tmp_path)
    lines = {r.data_source.data["line"][0]: r.data_source.data for r in drawn(chart, "mean")}
    assert list(lines["ReLU"]["epoch"]) == [0, 1, 2, 3, 4, 5]
    assert list(lines["ReLU"]["n"]) == [3, 3, 3, 2, 2, 2]
    assert list(lines["TAct"]["epoch"]) == [0, 1, 2, 3]
    bands = [r.data_source.data["epoch"] for r in drawn(chart, "band")]
    assert [max(epochs) for epochs in bands] == [5, 1]
    assert (
        chart.subtitle == "Digits, standard network; mean of up to 3 runs, band: ±1 sample standard deviation"
    )
    for source in chart.data:
        for name, column in source.items():
            if name in ("mean", "low"):
                assert min(column) > 0.3, "nothing was filled in with zero"


def test_a_missing_epoch_is_a_gap(tmp_path):
    for seed in range(2):
        write_run(tmp_path, run_config(seed=seed), [0.5 + 0.1 * seed] * 4, "interrupted", epochs=[0, 1, 3, 4])
    chart = chart_of(tmp_path)
    assert [list(r.data_source.data["epoch"]) for r in drawn(chart, "mean")] == [[0, 1], [3, 4]]
    assert [list(r.data_source.data["epoch"]) for r in drawn(chart, "band")] == [[0, 1, 1, 0], [3, 4, 4, 3]]


def test_a_lone_epoch_is_still_seen(tmp_path):
    for seed in range(2):
        write_run(tmp_path, run_config(seed=seed), [0.5 + 0.1 * seed])
    chart = chart_of(tmp_path)
    (point,) = drawn(chart, "mean")
    assert type(point.glyph).__name__ == "Scatter"
    (bar,) = drawn(chart, "band")
    assert list(bar.data_source.data["epoch"]) == [0, 0]
    assert np.ptp(bar.data_source.data["low"]) == pytest.approx(2 * np.std([0.4, 0.5], ddof=1))


@pytest.mark.parametrize("names", [list(STYLES), list(STYLES)[::-1], ["tact", "swish"]])
def test_colour_and_legend_order_are_fixed(tmp_path, names):
    for name in names:
        for seed in range(1 if name == "relu" else 2):
            write_run(tmp_path, run_config(activation=name, seed=seed), [0.5, 0.6])
    chart = chart_of(tmp_path)
    expected = [STYLES[name] for name in STYLES if name in names]
    items = chart.figure.legend[0].items
    assert [item.label.value for item in items] == [label for label, _, _ in expected]
    for item, (_, _, color) in zip(items, expected, strict=True):
        for renderer in item.renderers:
            glyph = renderer.glyph
            found = glyph.fill_color if renderer.name == "band" else glyph.line_color
            assert found.lower() == color.lower()


def test_a_legend_entry_hides_line_band_and_published_curve_together(tmp_path):
    for seed in range(2):
        write_run(tmp_path, run_config("published/senet18", seed=seed, dataset="cifar10"), [0.5, 0.6])
    chart = chart_of(tmp_path, published="six_plots")
    legend = chart.figure.legend[0]
    (item,) = legend.items
    assert {renderer.name for renderer in item.renderers} == {"band", "mean", "published", "published band"}
    assert legend.click_policy == "hide"


def test_the_published_curve_is_dotted_and_in_the_activations_colour(tmp_path):
    write_run(tmp_path, run_config("published/senet18", "tact", dataset="cifar10"), [0.5, 0.6])
    (line,) = drawn(chart_of(tmp_path, published="six_plots"), "published")
    assert line.glyph.line_dash == [2, 4]
    assert line.glyph.line_color.lower() == STYLES["tact"][2].lower()
    assert len(line.data_source.data["epoch"]) == 100
    assert drawn(chart_of(tmp_path), "published") == []


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_published_curve_goes_as_far_as_the_runs(tmp_path, epochs):
    config = run_config("published/senet18", dataset="cifar10") | {"epochs": epochs}
    write_run(tmp_path, config, [0.5])
    (line,) = drawn(chart_of(tmp_path, published="six_plots"), "published")
    assert list(line.data_source.data["epoch"]) == list(range(epochs))


def test_notes_stand_under_the_subtitle_and_take_their_own_room(tmp_path):
    write_run(tmp_path, run_config(), [0.5, 0.6])
    bare, noted = chart_of(tmp_path), chart_of(tmp_path, notes=["Missing: ReLU seed 1.", "word " * 60])
    small, subtitle = noted.figure.above
    assert small.text.startswith("Missing: ReLU seed 1.\nword word")
    assert subtitle.text == noted.subtitle
    assert noted.figure.height - bare.figure.height == 16 * len(small.text.splitlines())


def test_hovering_tells_all_values(tmp_path):
    for seed in range(2):
        write_run(tmp_path, run_config(seed=seed), [0.5, 0.6 + 0.1 * seed])
    chart = chart_of(tmp_path)
    make_interactive(chart)
    (hover,) = [tool for tool in chart.figure.tools if type(tool).__name__ == "HoverTool"]
    (line,) = drawn(chart, "mean")
    assert hover.renderers == [line]
    assert set(line.data_source.data) >= {"line", "epoch", "mean", "std", "n"}
    assert list(line.data_source.data["std"]) == pytest.approx([0, np.std([0.3, 0.4], ddof=1)])


def test_the_published_band_is_drawn_where_single_runs_are_known(tmp_path):
    write_run(tmp_path, run_config("published/senet18", dataset="cifar10"), [0.5, 0.6])
    chart = chart_of(tmp_path, published="six_plots")
    (band,) = drawn(chart, "published band")
    assert (band.glyph.fill_alpha, band.glyph.line_dash) == (0, [2, 4])
    assert drawn(chart_of(tmp_path, Band.none, published="six_plots"), "published band") == []


def many(sweep, count=16):
    """Lines whose last errors fall from the first to the last."""
    for number in range(count):
        for seed in range(2):
            config = run_config(seed=seed)
            label = f"act{number:02d}"
            config["activation"] |= {"name": label, "label": label, "style": None}
            write_run(sweep, config, [0.5, 0.6 + 0.01 * number + 0.001 * seed])


def test_of_many_lines_the_first_and_the_best_have_a_colour_and_hovering_names_all(tmp_path):
    many(tmp_path)
    chart = chart_of(tmp_path)
    legend = [item.label.value for item in chart.figure.legend[0].items]
    assert legend == ["act00", *(f"act{number}" for number in range(10, 16)), "9 others"]
    lines = {r.data_source.data["line"][0]: r.glyph for r in drawn(chart, "mean")}
    assert len(lines) == 16
    bright = {label: glyph for label, glyph in lines.items() if glyph.line_color.upper() != FADED}
    assert list(bright) == legend[:-1]
    assert len({glyph.line_color for glyph in bright.values()}) == 7
    (hover,) = [tool for tool in chart.figure.tools if type(tool).__name__ == "HoverTool"]
    assert len(hover.renderers) == 16


def test_bands_of_many_lines_have_edges_and_one_of_them_a_fill(tmp_path):
    many(tmp_path)
    bands = drawn(chart_of(tmp_path), "band")
    assert len(bands) == 7, "none around grey lines"
    assert all(band.glyph.line_color for band in bands)
    assert [band.glyph.fill_alpha > 0 for band in bands] == [True] + [False] * 6


def test_no_two_looks_of_a_sweep_are_alike():
    given = {f"line {number}": None for number in range(60)} | {"own": PALETTE[0]}
    found = looks(given)
    assert len(set(found.values())) == 61
    assert found["own"] == Look(PALETTE[0])


def test_lines_of_one_own_colour_differ_in_dash():
    found = looks({"ReLU, batch_size=32": "#000000", "ReLU, batch_size=64": "#000000", "TAct": None})
    assert [look.dash for look in found.values()] == ["solid", "dashed", "solid"]
    assert found["TAct"].color != "#000000"


def test_lines_of_one_chart_share_no_colour_while_the_palette_lasts():
    found = {"a": Look("#000000"), "b": Look("#E69F00", "dashed"), "c": Look("#E69F00"), "d": Look("#56B4E9")}
    chosen = distinct(list(found), found, ["a"])
    assert (chosen["a"], chosen["b"]) == (found["a"], found["b"])
    assert len({look.color for look in chosen.values()}) == 4


@pytest.mark.parametrize(
    ("metric", "label", "value"),
    [("train_loss", "Training loss", 1.0), ("test_top5_error", "Test top-5 error", 0.1)],
)
def test_any_metric_is_drawn_under_its_own_name(tmp_path, metric, label, value):
    write_run(tmp_path, run_config(), [0.5, 0.6])
    chart = chart_of(tmp_path, metric=metric)
    (line,) = drawn(chart, "mean")
    assert list(line.data_source.data["mean"]) == pytest.approx([value, value])
    assert chart.axes.yaxis_label == label
    assert chart.title == f"SENet-18 with learning rate 0.001: {label.lower()}"
    (hover,) = [tool for tool in chart.figure.tools if type(tool).__name__ == "HoverTool"]
    assert f"mean {label.lower()}" in dict(hover.tooltips)


def test_time_adds_up_on_the_x_axis(tmp_path):
    for seed in range(2):
        write_run(tmp_path, run_config(seed=seed), [0.5, 0.6])  # 1.5 seconds an epoch
    chart = chart_of(tmp_path, x=XAxis.seconds)
    (line,) = drawn(chart, "mean")
    assert list(line.data_source.data["seconds"]) == [1.5, 3]
    assert chart.axes.xaxis_label == "Seconds"


def test_a_logarithmic_axis_leaves_zeros_out_and_ends_bands_above_them(tmp_path):
    for seed, top1 in enumerate(([0.5, 0.9, 1.0], [0.7, 0.5, 1.0])):
        write_run(tmp_path, run_config(seed=seed), top1)
    chart = chart_of(tmp_path, y_scale=Scale.log, y_range=[0.01, 1.0])
    (line,) = drawn(chart, "mean")
    assert list(line.data_source.data["epoch"]) == [0, 1]
    (band,) = drawn(chart, "band")
    assert min(band.data_source.data["low"]) > 0
    assert type(chart.figure.y_scale).__name__ == "LogScale"
    assert (chart.figure.y_range.start, chart.figure.y_range.end) == (0.01, 1.0)


MALICE = "!!python/object/apply:os.mkdir ['{path}']\n"


@pytest.mark.parametrize(("module", "harmed"), [("chartify", True), ("senet_lab.figures.charts", False)])
def test_a_crafted_chartify_folder_is_not_read(tmp_path, module, harmed):
    folder = tmp_path / ".chartify"
    folder.mkdir()
    for name in ("options", "colors", "color_palettes", "style_settings"):
        (folder / f"{name}_config.yaml").write_text(MALICE.format(path=tmp_path / name))
    environment = os.environ | {"HOME": str(tmp_path), "CHARTIFY_CONFIG_DIR": f"{folder}/"}
    code = f"import {module} as m; getattr(m, 'chartify', m).Chart(blank_labels=True)"
    subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert ((tmp_path / "options").exists()) == harmed, "chartify alone does what the file says"


def test_neither_plot_nor_its_tables_wait_for_chartify_or_torch():
    code = "import sys, senet_lab.commands.plot; print({'torch', 'chartify', 'bokeh'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
