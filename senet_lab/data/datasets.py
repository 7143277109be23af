"""Named data sets: digits, and those that torchvision downloads."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from senet_lab.data.dataset import ImageData, InMemory, require_image_size, require_memory
from senet_lab.data.decoded import decoded_once, square
from senet_lab.data.download import Archive, fetch
from senet_lab.errors import UsageError


@dataclass(frozen=True)
class Digits(InMemory):
    """The 1,797 handwritten digits that come with scikit-learn: real 8×8 images, no download.

    The split is fixed: of the images sorted by class, every fifth is a test image (360 test and 1,437
    training images). The 17 grey levels are spread over 0..255, in three equal channels. Other values of
    `image_size` resize by nearest neighbour.
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
        values = np.loadtxt(_digits_file(), delimiter=",")  # 64 pixels of 0 to 16 and the class
        grey = ((values[:, :-1].reshape(-1, 8, 8) * 255 + 8) // 16).astype(np.uint8)
        source = np.arange(self.image_size) * 8 // self.image_size
        grey = grey[:, source][:, :, source]
        images = np.repeat(grey[..., None], 3, axis=3)
        labels = values[:, -1].astype(np.int64)
        by_class = np.argsort(labels, kind="stable")
        test = np.zeros(len(labels), dtype=bool)
        test[by_class[::5]] = True
        return ImageData(images[~test], labels[~test], images[test], labels[test])


def _digits_file() -> Path:
    """The digits' file in scikit-learn, which is not imported: that takes each process a second."""
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise UsageError("dataset=digits: scikit-learn, which brings the images along, is not installed")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


@dataclass(frozen=True)
class Downloaded(InMemory):
    """A data set that torchvision reads from `root/<name>`, downloaded if it is missing.

    A subclass names its archives and its class in torchvision. The SHA-256 sums are those recorded by
    tensorflow_datasets and torchvision's prototype data sets; torchvision also checks MD5 sums.

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
    """Glob of the files that torchvision reads without a checksum."""

    @property
    def folder(self) -> Path:
        """The data set's folder, which may not exist yet."""
        if not isinstance(self.root, str):
            raise UsageError(f"dataset.root={self.root}: give a folder for the data set {self.name}")
        return Path(os.path.expanduser(self.root)) / self.name  # noqa: PTH111 - as arrays do

    def read(self) -> ImageData:
        """See `InMemory`."""
        return fetch(self.name, self.folder, self.open, self.download, self.archives, self.unchecked)

    def open(self, folder: Path, download: bool) -> ImageData:
        """Read both parts with torchvision, which raises RuntimeError for missing or damaged files."""
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
    image_size: ClassVar[int] = 32
    num_classes: ClassVar[int] = 10
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
    image_size: ClassVar[int] = 32
    num_classes: ClassVar[int] = 100
    reader: ClassVar[str] = "CIFAR100"
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
    )
    all_train_images: ClassVar[int] = 50_000


@dataclass(frozen=True)
class SVHN(Downloaded):
    """Street View House Numbers, cropped: 73,257 and 26,032 images of 10 classes (Netzer et al. 2011)."""

    name: ClassVar[str] = "svhn"
    image_size: ClassVar[int] = 32
    num_classes: ClassVar[int] = 10
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


