"""A data set of image files, decoded by worker processes: for what does not fit in memory."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from senet_lab.data.augment import Augment
from senet_lab.data.batches import LoadedBatches, SizedDataset
from senet_lab.data.dataset import require_image_size
from senet_lab.data.split import Split
from senet_lab.errors import UsageError

Sample = tuple[str, int]
"""Path and label of an image."""


@dataclass(frozen=True)
class ImageFolder(Split):
    """Image files in `root/train/<class>/` and `root/test/<class>/` (or `val`), decoded by worker processes.

    Training images are cut with torchvision's RandomResizedCrop; test images are resized to 256/224 of
    `image_size` on their short side and cut at the centre (Hu et al., arXiv 1709.01507v4, section 5.1).

    Args:
        root: the folder.
        image_size: pixels a side of what the network sees.
        workers: decoding processes; 0 decodes in the training process.
        validation, split_seed: see `Split`.
    """

    root: str | None
    image_size: int = 224
    workers: int = 2

    @property
    def num_classes(self) -> int:
        """Number of class folders."""
        return len(_image_folders(self)[0].classes)

    @property
    def all_train_images(self) -> int:
        """See `Split`."""
        return len(_image_folders(self)[0])

    def check(self) -> None:
        """See `DataSet`; the images themselves are opened during the run."""
        require_image_size(self.image_size)
        if not (isinstance(self.workers, int) and self.workers >= 0):
            raise UsageError(f"dataset.workers={self.workers}: give a whole number, 0 or more")
        train, test = _image_folders(self)
        if train.classes != test.classes:
            only = sorted(set(train.classes) ^ set(test.classes))[0]
            raise UsageError(f"dataset.root={self.root}: class {only} is in one of train and test only")
        self.parts()

    def parts(self) -> tuple[list[Sample], list[Sample], list[Sample]]:
        """The images to train, test and validate on."""
        train, test = (listed.samples for listed in _image_folders(self))
        kept = self.in_validation(np.array([label for _, label in train]))
        return list(compress(train, ~kept)), test, list(compress(train, kept))

    def statistics(self) -> tuple[list[float], list[float]]:
        """See `DataSet`."""
        raise UsageError(
            "augment.mean and augment.std: dataset=image_folder does not decode its images to find them; "
            "give three numbers each, or augment=imagenet"
        )

    def fingerprint(self) -> str:
        """See `DataSet`; of the files' names, sizes and times (whole seconds), not of their content."""
        return _digest(self)

    def batches(self, augment: Augment, batch_size: int, device: torch.device) -> LoadedBatches:
        """See `DataSet`."""
        from torchvision import transforms

        augment.take_statistics(self)
        train, test, validation = self.parts()
        random_crop = transforms.RandomResizedCrop(self.image_size)
        centre_crop = transforms.Compose(
            [transforms.Resize(round(self.image_size * 256 / 224)), transforms.CenterCrop(self.image_size)]
        )
        return LoadedBatches(
            DecodedImages(train, random_crop),
            DecodedImages(test, centre_crop),
            DecodedImages(validation, centre_crop),
            num_classes=self.num_classes,
            image_size=self.image_size,
            augment=augment,
            batch_size=batch_size,
            workers=self.workers,
            device=device,
        )


@lru_cache(maxsize=4)
def _image_folders(dataset: ImageFolder) -> tuple[Any, Any]:
    """The training and test part as torchvision lists them."""
    from torchvision import datasets

    if dataset.root is None:
        raise UsageError(
            "dataset=image_folder needs a folder: dataset.root=DIR with train/ and test/ (or val/)"
        )
    root = Path(dataset.root).expanduser()
    parts = []
    for names in (("train",), ("test", "val")):
        found = [root / name for name in names if (root / name).is_dir()]
        if not found:
            raise UsageError(f"dataset.root={dataset.root}: no folder {' or '.join(names)} in it")
        try:
            parts.append(datasets.ImageFolder(found[0]))
        except FileNotFoundError as error:  # no class folder, or one without an image
            raise UsageError(f"dataset.root={dataset.root}: {error}") from None
    return parts[0], parts[1]


@lru_cache(maxsize=4)
def _digest(dataset: ImageFolder) -> str:
    root = str(Path(dataset.root or "").expanduser())
    digest = hashlib.sha256()
    for part, samples in zip(("train", "test", "validation"), dataset.parts(), strict=True):
        for path, _ in samples:
            try:
                status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes seconds
            except OSError as error:
                raise UsageError(f"{path} cannot be read: {error.strerror}") from error
            listed = (part, path.removeprefix(root), status.st_size, int(status.st_mtime))
            digest.update("\0".join(map(str, listed)).encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


class DecodedImages(SizedDataset):
    """Maps (index, seed) to an image uint8 (H, H, 3) and its label; the seed drives the transform.

    Args:
        samples: path and label of each image.
        transform: from a PIL image to a PIL image.
    """

    def __init__(self, samples: list[Sample], transform: Callable[[Image.Image], Image.Image]) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        """Decode one image."""
        index, seed = key
        path, label = self.samples[index]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except OSError as error:
            raise UsageError(f"{path}: not a readable image ({error})") from None
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            image = self.transform(image)
        return torch.from_numpy(np.array(image)), label
