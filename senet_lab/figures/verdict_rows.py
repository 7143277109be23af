"""Charts of a verdict with a row for each arm: differences to the baseline, final errors."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from bokeh.models import CustomJSTickFormatter

from senet_lab.analysis.effects import Claim
from senet_lab.analysis.verdict import Verdict
from senet_lab.figures.charts import DECIMALS, Words, chartify, finish, start
from senet_lab.figures.export import Picture
from senet_lab.figures.labels import fit_rows, label_rows
from senet_lab.figures.marks import add_intervals, add_points, add_text, mark, shade
from senet_lab.figures.style import FADED, Look
from senet_lab.text import counted, separator

CLAIMS = {
    Claim.better: ("better", Look("#0072B2")),
    Claim.equivalent: ("equivalent", Look("#009E73", "dashdot")),
    Claim.none: ("nothing can be said", Look("#8C8C8C", "dotdash")),
    Claim.worse: ("worse", Look("#D55E00", "dashed")),
}
"""Words and look of each claim about an arm and the baseline."""
SEED, DIVERGED, MEAN, BASELINE = "a seed", "diverged: error of chance", "mean, 95 % interval", "baseline"
FINALS = {
    SEED: Look(FADED),
    DIVERGED: Look("#D55E00"),
    MEAN: Look("#000000"),
    BASELINE: Look("#0072B2", "dashed"),
}
"""Legend and looks of final errors."""
FAR = 3
"""Multiple of the best three quarters' span beyond which an arm's place is told as a number."""
LEAST_EDGE = 0.5
"""Points beside the values where all are equal."""
BINS = 100
"""Number of places along an axis within which dots would cover each other."""
DODGE, ROOM = 0.14, 0.8
"""Distance of such dots across the axis, and the most that all of them take; rows are 1 apart."""


def draw_differences(name: str, verdict: Verdict, block: str) -> Picture:
    """Forest plot of a block: each arm's difference to the baseline with its interval, the best on top."""
    baseline, margin = verdict.rules.baseline, 100 * verdict.rules.smallest_difference
    matters = counted(margin, "point that matters", "points that matter")
    pairs = verdict.pairs[(verdict.pairs["block"] == block) & (verdict.pairs["baseline"] == baseline)]
    columns = ["arm", "difference", "low", "high", "n", "p_holm", "claim", "sentence"]
    values = pairs.sort_values("difference", kind="stable")[columns].reset_index(drop=True)
    values[["difference", "low", "high"]] *= 100
    words = Words(
        f"{block}: differences to {baseline}",
        f"mean of paired differences, 95 % interval; shaded: less than the {matters}",
        f"Points of error, arm − {baseline}: left of 0 the arm is better",
        "",
    )
    chart = start(words, {label: look.color for label, look in CLAIMS.values()})
    shade(chart, -margin, margin)
    mark(chart, 0, CLAIMS[Claim.none][1])
    drawn = values.assign(
        row=-values.index.to_numpy(float),
        said=[f"{CLAIMS[claim][0]}, " for claim in values["claim"]],
        color=[CLAIMS[claim][1].color for claim in values["claim"]],
    )
    low, high = _visible(drawn["low"], drawn["difference"], drawn["high"])
    far = _set_range(chart, min(low, -margin), max(high, margin), drawn, "difference")
    for claim, (label, look) in CLAIMS.items():
        part = drawn[(drawn["claim"] == claim) & ~far]
        _add_means(chart, part, "difference", label, look)
    tooltips = [("", "@sentence"), ("p (Holm)", "@p_holm{0.0000}")]
    height = _finish(chart, words, tooltips, values["arm"], [label for label, _ in CLAIMS.values()])
    return Picture(name, chart, values, _notes(values["arm"][far]), height)


