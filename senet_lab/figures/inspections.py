"""The figures of `senet-lab inspect`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pandas as pd
from bokeh.embed import json_item
from bokeh.layouts import gridplot

from senet_lab.figures.charts import Words, chartify, count_along_x, finish, make_interactive, start, wrapped
from senet_lab.figures.export import Drawing, compile_chart
from senet_lab.figures.kinds import draw_heatmap, draw_lines, draw_pictures
from senet_lab.figures.marks import add_band, add_line
from senet_lab.figures.page import Section, render
from senet_lab.figures.style import PALETTE, looks
from senet_lab.text import counted

Drawings = dict[str, Drawing]
Map = tuple[np.ndarray, np.ndarray]
"""An image (H, H, 3) and its map (H, H), both from 0 to 1."""
KNOWN = ("sigmoid", "SiLU", "ReLU")
"""Reference curves for shapes."""
CHANNELS = 50
"""Maximal number of drawn channels of a block, as in the paper; the table has all."""
DISTRIBUTION = "median, central 50 % and 90 %"
SITE_COLUMNS = 4
"""Sites side by side in print."""
SITES = 8
"""Maximal number of activation sites that are drawn over epochs; the table has all."""
MOST_SHAPES = 8
"""Maximal number of learned curves in a figure of shapes."""
PANEL_WIDTH, PANEL_HEIGHT = 300, 240
"""Pixels of a portrait in print."""
PANEL_COLUMNS = 5
"""Portraits side by side in print."""
FORMULA_WIDTH = 46
"""Characters on a line above a portrait."""
PORTRAIT_RANGE = (-2.0, 4.5)
"""Ends of all portraits' y axes."""


@dataclass(frozen=True)
class Portrait:
    """An activation to be drawn."""

    name: str
    """The name in `activation=<name>`."""
    label: str
    formula: str
    source: str
    learned: Sequence[str]
    """Names of its coefficients."""
    table: pd.DataFrame
    """Columns `x`, `y` and `slope`."""


def draw_excitations(name: str, table: pd.DataFrame, classes: Sequence[int]) -> Drawings:
    """Mean gates of each stage's last SE block, over some channels, for all classes and for chosen ones.

    Args:
        name: name of the network.
        table: see `inspection.excitations`.
        classes: classes with a line of their own.
    """
    labels = [*(f"class {number}" for number in classes), "all"]
    colors = dict(zip(labels, cycle(PALETTE[1:]))) | {"all": PALETTE[0]}
    last = {block.rpartition("stages.")[2].split(".")[0]: block for block in table["block"].unique()}
    parts = {stage: table[table["block"] == block] for stage, block in last.items()}
    drawn = {stage: _even_channels(part[part["class"].isin(labels)]) for stage, part in parts.items()}
    y_range = _around(pd.concat(drawn.values())["gate"])  # the same for all stages, for comparison
    drawings = {}
    for stage, block in last.items():
        shown, width = drawn[stage]["channel"].nunique(), parts[stage]["channel"].nunique()
        note = f"mean gate over the test images, {shown} of {width} channels"
        words = Words(f"{name}: excitations of {block}", note, "Channel", "Mean gate", "Mean gates")
        values = drawn[stage].drop(columns="block")
        chart = draw_lines(values, "channel", "gate", "class", colors, words, y_range, dashed=["all"])
        drawings[f"excitations_stage{stage}"] = compile_chart(chart, [], values, words.caption)
    return drawings


def draw_feature_reuse(name: str, table: pd.DataFrame) -> Drawings:
    """A heat map per dense block of the weights between its layers."""
    drawings = {}
    for number, part in table.groupby("block"):
        words = Words(
            f"{name}: feature reuse in dense block {number}",
            "mean absolute weight from a source layer (0: the block's input) to a target layer",
            "Target layer",
            "Source layer",
            "Mean absolute weights",
        )
        shown = part.drop(columns="block")
        chart = draw_heatmap(shown, "target", "source", "weight", words)
        drawings[f"feature_reuse_block{number}"] = compile_chart(chart, [], shown, words.caption)
    return drawings


