"""Augmentation on the training device: per sample, on uint8, with an epoch's random numbers drawn at once."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet_lab.errors import UsageError

ONE = 1 << 16  # 1.0 in 16.16 fixed point


class Augment(nn.Module):
    """Random crop, flip and rotation, then `(x / 255 - mean) / std`.

    The three moves are one map from an output pixel to a source pixel: for each sample, six integers
    (ax, bx, cx, ay, by, cy) in 16.16 fixed point say that output pixel (x, y) takes source pixel
    `(ax·x + bx·y + cx) >> 16, (ay·x + by·y + cy) >> 16`, black where that lies outside the image.
    Integers give the same pixels on every device. The result equals, pixel by pixel, what torchvision makes
    of PIL images with `RandomCrop(size, padding)`, `RandomHorizontalFlip`, `RandomRotation` (nearest
    neighbour, black fill), `ToTensor` and `Normalize` in this order. Crop and rotation together differ from
    that in one thing: where the rotation looks beyond the crop, it finds the image, not black.

    Args:
        flip: probability of a horizontal flip.
        rotate: the angle is uniform in ±rotate degrees.
        crop_padding: black pixels added on each side before a crop back to the image's size.
        mean, std: one value a channel, of images in 0..1.
        size: pixels a side of what comes out, by antialiased bilinear interpolation; None keeps the image's.
        resolution: factor of that size (compound scaling).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        flip: float = 0.0,
        rotate: float = 0.0,
        crop_padding: int = 0,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        size: int | None = None,
        resolution: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= flip <= 1:
            raise UsageError(f"augment.flip={flip}: give a probability from 0 to 1")
        if not 0 <= rotate <= 180:
            raise UsageError(f"augment.rotate={rotate}: give degrees from 0 to 180")
        if crop_padding < 0:
            raise UsageError(f"augment.crop_padding={crop_padding}: give 0 pixels or more")
        if len(mean) != 3 or not all(map(math.isfinite, mean)):
            raise UsageError(f"augment.mean={list(mean)}: give three numbers, one a channel")
        if len(std) != 3 or not all(0 < value < math.inf for value in std):
            raise UsageError(f"augment.std={list(std)}: give three positive numbers, one a channel")
        if size is not None and size < 1:
            raise UsageError(f"augment.size={size}: give 1 pixel or more, or null for the image's own size")
        self.flip = flip
        self.size = size
        self.resolution = resolution
        self.rotate = rotate
        self.crop_padding = crop_padding
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32), persistent=False)

    def output_size(self, image_size: int) -> int:
        """Pixels a side of what comes out."""
        return max(1, round((self.size or image_size) * self.resolution))

    def draw(self, count: int, image_size: int, generator: torch.Generator) -> Tensor | None:
        """The maps of `count` samples, (count, 6) int32 on the CPU; None where nothing is random."""
        if not (self.flip or self.rotate or self.crop_padding):
            return None
        maps = torch.tensor([ONE, 0, 0, 0, ONE, 0], dtype=torch.int32).repeat(count, 1)
        if self.rotate:
            uniform = torch.rand(count, generator=generator, dtype=torch.float64)
            maps = rotation_maps((uniform * 2 - 1) * self.rotate, image_size)
        if self.flip:
            # Source column s becomes size - 1 - s; as -1 - (v >> 16) == (-1 - v) >> 16, this is exact.
            flipped = torch.rand(count, generator=generator) < self.flip
            mirror = torch.tensor([0, 0, image_size * ONE - 1], dtype=torch.int32)
            maps[:, :3] = torch.where(flipped[:, None], mirror - maps[:, :3], maps[:, :3])
        if self.crop_padding:
            pad = self.crop_padding
            shift = torch.randint(-pad, pad + 1, (count, 2), generator=generator, dtype=torch.int32)
            maps[:, 2::3] += shift * ONE
        return maps

    def forward(self, images: Tensor, maps: Tensor | None) -> Tensor:
        """Augment and normalise: uint8 (B, H, H, 3), int32 (B, 6) → float32 (B, 3, S, S) in channels_last.

        S is `output_size(H)`.
        """
        if maps is not None:
            images = self._move(images, maps)
        return resize(self._normalise(images), self.output_size(images.shape[1]))

    def _normalise(self, images: Tensor) -> Tensor:
        """Uint8 (B, H, W, 3) → float32 (B, 3, H, W) in channels_last, of mean 0 and std 1."""
        batch, height, width, channels = images.shape
        # Whole image rows make one long inner loop; a broadcast over three channels is a short, slow one.
        rows = images.reshape(batch, height, width * channels).to(torch.float32)
        rows = rows.div_(255).sub_(self.mean.repeat(width)).div_(self.std.repeat(width))
        return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _move(self, images: Tensor, maps: Tensor) -> Tensor:
        batch, size, _, channels = images.shape
        ax, bx, cx, ay, by, cy = maps.view(batch, 6, 1, 1).unbind(1)
        column = torch.arange(size, dtype=torch.int32, device=images.device)
        row = column.view(size, 1)
        x, y = ax * column + cx, by * row + cy  # (B, 1, W) and (B, H, 1)
        if self.rotate:
            x, y = x + bx * row, y + ay * column  # (B, H, W) both
        x, y = x >> 16, y >> 16
        inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
        first = torch.arange(0, batch * size * size, size * size, dtype=torch.int32, device=images.device)
        source = y * size + x + first.view(batch, 1, 1)
        black = batch * size * size  # the index of one row more
        pixels = F.pad(images.reshape(-1, channels), (0, 0, 0, 1))
        return pixels.index_select(0, source.where(inside, black).view(-1)).view(images.shape)


