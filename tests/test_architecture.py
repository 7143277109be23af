"""docs/architecture.md names files that exist, and the rooms that the import contract knows."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs/architecture.md").read_text("utf-8")


def section(heading: str) -> str:
    return TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_every_file_that_it_names_is_there() -> None:
    files = re.findall(r"`((?:\w+/)+\w+\.(?:py|yaml))`", TEXT)
    assert len(files) >= 20
    missing = [file for file in files if not ((ROOT / "senet_lab" / file).exists() or (ROOT / file).exists())]
    assert not missing


def test_its_rooms_are_those_of_the_contract() -> None:
    rows = [line.split("|")[1] for line in section("Import order").splitlines() if line[:3] == "| `"]
    described = {
        name.removesuffix(".py").rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)
    }
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {name for layer in contracts[0]["layers"] for name in re.findall(r"\w+", layer)}
    assert described == layers - {"__main__"}
