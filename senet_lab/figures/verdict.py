"""Report sections of a comparison: the verdict, its figures and tables, the methods."""

from senet_lab.analysis.methods import checklists, methods
from senet_lab.analysis.trials import Comparison, comparison
from senet_lab.analysis.verdict import READING, Verdict, judge
from senet_lab.analysis.verdict_tables import (
    CHOICES,
    PAIRS,
    SUMMARY,
    best_cells,
    choice_table,
    pair_table,
    summary,
)
from senet_lab.errors import UsageError
from senet_lab.figures.page import LAST, Cell, Section, Table, table
from senet_lab.figures.verdict_charts import pictures
from senet_lab.records.plan import read_plan
from senet_lab.records.sweep import SweepDirectory
from senet_lab.text import MISSING

NUMBERS = {
    "pairs": "n",
    "difference": "difference",
    "p (Holm)": "p_holm",
    "P(better)": "p_better",
    "p (equivalent)": "p_equivalent_holm",
}
"""Columns of the verdict's pairs by which columns of a page's table are sorted."""


def verdict_sections(sweep: SweepDirectory) -> list[Section]:
    """Sections of a comparison's verdict, or the reason why there is none yet; none for a plain sweep."""
    plan = read_plan(sweep)
    if plan is None or plan.protocol is None:
        return []
    try:
        found = comparison(plan, plan.protocol)
        found.require_complete()
    except UsageError as error:
        return [Section("Verdict", alerts=[str(error)])]
    answer = judge(found.finals, found.rules)
    short = _summary(answer)
    tables = [_pairs(answer, block) for block in answer.blocks]
    lists = checklists(found)
    folded = table("Reproducibility checklists", lists, {name: name for name in lists}, is_folded=True)
    return [
        Section("Verdict", [*answer.lead(), READING], tables=[short]),
        *(picture.section() for picture in pictures(found, answer)),
        Section("Tuning", tables=[_choices(found)]),
        Section("Every two arms", tables=tables),
        Section("Methods", notes=methods(found), tables=[folded]),
    ]


def _summary(answer: Verdict) -> Table:
    """`summary` for a page: sorted by mean error, the best in bold."""
    overview, best = summary(answer), best_cells(answer)
    errors = answer.arms.set_index(["block", "arm"])["error"]
    for block in answer.blocks:
        overview[block] = [
            Cell(text, float(errors[block, arm]), is_strong=(block, arm) in best)
            for arm, text in zip(overview["arm"], overview[block], strict=True)
        ]
    return table(SUMMARY, overview, {name: name for name in overview})


def _choices(found: Comparison) -> Table:
    """`choice_table` for a page, sorted by numbers."""
    choices = choice_table(found)
    for name in choices.columns.difference(["block", "arm", "at the border"]):
        choices[name] = [Cell(text, LAST if text == MISSING else float(text)) for text in choices[name]]
    return table(CHOICES, choices, {name: name for name in choices})


def _pairs(answer: Verdict, block: str) -> Table:
    """`pair_table` for a page, sorted by numbers."""
    pairs, numbers = pair_table(answer, block), answer.pairs[answer.pairs["block"] == block]
    for name, column in NUMBERS.items():
        keys = numbers[column].fillna(LAST)
        pairs[name] = [Cell(text, float(key)) for text, key in zip(pairs[name], keys, strict=True)]
    return table(f"{block}: {PAIRS}", pairs, {name: name for name in pairs})