def draw_shapes(name: str, title: str, known: pd.DataFrame, learned: pd.DataFrame) -> Drawing:
    """Learned activations, in shades from light to dark, beside known ones.

    Args:
        name: name of the network.
        title: name of the shown activations.
        known: columns `curve`, `x` and `y` of `KNOWN`.
        learned: the same columns of the learned activations, in order.
    """
    curves = _spread(learned["curve"].unique())
    colors = dict(zip(KNOWN, (PALETTE[0], PALETTE[4], PALETTE[1]), strict=True))
    colors |= {curve: _shade(place, len(curves)) for place, curve in enumerate(curves)}
    words = Words(f"{name}: {title}", f"against {', '.join(KNOWN)}", "Input x", "Output y", "Points")
    table = pd.concat([known, learned[learned["curve"].isin(curves)]], ignore_index=True)
    seen = table[~table["curve"].isin(KNOWN[1:])]  # SiLU and ReLU may leave the figure
    chart = draw_lines(table, "x", "y", "curve", colors, words, _around(seen["y"]), dashed=KNOWN)
    return compile_chart(chart, [], table, words.caption)


def draw_maps(name: str, rows: Sequence[tuple[str, Sequence[Map]]], columns: Sequence[str] = ()) -> Drawing:
    """Images without and with the map of their predicted class.

    Args:
        name: name of the network or networks.
        rows: a label, and the image with the map of each network.
        columns: labels of the networks, if there are several.
    """
    pictures = []
    for label, maps in rows:
        parts = [maps[0][0], *(_reddened(image, heat) for image, heat in maps)]
        pictures.append((label, [(255 * part).astype(np.uint8) for part in parts]))
    note = "test image, and in red the evidence for the predicted class"
    words = Words(f"{name}: class activation maps", note, "", "", "Images")
    labels = pd.DataFrame({"image": [label for label, _ in rows]})
    chart = draw_pictures(pictures, words, ["test image", *columns] if columns else ())
    return compile_chart(chart, [], labels, words.caption)


