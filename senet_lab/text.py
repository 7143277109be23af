"""Text that people read: numbers in one format."""

import math
from numbers import Integral, Real
from typing import Any

MISSING = "–"
"""Stands for a value that is not there."""


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
