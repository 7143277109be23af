"""Augmentation on the training device, per sample, from random numbers drawn once per epoch."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from senet_lab.data.mixing import Mixing
from senet_lab.data.moves import (
    ONE,
    draw_corners,
    draw_sides,
    in_boxes,
    move,
    rotation_maps,
    to_device,
)
from senet_lab.errors import UsageError

ERASED_SHARE, ERASED_RATIO = (0.02, 0.4), (0.3, 1 / 0.3)
"""Ranges of an erased box's share of the area and its aspect ratio: Zhong et al., arXiv 1708.04896."""

HALF = (0.5, 0.5, 0.5)


class Operations(Protocol):
    """A policy; see `Policy` in `policies.py`."""

    columns: int

    def draw(self, count: int, image_size: int, generator: torch.Generator) -> Tensor:
        """Numbers for `count` images, int32 (count, columns) on the CPU."""
        ...

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Change images, uint8 (B, H, H, 3), by numbers from `draw`, int32 (B, columns) on the CPU."""
        ...


class HasStatistics(Protocol):
    """A data set; see `DataSet` in `dataset.py`."""

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and std per channel."""
        ...


class Augment(nn.Module):
    """Random crop, flip and rotation, a policy, `(x / 255 - mean) / std`, erasing, and mixing in pairs.

    Crop, flip and rotation are one map from an output pixel to a source pixel, see `move`. The result equals,
    pixel by pixel, that of torchvision on PIL images with `RandomCrop(size, padding)`,
    `RandomHorizontalFlip`, `RandomRotation` (nearest neighbour, black fill), `ToTensor` and `Normalize` in
    this order, with one exception: a rotation after a crop sees the image beyond the crop instead of black.

    Args:
        flip: probability of a horizontal flip.
        rotate: the angle is uniform in ±rotate degrees.
        crop_padding: black pixels added on each side before a crop back to the image's size.
        mean, std: one value per channel, for images in 0..1; None for the statistics of the training images.
        size: pixels a side of the output, by antialiased bilinear interpolation; None keeps the image's.
        resolution: factor of that size (compound scaling).
        policy: further operations on the pixels, such as `TrivialAugment`.
        erasing: probability that a box becomes the mean colour (Zhong et al., arXiv 1708.04896).
        mixup, cutmix: see `Mixing`.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        flip: float = 0.0,
        rotate: float = 0.0,
        crop_padding: int = 0,
        mean: Sequence[float] | None = HALF,
        std: Sequence[float] | None = HALF,
        size: int | None = None,
        resolution: float = 1.0,
        policy: Operations | None = None,
        erasing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        super().__init__()
        require(0 <= flip <= 1, "flip", flip, "a probability from 0 to 1")
        require(0 <= rotate <= 180, "rotate", rotate, "degrees from 0 to 180")
        require(crop_padding >= 0, "crop_padding", crop_padding, "0 pixels or more")
        require(mean is None or _all(mean, -math.inf), "mean", mean, "three numbers, one per channel")
        require(std is None or _all(std, 0), "std", std, "three positive numbers, one per channel")
        require(size is None or size >= 1, "size", size, "1 pixel or more, or null for the image's own size")
        require(0 <= erasing <= 1, "erasing", erasing, "a probability from 0 to 1")
        for key, alpha in (("mixup", mixup), ("cutmix", cutmix)):
            require(0 <= alpha < math.inf, key, alpha, "the α of Beta(α, α), 0 for none")
        self.flip = flip
        self.rotate = rotate
        self.crop_padding = crop_padding
        self.size = size
        self.resolution = resolution
        self.policy = policy
        self.erasing = erasing
        self.mixing = Mixing(mixup, cutmix) if mixup or cutmix else None
        self.register_buffer("mean", _buffer(mean), persistent=False)
        self.register_buffer("std", _buffer(std), persistent=False)

    def output_size(self, image_size: int) -> int:
        """Pixels a side of the output."""
        return max(1, round((self.size or image_size) * self.resolution))

    def draw(self, count: int, image_size: int, generator: torch.Generator) -> Tensor | None:
        """Random numbers of `count` samples, int32 (count, columns) on the CPU; None if nothing is random."""
        size = self.output_size(image_size)
        drawn = [self.draw_place(count, image_size, generator)]
        if self.policy is not None:
            drawn.append(self.policy.draw(count, self.placed_size(image_size), generator))
        if self.erasing:
            drawn.append(draw_erased(count, size, self.erasing, generator))
        if self.mixing is not None:
            drawn.append(self.mixing.draw(count, size, generator))
        columns = [part for part in drawn if part is not None]
        return torch.cat(columns, dim=1) if columns else None

    def draw_place(self, count: int, image_size: int, generator: torch.Generator) -> Tensor | None:
        """The maps of `count` samples, int32 (count, 6) on the CPU; None if nothing moves."""
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

    def placed_size(self, image_size: int) -> int:
        """Pixels a side of the policy's input."""
        return image_size

    def forward(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """Augment and normalise, without mixing.

        Args:
            images: uint8 (B, H, H, 3).
            drawn: rows of `draw`, on the CPU; None for test images.

        Returns:
            Float32 (B, 3, S, S) in channels_last; S is `output_size(H)`.
        """
        place, policy, erased, _ = self._parts(drawn)
        if place is not None:
            images = move(images, to_device(place, images.device), turned=bool(self.rotate))
        if policy is not None and self.policy is not None:
            images = self.policy(images, policy)
        return erase(resize(self._normalise(images), self.output_size(images.shape[1])), erased)

    def mix(
        self, images: Tensor, labels: Tensor, drawn: Tensor | None, classes: int
    ) -> tuple[Tensor, Tensor]:
        """Mix the images of a batch if mixing is on; see `Mixing`."""
        if self.mixing is None or drawn is None:
            return images, labels
        return self.mixing(images, labels, drawn[:, -Mixing.columns :], classes)

    def take_statistics(self, dataset: HasStatistics) -> None:
        """Use the data set's mean and std if these options are None."""
        if self.mean is None or self.std is None:
            mean, std = dataset.statistics()
            self.mean = _buffer(mean) if self.mean is None else self.mean
            self.std = _buffer(std) if self.std is None else self.std

    def _parts(self, drawn: Tensor | None) -> list[Tensor | None]:
        """The columns for the place, the policy, the erasing and the mixing; None for what is not drawn."""
        if drawn is None:
            return [None] * 4
        widths = [
            0 if self.policy is None else self.policy.columns,
            4 if self.erasing else 0,
            0 if self.mixing is None else Mixing.columns,
        ]
        parts = drawn.split([drawn.shape[1] - sum(widths), *widths], dim=1)
        return [part if part.shape[1] else None for part in parts]

    def _normalise(self, images: Tensor) -> Tensor:
        """Uint8 (B, H, W, 3) → float32 (B, 3, H, W) in channels_last, of mean 0 and std 1."""
        assert self.mean is not None
        assert self.std is not None
        batch, height, width, channels = images.shape
        # Whole image rows make one long inner loop; a broadcast over three channels is a short, slow one.
        rows = images.reshape(batch, height, width * channels).to(torch.float32)
        rows = rows.div_(255).sub_(self.mean.repeat(width)).div_(self.std.repeat(width))
        return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


class RandomResizedCrop(Augment):
    """Random crops, resized to a fixed size and randomly flipped; test images are cropped at the centre.

    Training images equal those of torchvision's `RandomResizedCrop` (bilinear, without antialiasing) and
    `RandomHorizontalFlip` on float images, with the same distribution of crops. Test images are resized to
    256/224 of `size` and cropped at the centre (Hu et al., arXiv 1709.01507v4, section 5.1).

    Args:
        size: pixels a side of the output.
        scale: range of the crop's share of the image area.
        ratio: range of the crop's width over height, log-uniform.
        flip, mean, std, resolution, policy, erasing, mixup, cutmix: see `Augment`.
    """

    def __init__(
        self,
        size: int,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        mean: Sequence[float] | None = HALF,
        std: Sequence[float] | None = HALF,
        resolution: float = 1.0,
        policy: Operations | None = None,
        erasing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        super().__init__(flip, 0.0, 0, mean, std, size, resolution, policy, erasing, mixup, cutmix)
        for key, bounds, most in (("scale", scale, 1.0), ("ratio", ratio, math.inf)):
            holds = len(bounds) == 2 and 0 < bounds[0] <= bounds[1] <= most
            require(holds, key, bounds, "two positive numbers, low to high")
        self.scale = scale
        self.ratio = ratio

    def draw_place(self, count: int, image_size: int, generator: torch.Generator) -> Tensor:
        """Each image's crop: top, left, height, width and flip, int32 (count, 5) on the CPU."""
        height, width, fits = draw_sides(count, image_size, self.scale, self.ratio, image_size, generator)
        height, width = height.where(fits, image_size), width.where(fits, image_size)
        top, left = draw_corners(height, width, image_size, generator)
        flipped = torch.rand(count, generator=generator) < self.flip
        return torch.stack([top, left, height, width, flipped], dim=1).to(torch.int32)

    def placed_size(self, image_size: int) -> int:
        """See `Augment`."""
        return self.output_size(image_size)

    def forward(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """See `Augment`."""
        size = self.output_size(images.shape[1])
        place, policy, erased, _ = self._parts(drawn)
        if place is None:
            larger = round(size * 256 / 224)
            whole = resize(self._normalise(images), larger)
            middle = slice((larger - size) // 2, (larger - size) // 2 + size)
            return whole[:, :, middle, middle].contiguous(memory_format=torch.channels_last)
        place = to_device(place, images.device)
        if policy is None or self.policy is None:
            crops = crop(self._normalise(images), place, size)
        else:
            pixels = crop(images.permute(0, 3, 1, 2).to(torch.float32), place, size)
            pixels = pixels.round().to(torch.uint8).permute(0, 2, 3, 1)
            crops = self._normalise(self.policy(pixels, policy))
        return erase(crops, erased)


def crop(images: Tensor, place: Tensor, size: int) -> Tensor:
    """Crop float32 (B, 3, H, H) by rows of `RandomResizedCrop.draw_place`; resize to `size` pixels a side."""
    top, left, height, width, flipped = place.to(torch.float32).unbind(1)
    middle = (torch.arange(size, device=images.device) + 0.5) / size
    across = torch.where(flipped[:, None] > 0, 1 - middle, middle)
    # Source pixels, (B, size) each, clamped to the crop's border pixels.
    last = images.shape[-1] - 1
    y = top[:, None] + (height[:, None] * middle - 0.5).clamp(min=0).minimum(height[:, None] - 1)
    x = left[:, None] + (width[:, None] * across - 0.5).clamp(min=0).minimum(width[:, None] - 1)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    crops = F.grid_sample(images, grid * (2 / max(1, last)) - 1, align_corners=True)
    return crops.contiguous(memory_format=torch.channels_last)


def resize(images: Tensor, size: int) -> Tensor:
    """Square images (B, C, H, H) at `size` pixels a side, antialiased bilinear."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def draw_erased(count: int, size: int, probability: float, generator: torch.Generator) -> Tensor:
    """Top, left, height and width of each image's erased box, int32 (count, 4); size 0 for none."""
    chosen = torch.rand(count, generator=generator) < probability
    height, width, fits = draw_sides(count, size, ERASED_SHARE, ERASED_RATIO, size - 1, generator)
    height, width = height.where(fits & chosen, 0), width.where(fits & chosen, 0)
    return torch.stack([*draw_corners(height, width, size, generator), height, width], dim=1).to(torch.int32)


def erase(images: Tensor, boxes: Tensor | None) -> Tensor:
    """Set a box of each normalised image (B, 3, S, S) to the mean, in place; boxes are from `draw_erased`."""
    if boxes is None:
        return images
    return images.masked_fill_(in_boxes(to_device(boxes, images.device), images.shape[-1]), 0.0)


def require(holds: bool, key: str, value: object, right: str) -> None:
    """Check an option of the augmentation.

    Raises:
        UsageError: names the option and its valid values.
    """
    if not holds:
        shown = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        raise UsageError(f"augment.{key}={shown}: give {right}")


def _buffer(values: Sequence[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(values, dtype=torch.float32)


def _all(values: Sequence[float], above: float) -> bool:
    return len(values) == 3 and all(above < value < math.inf for value in values)
