"""Batches of an epoch: normalised images and labels on the training device."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from senet_lab.data.augment import Augment
from senet_lab.data.moves import to_device
from senet_lab.errors import UsageError

AT_ONCE = {"cpu": 0, "cuda": 64 * 2**20}
"""Bytes of images augmented together: many batches in one launch on a GPU, one batch on a CPU."""

TEST_BATCH = {"cpu": 500, "cuda": 1000}
"""Images of a test batch. On a CPU, 1,000 would be slower and take more memory than training."""


Part = tuple[Tensor, Tensor]
"""Images and their labels."""


class Batches(Protocol):
    """A data set as the training loop sees it.

    Images are float32 (B, 3, H, H) in channels_last, labels int64 (B,); both are on the device. Labels of
    mixed training images are class shares, float32 (B, K).
    """

    train_images: int
    test_images: int
    validation_images: int
    """Number of validation images; 0 without a validation part."""
    share: slice
    """The part of each batch that this process takes; all of it by default."""

    def train(self, generator: torch.Generator) -> Iterator[Part]:
        """One epoch: each image once, in an order and with an augmentation drawn from a CPU generator."""
        ...

    def prepare(self, generator: torch.Generator) -> None:
        """Draw the random numbers of the next `train` call in advance, while a GPU is busy."""
        ...

    def test(self) -> Iterator[Part]:
        """Each test image once, in order, never augmented."""
        ...

    def validation(self) -> Iterator[Part]:
        """Each validation image once, in order, never augmented."""
        ...


def first_images(batches: Iterable[Part], count: int) -> Iterator[Part]:
    """The first `count` images of `batches`, batch by batch; the last batch is cut."""
    for images, labels in batches:
        yield images[:count], labels[:count]
        count -= len(images)
        if count <= 0:
            return


def check_batch_size(train_images: int, batch_size: int) -> None:
    """Refuse a batch size with a last batch of one image, for which batch norm has no variance."""
    if (train_images % batch_size or batch_size) == 1:
        raise UsageError(
            f"batch_size={batch_size} leaves a last batch of one image out of {train_images}, which batch "
            "normalisation cannot take: choose another batch_size"
        )


class SizedDataset(Dataset):
    """A torch data set of known length."""

    def __len__(self) -> int:
        raise NotImplementedError

    def on_device(self, images: Sequence[Any], device: torch.device) -> list[Tensor]:
        """Images of different shapes, as they were loaded, on the device: uint8 (H, W, 3)."""
        return [image.to(device, non_blocking=True) for image in images]


class ResidentBatches:
    """A data set held on the device as uint8 and augmented there.

    All random numbers of an epoch are drawn at its start; after that, the host never waits for the device.
    `draw` and `train_batch` are the two halves of `train`.

    Args:
        train, test, validation: images uint8 (N, H, H, 3) and labels int64 (N,) on the device.
        num_classes: number of classes.
    """

    def __init__(
        self, train: Part, test: Part, validation: Part, num_classes: int, augment: Augment, batch_size: int
    ) -> None:
        self.x_train, self.y_train = train
        self.test_part, self.validation_part = test, validation
        self.train_images, self.test_images, self.validation_images = (
            len(labels) for _, labels in (train, test, validation)
        )
        check_batch_size(self.train_images, batch_size)
        self.num_classes = num_classes
        self.augment = augment.to(self.x_train.device)
        self.batch_size = batch_size
        self.share = slice(None)
        self._prepared: tuple[Tensor, tuple[Tensor, Tensor | None]] | None = None

    def prepare(self, generator: torch.Generator) -> None:
        """Draw an epoch in advance for a later `train` with a generator in the same state."""
        state = generator.get_state()
        self._prepared = state, self.draw(generator)

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """An epoch's order, int64 (N,) on the device, and its numbers from `Augment.draw`, on the CPU."""
        order = torch.randperm(self.train_images, generator=generator)
        drawn = self.augment.draw(self.train_images, self.x_train.shape[1], generator)
        return to_device(order, self.x_train.device), drawn

    def train_batch(self, indices: Tensor, drawn: Tensor | None) -> Part:
        """The images and labels at `indices`, augmented by the rows of `drawn`, not mixed yet."""
        images = self.augment(self.x_train.index_select(0, indices), drawn)
        return images, self.y_train.index_select(0, indices)

    def train(self, generator: torch.Generator) -> Iterator[Part]:
        """See `Batches`; the last, smaller batch is kept."""
        order, drawn = self._drawn(generator)
        size = self.batch_size // (self.share.step or 1)
        at_once = self._at_once()
        for start in range(0, self.train_images, at_once):
            part = slice(start, start + at_once)
            mine = None if drawn is None else drawn[part][self.share]
            images, labels = self.train_batch(order[part][self.share], mine)
            for first in range(0, len(labels), size):
                batch = slice(first, first + size)
                some = None if mine is None else mine[batch]
                yield self.augment.mix(images[batch], labels[batch], some, self.num_classes)

    def _drawn(self, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and torch.equal(prepared[0], generator.get_state()):
            return prepared[1]
        return self.draw(generator)

    def _at_once(self) -> int:
        """Number of images augmented together: whole batches, at least one."""
        size = self.augment.output_size(self.x_train.shape[1])
        fit = AT_ONCE[self.x_train.device.type] // (12 * size**2)  # float32, three channels
        return max(1, fit // self.batch_size) * self.batch_size

    def test(self) -> Iterator[Part]:
        """See `Batches`."""
        return self._in_order(*self.test_part)

    def validation(self) -> Iterator[Part]:
        """See `Batches`."""
        return self._in_order(*self.validation_part)

    def _in_order(self, images: Tensor, labels: Tensor) -> Iterator[Part]:
        images, labels = images[self.share], labels[self.share]
        size = TEST_BATCH[images.device.type]
        for start in range(0, len(images), size):
            yield self.augment(images[start : start + size], None), labels[start : start + size]


class LoadedBatches:
    """A data set whose images are decoded by worker processes and augmented on the device.

    Args:
        train_set, test_set, validation_set: map (index, seed) to an image uint8 (H, H, 3) and a label. Random
            operations on an image depend on its seed only, so the number of workers has no effect. For a GPU,
            images are (H, W, 3) of any shape once they are on the device: training images are resized to
            squares, others are cropped at the centre.
    """

    def __init__(
        self,
        train_set: SizedDataset,
        test_set: SizedDataset,
        validation_set: SizedDataset,
        num_classes: int,
        image_size: int,
        augment: Augment,
        batch_size: int,
        workers: int,
        device: torch.device,
    ) -> None:
        check_batch_size(len(train_set), batch_size)
        self.train_set, self.test_set, self.validation_set = train_set, test_set, validation_set
        self.train_images, self.test_images = len(train_set), len(test_set)
        self.validation_images = len(validation_set)
        self.num_classes = num_classes
        self.image_size = image_size
        self.augment = augment.to(device)
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.any_shape = device.type == "cuda"
        """Whether images arrive in their own shapes, to be resized on the device."""
        self.share = slice(None)

    def train(self, generator: torch.Generator) -> Iterator[Part]:
        """See `Batches`; the last, smaller batch is kept."""
        order = torch.randperm(self.train_images, generator=generator)
        seeds = torch.randint(2**62, (self.train_images,), generator=generator)
        drawn = self.augment.draw(self.train_images, self.image_size, generator)
        # Every n-th image of an epoch is every n-th image of each batch, since n divides the batch size.
        size = self.batch_size // (self.share.step or 1)
        order, seeds = order[self.share], seeds[self.share]
        rows = repeat(None) if drawn is None else drawn[self.share].split(size)
        loaded = self._load(self.train_set, order, seeds, size, squared)
        for (images, labels), some in zip(loaded, rows, strict=False):
            yield self.augment.mix(self.augment(images, some), labels, some, self.num_classes)

    def prepare(self, generator: torch.Generator) -> None:
        """See `Batches`; no effect, since drawing is cheap compared with decoding."""

    def test(self) -> Iterator[Part]:
        """See `Batches`."""
        return self._in_order(self.test_set)

    def validation(self) -> Iterator[Part]:
        """See `Batches`."""
        return self._in_order(self.validation_set)

    def _in_order(self, dataset: SizedDataset) -> Iterator[Part]:
        order = torch.arange(len(dataset))[self.share]
        seeds = torch.zeros_like(order)
        for images, labels in self._load(dataset, order, seeds, self.batch_size, centred):
            yield self.augment(images, None), labels

    def _load(
        self,
        dataset: SizedDataset,
        order: Tensor,
        seeds: Tensor,
        batch_size: int,
        finish: Callable[[Tensor, int], Tensor],
    ) -> Iterator[Part]:
        loader = DataLoader(
            dataset,
            batch_size=batch_size,
            sampler=list(zip(order.tolist(), seeds.tolist(), strict=True)),
            num_workers=self.workers,
            collate_fn=_collate_shapes if self.any_shape else None,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else the loader would draw a number from the global generator
        )
        for images, labels in loader:
            if self.any_shape:
                there = dataset.on_device(images, self.device)
                batch = torch.stack([finish(image, self.image_size) for image in there])
            else:
                batch = images.to(self.device, non_blocking=True)
            yield batch, labels.to(self.device, non_blocking=True)


def squared(image: Tensor, size: int) -> Tensor:
    """Resize uint8 (H, W, 3) to (size, size, 3)."""
    return _resized(image, size, size)


def centred(image: Tensor, size: int) -> Tensor:
    """Resize uint8 (H, W, 3) to 256/224 of `size` on the short side and cut the centre, (size, size, 3)."""
    height, width, _ = image.shape
    larger, short = round(size * 256 / 224), min(height, width)
    resized = _resized(image, larger * height // short, larger * width // short)
    top, left = (round((side - size) / 2) for side in resized.shape[:2])
    return resized[top : top + size, left : left + size]


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bilinear resize, equal to Pillow's except for rounding."""
    values = image.permute(2, 0, 1)[None].to(torch.float32)
    resized = F.interpolate(values, (height, width), mode="bilinear", antialias=True)
    return resized[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)


def _collate_shapes(samples: list[tuple[Any, int]]) -> tuple[list[Any], Tensor]:
    """A list of images of different shapes or files, and their labels."""
    return [image for image, _ in samples], torch.tensor([label for _, label in samples])
