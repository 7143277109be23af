"""The notebook in `docs/` runs, and says what it said when it was written."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FILE = Path(__file__).parents[1] / "docs" / "first_sweep.ipynb"


@pytest.mark.browser
def test_the_notebook_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    text = FILE.read_text("utf-8")
    assert "epochs=4" in text
    written, again = (nbformat.reads(one, 4) for one in (text, text.replace("epochs=4", "epochs=1")))
    NotebookClient(again, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [kinds(cell) for cell in again.cells] == [kinds(cell) for cell in written.cells]
    assert sum("image/png" in kinds(cell) for cell in again.cells) == 2
    assert (tmp_path / "outputs" / "first" / "plan.json").exists()


def kinds(cell: Any) -> list[str]:
    """The MIME types that a cell shows, without what it prints."""
    outputs = [output for output in cell.get("outputs", []) if output.output_type != "stream"]
    return sorted(kind for output in outputs for kind in output.data)
