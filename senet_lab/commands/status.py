"""`senet-lab status`: list the state of each run of a sweep, and the missing runs of each figure."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from senet_lab.analysis.templates import places
from senet_lab.commands.terminal import columns
from senet_lab.composition.command import Command
from senet_lab.config import Format
from senet_lab.records.figures import planned_config
from senet_lab.records.plan import Plan, PlannedRun, require_plan
from senet_lab.records.run import FINAL, State
from senet_lab.records.selection import select
from senet_lab.records.survey import Survey
from senet_lab.records.sweep import sweep_directory
from senet_lab.text import counted

WATCH_SECONDS = 1.0


def status(command: Command) -> int:
    """Print the state of each run, or of the selected ones; with `watch=true`, repeatedly until all are done.

    Raises:
        UsageError: no plan, or no selected run.
    """
    sweep = sweep_directory(command.config.outputs, command.config.name)
    plan = require_plan(sweep)
    survey, figures = _chosen(command, plan)
    survey.refresh()
    if command.config.format is Format.json:
        print(json.dumps(_as_json(survey, figures), indent=2))
        return 0
    if not command.config.watch:
        print(_text(survey, figures, only_open=False))
        return 0
    from rich.live import Live  # 20 ms that only watching needs
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        while survey.refresh().without_state(*FINAL) or plan.is_open:
            live.update(Text(_text(survey, figures, only_open=True)), refresh=True)
            time.sleep(WATCH_SECONDS)
            if plan.is_open:  # more runs may have been added
                plan = require_plan(sweep)
                survey, figures = _chosen(command, plan)
        live.update(Text(_text(survey, figures, only_open=True)), refresh=True)
    return 0


def _chosen(command: Command, plan: Plan) -> tuple[Survey, list[str]]:
    """The selected runs of a plan, and the figure of each."""
    runs = select(plan.runs, command.selection)
    figures = planned_config(command, plan.sweep).figures
    return Survey(plan.sweep, runs), [place.figure for place in places(runs, figures)]


def _as_json(survey: Survey, figures: Sequence[str]) -> dict[str, Any]:
    return {
        "sweep": str(survey.sweep.path),
        "counts": {state: survey.counts()[state] for state in State},
        "runs": [
            {"directory": run.directory, **asdict(survey.statuses[run.directory])} for run in survey.runs
        ],
        "figures": [
            {"figure": figure, "runs": len(runs), "missing": missing}
            for figure, (runs, missing) in _by_figure(survey, figures).items()
        ],
    }


def _by_figure(survey: Survey, figures: Sequence[str]) -> dict[str, tuple[list[PlannedRun], list[str]]]:
    """The runs of each figure that `plot` draws, and the directories of the unfinished ones."""
    done = {run.directory for run in survey.with_state(*FINAL)}
    found: dict[str, tuple[list[PlannedRun], list[str]]] = {}
    for run, figure in zip(survey.runs, figures, strict=True):
        runs, missing = found.setdefault(figure, ([], []))
        runs.append(run)
        if run.directory not in done:
            missing.append(run.directory)
    return found


def _text(survey: Survey, figures: Sequence[str], only_open: bool) -> str:
    """Runs, figures and counts; without rich, which takes ten seconds for ten thousand rows."""
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
    totals = [("figure", "runs", "missing")]
    for figure, (members, missing) in _by_figure(survey, figures).items():
        totals.append((figure, str(len(members)), str(len(missing))))
    counts = ", ".join(f"{count} {state}" for state, count in survey.counts().items())
    done, epochs = survey.epochs()
    total = f"{counted(len(survey.runs), 'run')}: {counts}; epochs {done:.1f}/{epochs}"
    return "\n\n".join([columns(runs), columns(totals), *survey.stages(), total])
