"""The parts of a report that a comparison leads with: the answer, its figures and tables, the methods."""

from senet_lab.analysis.methods import checklists, methods
from senet_lab.analysis.trials import comparison
from senet_lab.analysis.verdict import judge
from senet_lab.analysis.verdict_tables import pair_table, summary
from senet_lab.errors import UsageError
from senet_lab.figures.page import Section, table
from senet_lab.figures.verdict_charts import pictures
from senet_lab.records.plan import read_plan
from senet_lab.records.sweep import SweepDirectory

SUMMARY = "Mean test error in % and its 95 % interval; †: not told apart from the best"
PAIRS = "differences in points of error; negative ones speak for the arm"


def verdict_sections(sweep: SweepDirectory) -> list[Section]:
    """Verdict and methods of a comparison; none for another sweep, the reason where there is none yet."""
    plan = read_plan(sweep)
    if plan is None or plan.protocol is None:
        return []
    try:
        found = comparison(plan, plan.protocol)
        found.require_complete()
    except UsageError as error:
        return [Section("Verdict", alerts=[str(error)])]
    answer = judge(found.finals, found.rules)
    overview = summary(answer)
    short = table(SUMMARY, overview, {name: name for name in overview})
    pairs = {block: pair_table(answer, block) for block in answer.blocks}
    tables = [table(f"{block}: {PAIRS}", one, {name: name for name in one}) for block, one in pairs.items()]
    lists = checklists(found)
    folded = table("Reproducibility checklists", lists, {name: name for name in lists}, is_folded=True)
    return [
        Section("Verdict", answer.lead(), tables=[short]),
        *(picture.section() for picture in pictures(found, answer)),
        Section("Every two arms", tables=tables),
        Section("Methods", notes=methods(found), tables=[folded]),
    ]
