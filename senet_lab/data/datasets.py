"""Data sets: where images and labels come from, and what can be wrong with them, told before a run starts.

A data set is a small frozen value; its constructor loads nothing.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from senet_lab.data.augment import Augment
from senet_lab.data.batches import Batches, ResidentBatches
from senet_lab.data.download import fetch
from senet_lab.errors import UsageError


class DataSet(Protocol):
    """What the rest of the project asks of a data set."""

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
        """Number of training images."""
        ...

    def check(self) -> None:
        """Raise `UsageError` in one line for all that can be known to be wrong; download what is missing."""
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


class InMemory:
    """A data set that fits in memory. A process loads it and puts it on a device once, for all its runs."""

    def read(self) -> ImageData:
        """Load and verify."""
        raise NotImplementedError

    def check(self) -> None:
        """See `DataSet`."""
        load(self)

    def batches(self, augment: Augment, batch_size: int, device: torch.device) -> ResidentBatches:
        """See `DataSet`."""
        return ResidentBatches(*_resident(self, device), augment=augment, batch_size=batch_size)


@lru_cache(maxsize=4)
def load(dataset: InMemory) -> ImageData:
    """The data set's arrays; the same ones for equal data sets."""
    return dataset.read()


@lru_cache(maxsize=4)
def _resident(dataset: InMemory, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    data = load(dataset)
    x_train, y_train, x_test, y_test = (
        torch.from_numpy(array).to(device) for array in (data.x_train, data.y_train, data.x_test, data.y_test)
    )
    return x_train, y_train, x_test, y_test


@dataclass(frozen=True)
class Digits(InMemory):
    """The 1,797 handwritten digits that come with scikit-learn: real 8×8 images, no download.

    The split is the same for ever: of the images sorted by class, every fifth is a test image (360, and 1,437
    to train on). The 17 grey levels are spread over 0..255, in three equal channels. Another `image_size` is
    reached by nearest neighbour.
    """

    image_size: int = 8
    num_classes: ClassVar[int] = 10
    train_images: ClassVar[int] = 1437

    def check(self) -> None:
        """See `DataSet`."""
        if self.image_size < 1:
            raise UsageError(
                f"dataset.image_size={self.image_size}: give 1 pixel or more (the images have 8)"
            )
        super().check()

    def read(self) -> ImageData:
        """See `InMemory`."""
        from sklearn.datasets import load_digits  # a second of import time, for this data set only

        digits = load_digits()
        grey = ((digits.images * 255 + 8) // 16).astype(np.uint8)
        source = np.arange(self.image_size) * 8 // self.image_size
        grey = grey[:, source][:, :, source]
        images = np.repeat(grey[..., None], 3, axis=3)
        labels = digits.target.astype(np.int64)
        by_class = np.argsort(labels, kind="stable")
        test = np.zeros(len(labels), dtype=bool)
        test[by_class[::5]] = True
        return ImageData(images[~test], labels[~test], images[test], labels[test])


@dataclass(frozen=True)
class Downloaded(InMemory):
    """A data set that torchvision downloads into `root/<name>` when it is not there, and verifies by MD5.

    Args:
        root: folder for all downloads; `~` is the home folder.
        download: whether a missing data set may be downloaded.
    """

    root: str
    download: bool = True
    name: ClassVar[str]
    image_size: ClassVar[int] = 32

    @property
    def folder(self) -> Path:
        """Where this data set lies, or will lie."""
        return Path(self.root).expanduser() / self.name

    def open(self, folder: Path, download: bool) -> ImageData:
        """Both parts through torchvision, which raises RuntimeError where files are missing or damaged."""
        raise NotImplementedError

    def read(self) -> ImageData:
        """See `InMemory`."""
        return fetch(self.name, self.folder, self.open, self.download)


@dataclass(frozen=True)
class Cifar10(Downloaded):
    """CIFAR-10: 50,000 and 10,000 images of 10 classes (Krizhevsky 2009)."""

    name: ClassVar[str] = "cifar10"
    torchvision_name: ClassVar[str] = "CIFAR10"
    num_classes: ClassVar[int] = 10
    train_images: ClassVar[int] = 50_000

    def open(self, folder: Path, download: bool) -> ImageData:
        """See `Downloaded`."""
        from torchvision import datasets  # a second of import time, for these data sets only

        cifar = getattr(datasets, self.torchvision_name)
        train, test = (cifar(folder, train=part, download=download) for part in (True, False))
        return ImageData(train.data, np.array(train.targets), test.data, np.array(test.targets))


@dataclass(frozen=True)
class Cifar100(Cifar10):
    """CIFAR-100: 50,000 and 10,000 images of 100 classes (Krizhevsky 2009)."""

    name: ClassVar[str] = "cifar100"
    torchvision_name: ClassVar[str] = "CIFAR100"
    num_classes: ClassVar[int] = 100


@dataclass(frozen=True)
class SVHN(Downloaded):
    """Street View House Numbers, cropped: 73,257 and 26,032 images of 10 classes (Netzer et al. 2011)."""

    name: ClassVar[str] = "svhn"
    num_classes: ClassVar[int] = 10
    train_images: ClassVar[int] = 73_257

    def open(self, folder: Path, download: bool) -> ImageData:
        """See `Downloaded`."""
        from torchvision import datasets

        train, test = (datasets.SVHN(folder, split=part, download=download) for part in ("train", "test"))
        # (N, 3, H, H) → (N, H, H, 3)
        x_train, x_test = (np.ascontiguousarray(part.data.transpose(0, 2, 3, 1)) for part in (train, test))
        return ImageData(x_train, train.labels, x_test, test.labels)
