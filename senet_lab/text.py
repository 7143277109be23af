"""Text for display: number formats, and neutralisation of untrusted text.

Labels, error messages and names of records may contain control sequences for a terminal, browser, spreadsheet
or config. `plain` is applied for all of them; in addition `literal` for configs, `csv_table` for
spreadsheets, the templates' escaping for browsers, `commands.terminal` for rich.
"""

import math
import re
from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MISSING = "–"
"""Placeholder for a missing value."""
FORMULA = re.compile(r"^\s*[=+\-@]")
"""Start of a cell that spreadsheets interpret as a formula."""
TEX = re.compile(r"\$(?=\$)|\\(?=[\[\]()])")
"""First halves of TeX delimiters, for which bokeh would load a library from the web."""


def number(value: Any) -> str:
    """A number formatted for tables: four decimals, none from 1,000 on, `MISSING` for None and NaN.

    Integers have no decimals; numbers that four decimals would round to zero have an exponent.
    """
    if not isinstance(value, Real) or math.isnan(value):
        return MISSING
    if isinstance(value, Integral) or math.isinf(value):
        return str(value)
    size = abs(float(value))
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1e}" if 0 < size < 0.00005 else f"{value:.4f}"


def clock(seconds: float) -> str:
    """A duration as h:mm:ss; `MISSING` for NaN."""
    if math.isnan(seconds):
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def byte_size(count: int) -> str:
    """A number of bytes in GB, or in MB below one; powers of ten."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def counted(count: float, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 run`, `0.5 points`; the plural only needs to be given if it is irregular."""
    text = f"{count:,}" if isinstance(count, Integral) else f"{count:g}"
    return f"{text} {noun if count == 1 else plural or f'{noun}s'}"


def separator(items: Iterable[str]) -> str:
    """The separator for a list of labels: a semicolon if any of them has a comma of its own."""
    return "; " if any("," in item for item in items) else ", "


def plain(text: str, *, keep_lines: bool = False) -> str:
    r"""One line of harmless text: white space as spaces, unprintable characters escaped.

    Terminal escape sequences become `\x1b[…`, marks of writing direction `\u202e`. With `keep_lines`, line
    breaks stay.
    """
    if text.isprintable():
        return text
    if keep_lines:
        return "\n".join(plain(line) for line in text.splitlines())
    return "".join(" " if c.isspace() else c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def label(text: str) -> str:
    """`plain` text for a drawing, with TeX delimiters split by a space."""
    return TEX.sub(r"\g<0> ", plain(text))


def literal(value: Any) -> Any:
    """A recorded value for a config, with `${…}` in its strings escaped."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    return [literal(item) for item in value] if isinstance(value, list) else value


def csv_table(frame: "pd.DataFrame") -> str:
    """A table as CSV with `plain` text; an apostrophe precedes would-be formulas."""
    texts = frame.select_dtypes(["object", "str", "string"])
    safe = {name: [_cell(value) for value in values] for name, values in texts.items()}
    return frame.assign(**safe).to_csv(index=False, lineterminator="\n")


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if FORMULA.match(text) else text
