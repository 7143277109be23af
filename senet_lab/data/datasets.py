"""The data sets with a name: digits, and those that torchvision downloads."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from senet_lab.data.dataset import ImageData, InMemory
from senet_lab.data.download import fetch
from senet_lab.errors import UsageError


@dataclass(frozen=True)
class Digits(InMemory):
    """The 1,797 handwritten digits that come with scikit-learn: real 8×8 images, no download.

    The split is the same for ever: of the images sorted by class, every fifth is a test image (360, and 1,437
    to train on). The 17 grey levels are spread over 0..255, in three equal channels. Another `image_size` is
    reached by nearest neighbour.
    """

    image_size: int = 8
    num_classes: ClassVar[int] = 10
    all_train_images: ClassVar[int] = 1437

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
    all_train_images: ClassVar[int] = 50_000

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
    all_train_images: ClassVar[int] = 73_257

    def open(self, folder: Path, download: bool) -> ImageData:
        """See `Downloaded`."""
        from torchvision import datasets

        train, test = (datasets.SVHN(folder, split=part, download=download) for part in ("train", "test"))
        # (N, 3, H, H) → (N, H, H, 3)
        x_train, x_test = (np.ascontiguousarray(part.data.transpose(0, 2, 3, 1)) for part in (train, test))
        return ImageData(x_train, train.labels, x_test, test.labels)
