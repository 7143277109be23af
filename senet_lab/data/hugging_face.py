"""Image data sets of the Hugging Face hub, through the library `datasets`."""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from senet_lab.data.dataset import ImageData, InMemory, require_image_size, require_memory
from senet_lab.data.decoded import decoded_once, square
from senet_lab.errors import UsageError
from senet_lab.extras import require_extra


@dataclass(frozen=True)
class HuggingFace(InMemory):
    """Any image data set by its name on the hub and its columns; decoded once and cached in `root`.

    Args:
        root: folder for downloads and decoded images; `~` is the home folder.
        path: name on the hub, such as `ylecun/mnist`, or a folder that the library can load.
        subset: one of the data set's configurations, if it has several.
        train_split, test_split: names of the splits.
        image_column, label_column: names of the columns. Labels are class labels, or integers from 0.
        image_size: pixels a side: the short side is resized to it, then the centre is cropped.
        validation, split_seed: see `Split`.
    """

    root: str
    path: str | None = None
    subset: str | None = None
    train_split: str = "train"
    test_split: str = "test"
    image_column: str = "image"
    label_column: str = "label"
    image_size: int = 32

    @property
    def num_classes(self) -> int:
        """See `DataSet`; the library's number, or counted from the training labels."""
        train, _ = _opened(self)
        counted = getattr(train.features[self.label_column], "num_classes", None)
        return counted or int(np.max(train[self.label_column])) + 1

    @property
    def all_train_images(self) -> int:
        """See `Split`."""
        return len(_opened(self)[0])

    def check(self) -> None:
        """See `DataSet`."""
        require_image_size(self.image_size)
        images = sum(len(part) for part in _opened(self))
        require_memory(f"dataset.image_size={self.image_size}", images * 3 * self.image_size**2)
        super().check()

    def read(self) -> ImageData:
        """See `InMemory`."""
        train, test = _opened(self)
        parts = (train._fingerprint, test._fingerprint, self.image_column, self.label_column)
        version = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
        return decoded_once(
            Path(os.path.expanduser(self.root)),  # noqa: PTH111 - as arrays do
            f"huggingface-{version}-{self.image_size}",
            self.num_classes,
            lambda: ImageData(*self._arrays(train), *self._arrays(test)),
        )

    def _arrays(self, part: Any) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (N, H, H, 3) and labels int64 (N,)."""
        labels = np.array(part[self.label_column], dtype=np.int64)
        low, high, classes = labels.min(), labels.max(), self.num_classes
        if low < 0 or high >= classes:
            raise UsageError(
                f"dataset.label_column={self.label_column}: labels from {low} to {high} in {part.split}, "
                f"where 0..{classes - 1} are needed"
            )
        images = np.empty((len(part), self.image_size, self.image_size, 3), np.uint8)
        for row, image in zip(images, part[self.image_column], strict=True):
            row[:] = square(image, self.image_size)
        return images, labels


@lru_cache(maxsize=4)
def _opened(dataset: HuggingFace) -> tuple[Any, Any]:
    """The training and the test split as data sets of the library, downloaded if needed.

    Raises:
        UsageError: the library is not installed; no such data set, subset, split or column; no image in one.
    """
    require_extra("datasets", "huggingface", "dataset=huggingface")
    import datasets

    if not isinstance(dataset.path, str):
        raise UsageError(
            "dataset=huggingface needs a name on the hub, or a folder: dataset.path=ylecun/mnist"
        )
    try:
        train, test = datasets.load_dataset(
            dataset.path,
            dataset.subset,
            split=[dataset.train_split, dataset.test_split],
            cache_dir=os.path.join(os.path.expanduser(dataset.root), "huggingface"),  # noqa: PTH111, PTH118
        )
    except (OSError, ValueError) as error:  # covers all errors of the library
        reason = " ".join(str(error).split())
        raise UsageError(f"dataset.path={dataset.path}: {reason}") from error
    for key, kind in (
        ("image_column", datasets.Image),
        ("label_column", (datasets.ClassLabel, datasets.Value)),
    ):
        feature = train.features.get(column := getattr(dataset, key))
        if not isinstance(feature, kind) or (key == "label_column" and "int" not in feature.dtype):
            there = ", ".join(f"{name} ({_kind(feature)})" for name, feature in train.features.items())
            wanted = "images" if key == "image_column" else "classes or integers"
            raise UsageError(f"dataset.{key}={column}: no column of {wanted}; {dataset.path} has {there}")
    if not (len(train) and len(test)):
        raise UsageError(
            f"dataset.path={dataset.path}: no image in {dataset.train_split} or in {dataset.test_split}"
        )
    return train, test


def _kind(feature: Any) -> str:
    """The name of a column's type."""
    return str(getattr(feature, "dtype", type(feature).__name__))
