"""A committed comparison is judged and drawn again from its raw results."""

from pathlib import Path

import pandas as pd
import pytest

from senet_lab.analysis.trials import Comparison, rates
from senet_lab.analysis.verdict import judge
from senet_lab.figures.verdict_charts import pictures
from senet_lab.figures.write import VERDICT

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def committed() -> tuple[Path, Comparison]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        import verdict_figures

    return verdict_figures.committed(["experiment=verdict_digits"])


def test_the_committed_tables_follow_from_the_committed_runs(committed: tuple[Path, Comparison]) -> None:
    folder, found = committed
    answer = judge(found.finals, found.rules)
    for name, table in (("verdict", answer.pairs), ("arms", answer.arms), ("rates", rates(found))):
        expected = pd.read_csv(folder / f"{name}.csv")
        pd.testing.assert_frame_equal(table, expected, check_exact=True, check_dtype=False)


def test_the_committed_figures_are_those_that_the_script_draws(committed: tuple[Path, Comparison]) -> None:
    folder, found = committed
    answer = judge(found.finals, found.rules)
    drawn = {f"{picture.name.removeprefix(VERDICT)}.png" for picture in pictures(found, answer)}
    assert {file.name for file in folder.glob("*.png")} == drawn
    shown = (folder / "README.md").read_text("utf-8")
    assert all(f"]({name})" in shown for name in drawn)
