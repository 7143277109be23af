"""A data set from one `.npz` file, checked before it is used."""

import io
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from senet_lab.data.dataset import ImageData, InMemory, require_memory
from senet_lab.errors import UsageError
from senet_lab.text import counted

NEEDED = "x_train, y_train, x_test, y_test"
MOST_HEADER = 1 << 14
"""Bytes of the longest header of an array; NumPy itself reads up to 10,000."""
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    RuntimeError,
    tokenize.TokenError,
)
"""Errors of zipfile and NumPy for damaged or foreign files."""


@dataclass(frozen=True)
class Arrays(InMemory):
    """Any `.npz` with `x_train`, `y_train`, `x_test`, `y_test`.

    Args:
        path: the file. Images are uint8 (N, H, H, C), C = 1 or 3; labels are integers (N,) from 0.
        classes: number of classes; without it, the labels of `y_train` must use each of 0..K-1, and K it is.
        validation, split_seed: see `Split`.
    """

    path: str | None
    classes: int | None = None

    @property
    def image_size(self) -> int:
        """Pixels a side, from the file's header."""
        return self._image_shape("x_train")[1]

    @property
    def all_train_images(self) -> int:
        """See `Split`; from the file's header."""
        return self._image_shape("x_train")[0]

    @property
    def num_classes(self) -> int:
        """Number of classes, from the labels."""
        return self._count_classes(self._read_labels("y_train"), self._read_labels("y_test"))

    def read(self) -> ImageData:
        """See `InMemory`."""
        train_shape, test_shape = self._image_shape("x_train"), self._image_shape("x_test")
        if train_shape[1:] != test_shape[1:]:
            raise self._error(
                f"x_train is {train_shape}, x_test {test_shape}: all images must be of one shape"
            )
        y_train, y_test = self._read_labels("y_train"), self._read_labels("y_test")
        for part, shape, labels in (("train", train_shape, y_train), ("test", test_shape, y_test)):
            if shape[0] != len(labels):
                raise self._error(
                    f"{counted(shape[0], 'image')} in x_{part} but "
                    f"{counted(len(labels), 'label')} in y_{part}"
                )
        self._count_classes(y_train, y_test)
        require_memory(
            f"dataset.path={self.path}", 3 * sum(map(math.prod, (train_shape[:3], test_shape[:3])))
        )
        return ImageData(
            _three_channels(self._read("x_train")), y_train, _three_channels(self._read("x_test")), y_test
        )

    def _image_shape(self, key: str) -> tuple[int, ...]:
        shape, dtype = self._header(key)
        if dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (1, 3):
            raise self._error(f"{key} is {shape} {dtype}; (N, H, H, 3) or (N, H, H, 1) uint8 is needed")
        if 0 in shape:
            raise self._error(f"{key} is {shape}: no image in it")
        return shape

    def _read_labels(self, key: str) -> np.ndarray:
        """The labels as int64 (N,), none negative."""
        shape, dtype = self._header(key)
        if dtype.kind not in "iu" or len(shape) != 1:
            raise self._error(f"{key} is {shape} {dtype}; (N,) integers are needed")
        if 0 in shape:
            raise self._error(f"{key} is {shape}: no label in it")
        labels = self._read(key)
        if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
            raise self._error(f"{key} has labels from {labels.min()} to {labels.max()}: classes count from 0")
        return labels.astype(np.int64)

    def _count_classes(self, y_train: np.ndarray, y_test: np.ndarray) -> int:
        if not (self.classes is None or (isinstance(self.classes, int) and self.classes >= 1)):
            raise UsageError(f"dataset.classes={self.classes}: give a whole number of 1 or more, or null")
        used = np.unique(y_train)
        classes = len(used) if self.classes is None else self.classes
        if self.classes is None and not np.array_equal(used, np.arange(classes)):
            missing = np.setdiff1d(np.arange(classes), used)[0]
            raise self._error(
                f"y_train has no image of class {missing} but one of class {used[-1]}: number the classes "
                "from 0 without a gap, or say how many there are with dataset.classes=K"
            )
        largest = max(used[-1], y_test.max())
        if largest >= classes:
            source = "in y_train" if self.classes is None else "said by dataset.classes"
            raise self._error(
                f"a label {largest}, but {counted(classes, 'class', 'classes')} {source}: "
                f"labels are 0..{classes - 1}"
            )
        return classes

    def _header(self, key: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of one array, without reading its content."""
        with self._member(key) as (member, size):
            start = io.BytesIO(member.read(MOST_HEADER))  # which may say that it is of any length
            version = npy.read_magic(start)
            if version == (1, 0):
                shape, _, dtype = npy.read_array_header_1_0(start)
            elif version == (2, 0):
                shape, _, dtype = npy.read_array_header_2_0(start)
            else:
                raise ValueError(f"npy format {version}")
            if dtype.hasobject:
                raise self._error(
                    f"{key} holds Python objects, which could run code: plain arrays are needed"
                )
            if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize + start.tell() != size:
                raise ValueError("the header does not match the content")
        return shape, dtype

    def _read(self, key: str) -> np.ndarray:
        with self._member(key) as (member, _):
            array = npy.read_array(member, allow_pickle=False)
            member.read()  # up to the end, where the checksum is compared
        return array

    @contextmanager
    def _member(self, key: str) -> Iterator[tuple[IO[bytes], int]]:
        """One array's file in the archive and its length in bytes; damage is reported by name."""
        if self.path is None:
            raise UsageError(f"dataset=arrays needs a file: dataset.path=FILE.npz with {NEEDED}")
        path = Path(os.path.expanduser(self.path))  # noqa: PTH111 - pathlib's fails where there is no such user
        try:
            if not path.exists():
                raise self._error(f"no such file; give an .npz with {NEEDED}")
            if not path.is_file():  # a device or a pipe never ends
                raise self._error(f"not a regular file; give an .npz with {NEEDED}")
            with zipfile.ZipFile(path) as archive:
                if f"{key}.npy" not in archive.namelist():
                    raise self._error(f"no array {key} in it; needed are {NEEDED}")
                info = archive.getinfo(f"{key}.npy")
                size = info.file_size
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError("NumPy compresses in no other way")
                require_memory(f"dataset.path={self.path}", size)
                with archive.open(f"{key}.npy") as member:
                    yield member, size
        except OSError as error:
            raise self._error(
                f"cannot be read ({error.strerror or error}); give an .npz with {NEEDED}"
            ) from None
        except DAMAGE:
            with path.open("rb") as file:
                is_zip = file.read(2) == b"PK"
            if not is_zip:
                raise self._error(f"not an .npz file; numpy.savez makes one, with {NEEDED}") from None
            raise self._error(f"cut short or damaged at {key}; make or copy the file again") from None

    def _error(self, message: str) -> UsageError:
        return UsageError(f"dataset.path={self.path}: {message}")


def _three_channels(images: np.ndarray) -> np.ndarray:
    """(N, H, H, 1 or 3) → (N, H, H, 3), contiguous."""
    return np.repeat(images, 3 // images.shape[3], axis=3)
