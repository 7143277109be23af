"""A verdict as tables: arm × block, LaTeX with booktabs, and JSON."""

import json
from typing import Any

import pandas as pd

from senet_lab.analysis.effects import CONFIDENCE
from senet_lab.analysis.trials import Comparison, rates
from senet_lab.analysis.verdict import Verdict, decimals, points
from senet_lab.text import MISSING

TIED = "†"
"""Mark of arms that no claim distinguishes from the best."""
SUMMARY = "Mean test error in % and its 95 % interval; bold: the lowest, †: not told apart from it"
"""Caption of `summary` where the best cells are emphasised."""
PAIRS = "differences in points of error; negative ones speak for the arm"
"""Caption of `pair_table`, after the block."""
CHOICES = (
    "Chosen by the tuning; validation error and rank of each arm at its own values and at the baseline's"
)
"""Caption of `choice_table`."""


def summary(verdict: Verdict) -> pd.DataFrame:
    """Arm × block: mean error in percent with its interval, the best first by mean rank.

    Returns:
        A row an arm (`arm`), a column a block; cells as `2.3 (2.1 to 2.5)`, followed by `TIED` where no claim
        tells the arm apart from the best.
    """
    cells = verdict.arms.assign(text=[_cell(row) for row in verdict.arms.itertuples()])
    table = cells.pivot_table(index="arm", columns="block", values="text", aggfunc="first", sort=False)
    return table.loc[verdict.order, verdict.blocks].rename_axis(columns=None).reset_index()


def _cell(row: Any) -> str:
    if pd.isna(row.low):
        text = points(row.error, 2)
    else:
        digits = decimals(row.low, row.high)
        text = f"{points(row.error, digits)} ({points(row.low, digits)} to {points(row.high, digits)})"
    return f"{text} {TIED}" if row.tied else text


def best_cells(verdict: Verdict) -> set[tuple[str, str]]:
    """Block and arm of each block's lowest mean error: the cells of `summary` to emphasise."""
    return {(row.block, row.arm) for row in verdict.arms.itertuples() if row.best}


def summary_latex(verdict: Verdict) -> str:
    """`summary` as a LaTeX table of booktabs, the best arm of each block in bold."""
    table = summary(verdict).set_index("arm")
    for block, arm in best_cells(verdict):
        table.loc[arm, block] = rf"\textbf{{{table.loc[arm, block]}}}"
    return _latex(table.replace(TIED, r"\\textsuperscript{\\dag}", regex=True))


def choice_table(found: Comparison) -> pd.DataFrame:
    """Tuned values of each arm as text, with its rank at them and at a common rate.

    Returns:
        A row a block and arm: `block`, `arm`, the tuned values, mean validation error in percent and rank at
        them and at the baseline's chosen values, and whether they lie `at the border`. `MISSING` where not
        all arms of a block have trained the baseline's values to the last epoch.
    """
    tried = rates(found)
    own = tried[tried["chosen"]].set_index(["block", "arm"])
    _, runs = found.common_rate
    common = runs.groupby(["block", "arm"])["error"].mean().reindex(own.index)
    columns = {axis: [f"{value:g}" for value in own[axis]] for axis in found.axes}
    for where, errors in (("", own["error"]), (f" at {found.protocol.baseline}'s", common)):
        ranks = errors.groupby("block").rank()
        columns[f"error{where}, %"] = [MISSING if pd.isna(error) else points(error, 2) for error in errors]
        columns[f"rank{where}"] = [MISSING if pd.isna(rank) else f"{rank:g}" for rank in ranks]
    columns["at the border"] = ["yes" if is_there else "no" for is_there in own["at_border"]]
    return pd.DataFrame(columns, own.index).reset_index()


def pair_table(verdict: Verdict, block: str) -> pd.DataFrame:
    """All pairs of arms of a block as text: differences of error in points, negative in favour of the arm.

    Returns:
        Columns `arm`, `against`, `pairs`, `difference` with its interval, `p (Holm)`, `P(better)` with its
        interval, `p (equivalent)` and `claim`.
    """
    pairs = verdict.pairs[verdict.pairs["block"] == block]
    rows = [
        {
            "arm": row.arm,
            "against": row.baseline,
            "pairs": str(row.n),
            "difference": _difference(row),
            "p (Holm)": _probability(row.p_holm),
            "P(better)": f"{row.p_better:.2f} ({row.p_better_low:.2f} to {row.p_better_high:.2f})",
            "p (equivalent)": _probability(row.p_equivalent_holm),
            "claim": row.claim,
        }
        for row in pairs.itertuples()
    ]
    return pd.DataFrame(rows)


def pairs_latex(verdict: Verdict) -> str:
    """`pair_table` of all blocks as a LaTeX table of booktabs."""
    parts = [pair_table(verdict, block).assign(block=block) for block in verdict.blocks]
    return _latex(pd.concat(parts).set_index("block"), escape=True)


def _difference(row: Any) -> str:
    if pd.isna(row.low):
        return points(row.difference, 2)
    digits = decimals(row.low, row.high)
    low, by, high = (points(value, digits) for value in (row.low, row.difference, row.high))
    return f"{by} ({low} to {high})"


def _probability(value: float) -> str:
    return MISSING if pd.isna(value) else f"{value:.2g}"


def _latex(table: pd.DataFrame, escape: bool = False) -> str:
    styler = table.style.format(escape="latex" if escape else None)
    for axis in ("index", "columns"):
        styler = styler.format_index(escape="latex", axis=axis)
    return styler.to_latex(hrules=True).replace("−", "$-$")


def as_json(found: Comparison, verdict: Verdict) -> dict[str, Any]:
    """A machine-readable verdict; errors and differences are fractions, unknown values None."""
    declared = found.protocol.declared
    trials, _ = found.common_rate
    early = found.common_verdict
    return {
        "lead": verdict.lead(),
        "rules": {
            "metric": str(declared.metric),
            "baseline": found.protocol.baseline,
            "smallest_difference": declared.smallest_difference / 100,
            "family": str(declared.family),
            "comparisons": int(verdict.pairs["tested"].sum()),
            "confidence": CONFIDENCE,
            "choice": found.protocol.choice,
            "diverged": found.protocol.diverged,
        },
        "arms": _arms(found, verdict),
        "pairs": records(verdict.pairs),
        "across": {
            "refusal": verdict.across.refusal,
            "ranks": records(verdict.across.ranks),
            "pairs": records(verdict.across.pairs),
            "groups": verdict.across.groups,
        },
        "common_rate": {
            "trials": {block: dict(trial) for block, trial in trials.items()},
            "arms": records(early.arms) if early else [],
            "pairs": records(early.pairs) if early else [],
        },
    }


def _arms(found: Comparison, verdict: Verdict) -> list[dict[str, Any]]:
    """Each arm of each block, with its trials and the chosen one."""
    tried = rates(found)
    rows = []
    for row in records(verdict.arms):
        own = tried[(tried["block"] == row["block"]) & (tried["arm"] == row["arm"])]
        choice = own[own["chosen"]].iloc[0]
        rows.append(
            {
                **row,
                "chosen": {axis: float(choice[axis]) for axis in found.axes},
                "at_border": bool(choice["at_border"]),
                "tried": records(own.drop(columns=["block", "arm", "at_border"])),
            }
        )
    return rows


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values."""
    text = table.to_json(orient="records", double_precision=15)
    return list(json.loads(text))
