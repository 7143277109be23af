"""Text that people read: numbers in one format, and what others wrote without the power to do anything.

A label, an error message, a name of a record may hold what a terminal, a browser, a spreadsheet or a config
would obey. `plain` comes before each of them; for the rest there is one function each, `literal` for
configs, `csv_table` for spreadsheets, the templates' escaping for browsers, `commands.terminal` for rich.
"""

import math
import re
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MISSING = "–"
"""Stands for a value that is not there."""
FORMULA = re.compile(r"^\s*[=+\-@]")
"""Beginnings of a cell that spreadsheets take for a formula."""
TEX = re.compile(r"\$(?=\$)|\\(?=[\[\]()])")
"""First halves of the marks around TeX, for which bokeh has the browser load a library from elsewhere."""


def number(value: Any) -> str:
    """A number as all tables write it: four decimals, none from a thousand on, `MISSING` for None and NaN.

    Whole numbers stay whole, and what four decimals would show as zero is written with its exponent.
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


def plain(text: str, *, keep_lines: bool = False) -> str:
    r"""One line of text that only shows: white space as spaces, what cannot be printed by its escape.

    So a terminal's escape sequences come out as `\x1b[…`, and marks that turn the direction of writing as
    `\u202e`. With `keep_lines`, line breaks stay.
    """
    if text.isprintable():
        return text
    if keep_lines:
        return "\n".join(plain(line) for line in text.splitlines())
    return "".join(" " if c.isspace() else c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def label(text: str) -> str:
    """`plain` text for a drawing, in which nothing is TeX: a space parts the marks around it."""
    return TEX.sub(r"\g<0> ", plain(text))


def literal(value: Any) -> Any:
    """A recorded value as it stands in a config: `${…}` in its strings is text, no interpolation."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    return [literal(item) for item in value] if isinstance(value, list) else value


def csv_table(frame: "pd.DataFrame") -> str:
    """A table as CSV whose texts are `plain`, and no formulas: an apostrophe comes before those."""
    texts = frame.select_dtypes(["object", "str", "string"])
    safe = {name: [_cell(value) for value in values] for name, values in texts.items()}
    return frame.assign(**safe).to_csv(index=False, lineterminator="\n")


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if FORMULA.match(text) else text
