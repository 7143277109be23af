"""Augmentation policies: operations drawn for each image, on uint8 and on the training device.

Geometric operations equal Pillow's, colour operations those of `torchvision.transforms.v2.functional`; each
image has its own strength.
"""

from enum import IntEnum

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from senet_lab.data.moves import move, rotation_maps, shear_maps, shift_maps, to_device
from senet_lab.errors import UsageError


class Kind(IntEnum):
    """The operations of both papers, drawn with equal probability."""

    IDENTITY = 0
    SHEAR_X = 1
    SHEAR_Y = 2
    TRANSLATE_X = 3
    TRANSLATE_Y = 4
    ROTATE = 5
    BRIGHTNESS = 6
    COLOR = 7
    CONTRAST = 8
    SHARPNESS = 9
    POSTERIZE = 10
    SOLARIZE = 11
    AUTOCONTRAST = 12
    EQUALIZE = 13


BINS = 31
"""Number of evenly spaced strengths, from none to the maximum."""

COLUMNS = 7
"""Numbers drawn per operation and image: its kind and six parameters."""


class Policy:
    """A sequence of operations, each with a random kind, strength and sign.

    Args:
        operations: number of operations per image.
        shear, degrees, colour: maximal shear, rotation, and change of brightness and other colour operations.
        bits: maximal number of bits that posterize removes.
    """

    def __init__(self, operations: int, shear: float, degrees: float, colour: float, bits: int) -> None:
        self.operations = operations
        self.columns = COLUMNS * operations
        self.shear, self.degrees, self.colour, self.bits = shear, degrees, colour, bits

    def farthest(self, image_size: int) -> float:
        """The maximal translation in pixels."""
        raise NotImplementedError

    def draw_bins(self, count: int, generator: torch.Generator) -> Tensor:
        """A strength for each image, int64 (count,) below `BINS`."""
        raise NotImplementedError

    def draw(self, count: int, image_size: int, generator: torch.Generator) -> Tensor:
        """Kinds and parameters of `count` images, int32 (count, columns) on the CPU."""
        strengths = self._strengths(image_size)
        drawn = []
        for _ in range(self.operations):
            kind = torch.randint(len(Kind), (count,), generator=generator)
            strength = strengths[kind, self.draw_bins(count, generator)]
            sign = torch.randint(2, (count,), generator=generator) * 2 - 1
            signed = torch.where(kind < Kind.POSTERIZE, strength * sign, strength)
            drawn += [kind[:, None].to(torch.int32), _parameters(kind, signed, image_size)]
        return torch.cat(drawn, dim=1)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Change uint8 (B, H, H, 3) by numbers from `draw`, int32 (B, columns) on the CPU."""
        for step in drawn.split(COLUMNS, dim=1):
            images = _apply(images, step[:, 0], step[:, 1:])
        return images

    def _strengths(self, image_size: int) -> Tensor:
        """Each kind's strengths, float64 (14, BINS)."""

        def to(most: float) -> Tensor:
            return torch.linspace(0.0, most, BINS)

        shear, shift, colour = to(self.shear), to(self.farthest(image_size)), to(self.colour)
        bits = 8 - (torch.arange(BINS) / ((BINS - 1) / self.bits)).round()
        threshold = 255 * torch.linspace(1.0, 0.0, BINS).double()
        none = torch.zeros(BINS)
        rows = [
            none,
            shear,
            shear,
            shift,
            shift,
            to(self.degrees),
            *[colour] * 4,
            bits,
            threshold,
            none,
            none,
        ]
        return torch.stack([row.double() for row in rows])


class TrivialAugment(Policy):
    """One operation of random strength: TrivialAugment (Wide), Müller and Hutter, arXiv 2103.10158."""

    def __init__(self) -> None:
        super().__init__(operations=1, shear=0.99, degrees=135.0, colour=0.99, bits=6)

    def farthest(self, _image_size: int) -> float:
        """See `Policy`."""
        return 32.0

    def draw_bins(self, count: int, generator: torch.Generator) -> Tensor:
        """See `Policy`."""
        return torch.randint(BINS, (count,), generator=generator)


class RandAugment(Policy):
    """Operations of one fixed strength: RandAugment, Cubuk et al., arXiv 1909.13719; torchvision's ranges.

    Args:
        operations: number per image.
        magnitude: their strength, 0 to 30.
    """

    def __init__(self, operations: int = 2, magnitude: int = 9) -> None:
        for key, value, least, most in (
            ("operations", operations, 1, 14),
            ("magnitude", magnitude, 0, BINS - 1),
        ):
            if not (isinstance(value, int) and least <= value <= most):
                raise UsageError(f"augment.policy.{key}={value}: give an integer from {least} to {most}")
        super().__init__(operations, shear=0.3, degrees=30.0, colour=0.9, bits=4)
        self.magnitude = magnitude

    def farthest(self, image_size: int) -> float:
        """See `Policy`; AutoAugment's share of the image, 150 of 331 pixels."""
        return 150.0 / 331.0 * image_size

    def draw_bins(self, count: int, _generator: torch.Generator) -> Tensor:
        """See `Policy`."""
        return torch.full((count,), self.magnitude)


