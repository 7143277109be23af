import hashlib
import sys
from typing import Any

import numpy as np
import pytest
import torch

from senet_lab.data.augment import Augment
from senet_lab.data.dataset import load
from senet_lab.data.datasets import Digits
from senet_lab.data.image_folder import ImageFolder
from senet_lab.errors import UsageError


def test_the_digits_split_never_changes() -> None:
    data = load(Digits())
    digest = hashlib.sha256()
    for array in (data.x_train, data.y_train, data.x_test, data.y_test):
        digest.update(np.ascontiguousarray(array).tobytes())
    assert digest.hexdigest() == "ad576e7c88a44e706ad8a9757f0408e95e559ccf61eb5a8470cfbb046e18b3b6"


def test_the_digits_split_is_stratified_and_loses_no_image() -> None:
    data = load(Digits())
    assert data.x_train.shape == (Digits().train_images, 8, 8, 3)
    assert data.x_test.shape == (360, 8, 8, 3)
    train, test = np.bincount(data.y_train), np.bincount(data.y_test)
    assert (np.abs(test - (train + test) / 5) < 1).all()
    together = np.concatenate([data.x_train, data.x_test])
    from sklearn.datasets import load_digits

    original = load_digits().images
    assert sorted(image[..., 0].tobytes() for image in together) == sorted(
        ((image * 255 + 8) // 16).astype(np.uint8).tobytes() for image in original
    )


def test_digits_are_read_without_importing_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert len(Digits().read().x_train) == 1437


def test_digits_use_the_whole_range_in_three_equal_channels() -> None:
    x = load(Digits()).x_train
    assert (x.min(), x.max(), len(np.unique(x))) == (0, 255, 17)
    assert (x[..., 0] == x[..., 1]).all()
    assert (x[..., 0] == x[..., 2]).all()


def test_digits_grow_by_whole_pixels() -> None:
    native, large = load(Digits()), load(Digits(image_size=32))
    assert np.array_equal(large.x_test, native.x_test.repeat(4, axis=1).repeat(4, axis=2))
    assert np.array_equal(large.y_test, native.y_test)


@pytest.mark.parametrize("size", [0, -8, 8.5, "large", 10**9])
def test_a_size_that_cannot_be_is_refused(size: Any) -> None:
    with pytest.raises(UsageError, match=rf"dataset\.image_size={size}: "):
        Digits(image_size=size).check()


def test_equal_data_sets_share_one_copy() -> None:
    first, second = (Digits().batches(Augment(), 128, torch.device("cpu")) for _ in range(2))
    assert first.x_train is second.x_train


def test_a_mean_that_is_left_out_is_the_training_images_own() -> None:
    dataset = Digits(validation=0.2)
    images = load(dataset).x_train / 255
    mean, std = dataset.statistics()
    np.testing.assert_allclose(mean, images.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, images.std(axis=(0, 1, 2)), rtol=1e-9)
    for given in ({"mean": None}, {"std": None}, {"mean": None, "std": None}):
        batches = dataset.batches(Augment(**given), 100, torch.device("cpu"))
        normalised = torch.cat([images for images, _ in batches.train(torch.Generator())]).double()
        if "mean" in given:
            assert normalised.mean(dim=(0, 2, 3)).abs().max() < 1e-5
        if "std" in given:
            assert (normalised.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-4
    assert Augment().mean.tolist() == [0.5] * 3


def test_an_image_folder_has_to_be_told_its_mean() -> None:
    with pytest.raises(
        UsageError, match=r"augment\.mean and augment\.std: dataset=image_folder does not decode"
    ):
        ImageFolder("anywhere").batches(Augment(mean=None), 100, torch.device("cpu"))
