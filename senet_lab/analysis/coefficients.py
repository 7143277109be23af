"""Learned activation coefficients over epochs, in long form: one row per epoch, site and coefficient."""

import pandas as pd

from senet_lab.analysis.grouping import Panel
from senet_lab.records.rows import Coefficient, columns
from senet_lab.records.sweep import SweepDirectory

CHANNEL = r"\[\d+\]$"
"""Suffix of a per-channel coefficient's site."""


def coefficients(panel: Panel, sweep: SweepDirectory) -> pd.DataFrame:
    """The coefficients of a panel's runs.

    Returns:
        Columns `line`, `seed` and those of `Coefficient`, sites without their channel; empty without
        coefficients.
    """
    parts = [
        sweep.run(run.directory).activations().assign(line=line.label, seed=run.config.seed)
        for line in panel.lines
        for run in line.runs
    ]
    table = pd.concat(parts, ignore_index=True)[["line", "seed", *columns(Coefficient)]]
    names = {key: table[key].str.replace(CHANNEL, "", regex=True) for key in ("site", "coefficient")}
    return table.assign(**names)


def over_epochs(values: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over sites, channels and seeds.

    Args:
        values: see `coefficients`.

    Returns:
        Columns `line`, `coefficient`, `epoch`, `mean`, `lowest`, `highest`.
    """
    grouped = values.groupby(["line", "coefficient", "epoch"], sort=False)["value"]
    return grouped.agg(mean="mean", lowest="min", highest="max").reset_index()


def last_values(values: pd.DataFrame) -> pd.DataFrame:
    """Each coefficient of each site at the last epoch of each run.

    Args:
        values: see `coefficients`.

    Returns:
        Columns `line`, `site`, `coefficient`, `n` (runs), `mean` and `std` over runs and channels.
    """
    last = values[values["epoch"] == values.groupby(["line", "seed"])["epoch"].transform("max")]
    grouped = last.groupby(["line", "site", "coefficient"], sort=False)
    return grouped.agg(n=("seed", "nunique"), mean=("value", "mean"), std=("value", "std")).reset_index()
