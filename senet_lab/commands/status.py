"""`senet-lab status`: where each run of a sweep stands, and what each figure still misses."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.live import Live
from rich.text import Text

from senet_lab.compose import Command
from senet_lab.config import Format
from senet_lab.records.plan import PlannedRun, require_plan
from senet_lab.records.run import FINAL, State
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import sweep_directory

WATCH_SECONDS = 1.0


def status(command: Command, arguments: Sequence[str]) -> int:  # noqa: ARG001
    """Print the state of each run; with `watch=true` until all are done.

    Raises:
        UsageError: no plan, so nothing to tell of.
    """
    sweep = sweep_directory(command.config.outputs, command.config.name)
    survey = Survey(sweep, require_plan(sweep).runs).refresh()
    if command.config.format is Format.json:
        print(json.dumps(_as_json(survey), indent=2))
        return 0
    if not command.config.watch:
        print(_text(survey, only_open=False))
        return 0
    with Live(auto_refresh=False) as live:
        while survey.refresh().without_state(*FINAL):
            live.update(Text(_text(survey, only_open=True)), refresh=True)
            time.sleep(WATCH_SECONDS)
        live.update(Text(_text(survey, only_open=True)), refresh=True)
    return 0


def _as_json(survey: Survey) -> dict[str, Any]:
    return {
        "sweep": str(survey.sweep.path),
        "counts": {state: survey.counts()[state] for state in State},
        "runs": [
            {"directory": run.directory, **asdict(survey.statuses[run.directory])} for run in survey.runs
        ],
        "figures": [
            {"model": model, "lr": lr, "runs": len(runs), "missing": missing}
            for (model, lr), (runs, missing) in _figures(survey).items()
        ],
    }


def _figures(survey: Survey) -> dict[tuple[str, float], tuple[list[PlannedRun], list[str]]]:
    """For each model and learning rate its runs, and the directories of those that are not at their end."""
    done = {run.directory for run in survey.with_state(*FINAL)}
    figures: dict[tuple[str, float], tuple[list[PlannedRun], list[str]]] = {}
    for run in survey.runs:
        runs, missing = figures.setdefault((run.config.model["name"], run.config.lr), ([], []))
        runs.append(run)
        if run.directory not in done:
            missing.append(run.directory)
    return figures


def _text(survey: Survey, only_open: bool) -> str:
    """Runs, figures and counts; by hand, because rich lays out ten thousand rows for ten seconds."""
    runs = [("run", "state", "epochs", "test top-1", "error")]
    for run in survey.runs:
        status = survey.statuses[run.directory]
        if only_open and status.state in (*FINAL, State.PLANNED):
            continue
        top1 = status.test_top1
        runs.append(
            (
                run.directory,
                status.state,
                f"{status.epochs_done}/{run.config.epochs}",
                "" if top1 is None else f"{top1:.4f}",
                status.message,
            )
        )
    figures = [("figure: model", "lr", "runs", "missing")]
    for (model, lr), (members, missing) in _figures(survey).items():
        figures.append((model, repr(lr), str(len(members)), str(len(missing))))
    counts = ", ".join(f"{count} {state}" for state, count in survey.counts().items())
    done, epochs = survey.epochs()
    total = f"{len(survey.runs)} runs: {counts}; epochs {done:.1f}/{epochs}"
    return "\n\n".join([_columns(runs), _columns(figures), total])


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