def _parameters(kind: Tensor, strength: Tensor, image_size: int) -> Tensor:
    """Parameters of each image's operation, int32 (N, 6).

    Geometric operations: a map. Brightness to sharpness: weights of the image and of the one blended in
    (float32 bits). Posterize: a mask. Solarize: a threshold (float32 bits).
    """
    none, whole = torch.zeros_like(strength), strength.trunc()
    parameters = shift_maps(none, none)
    for move_kind, maps in (
        (Kind.SHEAR_X, shear_maps(strength, none)),
        (Kind.SHEAR_Y, shear_maps(none, strength)),
        (Kind.TRANSLATE_X, shift_maps(whole, none)),
        (Kind.TRANSLATE_Y, shift_maps(none, whole)),
        (Kind.ROTATE, rotation_maps(strength, image_size)),
    ):
        parameters = torch.where((kind == move_kind)[:, None], maps, parameters)
    blend = (kind >= Kind.BRIGHTNESS) & (kind <= Kind.SHARPNESS)
    weights = torch.stack([1 + strength, -strength], dim=1).float().view(torch.int32)
    parameters[blend, :2] = weights[blend]
    kept = 8 - strength.to(torch.int32)
    parameters[kind == Kind.POSTERIZE, 0] = (255 >> kept << kept)[kind == Kind.POSTERIZE]
    parameters[kind == Kind.SOLARIZE, 0] = strength.float().view(torch.int32)[kind == Kind.SOLARIZE]
    return parameters


def _apply(images: Tensor, kind: Tensor, parameters: Tensor) -> Tensor:
    """Apply each image's operation, batched by kind."""
    changed = images
    for first, last, work in WORK:
        rows = ((kind >= first) & (kind <= last)).nonzero()[:, 0]  # on the CPU, so nothing waits for a GPU
        if len(rows):
            there = to_device(rows, images.device)
            some = work(images.index_select(0, there), to_device(parameters[rows], images.device))
            changed = changed.index_copy(0, there, some)
    return changed


def _weights(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the image and of the one blended in, float32 (B, 1, 1, 1) each."""
    image, other = parameters[:, :2].contiguous().view(torch.float32).view(-1, 2, 1, 1, 1).unbind(1)
    return image, other


def _pixels(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """Uint8 (B, H, H, 3) → whole float32 (B, H, H, 1)."""
    red, green, blue = images.float().unbind(3)
    return (red * 0.2989 + green * 0.587 + blue * 0.114).floor()[..., None]


def _brightness(images: Tensor, parameters: Tensor) -> Tensor:
    return _pixels(images * _weights(parameters)[0])


def _color(images: Tensor, parameters: Tensor) -> Tensor:
    image, other = _weights(parameters)
    return _pixels(images * image + _grey(images) * other)


def _contrast(images: Tensor, parameters: Tensor) -> Tensor:
    image, other = _weights(parameters)
    return _pixels(images * image + _grey(images).mean(dim=(1, 2, 3), keepdim=True) * other)


def _sharpness(images: Tensor, parameters: Tensor) -> Tensor:
    if images.shape[1] < 3:
        return images
    values = images.permute(0, 3, 1, 2).float()
    kernel = torch.full((3, 1, 3, 3), 1 / 13, device=images.device)
    kernel[:, :, 1, 1] = 5 / 13
    smooth = values.clone()  # the border stays
    smooth[..., 1:-1, 1:-1] = F.conv2d(values, kernel, groups=3).round()
    return _pixels(values + (smooth - values) * _weights(parameters)[1]).permute(0, 2, 3, 1)


def _posterize(images: Tensor, parameters: Tensor) -> Tensor:
    return images & parameters[:, 0].to(torch.uint8).view(-1, 1, 1, 1)


def _solarize(images: Tensor, parameters: Tensor) -> Tensor:
    threshold = parameters[:, :1].contiguous().view(torch.float32).view(-1, 1, 1, 1)
    return torch.where(images >= threshold, 255 - images, images)


WORK = (
    (Kind.SHEAR_X, Kind.ROTATE, lambda images, maps: move(images, maps.contiguous(), turned=True)),
    (Kind.BRIGHTNESS, Kind.BRIGHTNESS, _brightness),
    (Kind.COLOR, Kind.COLOR, _color),
    (Kind.CONTRAST, Kind.CONTRAST, _contrast),
    (Kind.SHARPNESS, Kind.SHARPNESS, _sharpness),
    (Kind.POSTERIZE, Kind.POSTERIZE, _posterize),
    (Kind.SOLARIZE, Kind.SOLARIZE, _solarize),
    (
        Kind.AUTOCONTRAST,
        Kind.AUTOCONTRAST,
        lambda images, _: tv.autocontrast(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1),
    ),
    (
        Kind.EQUALIZE,
        Kind.EQUALIZE,
        lambda images, _: tv.equalize(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1),
    ),
)
"""First and last kind, and the function that applies them."""
