"""Charts of a verdict; `verdict_rows` holds those with one row per arm."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from bokeh.models import CustomJSTickFormatter, LogTicker

from senet_lab.analysis.blocks import Across
from senet_lab.analysis.trials import Comparison, rates
from senet_lab.analysis.verdict import Verdict, points
from senet_lab.config import Band
from senet_lab.figures.charts import LABEL_WIDTH, PLAIN, Words, finish, start, wrapped
from senet_lab.figures.export import Picture
from senet_lab.figures.kinds import Curve, draw_heatmap, start_curves
from senet_lab.figures.labels import fit_rows, label_rows
from senet_lab.figures.marks import add_points
from senet_lab.figures.panels import BANDS
from senet_lab.figures.style import DASHES, FADED, MOST_COLORED, PALETTE, SMALL_INK, Look, looks
from senet_lab.figures.verdict_rows import draw_differences, draw_finals
from senet_lab.figures.write import VERDICT
from senet_lab.records.protocol import Protocol

X_LABELS = {"lr": "Learning rate"}
"""Label of a tuned value; others by dotted key."""
FEW_COLUMNS, COLUMN_WIDTH = 5, 16
"""Maximal number of blocks whose labels fit side by side, and characters per line of these labels."""
CHARACTER = 7
"""Pixels of a character of a label."""
TICKS = 10
"""Number of ticks, about, of a logarithmic axis of errors; bokeh's own leaves the low part without any."""
BAR = 14
"""Pixels from one bar of the mean ranks to the next."""
LONGEST = 60
"""Maximal characters of a block's label in a file's name."""


def pictures(found: Comparison, verdict: Verdict) -> Iterator[Picture]:
    """Every picture of a verdict, the answer first.

    Differences to the baseline in each block; of several blocks the heat map, and the mean ranks where they
    are tested; final errors and errors by tuned value in each block.
    """
    for block in verdict.blocks:
        yield draw_differences(_name("differences", block, verdict), verdict, block)
    if len(verdict.blocks) > 1:
        yield draw_blocks(f"{VERDICT}blocks", verdict)
    if not verdict.across.refusal:
        yield draw_ranks(f"{VERDICT}ranks", verdict.across)
    tried = rates(found)
    for block in verdict.blocks:
        yield draw_finals(_name("finals", block, verdict), found.finals, verdict, block)
        for axis in found.axes:
            name = _name(axis.replace(".", "_"), block, verdict)
            yield draw_tuning(name, tried[tried["block"] == block], axis, found.protocol)


def _name(kind: str, block: str, verdict: Verdict) -> str:
    """The file name of a block's picture; the number distinguishes blocks with similar labels."""
    if len(verdict.blocks) == 1:
        return f"{VERDICT}{kind}"
    stem = re.sub(r"[^a-z0-9]+", "_", block.lower()).strip("_")[:LONGEST]
    return f"{VERDICT}{kind}_{verdict.blocks.index(block) + 1}_{stem}"


def arm_colors(protocol: Protocol) -> dict[str, str | None]:
    """The own colour of each arm, the baseline first, the others in the order of their styles."""
    styles = {cell.arm: _style(cell.plain.get(protocol.declared.arms)) for cell in protocol.cells}
    order = sorted(styles, key=lambda arm: (arm != protocol.baseline, styles[arm].get("order", math.inf)))
    return {arm: styles[arm].get("color") for arm in order}


def _style(node: Any) -> Mapping[str, Any]:
    return (node.get("style") or {}) if isinstance(node, Mapping) else {}


def draw_tuning(name: str, tried: pd.DataFrame, axis: str, protocol: Protocol) -> Picture:
    """Validation error of a block against a tuned value: one line per arm, the chosen value marked.

    Args:
        name: file name.
        tried: `trials.rates` of the block.
        axis: column of the tuned value; if others are tuned as well, each value shows its best trial.
        protocol: protocol of the comparison.
    """
    best = tried.sort_values("error", kind="stable").drop_duplicates(["arm", axis]).sort_values(axis)
    values = best[["arm", axis, "epochs", "n", "error", "std", "diverged", "chosen"]].reset_index(drop=True)
    values[["error", "std"]] *= 100
    is_log = bool((values["error"] > 0).all())
    words = _tuning_words(f"{tried['block'].iloc[0]}: validation error", values, axis, protocol)
    # On a logarithmic axis, clip a band that reaches 0 below the visible range.
    low = (values["error"] - values["std"]).clip(lower=values["error"].min() / 2 if is_log else 0)
    drawn = values.assign(low=low, high=values["error"] + values["std"])
    colors = arm_colors(protocol)
    looked = looks(colors)
    parts = {arm: drawn[drawn["arm"] == arm] for arm in looked}
    # Of many arms the baseline alone has a band: more would bury the lines.
    banded = [protocol.baseline] if len(parts) > MOST_COLORED else list(parts)
    curves = {
        arm: Curve([part], _bands(part) if arm in banded else [], part["error"].min())
        for arm, part in parts.items()
    }
    fixed = [arm for arm in colors if colors[arm] in PALETTE and looked[arm].dash == DASHES[0]]
    y_type = "log" if is_log else "linear"
    chart, order = start_curves(words, curves, looked, fixed, axis, "error", "log", y_type)
    for arm in sorted(parts, key=order.__contains__):  # the grey ones below the others
        label, look, size = (arm, looked[arm], 13) if arm in order else (order[-1], Look(FADED), 8)
        add_points(chart, parts[arm][parts[arm]["chosen"]], axis, "error", label, look, size)
        chart.figure.renderers[-1].glyph.line_color = "#FFFFFF"  # keeps neighbours apart
    numbers = [(axis, f"@{{{axis}}}{{0.[000000]}}"), ("error", "@error{0.00} %"), ("std", "@std{0.00}")]
    counts = [("n", "@n"), ("epochs", "@epochs"), ("diverged", "@diverged")]
    finish(chart, words, [("arm", "@arm"), *numbers, *counts], order)
    chart.figure.xaxis.formatter = CustomJSTickFormatter(code=PLAIN)
    if is_log:
        chart.figure.yaxis.ticker = LogTicker(mantissas=[1, 2, 5], desired_num_ticks=TICKS)
        chart.figure.yaxis.formatter = CustomJSTickFormatter(code=PLAIN)
    return Picture(name, chart, values, words.notes)


