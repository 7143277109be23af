"""Colours, dashes and type of every chart."""

import colorsys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from senet_lab.analysis.grouping import Panel

# Okabe and Ito's palette for colour-blind readers, "Color Universal Design" (2008), without its yellow,
# which is too faint for a line on white.
PALETTE = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
DASHES = ("solid", "dashed", "dotdash", "dashdot")
"""Dashes of further lines once the palette is used up; dotted is reserved for published curves."""
MARKERS = dict(zip(DASHES, ("circle", "square", "triangle", "diamond"), strict=True))
"""Markers of points, by the dash of their line."""
MOST_COLORED = 7
"""Maximal number of coloured lines in a chart; further ones are grey."""

INK = "#333333"
LIGHT_INK = "#F8F8F8"
"""Colour of text on dark cells."""
SMALL_INK = "#595959"
"""Colour of small print; chartify's default grey is too pale."""
FADED = "#B8B8B8"
"""Colour of grey lines."""
GRID = "#E6E6E6"
FILL = 0.2
"""Opacity of bands."""
FONT = "helvetica"
GOLDEN_ANGLE = 0.381966
"""Share of the colour circle between successive hues, so that they differ clearly."""


@dataclass(frozen=True)
class Look:
    """A line's colour and dash, the same in all charts of a sweep."""

    color: str
    dash: str = "solid"


def looks_of(panels: Iterable[Panel]) -> dict[str, Look]:
    """The look of each line, the same in all charts of a sweep."""
    return looks({line.label: line.color for panel in panels for line in panel.lines})


def looks(given: Mapping[str, str | None]) -> dict[str, Look]:
    """A unique look for each label.

    Args:
        given: each label's own colour as `#rrggbb`, or None for the next free colour of the palette. Labels
            with the same colour differ in dash.
    """
    owned = {color.upper() for color in given.values() if color is not None}
    free = (look for look in _palette() if look.color not in owned)
    dashes = {color: iter(DASHES) for color in owned}
    found = {}
    for label, color in given.items():
        dash = None if color is None else next(dashes[color.upper()], None)
        found[label] = next(free) if color is None or dash is None else Look(color, dash)
    return found


def distinct(labels: Sequence[str], looks: Mapping[str, Look], fixed: Collection[str]) -> dict[str, Look]:
    """The looks of the labels of one chart, with distinct colours as long as the palette allows.

    Args:
        labels: labels in the order of the legend.
        looks: looks of all labels of the sweep.
        fixed: labels that keep their looks.
    """
    found = {label: looks[label] for label in labels if label in fixed}
    for label in labels:
        taken = {look.color for look in found.values()}
        own = looks[label].color
        # Colours beyond the palette may be similar, so they come last.
        wanted = (*(color for color in PALETTE if color == own), *PALETTE, own)
        color = next((color for color in wanted if color not in taken), own)
        found.setdefault(label, Look(color, looks[label].dash))
    return found


def _palette() -> Iterator[Look]:
    """The palette, dash by dash, then arbitrary hues."""
    yield from (Look(color, dash) for dash in DASHES for color in PALETTE)
    for number in count():
        red, green, blue = colorsys.hls_to_rgb(number * GOLDEN_ANGLE % 1, 0.4, 0.7)
        yield Look(f"#{round(255 * red):02X}{round(255 * green):02X}{round(255 * blue):02X}")


def colored(values: Mapping[str, float]) -> list[str]:
    """The coloured labels of a chart: up to `MOST_COLORED`, the baseline and the best others.

    Args:
        values: each label's last value (lower is better, NaN for none), in the order of the legend, the
            baseline first.
    """
    if len(values) <= MOST_COLORED:
        return list(values)
    baseline, *others = values
    best = sorted(others, key=lambda label: (values[label] != values[label], values[label]))
    chosen = {baseline, *best[: MOST_COLORED - 1]}
    return [label for label in values if label in chosen]
