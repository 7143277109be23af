"""A data set of image files, decoded by worker processes, for data that do not fit in memory."""

import hashlib
import os
from collections.abc import Callable, Sequence
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
from senet_lab.data.decoded import decode, fast_decoder
from senet_lab.data.jpeg import Jpeg, decodes_jpeg, on_device, read_jpeg
from senet_lab.data.split import Split
from senet_lab.errors import UsageError

Sample = tuple[str, int]
"""Path and label of an image."""


@dataclass(frozen=True)
class ImageFolder(Split):
    """Image files in `root/train/<class>/` and `root/test/<class>/` (or `val`), decoded by worker processes.

    Training images are cropped with torchvision's RandomResizedCrop; test images are resized to 256/224 of
    `image_size` on their short side and cropped at the centre (Hu et al., arXiv 1709.01507v4, section 5.1).
    For a GPU the workers only decode and crop; the GPU does the rest. Where it decodes JPEG files (nvJPEG),
    whose pixels differ by a few levels from Pillow's, the workers only read these.

    Args:
        root: the folder.
        image_size: pixels a side of the network's input.
        workers: number of decoding processes; None for one per thread of the run, 0 to decode in the training
            process. No effect on the pixels.
        validation, split_seed: see `Split`.
    """

    root: str | None
    image_size: int = 224
    workers: int | None = None

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
        if self.workers is not None and not (isinstance(self.workers, int) and self.workers >= 0):
            raise UsageError(f"dataset.workers={self.workers}: give a whole number, 0 or more, or null")
        train, test = _image_folders(self)
        if train.classes != test.classes:
            only = sorted(set(train.classes) ^ set(test.classes))[0]
            raise UsageError(f"dataset.root={self.root}: class {only} is in one of train and test only")
        self.parts()

    def parts(self) -> tuple[list[Sample], list[Sample], list[Sample]]:
        """The training, test and validation images."""
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
        """See `DataSet`; hashes file names, sizes and modification times (whole seconds), not contents."""
        return _digest(self)

    def batches(self, augment: Augment, batch_size: int, device: torch.device) -> LoadedBatches:
        """See `DataSet`."""
        from torchvision import transforms

        augment.take_statistics(self)
        train, test, validation = self.parts()
        side, larger = self.image_size, round(self.image_size * 256 / 224)
        centre_crop = transforms.Compose([transforms.Resize(larger), transforms.CenterCrop(side)])
        random_crop = transforms.RandomResizedCrop(side)
        reads_jpeg = device.type == "cuda" and decodes_jpeg(device)
        if device.type == "cuda":
            random_crop, centre_crop = RandomPart(), None
        return LoadedBatches(
            DecodedImages(train, random_crop, reads_jpeg),
            DecodedImages(test, centre_crop, reads_jpeg),
            DecodedImages(validation, centre_crop, reads_jpeg),
            num_classes=self.num_classes,
            image_size=self.image_size,
            augment=augment,
            batch_size=batch_size,
            workers=torch.get_num_threads() if self.workers is None else self.workers,
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
    """Maps (index, seed) to an image uint8 (H, W, 3) or `Jpeg`, and its label; the seed drives the transform.

    Args:
        samples: path and label of each image.
        transform: maps a PIL image to a PIL image, and a `Jpeg` to a `Jpeg`; None for no transform.
        reads_jpeg: leave JPEG files to be decoded on the device.
    """

    def __init__(
        self, samples: list[Sample], transform: Callable[[Any], Any] | None, reads_jpeg: bool = False
    ) -> None:
        # Arrays, because every access to a Python object copies its page into the worker.
        self.paths = np.array([os.fsencode(path) for path, _ in samples])
        self.labels = np.array([label for _, label in samples], dtype=np.int64)
        self.transform = transform
        self.reads_jpeg = reads_jpeg
        fast_decoder()  # imported here once, not by every worker of every epoch

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor | Jpeg, int]:
        """Decode one image, or read its file."""
        index, seed = key
        path = os.fsdecode(self.paths[index])
        image: Any = (read_jpeg(path) if self.reads_jpeg else None) or decode(path)
        if self.transform is not None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                image = self.transform(image)
        is_read = isinstance(image, Jpeg)
        return image if is_read else torch.from_numpy(np.array(image)), int(self.labels[index])

    def on_device(self, images: Sequence[Any], device: torch.device) -> list[Tensor]:
        """See `SizedDataset`; decodes files."""
        return on_device(images, device)


class RandomPart:
    """The random crop of torchvision's RandomResizedCrop, without its resize."""

    def __init__(self) -> None:
        from torchvision import transforms

        self.crop = transforms.RandomResizedCrop(1)

    def __call__(self, image: Image.Image | Jpeg) -> Image.Image | Jpeg:
        """Crop an image."""
        shape = torch.empty(image.size[::-1], device="meta")
        top, left, height, width = self.crop.get_params(shape, self.crop.scale, self.crop.ratio)
        return image.crop((left, top, left + width, top + height))
