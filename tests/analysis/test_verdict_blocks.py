"""Arms over several blocks: ranks by hand, tests against scipy, and when nothing can be shown."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from senet_lab.analysis.blocks import across_blocks, blocks_needed
from senet_lab.analysis.effects import Claim


def frame(means: dict[str, list[float]]) -> pd.DataFrame:
    """Two runs for each arm and block, around the arm's mean in that block."""
    rows = [
        {"block": f"block {block}", "arm": arm, "seed": seed, "error": mean + spread, "diverged": False}
        for arm, values in means.items()
        for block, mean in enumerate(values)
        for seed, spread in enumerate((-0.01, 0.01))
    ]
    return pd.DataFrame(rows)


def test_two_arms_need_six_blocks_and_more_arms_more() -> None:
    assert [blocks_needed(pairs) for pairs in (1, 3, 10)] == [6, 7, 9]
    for pairs in (1, 3, 10):
        assert 2 / 2 ** blocks_needed(pairs) * pairs <= 0.05 < 2 / 2 ** (blocks_needed(pairs) - 1) * pairs


def test_too_few_blocks_are_refused_with_the_reason() -> None:
    found = across_blocks(frame({"A": [0.1] * 5, "B": [0.2] * 5}))
    assert found.refusal is not None
    assert "5 of at least 6 blocks" in found.refusal
    assert found.pairs.empty
    assert found.groups == []
    assert found.ranks["mean_rank"].tolist() == [1, 2]


def test_ranks_are_means_over_blocks_and_ties_share_theirs() -> None:
    ranks = across_blocks(frame({"A": [0.1, 0.3, 0.2], "B": [0.2, 0.3, 0.1], "C": [0.3, 0.1, 0.4]})).ranks
    expected = {"A": (1 + 2.5 + 2) / 3, "B": (2 + 2.5 + 1) / 3, "C": (3 + 1 + 3) / 3}
    assert dict(zip(ranks["arm"], ranks["mean_rank"], strict=True)) == pytest.approx(expected)
    assert dict(zip(ranks["arm"], ranks["best_in"], strict=True)) == {"A": 1, "B": 1, "C": 1}


@pytest.mark.parametrize("blocks", [9, 16])
def test_pairs_are_wilcoxons_test_with_holms_correction(blocks: int) -> None:
    rng = np.random.default_rng(0)
    means = {"A": rng.normal(0.1, 0.01, blocks), "B": rng.normal(0.11, 0.01, blocks)}
    means["C"] = np.maximum(means["A"], means["B"]) + rng.uniform(0.01, 0.02, blocks)
    found = across_blocks(frame({arm: list(values) for arm, values in means.items()}))
    p = [
        stats.wilcoxon(means[arm], means[other], method="exact").pvalue
        for arm, other in found.pairs[["arm", "baseline"]].to_numpy()
    ]
    assert found.pairs["p"].tolist() == pytest.approx(p)
    assert found.pairs["p_holm"].tolist() == pytest.approx(multipletests(p, method="holm")[1])
    claims = {frozenset((row.arm, row.baseline)): row.claim for row in found.pairs.itertuples()}
    assert claims[frozenset("AC")] == claims[frozenset("BC")] == Claim.better


def test_groups_are_neighbours_that_nothing_tells_apart() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0.3, 0.05, 12)
    swings = 0.01 * np.array([1, -1] * 6)
    means = {
        "A": base - 0.1,
        "B": base - 0.1 + swings,
        "C": base,
        "D": base + swings + 0.001,
        "E": base + 0.1,
    }
    found = across_blocks(frame({arm: list(values) for arm, values in means.items()}))
    assert [sorted(group) for group in found.groups] == [["A", "B"], ["C", "D"]]


def test_equal_arms_are_not_told_apart() -> None:
    found = across_blocks(
        frame({"A": [0.1 * block for block in range(6)]} | {"B": [0.1 * b for b in range(6)]})
    )
    assert found.pairs["p"].tolist() == [1.0]
    assert found.groups == [["A", "B"]]


def test_a_block_that_lacks_an_arm_does_not_count() -> None:
    full = frame({"A": [0.1] * 6, "B": [0.2] * 6})
    lacking = full[(full["arm"] == "A") | (full["block"] != "block 0")]
    assert across_blocks(full).refusal is None
    assert "5 of at least 6" in str(across_blocks(lacking).refusal)
