"""Compound scaling of depth, width and resolution (Tan and Le, ICML 2019, arXiv 1905.11946)."""

import math


def scale_width(channels: int, width: float, divisor: int = 8) -> int:
    """``channels`` times ``width``, rounded to a multiple of ``divisor`` but never down by more than 10 %.

    A width of 1 changes nothing.
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
    """Factor of multiply-accumulates per step of φ, α·β²·γ²: near 2 in the paper, section 3.3."""
    return alpha * beta**2 * gamma**2
