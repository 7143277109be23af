"""The numbers that a verdict's charts draw, read back from the charts and from the pages."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from protocols import arguments_of, requests

from senet_lab.analysis.effects import Claim, Rules
from senet_lab.analysis.trials import rates, read_comparison
from senet_lab.analysis.verdict import READING, Verdict, judge
from senet_lab.cli import main
from senet_lab.composition.command import compose_command
from senet_lab.config import Band
from senet_lab.figures.export import Picture
from senet_lab.figures.live import LiveSweep
from senet_lab.figures.page import render_section
from senet_lab.figures.style import FADED, INK
from senet_lab.figures.verdict import verdict_sections
from senet_lab.figures.verdict_charts import draw_blocks, draw_ranks, draw_tuning, pictures
from senet_lab.figures.verdict_rows import CLAIMS, DIVERGED, SEED, draw_differences, draw_finals
from senet_lab.records.plan import PlannedRun
from senet_lab.records.protocol import Stage
from senet_lab.records.sweep import SweepDirectory
from senet_lab.records.trials import role_of

RULES = Rules("ReLU", 0.005)
EFFECTS = {"ReLU": 0.0, "Mish": -0.02, "Swish": 0.0004, "Tanh": 0.02, "GELU": -0.001, "ELU": 0.012}


def runs(effects: dict[str, float] = EFFECTS, blocks: int = 1, seeds: int = 8) -> pd.DataFrame:
    """Errors around 20 %: an effect of the arm, one of the seed, and one of both."""
    rng = np.random.default_rng(0)
    rows = [
        {"block": f"net {block}", "arm": arm, "seed": seed, "error": 0.2 + effect + rng.normal(0, 0.002)}
        for block in range(blocks)
        for arm, effect in effects.items()
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).assign(diverged=False)


def drawn(picture: Picture, name: str) -> pd.DataFrame:
    """The rows of all renderers of that name, with their glyph and their entry in the legend."""
    parts = [
        pd.DataFrame({key: list(values) for key, values in one.data_source.data.items()}).assign(
            glyph=type(one.glyph).__name__, entry=entry(picture, one)
        )
        for one in picture.chart.figure.renderers
        if one.name == name
    ]
    return pd.concat(parts, ignore_index=True)


def entry(picture: Picture, renderer: Any) -> str:
    """The label of a renderer in the legend."""
    items = [item for legend in picture.chart.figure.legend for item in legend.items]
    return next((item.label.value for item in items if renderer in item.renderers), "")


def row_labels(picture: Picture) -> list[str]:
    """The labels of the left axis, from top to bottom."""
    overrides = picture.chart.figure.yaxis[0].major_label_overrides
    return [overrides[place] for place in sorted(overrides, reverse=True)]


def test_differences_are_those_of_the_verdict_the_best_on_top() -> None:
    verdict = judge(runs(), RULES)
    picture = draw_differences("x", verdict, "net 0")
    pairs = verdict.pairs[verdict.pairs["baseline"] == "ReLU"].sort_values("difference")
    assert row_labels(picture) == list(pairs["arm"])
    points = drawn(picture, "mean").sort_values("row", ascending=False)
    bars = drawn(picture, "interval").sort_values("row", ascending=False)
    assert list(points["difference"]) == pytest.approx(list(100 * pairs["difference"]))
    assert list(bars["low"]) == pytest.approx(list(100 * pairs["low"]))
    assert list(bars["high"]) == pytest.approx(list(100 * pairs["high"]))
    assert list(points["entry"]) == [CLAIMS[claim][0] for claim in pairs["claim"]]
    assert {"better", "worse", "equivalent"} <= set(points["entry"])


def test_the_smallest_difference_that_matters_is_shaded() -> None:
    figure = draw_differences("x", judge(runs(), RULES), "net 0").chart.figure
    (box,) = [part for part in figure.center if type(part).__name__ == "BoxAnnotation"]
    assert (box.left, box.right) == (-0.5, 0.5)
    assert figure.x_range.start < -0.5 < 0.5 < figure.x_range.end


def test_labels_of_records_are_plain_text_in_a_chart() -> None:
    table = runs({"ReLU": 0.0, "$$x$$\x1b[1m": -0.02}).assign(block="$$net$$")
    verdict = judge(table, RULES)
    picture = draw_differences("x", verdict, "$$net$$")
    assert row_labels(picture) == [r"$ $x$ $\x1b[1m"]
    assert picture.chart.title == "$ $net$ $: differences to ReLU"


def test_no_two_claims_look_alike() -> None:
    looks = [look for _, look in CLAIMS.values()]
    assert len({look.color for look in looks}) == len({look.dash for look in looks}) == len(CLAIMS)


def test_an_arm_far_off_does_not_squash_the_others_and_is_told_as_a_number() -> None:
    verdict = judge(runs({**EFFECTS, "Sigmoid": 0.6}), RULES)
    picture = draw_differences("x", verdict, "net 0")
    assert picture.chart.figure.x_range.end < 5
    (told,) = drawn(picture, "text")["text"]
    assert re.fullmatch(r"worse, (59\.9|60\.[01]) →", told)
    assert set(drawn(picture, "text")["color"]) == {CLAIMS[Claim.worse][1].color}
    assert row_labels(picture)[-1] == "Sigmoid"
    assert "Sigmoid" not in set(drawn(picture, "mean")["arm"])
    assert picture.notes == ["Far beyond the right edge, so told as numbers: Sigmoid."]


def test_every_seed_is_a_dot_in_the_row_of_its_arm() -> None:
    table = runs()
    verdict = judge(table, RULES)
    picture = draw_finals("x", table, verdict, "net 0")
    order = list(verdict.arms["arm"])
    assert row_labels(picture) == order
    assert list(verdict.arms["error"]) == sorted(verdict.arms["error"])
    points = drawn(picture, "mean")
    dots = points[points["entry"] == SEED]
    for arm, own in table.groupby("arm"):
        mine = dots[dots["arm"] == arm]
        assert sorted(mine["error"]) == pytest.approx(sorted(100 * own["error"]))
        assert (-mine["row"]).round().eq(order.index(arm)).all()
    means = points[points["entry"].isin(["mean, 95 % interval", "baseline"])]
    assert list(means[means["entry"] == "baseline"]["arm"]) == ["ReLU"]
    assert dict(zip(means["arm"], means["error"], strict=True)) == pytest.approx(
        dict(zip(order, 100 * verdict.arms["error"], strict=True))
    )


def test_equal_errors_of_a_row_lie_beside_each_other() -> None:
    table = runs().assign(error=lambda frame: frame["error"].round(2))
    points = drawn(draw_finals("x", table, judge(table, RULES), "net 0"), "mean")
    dots = points[points["entry"] == SEED]
    assert dots["error"].nunique() < len(EFFECTS) * 3
    assert not dots.duplicated(["error", "row"]).any()
    assert (dots["row"] - dots["row"].round()).abs().max() < 0.5


def test_a_diverged_run_is_marked_and_leaves_the_range_to_the_others() -> None:
    table = runs(seeds=12)
    lost = (table["arm"] == "Mish") & (table["seed"] == 3)
    table.loc[lost, ["error", "diverged"]] = [0.9, True]
    picture = draw_finals("x", table, judge(table, RULES), "net 0")
    points = drawn(picture, "mean")
    assert list(points.loc[points["entry"] == DIVERGED, "error"]) == [90]
    assert picture.chart.figure.x_range.end < 40
    assert picture.notes == ["Beyond the right edge, too: 1 diverged run of Mish."]


@pytest.mark.parametrize("diverged", [False, True])
def test_equal_errors_have_an_axis_around_them(diverged: bool) -> None:
    table = runs().assign(error=0.9, diverged=diverged)
    picture = draw_finals("x", table, judge(table, RULES), "net 0")
    axis = picture.chart.figure.x_range
    assert (axis.start, axis.end) == (89.5, 90.5)
    kinds = drawn(picture, "mean")["entry"].value_counts()
    assert kinds[DIVERGED if diverged else SEED] == len(table)


def tried(arms: int) -> pd.DataFrame:
    """Rates with the lowest error at 0.01 for even arms and at 0.1 for odd ones."""
    rows = [
        {
            "block": "net 0", "arm": f"arm {arm}", "epochs": 5, "n": 3, "std": 0.01, "diverged": 0, "lr": lr,
            "error": 0.2 + 0.001 * arm + 0.1 * abs(np.log10(lr / best)), "chosen": lr == best,
        }
        for arm in range(arms)
        for best in [0.1 if arm % 2 else 0.01]
        for lr in (0.001, 0.01, 0.1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


class _Protocol:
    """The parts of a protocol that the chart reads: sixteen arms without colours of their own."""

    class declared:  # noqa: N801
        arms, tuning_seeds, space = "activation", (0, 1, 2), {"lr": (0.001, 0.1)}

    class Cell:
        def __init__(self, arm: str) -> None:
            self.arm = arm
            self.plain: dict[str, Any] = {"activation": {"name": "x"}}

    baseline = "arm 9"

    def __init__(self, arms: int) -> None:
        self.cells = [self.Cell(f"arm {arm}") for arm in range(arms)]


def test_each_arm_has_a_line_over_its_rates_and_a_mark_at_the_chosen_one() -> None:
    protocol: Any = _Protocol(3)
    protocol.baseline = "arm 0"
    picture = draw_tuning("x", tried(3), "lr", protocol)
    figure = picture.chart.figure
    assert (type(figure.x_scale).__name__, type(figure.y_scale).__name__) == ("LogScale", "LogScale")
    points = drawn(picture, "mean")
    lines = points[points["glyph"] == "Line"]
    for arm, own in tried(3).groupby("arm"):
        line = lines[lines["arm"] == arm]
        assert list(line["lr"]) == [0.001, 0.01, 0.1]
        assert list(line["error"]) == pytest.approx(list(100 * own["error"]))
    marks = points[points["glyph"] == "Scatter"].set_index("arm")["lr"].to_dict()
    assert marks == {"arm 0": 0.01, "arm 1": 0.1, "arm 2": 0.01}
    band = next(one for one in figure.renderers if one.name == "band").data_source.data
    assert max(band["low"][:3] - lines[lines["arm"] == "arm 0"]["error"]) == pytest.approx(-1)


def test_of_sixteen_arms_seven_have_a_look_of_their_own_and_the_rest_is_grey() -> None:
    protocol: Any = _Protocol(16)
    picture = draw_tuning("x", tried(16), "lr", protocol)
    legend = [item.label.value for item in picture.chart.figure.legend[0].items]
    assert legend == ["arm 9", *(f"arm {arm}" for arm in range(6)), "9 others"]
    lines = [one for one in picture.chart.figure.renderers if type(one.glyph).__name__ == "Line"]
    assert len(lines) == 16
    colors = [one.glyph.line_color.upper() for one in lines]
    assert colors.count(FADED) == 9
    assert len({color for color in colors if color != FADED}) == 7
    (hover,) = [tool for tool in picture.chart.figure.tools if type(tool).__name__ == "HoverTool"]
    assert set(lines) <= set(hover.renderers)
    bands = [entry(picture, one) for one in picture.chart.figure.renderers if one.name == "band"]
    assert bands == ["arm 9"], "more would bury the lines"
    assert "sample standard deviation of arm 9;" in picture.chart.subtitle


def across(blocks: int) -> Verdict:
    return judge(runs({"ReLU": 0.0, "Mish": -0.02, "Tanh": 0.02, "Elu": 0.0201}, blocks, 3), RULES)


def test_the_heat_map_has_a_cell_for_each_arm_and_block_with_rank_and_error() -> None:
    verdict = across(2)
    picture = draw_blocks("x", verdict)
    cells = drawn(picture, "mean")
    assert len(cells) == 8
    expected = verdict.arms.set_index(["arm", "block"])["rank"].to_dict()
    assert dict(zip(zip(cells["row"], cells["column"], strict=True), cells["rank"], strict=True)) == expected
    best_on_top = list(picture.chart.figure.y_range.factors)[::-1]
    assert best_on_top[:2] == ["Mish", "ReLU"]
    (text,) = [one.data_source.data for one in picture.chart.figure.renderers if one.name == "text"]
    mean = 100 * verdict.arms["error"]
    assert sorted(map(float, text["text"])) == pytest.approx(sorted(mean), abs=0.005)


def test_equal_arms_have_legible_cells() -> None:
    figure = draw_blocks("x", judge(runs(blocks=2).assign(error=0.2), RULES)).chart.figure
    (cells,) = [one for one in figure.renderers if one.name == "mean"]
    (text,) = [one for one in figure.renderers if one.name == "text"]
    mapper = cells.glyph.fill_color.transform
    assert mapper.low == min(cells.data_source.data["rank"]) < mapper.high
    assert set(text.data_source.data["ink"]) == {INK}


def test_the_diagram_of_ranks_joins_what_is_not_told_apart() -> None:
    verdict = across(9)
    assert verdict.across.refusal is None
    picture = draw_ranks("x", verdict.across)
    ranks = verdict.across.ranks.set_index("arm")["mean_rank"]
    dots = drawn(picture, "mean")
    assert dict(zip(dots["arm"], dots["mean_rank"], strict=True)) == ranks.to_dict()
    bars = [one.data_source.data["x"] for one in picture.chart.figure.renderers if one.name == "group"]
    expected = [[ranks[group[0]] - 0.05, ranks[group[-1]] + 0.05] for group in verdict.across.groups]
    assert [list(bar) for bar in bars] == [pytest.approx(span) for span in expected]
    assert len(expected) == 1
    left, right = (list(axis.major_label_overrides.values()) for axis in picture.chart.figure.yaxis)
    assert [*left, *right[::-1]] == list(ranks.index)


NAMES = {1: set(), 2: {"verdict_blocks"}, 6: {"verdict_blocks", "verdict_ranks"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small comparison with its plan and records, complete."""
    path = tmp_path_factory.mktemp("comparison")

    def error_of(run: PlannedRun) -> float:
        role, lr = role_of(run), run.plain["lr"]
        noise = 0.001 * (run.plain["seed"] % 5) if role.arm == "Mish" or role.stage is Stage.tune else 0.0
        return 0.3 - 0.05 * (role.arm == "Mish") + 0.01 * max(lr / 0.1, 0.1 / lr) + noise

    requests(arguments_of(path, "protocol.widen=false"), error_of)
    return path


