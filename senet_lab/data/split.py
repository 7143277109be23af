"""Stratified split of training images into a training and a validation part."""

from dataclasses import dataclass

import numpy as np
import torch

from senet_lab.errors import UsageError
from senet_lab.seeding import Stream, generator
from senet_lab.text import counted


@dataclass(frozen=True, kw_only=True)
class Split:
    """A data set whose training images can be split into a training and a validation part.

    The split depends on the labels and these two values only, not on a run's seed.

    Args:
        validation: number (5000) or share (0.1) of the training images to hold out; 0 for none.
        split_seed: seed of the split.
    """

    validation: float = 0
    split_seed: int = 0

    @property
    def all_train_images(self) -> int:
        """Number of training images before the split."""
        raise NotImplementedError

    @property
    def train_images(self) -> int:
        """Number of training images after the split."""
        return self.all_train_images - self.validation_images

    @property
    def validation_images(self) -> int:
        """Number of images in the validation part.

        Raises:
            UsageError: neither a number of images nor a share of them.
        """
        images = self.all_train_images
        if isinstance(self.validation, int) and 0 <= self.validation < images:
            return int(self.validation)
        if isinstance(self.validation, float) and 0 <= self.validation < 1:
            return round(self.validation * images)
        raise UsageError(
            f"dataset.validation={self.validation}: give the number of the {images:,} training images to "
            "hold out, or a share below 1"
        )

    def in_validation(self, labels: np.ndarray) -> np.ndarray:
        """The images that belong to the validation part, bool (N,).

        Args:
            labels: labels of all training images, (N,).

        Raises:
            UsageError: values out of range, or a class that would have no image in one of the two parts.
        """
        if not (isinstance(self.split_seed, int) and 0 <= self.split_seed < 2**63):
            raise UsageError(f"dataset.split_seed={self.split_seed}: give an integer of 0 or more")
        chosen = np.zeros(len(labels), dtype=bool)
        if self.validation:
            numbers, images = np.unique(labels, return_counts=True)
            taken = _shares(images, self.validation_images)
            self._check_shares(numbers, images, taken)
            order = torch.randperm(len(labels), generator=generator(self.split_seed, Stream.SPLIT)).numpy()
            by_class = order[np.argsort(labels[order], kind="stable")]
            for first, some in zip(np.cumsum(images) - images, taken, strict=True):
                chosen[by_class[first : first + some]] = True
        return chosen

    def _check_shares(self, numbers: np.ndarray, images: np.ndarray, taken: np.ndarray) -> None:
        empty = np.flatnonzero((taken == 0) | (taken == images))
        if len(empty):
            number, all_images, some = (int(values[empty[0]]) for values in (numbers, images, taken))
            part, more = ("training", "fewer") if some else ("validation", "more")
            raise UsageError(
                f"dataset.validation={self.validation}: of {counted(all_images, 'image')} of class {number}, "
                f"none would be a {part} image: give {more}"
            )


def _shares(images: np.ndarray, count: int) -> np.ndarray:
    """Number of images per class among `count` of all, by largest remainders."""
    taken, remainders = np.divmod(count * images, images.sum())
    taken[np.argsort(-remainders, kind="stable")[: count - taken.sum()]] += 1
    return taken
