"""Plans of earlier versions decay what they decayed: all parameters."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import tiny

from senet_lab.compose import compose_command
from senet_lab.config import as_plain
from senet_lab.optim.groups import KINDS
from senet_lab.records.migrations import current_plan


@pytest.mark.parametrize(("optimizer", "decays"), [("sgd", list(KINDS)), ("adam", None)])
def test_a_plan_of_format_1_decays_all(tmp_path: Path, optimizer: str, decays: Any) -> None:
    config = as_plain(compose_command("train", [*tiny(tmp_path), f"optimizer={optimizer}"]).points[0].config)
    for key in ("decay", "coefficient_lr_factor"):
        del config["optimizer"][key]
    old = json.loads(json.dumps({"format": 1, "source": "", "runs": [{"config": config}]}))
    (run,) = current_plan(old)["runs"]
    assert run["plain"]["optimizer"].get("decay") == decays