def _mnist_files(folder: str, base: str, sha256: Sequence[str]) -> tuple[Archive, ...]:
    """The four files of a data set in MNIST's format: images and labels for training, then for testing."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        Archive(f"{base}{name}-ubyte.gz", digest, f"{folder}/raw")
        for name, digest in zip(names, sha256, strict=True)
    )


@dataclass(frozen=True)
class MNIST(Downloaded):
    """MNIST: 60,000 and 10,000 handwritten digits, grey in three equal channels (LeCun et al. 1998)."""

    name: ClassVar[str] = "mnist"
    image_size: ClassVar[int] = 28
    num_classes: ClassVar[int] = 10
    all_train_images: ClassVar[int] = 60_000
    reader: ClassVar[str] = "MNIST"
    archives: ClassVar[tuple[Archive, ...]] = _mnist_files(
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    )
    unchecked: ClassVar[str | None] = "*-ubyte"


@dataclass(frozen=True)
class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 and 10,000 images of clothes, as MNIST (Xiao et al., arXiv 1708.07747)."""

    name: ClassVar[str] = "fashion_mnist"
    reader: ClassVar[str] = "FashionMNIST"
    archives: ClassVar[tuple[Archive, ...]] = _mnist_files(
        "FashionMNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    )


@dataclass(frozen=True)
class KMNIST(MNIST):
    """Kuzushiji-MNIST: 60,000 and 10,000 cursive characters, as MNIST (Clanuwat et al., arXiv 1812.01718)."""

    name: ClassVar[str] = "kmnist"
    reader: ClassVar[str] = "KMNIST"
    archives: ClassVar[tuple[Archive, ...]] = _mnist_files(
        "KMNIST",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    )


@dataclass(frozen=True)
class EMNIST(Downloaded):
    """EMNIST: handwritten digits and letters in MNIST's format, six subsets (Cohen et al., arXiv 1702.05373).

    Args:
        root, download: see `Downloaded`.
        subset: one of `byclass`, `bymerge`, `balanced`, `letters`, `digits` and `mnist`.
        validation, split_seed: see `Split`.
    """

    subset: str = "balanced"
    name: ClassVar[str] = "emnist"
    image_size: ClassVar[int] = 28
    subsets: ClassVar[dict[str, tuple[int, int]]] = {
        "byclass": (62, 697_932),
        "bymerge": (47, 697_932),
        "balanced": (47, 112_800),
        "letters": (26, 124_800),
        "digits": (10, 240_000),
        "mnist": (10, 60_000),
    }
    """Classes and training images of each."""
    reader: ClassVar[str] = "EMNIST"
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
            "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
            "EMNIST/raw",
        ),
    )

    @property
    def num_classes(self) -> int:
        """See `DataSet`."""
        return self.subsets[self._known_subset()][0]

    @property
    def all_train_images(self) -> int:
        """See `Split`."""
        return self.subsets[self._known_subset()][1]

    @property
    def parts(self) -> tuple[dict[str, Any], dict[str, Any]]:  # type: ignore[override]
        """See `Downloaded`."""
        subset = self._known_subset()
        return {"split": subset, "train": True}, {"split": subset, "train": False}

    def _known_subset(self) -> str:
        if str(self.subset) not in self.subsets:
            raise UsageError(f"dataset.subset={self.subset}: must be one of {', '.join(self.subsets)}")
        return self.subset

    @property
    def unchecked(self) -> str:  # type: ignore[override]
        """See `Downloaded`."""
        return f"emnist-{self.subset}-*"

    def arrays(self, part: Any) -> tuple[np.ndarray, np.ndarray]:
        """See `Downloaded`; the files hold the images column by column, and count letters from 1."""
        images, labels = super().arrays(part)
        return np.ascontiguousarray(images.transpose(0, 2, 1, 3)), labels - (self.subset == "letters")


@dataclass(frozen=True)
class STL10(Downloaded):
    """STL-10: 5,000 and 8,000 labelled images of 10 classes, 96 pixels a side (Coates et al. 2011).

    The 100,000 images without a label come with the download and are not used.
    """

    name: ClassVar[str] = "stl10"
    image_size: ClassVar[int] = 96
    num_classes: ClassVar[int] = 10
    all_train_images: ClassVar[int] = 5_000
    reader: ClassVar[str] = "STL10"
    parts: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = ({"split": "train"}, {"split": "test"})
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
        ),
    )


@dataclass(frozen=True)
class Imagenette(Downloaded):
    """Imagenette: 9,469 and 3,925 images of 10 classes of ImageNet (J. Howard, github.com/fastai/imagenette).

    Centre crops of images whose short side has 160 pixels; decoded once and cached in `root`.

    Args:
        root, download: see `Downloaded`.
        image_size: pixels a side.
        validation, split_seed: see `Split`.
    """

    image_size: int = 128
    name: ClassVar[str] = "imagenette"
    num_classes: ClassVar[int] = 10
    all_train_images: ClassVar[int] = 9_469
    reader: ClassVar[str] = "Imagenette"
    parts: ClassVar[tuple[dict[str, Any], dict[str, Any]]] = (
        {"split": "train", "size": "160px"},
        {"split": "val", "size": "160px"},
    )
    archives: ClassVar[tuple[Archive, ...]] = (
        Archive(
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
            "64d0c4859f35a461889e0147755a999a48b49bf38a7e0f9bd27003f10db02fe5",
        ),
    )
    unchecked: ClassVar[str | None] = "*.JPEG"

    def check(self) -> None:
        """See `DataSet`."""
        require_image_size(self.image_size)
        require_memory(f"dataset.image_size={self.image_size}", 13_394 * 3 * self.image_size**2)
        super().check()

    def read(self) -> ImageData:
        """See `InMemory`."""
        return decoded_once(self.folder.parent, f"{self.name}-{self.image_size}", 10, super().read)

    def arrays(self, part: Any) -> tuple[np.ndarray, np.ndarray]:
        """See `Downloaded`."""
        labels: list[int] = []
        images = np.empty((len(part), self.image_size, self.image_size, 3), np.uint8)
        for row, (image, label) in zip(images, part, strict=True):
            row[:] = square(image, self.image_size)
            labels.append(label)
        return images, np.array(labels)
