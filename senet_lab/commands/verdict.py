"""`senet-lab verdict`: give a comparison's verdict in words, tables and figures."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from senet_lab.analysis.methods import checklists, methods
from senet_lab.analysis.trials import Comparison, rates, read_comparison
from senet_lab.analysis.verdict import READING, Verdict, judge
from senet_lab.analysis.verdict_tables import (
    CHOICES,
    PAIRS,
    SUMMARY,
    as_json,
    best_cells,
    choice_table,
    pair_table,
    pairs_latex,
    summary,
    summary_latex,
)
from senet_lab.commands.terminal import print_table, strong
from senet_lab.composition.command import Command
from senet_lab.config import Format
from senet_lab.errors import UsageError
from senet_lab.figures.write import check_formats, write_drawings
from senet_lab.files import make_writable, write_atomic
from senet_lab.records.plan import PlannedRun
from senet_lab.records.protocol import Stage
from senet_lab.records.selection import Selection, select
from senet_lab.records.sweep import SweepDirectory, sweep_directory
from senet_lab.records.trials import role_of
from senet_lab.text import counted, csv_table


def verdict(command: Command) -> int:
    """Write the verdict on a complete comparison and its figures, and print it as text or JSON.

    Returns:
        The exit code: 0, or 1 if the browser failed to render a figure.

    Raises:
        UsageError: no comparison, or one with unfinished runs; a selection of some of its runs; an unknown
            format.
    """
    check_formats(command.config.formats)
    sweep = sweep_directory(command.config.outputs, command.config.name)
    found = read_comparison(sweep)
    found.require_complete()
    _require_all(found, command.selection)
    answer = judge(found.finals, found.rules)
    files = write_verdict(sweep, found, answer)
    is_json = command.config.format is Format.json
    if is_json:
        print(sweep.verdict_json.read_text("utf-8"), end="", flush=True)
    else:
        show(found, answer)
        print("\n".join(map(str, files)))
    # Imported late, after the words are printed: bokeh and chartify take a second.
    from senet_lab.figures.verdict_charts import pictures

    make_writable(sweep.figures)
    drawings = {picture.name: picture.drawing() for picture in pictures(found, answer)}
    told = sys.stderr if is_json else sys.stdout
    return 0 if write_drawings(drawings, sweep.figures, command.config.formats, sweep.path, told) else 1


def _require_all(found: Comparison, selection: Selection) -> None:
    """Refuse a selection that leaves out confirmation runs: claims are corrected for all pairs of arms."""
    chosen, every = (_confirmations(runs) for runs in (select(found.plan.runs, selection), found.plan.runs))
    if chosen < every:
        words = " ".join(f"{key}={','.join(choice.values)}" for key, choice in selection.items())
        raise UsageError(
            f"{words} leaves out {every - chosen} of {counted(every, 'confirmation run')}: a verdict is on "
            "all of them; senet-lab plot draws a selection"
        )


def _confirmations(runs: Sequence[PlannedRun]) -> int:
    return sum(role_of(run).stage is Stage.confirm for run in runs)


def conclude(sweep: SweepDirectory) -> None:
    """Write and print the verdict, or print that the confirmation is still to come."""
    found = read_comparison(sweep)
    if found.plan.is_open:
        print("stopped before the confirmation: without power=true the same command goes on with it")
        return
    answer = judge(found.finals, found.rules)
    write_verdict(sweep, found, answer)
    print("\n".join(answer.lead()))
    print(f"all tables: senet-lab verdict {sweep.words}, or {sweep.verdict_json}")


def show(found: Comparison, answer: Verdict) -> None:
    """Print the verdict: words, arm × block, chosen values, pairs."""
    print("\n".join([*answer.lead(), READING]))
    overview, best = summary(answer), best_cells(answer)
    for block in answer.blocks:
        overview[block] = [
            strong(text) if (block, arm) in best else text
            for arm, text in zip(overview["arm"], overview[block], strict=True)
        ]
    print_table(list(overview), overview.itertuples(index=False), SUMMARY)
    choices = choice_table(found)
    print_table(list(choices), choices.itertuples(index=False), CHOICES)
    for block in answer.blocks:
        pairs = pair_table(answer, block)
        print_table(list(pairs), pairs.itertuples(index=False), f"{block}: {PAIRS}")


def write_verdict(sweep: SweepDirectory, found: Comparison, answer: Verdict) -> list[Path]:
    """Write JSON, CSV, LaTeX and the methods section into the sweep's folder; returns the files' paths."""
    make_writable(sweep.path)
    early = found.common_verdict
    tables = {
        sweep.verdict_file: answer.pairs,
        sweep.verdict / "arms.csv": answer.arms,
        sweep.verdict / "summary.csv": summary(answer),
        sweep.verdict / "finals.csv": found.finals,
        sweep.verdict / "tuning.csv": found.tuning,
        sweep.verdict / "rates.csv": rates(found),
        sweep.verdict / "common_rate.csv": found.common_rate[1] if early is None else early.pairs,
        sweep.verdict / "ranks.csv": answer.across.ranks,
        sweep.verdict / "checklists.csv": checklists(found),
    }
    texts = {
        sweep.verdict_json: json.dumps(as_json(found, answer), indent=1, ensure_ascii=False) + "\n",
        **{path: csv_table(table) for path, table in tables.items()},
        sweep.verdict / "summary.tex": summary_latex(answer),
        sweep.verdict / "pairs.tex": pairs_latex(answer),
        sweep.verdict / "methods.txt": "\n\n".join(methods(found)) + "\n",
    }
    for path, text in texts.items():
        write_atomic(path, text, sweep.path)
    return list(texts)