def draw_finals(name: str, finals: pd.DataFrame, verdict: Verdict, block: str) -> Picture:
    """Final test errors of a block: every seed a dot, the mean and its interval, the lowest mean on top.

    Args:
        name: of the file.
        finals: `effects.FINALS_COLUMNS`.
        verdict: on them.
        block: one of its blocks.
    """
    arms = verdict.arms[verdict.arms["block"] == block].reset_index(drop=True)
    values = arms[["arm", "n", "error", "low", "high", "std", "diverged"]].copy()
    values[["error", "low", "high", "std"]] *= 100
    means = values.assign(
        row=-values.index.to_numpy(float),
        of=[f"mean of {counted(n, 'run')}" for n in values["n"]],
        said="",
        color=FINALS[MEAN].color,
    )
    seeds = _seeds(finals[finals["block"] == block], dict(zip(means["arm"], means["row"], strict=True)))
    words = Words(
        f"{block}: final test errors",
        "every dot is a confirmation run; the lowest mean on top, a dashed line at the baseline's",
        "Test error after the last epoch, %",
        "",
    )
    chart = start(words, {label: look.color for label, look in FINALS.items()})
    trained = seeds[seeds["kind"] == SEED].groupby("arm")["error"].agg(["min", "max"]).reindex(means["arm"])
    low, high = _visible(
        np.fmin(means["low"], trained["min"].to_numpy()),
        means["error"],
        np.fmax(means["high"], trained["max"].to_numpy()),
    )
    low = max(low, 0.0)
    far = _set_range(chart, low, high, means, "error")
    is_baseline = means["arm"] == verdict.rules.baseline
    mark(chart, float(means.loc[is_baseline, "error"].iloc[0]), FINALS[BASELINE])
    for label, dots in _dodged(seeds, high - low).groupby("kind"):
        add_points(chart, dots, "error", "row", str(label), FINALS[str(label)], 7)
        chart.figure.renderers[-1].glyph.marker = "x" if label == DIVERGED else "circle"
    _add_means(chart, means[~far & ~is_baseline], "error", MEAN, FINALS[MEAN])
    _add_means(chart, means[~far & is_baseline], "error", BASELINE, FINALS[BASELINE])
    tooltips = [("arm", "@arm"), ("error", "@error{0.00} %"), ("", "@of")]
    height = _finish(chart, words, tooltips, values["arm"], list(FINALS))
    beyond = seeds[(seeds["kind"] == DIVERGED) & (seeds["error"] > chart.figure.x_range.end)]
    lost = [f"{counted(len(own), 'diverged run')} of {arm}" for arm, own in beyond.groupby("arm", sort=False)]
    notes = _notes(values["arm"][far])
    if lost:
        notes.append(f"Beyond the right edge, too: {separator(lost).join(lost)}.")
    return Picture(name, chart, values, notes, height)


def _seeds(runs: pd.DataFrame, rows: Mapping[str, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": runs["arm"],
            "error": 100 * runs["error"],
            "kind": np.where(runs["diverged"].astype(bool), DIVERGED, SEED),
            "row": runs["arm"].map(rows),
            "of": [f"seed {seed}" for seed in runs["seed"]],
        }
    )


def _dodged(dots: pd.DataFrame, span: float) -> pd.DataFrame:
    """Dots of one row that would cover each other, side by side across the axis.

    Args:
        dots: `error` along the axis, `row` across it.
        span: length of the axis.
    """
    places = dots.groupby([dots["row"], (dots["error"] / max(span, 1e-9) * BINS).round()])["row"]
    count = places.transform("size")
    steps = places.cumcount() - (count - 1) / 2
    return dots.assign(row=dots["row"] + steps * np.minimum(DODGE, ROOM / count))


def _visible(lows: pd.Series, middles: pd.Series, highs: pd.Series) -> tuple[float, float]:
    """The range that shows the rows, without what lies far above most of them."""
    lows, highs = lows.fillna(middles), highs.fillna(middles)
    low = lows.min()
    limit = low + FAR * (highs.quantile(0.75) - low)
    ends = highs.where(highs <= limit, middles)
    return float(low), float(ends[ends <= limit].max())


def _set_range(
    chart: chartify.Chart, low: float, high: float, drawn: pd.DataFrame, x: str
) -> "pd.Series[bool]":
    """Set the x axis, tell rows beyond it as numbers at the edge, and return which ones these are.

    Args:
        chart: to draw on.
        low: end of the axis.
        high: its other end.
        drawn: `row` across the axis, `said` before the number, `color` of both.
        x: column along the axis.
    """
    edge = 0.04 * (high - low) or LEAST_EDGE
    chart.axes.set_xaxis_range(low - edge, high + edge)
    far = drawn[x] > high
    if far.any():
        text = [f"{row.said}{getattr(row, x):.1f} →" for row in drawn[far].itertuples()]
        told = drawn[far].assign(edge=high + edge, text=text)
        add_text(chart, told, "edge", "row", "text", text_color="color", text_align="right", x_offset=-6)
    return far


def _notes(far: "pd.Series[str]") -> list[str]:
    return [f"Far beyond the right edge, so told as numbers: {separator(far).join(far)}."] if len(far) else []


def _add_means(chart: chartify.Chart, table: pd.DataFrame, x: str, label: str, look: Look) -> None:
    if len(table):
        add_intervals(chart, table, "low", "high", "row", label, look)
        add_points(chart, table, x, "row", label, look, 10)


def _finish(
    chart: chartify.Chart,
    words: Words,
    tooltips: Sequence[tuple[str, str]],
    labels: Sequence[str],
    order: Sequence[str],
) -> int:
    """Finish a chart with a row for each label, from top to bottom; returns its interactive height."""
    label_rows(chart, {-float(row): label for row, label in enumerate(labels)})
    chart.axes.set_yaxis_range(0.6 - len(labels), 0.6)
    finish(chart, words, tooltips, order, decimals=False)
    chart.figure.xaxis.formatter = CustomJSTickFormatter(code=DECIMALS)
    return fit_rows(chart, labels)