def _reddened(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image overlaid with a red map."""
    return 0.4 * image + 0.6 * np.stack([heat, np.zeros_like(heat), np.zeros_like(heat)], axis=2)


def draw_signals(name: str, table: pd.DataFrame) -> Drawings:
    """Pre-activations and dead channels by depth, one series per value in the column `weights`.

    Args:
        name: name of the network.
        table: the columns of `signals.signals`, and `weights`.
    """
    colors = dict(zip(table["weights"].unique(), (PALETTE[1], PALETTE[4]), strict=False))
    note = "median and central 90 % of the values over the test images"
    words = Words(f"{name}: pre-activations by depth", note, "Activation site", "Input", "Values")
    chart = start(words, colors)
    parts = {label: table[table["weights"] == label] for label in colors}
    for label, part in parts.items():
        add_band(chart, part, "depth", "q05", "q95", label)
    for label, part in parts.items():
        add_line(chart, part, "depth", "q50", label)
    shown = [("site", "@site"), ("5 %", "@q05"), ("median", "@q50"), ("95 %", "@q95")]
    finish(chart, words, shown, list(colors))
    note = "channels whose output is constant over all test images and pixels"
    dead = Words(f"{name}: dead channels by depth", note, "Activation site", "Share of channels", "Values")
    lines = draw_lines(table, "depth", "dead", "weights", colors, dead, (-0.02, 1.02))
    count_along_x(chart)
    count_along_x(lines)
    return {
        "pre_activations": compile_chart(chart, [], table, words.caption),
        "dead_channels": compile_chart(lines, [], table, dead.caption),
    }


def draw_signals_over_epochs(name: str, table: pd.DataFrame) -> Drawings:
    """Pre-activations over epochs as small multiples, a site each, and the dead channels of these sites.

    Args:
        name: name of the network.
        table: a row per `epoch` and site, in the order of the forward pass: `depth`, `site` and `MEASURES`.
    """
    sites = _spread(table.sort_values("depth")["site"].unique(), SITES)
    parts = {site: table[table["site"] == site] for site in sites}
    labels = {site: f"{part['depth'].iloc[0]}: {site}" for site, part in parts.items()}
    note = f"{len(sites)} of {table['site'].nunique()} activation sites, by depth"
    where = "its values are in pre_activations.csv, beside this page"
    panels = [
        _Panel(_distribution(name, labels[site], part), labels[site], (), where)
        for site, part in parts.items()
    ]
    shown = pd.concat(parts.values()).assign(site=lambda rows: rows["site"].map(labels))
    colors = {label: _shade(place, len(sites)) for place, label in enumerate(labels.values())}
    dead = Words(
        f"{name}: dead channels over epochs",
        f"output constant over all test images and pixels; {note}",
        "Epochs done",
        "Share of channels",
        "Values",
    )
    lines = draw_lines(shown, "epoch", "dead", "site", colors, dead, (-0.02, 1.02))
    count_along_x(lines)
    return {
        "pre_activations_epochs": _sheet(
            f"{name}: pre-activations over epochs", [f"{note}: {DISTRIBUTION}."], panels, SITE_COLUMNS
        ),
        "dead_channels_epochs": compile_chart(lines, [], shown, dead.caption),
    }


def _distribution(name: str, title: str, table: pd.DataFrame) -> chartify.Chart:
    """A small chart of a site's pre-activations over epochs."""
    words = Words(title, "", "Epochs done", "Pre-activation")
    chart = start(words, {title: PALETTE[4]})
    chart.set_subtitle(f"{wrapped(name, FORMULA_WIDTH)}\n{DISTRIBUTION}")
    add_band(chart, table, "epoch", "q05", "q95", title, fill=0.2)
    add_band(chart, table, "epoch", "q25", "q75", title, fill=0.4)
    add_line(chart, table, "epoch", "q50", title)
    shown = [("epochs", "@epoch"), ("median", "@q50"), ("mean", "@mean"), ("std", "@std")]
    finish(chart, words, shown)
    count_along_x(chart)
    _shrink(chart)
    return chart


def draw_noise(table: pd.DataFrame) -> Drawing:
    """Mean error and range over the runs of each line, against the noise on the images.

    Args:
        table: one row per `line`, `run` and `noise`, with its `error`.
    """
    about = "standard deviation of Gaussian noise on the normalised test images"
    return _draw_errors(table, "noise", "Error against noise on the images", about, "Noise")


def draw_depth(table: pd.DataFrame) -> Drawing:
    """Mean error over the runs of each line, with the range of the runs, against the depth of the network.

    Args:
        table: a row for each `line`, `run` and `depth`, with its `error`.
    """
    about = "activation sites that an image passes, parallel ones too"
    return _draw_errors(table, "depth", "Test error against depth", about, "Activation sites")


def draw_landscape(table: pd.DataFrame) -> Drawings:
    """Loss and error on the line between two runs' weights.

    Args:
        table: one row per `line` and `place`, with `loss` and `error`.
    """
    drawings = {}
    for column, what in (("loss", "Test loss"), ("error", "Error")):
        words = Words(
            f"{what} on the line between two seeds",
            "weights of the first seed at 0, of the second at 1; batch norm statistics recomputed",
            "Position between the seeds",
            what,
            "Values",
        )
        values, y_range = table[["line", "place", column]], _around(table[column])
        chart = draw_lines(values, "place", column, "line", _line_colors(table), words, y_range)
        drawings[f"landscape_{column}"] = compile_chart(chart, [], values, words.caption)
    return drawings


def draw_gallery(portraits: Sequence[Portrait]) -> Drawing:
    """Small multiples of f and f′ with formulas: an interactive page, and one sheet for print."""
    panels = []
    for portrait in portraits:
        learned = [f"Learned: {', '.join(portrait.learned)}."] if portrait.learned else []
        notes = [f"{portrait.formula}.", *learned, f"{portrait.source}.", f"activation={portrait.name}"]
        panels.append(_Panel(_portrait(portrait), portrait.label, notes, "the formula above describes it"))
    panels[0].chart.figure.legend[0].visible = True  # the same for all
    lead = [
        f"{counted(len(panels), 'activation')} at initial values: f(x) solid, the derivative f′(x) dashed."
    ]
    return _sheet("Activations", lead, panels, PANEL_COLUMNS)


@dataclass(frozen=True)
class _Panel:
    """One of several small charts."""

    chart: chartify.Chart
    heading: str
    notes: Sequence[str]
    alternative: str
    """Text alternative of the chart: the place of its values."""


def _sheet(title: str, lead: Sequence[str], panels: Sequence[_Panel], columns: int) -> Drawing:
    """Small multiples: an interactive page, and one sheet for print of so many columns."""
    plots = [panel.chart.figure for panel in panels]
    grid = gridplot(plots, ncols=columns, toolbar_location=None)
    item = json.dumps(json_item(grid))
    if grid.document is not None:  # it would visit all plots after each change of one
        grid.document.clear()
    for panel in panels:
        make_interactive(panel.chart)
        panel.chart.figure.update(height=PANEL_HEIGHT, toolbar_location=None)
    sections = [
        Section(panel.heading, panel.notes, panel.chart.figure, alternative=panel.alternative)
        for panel in panels
    ]
    rows = -(-len(panels) // columns)
    html = render(title, lead, sections, is_grid=True)
    return Drawing(html, item, columns * PANEL_WIDTH, rows * PANEL_HEIGHT)


def _portrait(portrait: Portrait) -> chartify.Chart:
    words = Words(portrait.label, portrait.formula, "", "")
    chart = start(words, {"f": PALETTE[4], "f′": PALETTE[5]})
    chart.set_subtitle(wrapped(portrait.formula, FORMULA_WIDTH))
    add_line(chart, portrait.table, "x", "slope", "f′", dash="dashed")
    add_line(chart, portrait.table, "x", "y", "f")
    finish(chart, words, [("x", "@x{0.00}"), ("f", "@y{0.000}"), ("f′", "@slope{0.000}")], decimals=False)
    chart.axes.set_yaxis_range(*PORTRAIT_RANGE)
    _shrink(chart)
    return chart


def _shrink(chart: chartify.Chart) -> None:
    """Make a finished chart one of small multiples, its legend invisible."""
    plot = chart.figure
    plot.update(width=PANEL_WIDTH, height=PANEL_HEIGHT, min_border_left=30, min_border_bottom=30)
    plot.update(min_border_right=15, min_border_top=5)
    plot.title.text_font_size, plot.above[0].text_font_size = "11pt", "7.5pt"
    plot.axis.major_label_text_font_size = "8pt"
    plot.legend[0].update(visible=False, location="top_right", orientation="vertical")


def _draw_errors(table: pd.DataFrame, x: str, title: str, about: str, axis: str) -> Drawing:
    """Mean and range of the column `error` over the runs of each line, against the column `x`."""
    grouped = table.groupby(["line", x], sort=False)["error"]
    values = grouped.agg(mean="mean", low="min", high="max", n="count").reset_index()
    words = Words(title, f"mean and range of the runs; {about}", axis, "Error", "Values")
    return compile_chart(_bands(values, x, words), [], values, words.caption)


def _bands(values: pd.DataFrame, x: str, words: Words) -> chartify.Chart:
    """Lines of `mean` over bands from `low` to `high`, one per label in the column `line`."""
    colors = _line_colors(values)
    chart = start(words, colors)
    parts = {label: values[values["line"] == label] for label in colors}
    for label, part in parts.items():
        if part["n"].max() > 1:
            add_band(chart, part, x, "low", "high", label)
    for label, part in parts.items():
        add_line(chart, part, x, "mean", label)
    shown = [("line", "@line"), (x, f"@{x}"), ("mean", "@mean{0.0000}"), ("n", "@n")]
    finish(chart, words, shown, list(colors))
    return chart


def _line_colors(table: pd.DataFrame) -> dict[str, str]:
    """A colour for each label in the column `line`, in order of appearance."""
    return {label: look.color for label, look in looks(dict.fromkeys(table["line"].unique())).items()}


def _spread(values: np.ndarray, most: int = MOST_SHAPES) -> list[str]:
    """At most `most` values, evenly spaced from the first to the last."""
    places = np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))
    return list(values[places])


def _even_channels(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of at most `CHANNELS` channels, evenly spaced from the first to the last."""
    channels = table["channel"].max() + 1
    drawn = np.linspace(0, channels - 1, min(channels, CHANNELS)).round().astype(int)
    return table[table["channel"].isin(drawn)]


def _around(values: pd.Series) -> tuple[float, float]:
    """The range of `values` with a margin of a twentieth on either side."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _shade(place: int, count: int) -> str:
    """A shade of purple, from light to dark."""
    share = place / max(1, count - 1)
    light, dark = (206, 147, 216), (74, 20, 140)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in zip(light, dark, strict=True))
