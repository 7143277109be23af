"""Test error over epochs: mean and spread over the runs of a line, and what a reader must know about them."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from senet_lab.analysis.grouping import MISSING, Figure, Line, Run
from senet_lab.records.run import State

CURVES_COLUMNS = ("figure", "line", "epoch", "n", "mean", "std")
STATES = (State.FINISHED, State.RUNNING, State.INTERRUPTED, State.FAILED, State.DIVERGED)


def curve(line: Line) -> pd.DataFrame:
    """Test error (1 − test top-1, a fraction) of a line over its own epochs.

    Each epoch counts the runs that reached it; an epoch that no run has is absent, never zero.

    Returns:
        Columns `epoch` (from 0), `n`, `mean`, `std` (sample standard deviation, ddof 1) and `sem`
        (std/√n); both are NaN where n is 1.
    """
    errors = pd.concat([1 - run.metrics.set_index("epoch")["test_top1"] for run in line.runs])
    errors = errors[np.isfinite(errors)]
    statistics = errors.groupby(errors.index.astype(int)).agg(["count", "mean", "std", "sem"])
    return statistics.rename(columns={"count": "n"}).rename_axis("epoch").reset_index()


def curves(figures: Iterable[Figure]) -> pd.DataFrame:
    """All curves in one tidy frame: `CURVES_COLUMNS` and `sem`."""
    parts = [
        curve(line).assign(figure=figure.name, line=line.label) for figure in figures for line in figure.lines
    ]
    return pd.concat(parts, ignore_index=True)[[*CURVES_COLUMNS, "sem"]]


def finals(figures: Iterable[Figure]) -> pd.DataFrame:
    """One row for each figure and line: the last epoch of its curve, and the states of its runs.

    Returns:
        Columns `figure`, `line`, `n`, `epoch`, `mean`, `std`, `runs` (how many there should be),
        one count a state, and `missing`; a line without any epoch has n 0 and no values.
    """
    rows = []
    for figure in figures:
        for line in figure.lines:
            table = curve(line)
            last = table.iloc[-1] if len(table) else {"n": 0, "epoch": None, "mean": np.nan, "std": np.nan}
            states = [run.state for run in line.runs]
            rows.append(
                {
                    "figure": figure.name,
                    "line": line.label,
                    **{key: last[key] for key in ("n", "epoch", "mean", "std")},
                    "runs": len(line.runs) - states.count(MISSING) + len(line.missing_seeds),
                    **{str(state): states.count(state) for state in STATES},
                    MISSING: len(line.missing_seeds),
                }
            )
    return pd.DataFrame(rows).astype({"n": int, "epoch": "Int64"})


def notes(figure: Figure) -> list[str]:
    """What the lines alone would hide: runs that are missing or broke, and where n changes.

    Returns:
        One sentence for each kind of trouble; none for a complete figure.
    """
    sentences = []
    for state, word in (
        (State.DIVERGED, "Diverged"),
        (State.FAILED, "Failed"),
        (State.INTERRUPTED, "Interrupted"),
        (State.RUNNING, "Still running"),
    ):
        runs = [
            f"{line.label} seed {run.config.seed} {_reach(run)}"
            for line in figure.lines
            for run in line.runs
            if run.state == state
        ]
        if runs:
            sentences.append(f"{word}: {_listed(runs)}.")
    if sentences:
        sentences.append("The epochs that these runs have count in the mean.")
    missing = [f"{line.label} seed {seed}" for line in figure.lines for seed in line.missing_seeds]
    if missing:
        sentences.append(f"Missing: {_listed(missing)}.")
    tables = {line.label: curve(line) for line in figure.lines}
    full = max(table["n"].max() for table in tables.values() if len(table))
    end = max(table["epoch"].max() for table in tables.values() if len(table))
    counts = [
        f"{label} {_counts(table, end)}"
        for label, table in tables.items()
        if len(table) == 0 or table["n"].min() < full or table["epoch"].max() < end
    ]
    if counts:
        sentences.append(f"Runs averaged: {_listed(counts)}; otherwise n = {full}.")
    return sentences


def _reach(run: Run) -> str:
    if run.metrics.empty:
        return "before its first epoch ended"
    return f"after epoch {int(run.metrics['epoch'].max())}"


def _counts(table: pd.DataFrame, end: int) -> str:
    """How many runs each stretch of epochs averages, as `n = 3, 2 from epoch 12, ends at epoch 49`."""
    if table.empty:
        return "n = 0"
    changes = table[table["n"].diff().fillna(0) != 0]
    steps = [f"{n} from epoch {epoch}" for n, epoch in zip(changes["n"], changes["epoch"], strict=True)]
    stop = [f"ends at epoch {table['epoch'].iloc[-1]}"] if table["epoch"].iloc[-1] < end else []
    return ", ".join([f"n = {table['n'].iloc[0]}", *steps, *stop])


def _listed(items: Sequence[str], most: int = 6) -> str:
    rest = [f"and {len(items) - most} more"] if len(items) > most else []
    return "; ".join([*items[:most], *rest])
