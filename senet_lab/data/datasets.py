"""The data sets with a name: digits, and those that torchvision downloads."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from senet_lab.data.dataset import ImageData, InMemory, require_image_size, require_memory
from senet_lab.data.download import Archive, fetch
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
        require_image_size(self.image_size)
        require_memory(f"dataset.image_size={self.image_size}", 1797 * 3 * self.image_size**2)
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
    """A data set that torchvision reads from `root/<name>`, downloaded when it is not there.

    A subclass says where it comes from and how torchvision names it. The SHA-256 sums are those that
    tensorflow_datasets and torchvision's prototype data sets have recorded; torchvision checks MD5 sums, too.

    Args:
        root: folder for all downloads; `~` is the home folder.
        download: whether a missing data set may be downloaded.
        validation, split_seed: see `Split`.
    """

    root: str
    download: bool = True
    name: ClassVar[str]
    reader: ClassVar[str]
    """The class in `torchvision.datasets`."""
    parts: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = ({"train": True}, {"train": False})
    """Its arguments for the training and the test part."""
    archives: ClassVar[tuple[Archive, ...]]
    unchecked: ClassVar[str | None] = None
    """A pattern for the files that torchvision reads without a checksum."""
    image_size: ClassVar[int] = 32
    num_classes: ClassVar[int] = 10

    @property
    def folder(self) -> Path:
        """Where this data set lies, or will lie."""
        if not isinstance(self.root, str):
            raise UsageError(f"dataset.root={self.root}: give a folder for the data set {self.name}")
        return Path(os.path.expanduser(self.root)) / self.name  # noqa: PTH111 - as arrays do

    def read(self) -> ImageData:
        """See `InMemory`."""
        return fetch(self.name, self.folder, self.open, self.download, self.archives, self.unchecked)

    def open(self, folder: Path, download: bool) -> ImageData:
        """Both parts through torchvision, which raises RuntimeError where files are missing or damaged."""
        from torchvision import datasets  # a second of import time, for these data sets only

        make = getattr(datasets, self.reader)
        train, test = (make(folder, download=download, **part) for part in self.parts)
        return ImageData(*self.arrays(train), *self.arrays(test))

    def arrays(self, part: Any) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (N, H, H, 3) and labels int64 (N,) of a part as torchvision holds it."""
        images, labels = np.asarray(part.data), part.targets if hasattr(part, "targets") else part.labels
        if images.ndim == 3:  # (N, H, H)
            images = np.repeat(images[..., None], 3, axis=3)
        elif images.shape[1] == 3:  # (N, 3, H, H)
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        return images, np.asarray(labels).astype(np.int64)


@dataclass(frozen=True)
class Cifar10(Downloaded):
    """CIFAR-10: 50,000 and 10,000 images of 10 classes (Krizhevsky 2009)."""

    name: ClassVar[str] = "cifar10"
    reader: ClassVar[str] = "CIFAR10"
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    )
    all_train_images: ClassVar[int] = 50_000


@dataclass(frozen=True)
class Cifar100(Downloaded):
    """CIFAR-100: 50,000 and 10,000 images of 100 classes (Krizhevsky 2009)."""

    name: ClassVar[str] = "cifar100"
    reader: ClassVar[str] = "CIFAR100"
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
    )
    num_classes: ClassVar[int] = 100
    all_train_images: ClassVar[int] = 50_000


@dataclass(frozen=True)
class SVHN(Downloaded):
    """Street View House Numbers, cropped: 73,257 and 26,032 images of 10 classes (Netzer et al. 2011)."""

    name: ClassVar[str] = "svhn"
    reader: ClassVar[str] = "SVHN"
    parts: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = ({"split": "train"}, {"split": "test"})
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        ),
        Archive(
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        ),
    )
    all_train_images: ClassVar[int] = 73_257
