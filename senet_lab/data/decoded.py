"""Image files as arrays: decoded by the first process that needs them, read from a file by the others."""

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from senet_lab.data.arrays import Arrays
from senet_lab.data.dataset import ImageData
from senet_lab.errors import UsageError
from senet_lab.files import write_atomic


def square(image: Image.Image, size: int) -> np.ndarray:
    """The centre of an image, uint8 (size, size, 3), its short side resized to `size` pixels first."""
    from torchvision.transforms import functional as F

    return np.asarray(F.center_crop(F.resize(image.convert("RGB"), [size]), [size]))


def decoded_once(folder: Path, name: str, classes: int, decode: Callable[[], ImageData]) -> ImageData:
    """Read what `decode` gives from a file in `folder`, which the first process writes.

    The file has the form that `dataset=arrays` reads, checksums included; a damaged one is written again.

    Args:
        folder: made where it is missing.
        name: tells the file from those of other data sets, sizes and versions.
        classes: labels are below it.

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
            return kept.read()  # another process has been here meanwhile
        data = decode()
        content = io.BytesIO()
        np.savez(content, **{key: vars(data)[key] for key in ("x_train", "y_train", "x_test", "y_test")})
        write_atomic(file, content.getbuffer())
    return data
