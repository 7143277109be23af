import re
import runpy
from pathlib import Path

import pytest

from senet_lab.composition.command import compose_command, options

ROOT = Path(__file__).parents[2]


def test_the_list_of_networks_is_what_the_code_counts() -> None:
    pytest.importorskip("timm")
    written = (ROOT / "docs" / "networks.md").read_text("utf-8")
    assert runpy.run_path(str(ROOT / "scripts" / "networks_md.py"))["document"]() == written
    assert all(f"| `{model}` |" in written for model in options("model") if model != "timm")


def test_every_published_count_of_se_in_resnet_comes_out_as_the_paper_counts() -> None:
    """Hu et al., arXiv 1709.01507v4, section 6, in millions: nine rows of the document's table."""
    written = (ROOT / "docs" / "networks.md").read_text("utf-8")
    rows = re.findall(r"^\| `(se=.+?)` \| [\d,]+ \| ([\d,]+) \| ([\d.]+) \|", written, re.MULTILINE)
    assert len(rows) == 9
    for label, counted, published in rows:
        assert f"{int(counted.replace(',', '')) / 1e6:.1f}" == published, label


def test_a_single_dimension_scaled_costs_as_published() -> None:
    """Tan and Le, arXiv 1905.11946v5, table 7, whose counts for one dimension are above four times B0's."""
    written = (ROOT / "docs" / "networks.md").read_text("utf-8")
    rows = re.findall(r"^\| depth .+? \| [\d,]+ \| ([\d,]+) \| ([\d.]+) G \|$", written, re.MULTILINE)
    assert len(rows) == len(compose_command("train", ["experiment=scaling_dimensions"]).points)
    for counted, published in rows:
        assert int(counted.replace(",", "")) == pytest.approx(float(published) * 1e9, rel=0.2)
