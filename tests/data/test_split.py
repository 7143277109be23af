"""The validation part: stratified, disjoint, drawn from a seed of its own, by one mechanism for all sets."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from senet_lab.build import build_dataset
from senet_lab.composition.command import compose_command, options
from senet_lab.data.arrays import Arrays
from senet_lab.data.augment import Augment
from senet_lab.data.dataset import load
from senet_lab.data.datasets import Digits
from senet_lab.data.image_folder import ImageFolder
from senet_lab.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, 12 and 4 training images and 1 test image each; an image's brightness is its number."""
    for part, counts in (("train", (12, 4)), ("test", (1, 1))):
        for label, count in enumerate(counts):
            (tmp_path / part / str(label)).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (8, 8), (10 * number, 100 * label, 0))
                image.save(tmp_path / part / str(label) / f"{number:02}.png")
    return tmp_path


def arrays(folder: Path, counts: list[int], **options: Any) -> Arrays:
    """Training images whose pixels all say the image's number, with `counts` of each class, mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = (
        np.zeros((len(labels), 2, 2, 3), np.uint8)
        + np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    )
    np.savez(folder / "set.npz", x_train=images, y_train=labels, x_test=images[:9], y_test=labels[:9])
    return Arrays(str(folder / "set.npz"), **options)


def numbers(parts: Any) -> list[int]:
    """The red pixel values of the first corner, back from the normalisation, in the order of the batches."""
    images = torch.cat([images for images, _ in parts])
    return ((images[:, 0, 0, 0] * 0.5 + 0.5) * 255).round().long().tolist()


@pytest.mark.parametrize(("validation", "count"), [(60, 60), (0.25, 50), (0.3, 60), (1 / 3, 67)])
def test_parts_are_disjoint_stratified_and_lose_no_image(
    tmp_path: Path, validation: float, count: int
) -> None:
    dataset = arrays(tmp_path, [100, 60, 40], validation=validation)
    assert (dataset.validation_images, dataset.train_images) == (count, 200 - count)
    data = load(dataset)
    kept, trained = data.x_validation[:, 0, 0, 0].tolist(), data.x_train[:, 0, 0, 0].tolist()
    assert (len(kept), sorted(kept + trained)) == (count, list(range(200)))
    assert kept == sorted(kept)
    shares = np.bincount(data.y_validation) - count * np.array([100, 60, 40]) / 200
    assert (np.abs(shares) < 1).all()
    labels = arrays(tmp_path, [100, 60, 40]).read().y_train
    assert np.array_equal(data.y_validation, labels[kept])
    assert np.array_equal(data.y_train, labels[trained])


def test_batches_of_each_part_hold_its_images(tmp_path: Path) -> None:
    dataset = arrays(tmp_path, [100, 60, 40], validation=50)
    batches = dataset.batches(Augment(flip=0.5, rotate=30), 32, CPU)
    assert (batches.train_images, batches.validation_images, batches.test_images) == (150, 50, 9)
    trained = torch.cat([labels for _, labels in batches.train(torch.Generator().manual_seed(0))])
    assert torch.bincount(trained).tolist() == [75, 45, 30]
    assert numbers(batches.validation()) == load(dataset).x_validation[:, 0, 0, 0].tolist()


def test_processes_share_the_validation_part(tmp_path: Path) -> None:
    batches = arrays(tmp_path, [100, 60, 40], validation=51).batches(Augment(), 32, CPU)
    whole = numbers(batches.validation())
    parts = []
    for rank in range(2):
        batches.share = slice(rank, None, 2)
        parts.append(numbers(batches.validation()))
    assert parts == [whole[::2], whole[1::2]]


def test_the_split_seed_alone_decides(tmp_path: Path) -> None:
    first, again, other = (arrays(tmp_path, [50, 50], validation=20, split_seed=seed) for seed in (0, 0, 1))
    torch.manual_seed(5)
    kept = first.in_validation(first.read().y_train)
    torch.manual_seed(6)
    assert np.array_equal(kept, again.in_validation(again.read().y_train))
    assert not np.array_equal(kept, other.in_validation(other.read().y_train))


def test_the_members_never_change() -> None:
    kept = Digits(validation=0.1).in_validation(Digits().read().y_train)
    digest = hashlib.sha256(kept.tobytes()).hexdigest()
    assert digest == "b3e0ddd4a827c389e463af009d5ab4445fd4966be5adddc9f7afcdfcb78a4867"


def test_without_a_validation_part_nothing_changes(tmp_path: Path) -> None:
    dataset = arrays(tmp_path, [30, 20], validation=0, split_seed=7)
    data, read = load(dataset), dataset.read()
    assert np.array_equal(data.x_train, read.x_train)
    assert (dataset.train_images, dataset.validation_images) == (50, 0)
    batches = dataset.batches(Augment(), 32, CPU)
    assert list(batches.validation()) == []


def test_an_image_folder_is_split_by_its_listing(folder: Path) -> None:
    dataset = ImageFolder(str(folder), image_size=8, workers=0, validation=0.25)
    dataset.check()
    batches = dataset.batches(Augment(), 4, CPU)
    assert (batches.train_images, batches.validation_images, batches.test_images) == (12, 4, 2)

    def seen(parts: Any) -> list[tuple[int, int]]:
        pairs = [(numbers([(images, labels)]), labels.tolist()) for images, labels in parts]
        return [
            (value // 10, label)
            for values, labels in pairs
            for value, label in zip(values, labels, strict=True)
        ]

    kept = seen(batches.validation())
    trained = seen(batches.train(torch.Generator().manual_seed(0)))
    assert sorted(label for _, label in kept) == [0, 0, 0, 1]
    assert sorted(kept + trained) == sorted(
        [(number, 0) for number in range(12)] + [(number, 1) for number in range(4)]
    )
    whole = ImageFolder(str(folder), image_size=8, workers=0)
    assert (whole.train_images, whole.validation_images) == (16, 0)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (-1, "give the number of the 120 training images to hold out, or a share below 1"),
        (120, "give the number of the 120 training images"),
        (1.0, "give the number of the 120 training images"),
        (50.0, "give the number of the 120 training images"),
        (float("nan"), "give the number of the 120 training images"),
        ("many", "give the number of the 120 training images"),
        (3, "of 20 images of class 2, none would be a validation image: give more"),
        (1e-9, "of 60 images of class 0, none would be a validation image: give more"),
        (119, "of 40 images of class 1, none would be a training image: give fewer"),
        (0.999, "would be a training image: give fewer"),
    ],
)
def test_what_cannot_be_split_is_refused_in_one_line(tmp_path: Path, validation: Any, message: str) -> None:
    dataset = arrays(tmp_path, [60, 40, 20], validation=validation)
    with pytest.raises(UsageError) as caught:
        dataset.check()
    assert str(caught.value).startswith(f"dataset.validation={validation}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 2**63, "many", 0.5])
def test_a_split_seed_out_of_range_is_refused(seed: Any) -> None:
    with pytest.raises(UsageError, match=r"dataset\.split_seed="):
        Digits(split_seed=seed).check()


def test_a_refused_image_folder_names_the_class(folder: Path) -> None:
    with pytest.raises(UsageError, match="of 4 images of class 1, none would be a validation image"):
        ImageFolder(str(folder), validation=1).check()


@pytest.mark.parametrize("name", options("dataset"))
def test_every_data_set_takes_the_two_options(name: str) -> None:
    words = [f"dataset={name}", "dataset.validation=0.125", "dataset.split_seed=3"]
    dataset = build_dataset(compose_command("train", words).points[0].config.dataset)
    assert (dataset.validation, dataset.split_seed) == (0.125, 3)
