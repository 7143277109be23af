"""Compound scaling (Tan and Le, ICML 2019, arXiv 1905.11946): depth, width and resolution grow together."""

import math


def scale_width(channels: int, width: float, divisor: int = 8) -> int:
    """``channels`` times ``width``, rounded to a multiple of ``divisor``, never more than 10 % down.

    A width of 1 leaves them as they are.
    """
    if width == 1:
        return channels
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * scaled else rounded


def scale_depth(units: int, depth: float) -> int:
    """``units`` times ``depth``, rounded up."""
    return math.ceil(units * depth)


def scaling_cost(alpha: float, beta: float, gamma: float) -> float:
    """The factor of multiply-accumulates for each step of φ, α·β²·γ²: near 2 in the paper, section 3.3."""
    return alpha * beta**2 * gamma**2
