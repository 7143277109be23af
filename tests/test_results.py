"""Committed results name their code, and say so once it has changed."""

import ast
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
EARLIER = "Made by earlier code"
CODE = yaml.safe_load((RESULTS / "code.yaml").read_text("utf-8"))


def statements(text: str) -> str:
    """Python without what changes no result: comments, docstrings, layout."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [line for line in node.body if not is_text(line)] or [ast.Pass()]
    return ast.unparse(tree)


def is_text(line: ast.stmt) -> bool:
    """True for a string that stands alone."""
    value = line.value if isinstance(line, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def digest(root: Path, sources: Sequence[str]) -> str:
    """SHA-256 over names and statements of the Python files in these files and folders."""
    total = hashlib.sha256()
    for source in sources:
        place = root / source
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            name = file.relative_to(root).as_posix()
            total.update(f"{name}\0{statements(file.read_text('utf-8'))}\0".encode())
    return total.hexdigest()


def trouble(text: str, code: dict[str, object], today: str) -> str | None:
    """The reason why a result's documentation misleads, if it does."""
    commits = str(code["commit"]).split(", ")
    if not all(f"commit {commit}" in text for commit in commits):
        return f"does not name its commit, {code['commit']}"
    if today != code["sha256"] and EARLIER not in text:
        return f"its code has changed: make it again (sha256: {today}), or write “{EARLIER}”"
    if today == code["sha256"] and EARLIER in text:
        return f"its code is today's: leave out “{EARLIER}”"
    return None


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="another Python writes the same statements otherwise"
)
@pytest.mark.parametrize("name", CODE)
def test_a_committed_result_names_its_commit_and_says_if_its_code_is_an_earlier_one(name: str) -> None:
    text = (RESULTS / name).read_text("utf-8")
    assert trouble(text, CODE[name], digest(ROOT, CODE[name]["sources"])) is None


def test_every_committed_result_names_its_code() -> None:
    assert set(CODE) == {file.relative_to(RESULTS).as_posix() for file in RESULTS.rglob("*.md")}


def test_a_change_of_the_code_is_told(tmp_path: Path) -> None:
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "steps.py").write_text("lr = 1")
    (tmp_path / "script.py").write_text("run()")
    sources = ["loop", "script.py"]
    code = {"commit": "abc", "sha256": digest(tmp_path, sources)}
    assert trouble("commit abc", code, digest(tmp_path, sources)) is None
    assert "name its commit" in (trouble("commit abd", code, digest(tmp_path, sources)) or "")
    assert "today's" in (trouble(f"{EARLIER}, commit abc", code, digest(tmp_path, sources)) or "")
    (tmp_path / "loop" / "steps.py").write_text("lr = 2")
    assert "has changed" in (trouble("commit abc", code, digest(tmp_path, sources)) or "")
    assert trouble(f"{EARLIER}, commit abc", code, digest(tmp_path, sources)) is None


def test_words_alone_make_no_earlier_code(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text('def run(x):\n    """Run."""\n    return x + 1\n')
    before = digest(tmp_path, ["script.py"])
    script.write_text('"""A script."""\n\n\ndef run(x):  # adds\n    """Add one."""\n    return (x + 1)\n')
    assert digest(tmp_path, ["script.py"]) == before
    script.write_text('def run(x):\n    """Run."""\n    return x + 2\n')
    assert digest(tmp_path, ["script.py"]) != before
