"""The interface of data sets, and those that fit in memory.

A data set is a small frozen value; its constructor loads nothing.
"""

import hashlib
import math
import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from senet_lab.data.augment import Augment
from senet_lab.data.batches import Batches, Part, ResidentBatches
from senet_lab.data.split import Split
from senet_lab.errors import UsageError
from senet_lab.text import byte_size


class DataSet(Protocol):
    """The interface of a data set."""

    @property
    def num_classes(self) -> int:
        """Number of classes; labels count from 0."""
        ...

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        ...

    @property
    def train_images(self) -> int:
        """Number of training images, without the validation part."""
        ...

    @property
    def validation_images(self) -> int:
        """Number of validation images; 0 without a validation part."""
        ...

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and population std per channel of the training images, in 0..1.

        Raises:
            UsageError: a data set too large to be decoded for it.
        """
        ...

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of all images and labels and of their split.

        Equal fingerprints mean equal data. Computed once per process.
        """
        ...

    def check(self) -> None:
        """Download missing files; raise `UsageError` for any error that is detectable in advance."""
        ...

    def batches(self, augment: Augment, batch_size: int, device: torch.device) -> Batches:
        """The data set on `device`."""
        ...


@dataclass(frozen=True)
class ImageData:
    """A data set in memory: images uint8 (N, H, H, 3), labels int64 (N,)."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    x_validation: np.ndarray = field(default_factory=lambda: np.empty((0, 1, 1, 3), np.uint8))
    y_validation: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


@dataclass(frozen=True, kw_only=True)
class InMemory(Split):
    """A data set that fits in memory; a process loads it onto a device once for all its runs.

    Args:
        validation, split_seed: see `Split`.
    """

    @property
    def num_classes(self) -> int:
        """See `DataSet`."""
        raise NotImplementedError

    def read(self) -> ImageData:
        """Load and verify all training and test images."""
        raise NotImplementedError

    def statistics(self) -> tuple[list[float], list[float]]:
        """See `DataSet`."""
        return _statistics(self)

    def fingerprint(self) -> str:
        """See `DataSet`; hashes the arrays, in about 0.1 s for CIFAR-10."""
        return _digest(self)

    def check(self) -> None:
        """See `DataSet`."""
        load(self)

    def batches(self, augment: Augment, batch_size: int, device: torch.device) -> ResidentBatches:
        """See `DataSet`."""
        augment.take_statistics(self)
        train, test, validation = _resident(self, device)
        return ResidentBatches(train, test, validation, self.num_classes, augment, batch_size)


def require_memory(key: str, size: int) -> None:
    """Refuse arrays larger than this machine's memory, before allocating them.

    Args:
        key: the option that asks for them, with its value.
        size: their size in bytes.

    Raises:
        UsageError: more than the machine's memory.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory:
        raise UsageError(
            f"{key}: the images take {byte_size(size)}, and this machine has {byte_size(memory)} of memory: "
            "dataset=image_folder decodes while it trains"
        )


def require_image_size(size: int) -> None:
    """Refuse an `image_size` that is not a positive number of pixels.

    Raises:
        UsageError: naming the option.
    """
    if not (isinstance(size, int) and size >= 1):
        raise UsageError(f"dataset.image_size={size}: give a whole number of pixels, 1 or more")


@lru_cache(maxsize=4)
def load(dataset: InMemory) -> ImageData:
    """The data set's arrays, split; cached for equal data sets."""
    data = dataset.read()
    kept = dataset.in_validation(data.y_train)
    if not kept.any():
        return data
    return replace(
        data,
        x_train=data.x_train[~kept],
        y_train=data.y_train[~kept],
        x_validation=data.x_train[kept],
        y_validation=data.y_train[kept],
    )


@lru_cache(maxsize=4)
def _statistics(dataset: InMemory) -> tuple[list[float], list[float]]:
    """Mean and std from the exact counts of the 256 values, hence equal on every machine."""
    images = load(dataset).x_train
    counts = np.zeros((3, 256))
    for block in np.array_split(images, math.ceil(len(images) / 1000)):
        for channel in range(3):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(axis=1)
    variance = counts @ values**2 / counts.sum(axis=1) - mean**2
    return mean.tolist(), np.sqrt(variance).tolist()


@lru_cache(maxsize=4)
def _digest(dataset: InMemory) -> str:
    digest = hashlib.sha256()
    for name, array in vars(load(dataset)).items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@lru_cache(maxsize=4)
def _resident(dataset: InMemory, device: torch.device) -> tuple[Part, Part, Part]:
    """The training, test and validation part."""
    data = load(dataset)

    def part(images: np.ndarray, labels: np.ndarray) -> Part:
        return torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)

    return (
        part(data.x_train, data.y_train),
        part(data.x_test, data.y_test),
        part(data.x_validation, data.y_validation),
    )
