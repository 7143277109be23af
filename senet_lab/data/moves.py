"""Affine maps of pixels in fixed point, equal on every device; random boxes."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

ONE = 1 << 16  # 1.0 in 16.16 fixed point

TRIES = 10
"""Attempts to draw a fitting box before the fallback, as in torchvision."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device without blocking the host: for a GPU, from pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def move(images: Tensor, maps: Tensor, turned: bool) -> Tensor:
    """Copy each output pixel from a source pixel, or black from outside the image.

    Args:
        images: uint8 (B, H, H, C).
        maps: int32 (B, 6) on the same device: for each sample (ax, bx, cx, ay, by, cy) in 16.16 fixed point;
            output pixel (x, y) takes source pixel `(ax·x + bx·y + cx) >> 16, (ay·x + by·y + cy) >> 16`.
        turned: whether any bx or ay may be non-zero.
    """
    batch, size, _, channels = images.shape
    ax, bx, cx, ay, by, cy = maps.view(batch, 6, 1, 1).unbind(1)
    column = torch.arange(size, dtype=torch.int32, device=images.device)
    row = column.view(size, 1)
    x, y = ax * column + cx, by * row + cy  # (B, 1, W) and (B, H, 1)
    if turned:
        x, y = x + bx * row, y + ay * column  # (B, H, W) both
    x, y = x >> 16, y >> 16
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    first = torch.arange(0, batch * size * size, size * size, dtype=torch.int32, device=images.device)
    source = y * size + x + first.view(batch, 1, 1)
    black = batch * size * size  # index of the appended black pixel
    pixels = F.pad(images.reshape(-1, channels), (0, 0, 0, 1))
    return pixels.index_select(0, source.where(inside, black).view(-1)).view(images.shape)


def rotation_maps(degrees: Tensor, image_size: int) -> Tensor:
    """Counter-clockwise rotations about the image's centre as maps: float64 (N,) → int32 (N, 6)."""
    angle = -torch.deg2rad(degrees.to(torch.float64))
    cos, sin = angle.cos().round(decimals=15), angle.sin().round(decimals=15)
    centre = image_size / 2
    return _pillow_maps(
        cos,
        sin,
        (cos * -centre + sin * -centre) + centre,
        -sin,
        cos,
        (-sin * -centre + cos * -centre) + centre,
    )


def shear_maps(x: Tensor, y: Tensor) -> Tensor:
    """Shears that leave the first row and column in place, as maps: source x + x·row and y + y·column."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _pillow_maps(one, x, zero, y, one, zero)


def shift_maps(x: Tensor, y: Tensor) -> Tensor:
    """Shifts to the right and down by whole pixels as maps, (N,) each → int32 (N, 6)."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return (torch.stack([one, zero, -x, zero, one, -y], dim=1) * ONE).to(torch.int32)


def _pillow_maps(ax: Tensor, bx: Tensor, cx: Tensor, ay: Tensor, by: Tensor, cy: Tensor) -> Tensor:
    """Maps by the arithmetic of Pillow's `transform` with `AFFINE` and `NEAREST`: pixel centres, rounded."""
    maps = torch.stack([ax, bx, cx + ax * 0.5 + bx * 0.5, ay, by, cy + ay * 0.5 + by * 0.5], dim=1)
    return (maps * ONE + 0.5).floor().to(torch.int32)


def draw_sides(
    count: int,
    size: int,
    scale: Sequence[float],
    ratio: Sequence[float],
    largest: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Heights and widths of boxes, float64 (count,), and whether one of the attempts fitted.

    Args:
        size: pixels a side of the image.
        scale: range of a box's share of the area.
        ratio: range of its width over height, log-uniform.
        largest: the longest side that fits.
    """
    uniform = torch.rand(count, TRIES, 2, generator=generator, dtype=torch.float64)
    low, high = (math.log(bound) for bound in ratio)
    area = size**2 * (scale[0] + (scale[1] - scale[0]) * uniform[..., 0])
    ratios = torch.exp(low + (high - low) * uniform[..., 1])
    widths, heights = (area * ratios).sqrt().round(), (area / ratios).sqrt().round()
    fits = (widths >= 1) & (widths <= largest) & (heights >= 1) & (heights <= largest)
    first = fits.int().argmax(dim=1, keepdim=True)
    height, width = (sides.gather(1, first)[:, 0] for sides in (heights, widths))
    return height, width, fits.any(dim=1)


def draw_corners(
    height: Tensor, width: Tensor, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Top and left of boxes, uniform over all places inside a square image."""
    corner = torch.rand(len(height), 2, generator=generator, dtype=torch.float64)
    return (corner[:, 0] * (size - height + 1)).floor(), (corner[:, 1] * (size - width + 1)).floor()


def in_boxes(boxes: Tensor, size: int) -> Tensor:
    """The pixels of each box, bool (B, 1, S, S), from top, left, height and width, int32 (B, 4)."""
    top, left, height, width = boxes[:, :, None].unbind(1)
    place = torch.arange(size, device=boxes.device)
    rows = (place >= top) & (place < top + height)
    columns = (place >= left) & (place < left + width)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
