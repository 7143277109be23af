"""Writing of figures and tables, atomically, with a message per file."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pandas as pd

from senet_lab.errors import UsageError
from senet_lab.files import write_atomic
from senet_lab.text import csv_table

if TYPE_CHECKING:
    from senet_lab.figures.export import Drawing

FORMATS = ("html", "png", "svg", "pdf")
VERDICT = "verdict_"
"""Start of the names of a verdict's figures."""
INSTALL = "no Chromium, so HTML only; to install it: apt-get install chromium chromium-driver"


def check_formats(formats: Sequence[str]) -> None:
    """Raise `UsageError` unless `formats` are one or more of `FORMATS`."""
    if not formats or not set(formats) <= set(FORMATS):
        raise UsageError(f"formats={formats}: formats must be one or more of {', '.join(FORMATS)}")


def write_csv(path: Path, table: pd.DataFrame, root: Path | None = None) -> None:
    """Write a table as CSV, with formulas neutralised; no symbolic link is followed below `root`."""
    _write(path, csv_table(table), root, None)


def write_drawings(
    drawings: "Mapping[str, Drawing]",
    folder: Path,
    formats: Sequence[str],
    root: Path | None = None,
    told: TextIO | None = None,
) -> bool:
    """Write each drawing as `folder/<name>.<format>`; False if the browser fails.

    Args:
        drawings: drawings by name.
        folder: output folder.
        formats: some of `FORMATS`.
        root: a folder below which no symbolic link is followed.
        told: stream for the files' paths; by default standard output.
    """
    if "html" in formats:
        for name, drawing in drawings.items():
            _write(folder / f"{name}.html", drawing.html, root, told)
    return _render(drawings, folder, [form for form in formats if form != "html"], root, told)


def _render(
    drawings: "Mapping[str, Drawing]",
    folder: Path,
    formats: Sequence[str],
    root: Path | None,
    told: TextIO | None,
) -> bool:
    # Imported late: bokeh and selenium take a second.
    from senet_lab.figures.browser import BrowserError, find_chromium, headless_chromium

    if not formats:
        return True
    found = find_chromium()
    if found is None:
        print(INSTALL, file=sys.stderr)
        return True
    try:
        with headless_chromium(*found) as render:
            for name, drawing in drawings.items():
                for form, content in render(drawing, formats).items():
                    _write(folder / f"{name}.{form}", content, root, told)
    except BrowserError as error:
        print(f"Chromium failed, so some figures are missing: {error}", file=sys.stderr)
        return False
    return True


def _write(path: Path, content: str | bytes, root: Path | None, told: TextIO | None) -> None:
    write_atomic(path, content, root)
    print(path, file=told)
