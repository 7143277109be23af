"""Decoding of image files, and a cache of the decoded arrays that processes share."""

import io
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image, ImageOps
from torch import Tensor

from senet_lab.data.arrays import Arrays
from senet_lab.data.dataset import ImageData
from senet_lab.errors import UsageError
from senet_lab.files import write_atomic


@cache
def fast_decoder() -> Callable[[str], Tensor] | None:
    """Torchcodec's image decoder, path to uint8 (3, H, W); None if it is not installed."""
    if find_spec("torchcodec") is None:
        return None
    from torchcodec.decoders import decode_image

    return decode_image


def decode(path: str) -> Image.Image:
    """An image file in RGB, oriented by its EXIF data.

    Torchcodec, if installed, decodes JPEG files, to the same pixels; Pillow decodes all others.

    Raises:
        UsageError: not a readable image.
    """
    fast = fast_decoder()
    if fast is not None and path.lower().endswith((".jpg", ".jpeg")):
        with suppress(RuntimeError):  # such as a truncated file, which Pillow tolerates
            return Image.fromarray(fast(path).permute(1, 2, 0).numpy())
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file).convert("RGB")
    except OSError as error:
        raise UsageError(f"{path}: not a readable image ({error})") from None


def square(image: Image.Image, size: int) -> np.ndarray:
    """Resize an image's short side to `size` pixels and crop the centre: uint8 (size, size, 3)."""
    from torchvision.transforms import functional as F

    return np.asarray(F.center_crop(F.resize(image.convert("RGB"), [size]), [size]))


def decoded_once(folder: Path, name: str, classes: int, decode: Callable[[], ImageData]) -> ImageData:
    """The result of `decode`, cached in a file in `folder`, which the first process writes.

    The file has the format of `dataset=arrays`, checksums included; a damaged file is written again.

    Args:
        folder: created if it is missing.
        name: unique name for this data set, size and version.
        classes: number of classes.

    Raises:
        UsageError: the file cannot be written.
    """
    file = folder / f".senet-lab-{name}.npz"
    kept = Arrays(str(file), classes)
    with suppress(UsageError):
        return kept.read()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_suffix(".lock")).acquire()
    except OSError as error:
        raise UsageError(f"dataset.root={folder} cannot be written: {error.strerror}") from error
    with lock:
        with suppress(UsageError):
            return kept.read()  # another process has written it in between
        data = decode()
        content = io.BytesIO()
        np.savez(content, **{key: vars(data)[key] for key in ("x_train", "y_train", "x_test", "y_test")})
        write_atomic(file, content.getbuffer())
    return data