@pytest.mark.parametrize("blocks", list(NAMES))
def test_blocks_and_ranks_are_drawn_where_there_is_something_to_compare(folder: Path, blocks: int) -> None:
    table = runs({"ReLU": 0.0, "Mish": -0.02}, blocks, 3)
    found = replace(read_comparison(SweepDirectory(folder / "outputs" / "verdict")), finals=table)
    renamed = [rates(found).assign(block=f"net {block}") for block in range(blocks)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("senet_lab.figures.verdict_charts.rates", lambda _: pd.concat(renamed))
        names = [picture.name for picture in pictures(found, judge(table, RULES))]
    assert {name for name in names if name in {"verdict_blocks", "verdict_ranks"}} == NAMES[blocks]
    assert len(names) == len(set(names)) == 3 * blocks + len(NAMES[blocks])
    assert names[0] == ("verdict_differences" if blocks == 1 else "verdict_differences_1_net_0")


def arrays_of(page: str) -> str:
    """The JSON of a page's figures."""
    start = page.index('<script type="application/json"')
    return page[page.index(">", start) + 1 : page.index("</script>", start)]


@pytest.mark.browser
def test_the_command_writes_each_figure_in_each_format(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["verdict", "experiment=verdict", f"outputs={folder / 'outputs'}", "format=json"]
    assert main(asked) == 0
    sweep = SweepDirectory(folder / "outputs" / "verdict")
    (pair,) = json.loads(capfd.readouterr().out)["pairs"]
    kinds = ("differences", "finals", "lr")
    expected = {f"verdict_{kind}.{form}" for kind in kinds for form in ("html", "png", "svg", "pdf")}
    assert {file.name for file in sweep.figures.iterdir()} == expected
    content = json.loads(arrays_of((sweep.figures / "verdict_differences.html").read_text("utf-8")))
    assert pair["sentence"] in json.dumps(content, ensure_ascii=False)
    svg = (sweep.figures / "verdict_differences.svg").read_text("utf-8")
    assert "Mish" in svg
    assert "better" in svg
    assert main(["plot", *asked[1:3], "formats=[html]"]) == 0
    assert "of other templates" not in capfd.readouterr().out


def test_a_reports_summary_sets_the_best_in_bold_and_sorts_by_error(folder: Path) -> None:
    answer, *_ = verdict_sections(SweepDirectory(folder / "outputs" / "verdict"))
    (summary,) = answer.tables
    assert answer.notes[0].startswith("Mish has the lowest mean error")
    assert answer.notes[-1] == READING
    assert [(arm.text, error.is_strong) for arm, error in summary.rows] == [("Mish", True), ("ReLU", False)]
    assert [error.key for _, error in summary.rows] == pytest.approx([0.261, 0.31])
    (best,) = re.findall("<strong>(.*?)</strong>", render_section(answer, "verdict"))
    assert best == summary.rows[0][1].text


def test_a_reports_pairs_are_sorted_by_numbers(folder: Path) -> None:
    sections = verdict_sections(SweepDirectory(folder / "outputs" / "verdict"))
    (pairs,) = next(part for part in sections if part.heading == "Every two arms").tables
    cells = dict(zip(pairs.columns, pairs.rows[0], strict=True))
    assert cells["difference"].text.startswith("−4.9")
    assert cells["difference"].key == pytest.approx(-0.049)
    assert (cells["pairs"].key, cells["P(better)"].key) == (3, 1)
    assert cells["claim"].key == "better"


def test_the_live_view_tells_the_stages(folder: Path) -> None:
    command = compose_command("watch", ["experiment=verdict", f"outputs={folder / 'outputs'}"])
    live = LiveSweep(SweepDirectory(folder / "outputs" / "verdict"), command.config.figures, Band.std)
    summary = json.loads(live.view.parts["summary"].content)["html"]
    assert "tune: 12 of 12 runs at the end; confirm: 6 of 6 runs at the end" in summary


def test_an_unknown_format_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["verdict", "experiment=verdict", f"outputs={folder / 'outputs'}", "formats=[gif]"]
    assert main(asked) == 2
    assert "formats must be one or more of html, png, svg, pdf" in capfd.readouterr().err
