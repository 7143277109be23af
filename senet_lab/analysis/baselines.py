"""The published curves of GSPuniani/MBG-Activation-Functions; `published/README.md` says what they are."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import pandas as pd

from senet_lab.analysis.grouping import Figure, Line

FOLDER = Path(__file__).parent / "published"
FINAL_EPOCH = 99
KEYS = ["model", "lr", "activation"]


@dataclass(frozen=True)
class Published:
    """Mean test error of the 3 published runs."""

    curve: pd.DataFrame
    """Columns `epoch` and `mean`; every epoch, or the seven that were read off a plot."""
    final: float
    """At `FINAL_EPOCH`."""
    runs: pd.DataFrame | None
    """Each run's error: a row an epoch, a column a run; None where only means are known."""


@cache
def _tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Curves, final values and single runs of everything published, as errors, indexed by `KEYS`."""
    runs = pd.read_csv(FOLDER / "published_curves_lr0.001.csv").set_index([*KEYS, "epoch", "run"])
    errors = 1 - runs["test_top1"].unstack("run")
    digitised = pd.read_csv(FOLDER / "published_curves_digitised.csv").set_index([*KEYS, "epoch"])
    finals = pd.read_csv(FOLDER / "published_final_top1.csv").set_index(KEYS)["test_top1_mean"]
    means = [errors.mean(axis="columns"), digitised["test_error_mean"]]
    curves = pd.concat(means).rename("mean").reset_index("epoch")
    return curves.sort_index(), 1 - finals, errors


def published(line: Line) -> Published | None:
    """What was published for a line: a `published/` network on CIFAR-10 at a published learning rate."""
    config = line.config
    name = PurePosixPath(config.model["name"])
    key = (name.name, config.lr, config.activation["name"])
    curves, finals, runs = _tables()
    if name.parts[0] != "published" or config.dataset["label"] != "CIFAR-10" or key not in finals:
        return None
    known_runs = runs.loc[key] if key in runs.index.droplevel("epoch") else None
    return Published(curves.loc[[key]].reset_index(drop=True), float(finals[key]), known_runs)


def source_note(figure: Figure) -> list[str]:
    """A sentence on where the published curves of a figure come from; none where there are none."""
    known = [values for line in figure.lines if (values := published(line))]
    if not known:
        return []
    points = max(len(values.curve) for values in known)
    read = "" if points > FINAL_EPOCH else f", read off the published plot at {points} epochs"
    return [f"Dotted: published mean of 3 runs{read}."]


def with_published(table: pd.DataFrame, figures: Iterable[Figure]) -> pd.DataFrame:
    """`curves.finals` with the `published` final error and ours minus it (`difference`).

    The difference is there only where our curve ends at `FINAL_EPOCH` too.
    """
    known = [published(line) for figure in figures for line in figure.lines]
    values = pd.Series([p.final if p else float("nan") for p in known], index=table.index, dtype=float)
    same_epoch = (table["epoch"] == FINAL_EPOCH).fillna(False).astype(bool)
    return table.assign(published=values, difference=(table["mean"] - values).where(same_epoch))