def _bands(part: pd.DataFrame) -> list[pd.DataFrame]:
    spread = part[part["n"] > 1]
    return [spread] if len(spread) else []


def _tuning_words(what: str, values: pd.DataFrame, axis: str, protocol: Protocol) -> Words:
    seeds = len(protocol.declared.tuning_seeds)
    of = f" of {protocol.baseline}" if values["arm"].nunique() > MOST_COLORED else ""
    band = f"mean of {seeds} tuning seeds, band: {BANDS[Band.std]}{of}"
    mean = band if seeds > 1 else "a single tuning seed"
    notes = []
    if others := [other for other in protocol.declared.space if other != axis]:
        notes.append(f"Each value of {axis} stands with the best of its trials of {' and '.join(others)}.")
    if values["epochs"].nunique() > 1:
        notes.append("Trials that successive halving dropped stand with the error after their last epoch.")
    label = X_LABELS.get(axis, axis)
    title = f"{what} by {label.lower()}"
    return Words(title, f"{mean}; marked: the chosen value", label, "Validation error, %", notes=notes)


def draw_blocks(name: str, verdict: Verdict) -> Picture:
    """Heat map of arms × blocks: rank as colour, mean error as text, the best mean rank on top."""
    values = verdict.arms[["arm", "block", "rank", "error"]].assign(error=100 * verdict.arms["error"])
    few = len(verdict.blocks) <= FEW_COLUMNS
    columns = {block: wrapped(block, COLUMN_WIDTH if few else LABEL_WIDTH) for block in verdict.blocks}
    from_below = values.sort_values("arm", key=lambda arms: -arms.map(verdict.order.index), kind="stable")
    drawn = from_below.assign(
        row=from_below["arm"].map(wrapped),
        column=from_below["block"].map(columns),
        text=[points(error / 100, 2) for error in from_below["error"]],
    )
    words = Words(
        "Arms by block",
        "mean test error in %; the darker, the worse the arm's rank in the block (1 is the best)",
        "",
        "",
    )
    chart = draw_heatmap(drawn, "column", "row", "rank", words, "text")
    chart.figure.x_range.factors = list(columns.values())
    if few:
        lines = max(label.count("\n") + 1 for label in columns.values())
        room = 2 * CHARACTER * lines
    else:
        chart.figure.xaxis.major_label_orientation = "vertical"
        room = CHARACTER * max(len(line) + 2 for label in columns.values() for line in label.split("\n"))
    height = fit_rows(chart, verdict.order, room)
    return Picture(name, chart, values, (), height)


def draw_ranks(name: str, across: Across) -> Picture:
    """Critical-difference diagram: arms by mean rank; a bar joins arms without a significant difference.

    After Demšar, JMLR 7 (2006), with Wilcoxon's tests under Holm's correction instead of Nemenyi's.
    """
    values, count = across.ranks, len(across.ranks)
    ranks = dict(zip(values["arm"], values["mean_rank"], strict=True))
    half = (count + 1) // 2
    sides = {"left": list(ranks)[:half], "right": list(ranks)[half:][::-1]}
    blocks = values["blocks"].iloc[0]
    words = Words(
        "Mean ranks over all blocks",
        f"{blocks} blocks, 1 is the best; a bar joins arms that are not told apart (Wilcoxon, Holm)",
        "Mean rank",
        "",
    )
    chart = start(words, {"arms": "#000000"})
    plot = chart.figure
    first, ends = -len(across.groups) - 1.0, {"left": 0.5, "right": count + 0.5}
    for side, arms in sides.items():
        places = {first - row: arm for row, arm in enumerate(arms)}
        for place, arm in places.items():
            way = [ranks[arm], ranks[arm], ends[side]]
            plot.line(way, [0, place, place], line_color=SMALL_INK, name="leader")
        label_rows(chart, places, side)
    for row, group in enumerate(across.groups, 1):
        span = [ranks[group[0]] - 0.05, ranks[group[-1]] + 0.05]
        plot.line(span, [-row, -row], line_color="#000000", line_width=5, name="group")
    add_points(chart, values.assign(place=0.0), "mean_rank", "place", "arms", Look("#000000"), 9)
    chart.axes.set_xaxis_range(*ends.values())
    chart.axes.set_yaxis_range(first - half + 0.4, 0.6)
    finish(chart, words, [("arm", "@arm"), ("mean rank", "@mean_rank{0.00}")], decimals=False)
    plot.ygrid.visible = False
    plot.legend.visible = False
    height = fit_rows(chart, sides["left"], BAR * (len(across.groups) + 2))
    return Picture(name, chart, values, (), height)
