"""A metric over epochs: for single runs, and as mean and spread over the runs of a line."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from senet_lab.analysis.grouping import LINE, Line, Panel
from senet_lab.analysis.metrics import Metric
from senet_lab.analysis.runs import MISSING, Run
from senet_lab.analysis.statistics import over_seeds
from senet_lab.records.run import State
from senet_lab.records.surroundings import mixture

VALUES_COLUMNS = (*LINE, "seed", "epoch", "seconds", "images", "value")
CURVES_COLUMNS = (*LINE, "epoch", "n", "mean", "std")
"""Columns of `curves.csv`."""
STATES = (State.FINISHED, State.RUNNING, State.INTERRUPTED, State.FAILED, State.DIVERGED)
UNFINISHED = {
    State.DIVERGED: "Diverged",
    State.FAILED: "Failed",
    State.INTERRUPTED: "Interrupted",
    State.RUNNING: "Still running",
}
"""States that a figure's notes name, in this order."""


def values(panels: Iterable[Panel], metric: Metric) -> pd.DataFrame:
    """The finite values of the metric, by run and epoch.

    Returns:
        `VALUES_COLUMNS`, one row per run and epoch, line by line in the order of the legend, by epoch within
        a line: `seconds` and `images` are cumulative over the run, and NaN if not recorded.
    """
    parts = [_of_line(panel.name, line, metric) for panel in panels for line in panel.lines]
    if not parts:
        return pd.DataFrame(columns=VALUES_COLUMNS)
    table = pd.concat(parts, ignore_index=True)
    return table[np.isfinite(table["value"])].reset_index(drop=True)


def _of_line(figure: str, line: Line, metric: Metric) -> pd.DataFrame:
    rows = pd.concat([run.metrics for run in line.runs], keys=range(len(line.runs)), names=["run", None])
    lengths = [len(run.metrics) for run in line.runs]
    table = pd.DataFrame(
        {
            "figure": figure,
            "line": line.label,
            "seed": np.repeat([run.config.seed for run in line.runs], lengths),
            "epoch": rows["epoch"],
            "seconds": rows.groupby(level="run")["seconds"].cumsum(),
            "images": rows["images"],
            "value": metric.of(rows),
        }
    )
    return table.sort_values("epoch", kind="stable").astype({"epoch": int, "value": float})


def curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of each line over its own epochs.

    Each epoch counts the runs that reached it; an epoch that no run has is absent, never zero.

    Args:
        runs: see `values`.

    Returns:
        `CURVES_COLUMNS`, then `sem`, `low` and `high` of `statistics.over_seeds`, and the mean `seconds` and
        `images` of the same runs.
    """
    keys = [*LINE, "epoch"]
    spent = runs.groupby(keys, sort=False)[["seconds", "images"]].mean().reset_index()
    return over_seeds(runs, keys).merge(spent, on=keys)


def states(panels: Iterable[Panel]) -> pd.DataFrame:
    """Number of runs of each line, by state.

    Returns:
        Columns `figure`, `line`, `runs` (expected number), one count per state, and `missing`.
    """
    rows = []
    for panel in panels:
        for line in panel.lines:
            found = [run.state for run in line.runs]
            rows.append(
                {
                    "figure": panel.name,
                    "line": line.label,
                    "runs": len(line.runs) - found.count(MISSING) + len(line.missing_seeds),
                    **{str(state): found.count(state) for state in STATES},
                    MISSING: len(line.missing_seeds),
                }
            )
    return pd.DataFrame(rows, columns=[*LINE, "runs", *map(str, STATES), MISSING])


def finals(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The last epoch of each line's curve.

    Args:
        table: see `curves`.
        runs: see `states`.

    Returns:
        Columns `figure`, `line`, `n`, `epoch`, `mean`, `std` and those of `states`, one row per line; a line
        without epochs has n 0 and no values.
    """
    last = table.groupby(list(LINE), sort=False).tail(1)[[*LINE, "n", "epoch", "mean", "std"]]
    joined = runs[list(LINE)].merge(last, how="left", on=list(LINE)).fillna({"n": 0})
    return joined.merge(runs, on=list(LINE)).astype({"n": int, "epoch": "Int64"})


def panel_notes(panel: Panel, table: pd.DataFrame) -> list[str]:
    """Sentences on missing or failed runs, on mixed environments, and on epochs where n changes.

    Args:
        panel: a panel with at least one epoch.
        table: its `curves`.

    Returns:
        One sentence for each kind of problem; none for a complete panel.
    """
    sentences = _unfinished(panel)
    missing = [f"{line.label} seed {seed}" for line in panel.lines for seed in line.missing_seeds]
    if missing:
        sentences.append(f"Missing: {_listed(missing)}.")
    mixed = [f"{line.label}: {differences}" for line in panel.lines if (differences := _mixture(line))]
    if mixed:
        sentences.append(f"Trained in mixed environments: {_listed(mixed)}.")
    full, end = table["n"].max(), table["epoch"].max()
    parts = {line.label: table[table["line"] == line.label] for line in panel.lines}
    counts = [
        f"{label} {_counts(part, end)}"
        for label, part in parts.items()
        if part.empty or part["n"].min() < full or part["epoch"].max() < end
    ]
    if counts:
        sentences.append(f"Runs averaged: {_listed(counts)}; otherwise n = {full}.")
    return sentences


def _unfinished(panel: Panel) -> list[str]:
    """Sentences on the runs that have not finished, by state."""
    sentences = []
    for state, word in UNFINISHED.items():
        runs = [
            f"{line.label} seed {run.config.seed} {_reach(run)}"
            for line in panel.lines
            for run in line.runs
            if run.state == state
        ]
        if runs:
            sentences.append(f"{word}: {_listed(runs)}.")
    return [*sentences, "Their recorded epochs count in the mean."] if sentences else []


def _mixture(line: Line) -> str:
    return mixture(attempt for run in line.runs for attempt in run.attempts)


def _reach(run: Run) -> str:
    if run.metrics.empty:
        return "before its first epoch ended"
    return f"after epoch {int(run.metrics['epoch'].max())}"


def _counts(table: pd.DataFrame, end: int) -> str:
    """Number of averaged runs by epoch, as `n = 3, 2 from epoch 12, ends at epoch 49`."""
    if table.empty:
        return "n = 0"
    changes = table[table["n"].diff().fillna(0) != 0]
    steps = [f"{n} from epoch {epoch}" for n, epoch in zip(changes["n"], changes["epoch"], strict=True)]
    stop = [f"ends at epoch {table['epoch'].iloc[-1]}"] if table["epoch"].iloc[-1] < end else []
    return ", ".join([f"n = {table['n'].iloc[0]}", *steps, *stop])


def _listed(items: Sequence[str], most: int = 6) -> str:
    rest = [f"and {len(items) - most} more"] if len(items) > most else []
    return "; ".join([*items[:most], *rest])
