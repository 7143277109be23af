"""Batches of an epoch: normalised images and labels on the training device."""

from collections.abc import Iterator
from itertools import repeat
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from senet_lab.data.augment import Augment
from senet_lab.errors import UsageError

TEST_BATCH = {"cpu": 500, "cuda": 1000}
"""Test images at a time. On a CPU, 1,000 are slower and take more memory than training does."""


class Batches(Protocol):
    """What the training loop asks of a data set.

    Images are float32 (B, 3, H, H) in channels_last, labels int64 (B,); both are on the device.
    """

    train_images: int
    test_images: int
    share: slice
    """The part of each batch that this process takes; all of it by default."""

    def train(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch: each image once, in an order and with an augmentation drawn from a CPU generator."""
        ...

    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each test image once, in order, never augmented."""
        ...


def check_batch_size(train_images: int, batch_size: int) -> None:
    """Refuse a batch size that ends an epoch on one image: batch normalisation has no variance for it."""
    if (train_images % batch_size or batch_size) == 1:
        raise UsageError(
            f"batch_size={batch_size} leaves a last batch of one image out of {train_images}, which batch "
            "normalisation cannot take: choose another batch_size"
        )


class ResidentBatches:
    """A data set that lives on the device as uint8 and is augmented there.

    All random numbers of an epoch are drawn at its start and copied to the device at once; after that,
    nothing waits for the device. `draw` and `train_batch` are the halves of `train`.

    Args:
        x_train, x_test: uint8 (N, H, H, 3) on the device.
        y_train, y_test: int64 (N,) on the device.
    """

    def __init__(
        self,
        x_train: Tensor,
        y_train: Tensor,
        x_test: Tensor,
        y_test: Tensor,
        augment: Augment,
        batch_size: int,
    ) -> None:
        check_batch_size(len(x_train), batch_size)
        self.x_train, self.y_train, self.x_test, self.y_test = x_train, y_train, x_test, y_test
        self.augment = augment.to(x_train.device)
        self.batch_size = batch_size
        self.train_images = len(x_train)
        self.test_images = len(x_test)
        self.share = slice(None)

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """An epoch's order, int64 (N,), and its augmentation, int32 (N, 6) or None, on the device."""
        device = self.x_train.device
        order = torch.randperm(self.train_images, generator=generator)
        maps = self.augment.draw(self.train_images, self.x_train.shape[1], generator)
        return to_device(order, device), None if maps is None else to_device(maps, device)

    def train_batch(self, indices: Tensor, maps: Tensor | None) -> tuple[Tensor, Tensor]:
        """The images and labels at `indices`, augmented by the rows of `maps`."""
        images = self.augment(self.x_train.index_select(0, indices), maps)
        return images, self.y_train.index_select(0, indices)

    def train(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches`; the last, smaller batch is kept."""
        order, maps = self.draw(generator)
        for start in range(0, self.train_images, self.batch_size):
            batch = slice(start, start + self.batch_size)
            mine = None if maps is None else maps[batch][self.share]
            yield self.train_batch(order[batch][self.share], mine)

    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches`."""
        x_test, y_test = self.x_test[self.share], self.y_test[self.share]
        size = TEST_BATCH[x_test.device.type]
        for images, labels in zip(x_test.split(size), y_test.split(size), strict=True):
            yield self.augment(images, None), labels


class LoadedBatches:
    """A data set whose images are decoded by worker processes; flip, rotation and normalisation as elsewhere.

    Args:
        train_set, test_set: map (index, seed) to an image uint8 (H, H, 3) and a label; what is random about
            an image follows from its seed alone, so the number of workers changes nothing.
    """

    def __init__(
        self,
        train_set: Dataset,
        test_set: Dataset,
        train_images: int,
        test_images: int,
        image_size: int,
        augment: Augment,
        batch_size: int,
        workers: int,
        device: torch.device,
    ) -> None:
        check_batch_size(train_images, batch_size)
        self.train_set, self.test_set = train_set, test_set
        self.train_images, self.test_images = train_images, test_images
        self.image_size = image_size
        self.augment = augment.to(device)
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.share = slice(None)

    def train(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches`; the last, smaller batch is kept."""
        order = torch.randperm(self.train_images, generator=generator)
        seeds = torch.randint(2**62, (self.train_images,), generator=generator)
        maps = self.augment.draw(self.train_images, self.image_size, generator)
        # Every n-th image of an epoch is every n-th of each batch, whose size n divides.
        size = self.batch_size // (self.share.step or 1)
        order, seeds = order[self.share], seeds[self.share]
        batch_maps = repeat(None) if maps is None else to_device(maps[self.share], self.device).split(size)
        loaded = self._load(self.train_set, order, seeds, size)
        for (images, labels), some in zip(loaded, batch_maps, strict=False):
            yield self.augment(images, some), labels

    def test(self) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches`."""
        order = torch.arange(self.test_images)[self.share]
        for images, labels in self._load(self.test_set, order, torch.zeros_like(order), self.batch_size):
            yield self.augment(images, None), labels

    def _load(
        self, dataset: Dataset, order: Tensor, seeds: Tensor, batch_size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=list(zip(order.tolist(), seeds.tolist(), strict=True)),
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # for a number that the loader would draw from the global generator
        )
        for images, labels in loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy without making the host wait: from pinned memory where the device is a GPU."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
