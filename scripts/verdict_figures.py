#!/usr/bin/env python
"""Redraw the figures of a committed comparison from its raw results, without training.

    .venv/bin/python scripts/verdict_figures.py experiment=verdict_digits

The arguments are those of the comparison's own commands. Reads `finals.csv` and `tuning.csv` of
docs/results/<name>, and writes the figures beside them as PNG.
"""

import sys
from pathlib import Path

import pandas as pd

from senet_lab.analysis.trials import Comparison
from senet_lab.analysis.verdict import judge
from senet_lab.composition.command import compose_command
from senet_lab.figures.verdict_charts import pictures
from senet_lab.figures.write import VERDICT, write_drawings
from senet_lab.records.plan import Plan, source_hash
from senet_lab.records.sweep import SweepDirectory
from senet_lab.runs.declare import declare

RESULTS = Path(__file__).parents[1] / "docs" / "results"


def committed(arguments: list[str]) -> tuple[Path, Comparison]:
    """The folder of a committed comparison, and the comparison as its tables hold it.

    Args:
        arguments: of `senet-lab train`.
    """
    command = compose_command("train", arguments, multirun=True)
    folder = RESULTS / command.config.name
    protocol = declare(command.config.protocol, command, " ".join(arguments))
    plan = Plan(SweepDirectory(folder), source_hash(), [], protocol=protocol)
    finals, tuning = (pd.read_csv(folder / f"{name}.csv") for name in ("finals", "tuning"))
    return folder, Comparison(plan, protocol, finals, tuning, unfinished=[])


def main() -> int:
    """Draw; returns the exit code."""
    folder, found = committed(sys.argv[1:])
    answer = judge(found.finals, found.rules)
    drawings = {picture.name.removeprefix(VERDICT): picture.drawing() for picture in pictures(found, answer)}
    return 0 if write_drawings(drawings, folder, ["png"]) else 1


if __name__ == "__main__":
    sys.exit(main())
