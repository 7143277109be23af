"""JPEG files that worker processes only read, and a GPU decodes: nvJPEG, through torchvision."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from senet_lab.data.decoded import decode

TURNS: dict[int, tuple[bool, list[int]]] = {
    2: (False, [1]), 3: (False, [0, 1]), 4: (False, [0]),
    5: (True, []), 6: (True, [1]), 7: (True, [0, 1]), 8: (True, [0]),
}  # fmt: skip
"""Whether to exchange rows and columns, and the axes to flip then, by EXIF orientation."""


@dataclass(frozen=True)
class Jpeg:
    """A JPEG file in colour, with the part of PIL's image that a random crop needs."""

    path: str
    content: Tensor
    """Its bytes, uint8 (N,)."""
    orientation: int
    """In EXIF's terms."""
    size: tuple[int, int]
    """Width and height of the image the right way up, pixels."""
    box: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of the part to keep, pixels; None for all."""

    def crop(self, box: tuple[int, int, int, int]) -> "Jpeg":
        """The same file, of which a part is kept."""
        return replace(self, box=box)

    def finish(self, pixels: Tensor) -> Tensor:
        """The kept part of the decoded file, the right way up: uint8 (3, H, W) to (H, W, 3)."""
        is_turned, flipped = TURNS.get(self.orientation, (False, []))
        image = pixels.permute(2, 1, 0) if is_turned else pixels.permute(1, 2, 0)
        return self._part(image.flip(flipped))

    def decode_here(self) -> Tensor:
        """The kept part, uint8 (H, W, 3), as `decode` decodes it; UsageError if it cannot."""
        return self._part(torch.from_numpy(np.array(decode(self.path))))

    def _part(self, image: Tensor) -> Tensor:
        left, top, right, bottom = self.box or (0, 0, *self.size)
        return image[top:bottom, left:right]


def read_jpeg(path: str) -> Jpeg | None:
    """A JPEG file in colour; None for others, such as CMYK: `decode` takes these."""
    if not path.lower().endswith((".jpg", ".jpeg")):
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path for each of a million files takes seconds
            content = file.read()
        header = Image.open(io.BytesIO(content))
        orientation = header.getexif().get(ExifTags.Base.Orientation, 1)
    except OSError:  # which `decode` names
        return None
    if header.format != "JPEG" or header.mode != "RGB":
        return None
    is_turned, _ = TURNS.get(orientation, (False, []))
    size = (header.height, header.width) if is_turned else (header.width, header.height)
    return Jpeg(path, torch.frombuffer(bytearray(content), dtype=torch.uint8), orientation, size)


def on_device(images: Sequence[Tensor | Jpeg], device: torch.device) -> list[Tensor]:
    """Images uint8 (H, W, 3) on the device, which decodes all files among them in one call.

    A file that it cannot decode is decoded by `decode`.

    Raises:
        UsageError: not a readable image.
    """
    files = [image for image in images if isinstance(image, Jpeg)]
    try:
        decoded = [file.finish(pixels) for file, pixels in zip(files, _decoded(files, device), strict=True)]
    except RuntimeError:  # one broken file fails the call
        decoded = [_decoded_alone(file, device) for file in files]
    there = iter(decoded)
    found = (next(there) if isinstance(image, Jpeg) else image for image in images)
    return [image.to(device, non_blocking=True) for image in found]


def _decoded(files: Sequence[Jpeg], device: torch.device) -> list[Tensor]:
    """Decode files on the device: uint8 (3, H, W)."""
    from torchvision.io import ImageReadMode, decode_jpeg

    contents = [file.content for file in files]
    return decode_jpeg(contents, ImageReadMode.RGB, device) if contents else []


def _decoded_alone(file: Jpeg, device: torch.device) -> Tensor:
    try:
        (pixels,) = _decoded([file], device)
    except RuntimeError:
        return file.decode_here()
    return file.finish(pixels)


@cache
def decodes_jpeg(device: torch.device) -> bool:
    """Whether the device decodes JPEG files: torchvision may have been built without nvJPEG."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, "JPEG")
    grey = torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)
    try:
        _decoded([Jpeg("", grey, 1, (16, 16))], device)
    except RuntimeError:
        return False
    return True
