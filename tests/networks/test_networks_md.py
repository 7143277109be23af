import runpy
from pathlib import Path

import pytest

from senet_lab.compose import options

ROOT = Path(__file__).parents[2]


def test_the_list_of_networks_is_what_the_code_counts() -> None:
    pytest.importorskip("timm")
    written = (ROOT / "docs" / "networks.md").read_text("utf-8")
    assert runpy.run_path(str(ROOT / "scripts" / "networks_md.py"))["document"]() == written
    assert all(f"| `{model}` |" in written for model in options("model") if model != "timm")