class RandomResizedCrop(Augment):
    """A random part of each image at a fixed size, flipped or not; tested on the centre.

    Training images are what torchvision's `RandomResizedCrop` (bilinear, without antialiasing) and
    `RandomHorizontalFlip` make of float images, drawn by the same rule. Test images are resized to 256/224 of
    `size` and cut at the centre (Hu et al., arXiv 1709.01507v4, section 5.1).

    Args:
        size: pixels a side of what comes out.
        scale: range of the part's share of the area.
        ratio: range of its width over its height, drawn evenly in the logarithm.
        flip, mean, std, resolution: see `Augment`.
    """

    def __init__(
        self,
        size: int,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        resolution: float = 1.0,
    ) -> None:
        super().__init__(flip=flip, mean=mean, std=std, size=size, resolution=resolution)
        for key, bounds, most in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
            if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= most:
                raise UsageError(f"augment.{key}={list(bounds)}: give two positive numbers, low to high")
        self.scale = scale
        self.ratio = ratio

    def draw(self, count: int, image_size: int, generator: torch.Generator) -> Tensor:
        """Each image's part: top, left, height, width and flip, (count, 5) int32 on the CPU."""
        tries = 10  # as many as torchvision makes before it takes the whole image
        uniform = torch.rand(count, tries, 2, generator=generator, dtype=torch.float64)
        low, high = (math.log(bound) for bound in self.ratio)
        area = image_size**2 * (self.scale[0] + (self.scale[1] - self.scale[0]) * uniform[..., 0])
        ratio = torch.exp(low + (high - low) * uniform[..., 1])
        width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (width >= 1) & (width <= image_size) & (height >= 1) & (height <= image_size)
        first = fits.int().argmax(dim=1, keepdim=True)
        none = ~fits.any(dim=1)
        width, height = (side.gather(1, first)[:, 0].where(~none, image_size) for side in (width, height))
        corner = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        top, left = corner[:, 0] * (image_size - height + 1), corner[:, 1] * (image_size - width + 1)
        flipped = torch.rand(count, generator=generator) < self.flip
        return torch.stack([top.floor(), left.floor(), height, width, flipped], dim=1).to(torch.int32)

    def forward(self, images: Tensor, maps: Tensor | None) -> Tensor:
        """Cut, resize and normalise: uint8 (B, H, H, 3), int32 (B, 5) → float32 (B, 3, S, S)."""
        floats, size = self._normalise(images), self.output_size(images.shape[1])
        if maps is None:
            larger = round(size * 256 / 224)
            whole = resize(floats, larger)
            middle = slice((larger - size) // 2, (larger - size) // 2 + size)
            return whole[:, :, middle, middle].contiguous(memory_format=torch.channels_last)
        top, left, height, width, flipped = maps.to(torch.float32).unbind(1)
        place = (torch.arange(size, device=images.device) + 0.5) / size
        across = torch.where(flipped[:, None] > 0, 1 - place, place)
        # Source pixels, (B, size) each; beyond the part's border pixels nothing is looked at.
        last = images.shape[1] - 1
        y = top[:, None] + (height[:, None] * place - 0.5).clamp(min=0).minimum(height[:, None] - 1)
        x = left[:, None] + (width[:, None] * across - 0.5).clamp(min=0).minimum(width[:, None] - 1)
        grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
        crops = F.grid_sample(floats, grid * (2 / max(1, last)) - 1, align_corners=True)
        return crops.contiguous(memory_format=torch.channels_last)


def resize(images: Tensor, size: int) -> Tensor:
    """Square images (B, C, H, H) at `size` pixels a side, antialiased bilinear."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def rotation_maps(degrees: Tensor, image_size: int) -> Tensor:
    """Counter-clockwise rotations about the image's centre as maps: float64 (N,) → int32 (N, 6).

    The arithmetic is that of Pillow's `Image.rotate(angle, NEAREST)`: a matrix rounded to 15 digits, sampled
    at pixel centres, each entry rounded to 16.16 fixed point.
    """
    angle = -torch.deg2rad(degrees.to(torch.float64))
    cos, sin = angle.cos().round(decimals=15), angle.sin().round(decimals=15)
    centre = image_size / 2
    maps = torch.stack(
        [
            cos,
            sin,
            (cos * -centre + sin * -centre) + centre + cos * 0.5 + sin * 0.5,
            -sin,
            cos,
            (-sin * -centre + cos * -centre) + centre - sin * 0.5 + cos * 0.5,
        ],
        dim=1,
    )
    return (maps * ONE + 0.5).floor().to(torch.int32)
