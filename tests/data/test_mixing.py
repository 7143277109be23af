"""Mixup, CutMix and erasing against plain loops over images; what is drawn for them against its law."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from senet_lab.data.augment import Augment, RandomResizedCrop, draw_erased, erase
from senet_lab.data.batches import ResidentBatches
from senet_lab.data.datasets import Digits
from senet_lab.data.mixing import Mixing
from senet_lab.errors import UsageError

COUNT = 20_000


def drawn(mixup: float, cutmix: float, count: int, size: int = 32, seed: int = 0) -> Tensor:
    return Mixing(mixup, cutmix).draw(count, size, torch.Generator().manual_seed(seed))


def shares(numbers: Tensor) -> np.ndarray:
    """The labels' own shares."""
    return numbers[:, :2].contiguous().view(torch.float32)[:, 1].double().numpy()


def batch(count: int, size: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    images = torch.randn(count, 3, size, size, generator=generator).contiguous(
        memory_format=torch.channels_last
    )
    return images, torch.randint(classes, (count,), generator=generator)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.3, 0.0), (0.0, 1.0), (0.3, 1.0)])
def test_a_batch_is_mixed_as_a_loop_over_its_images_would(mixup: float, cutmix: float) -> None:
    images, labels = batch(60, 8, 7)
    numbers = drawn(mixup, cutmix, 60, size=8)
    mixed, targets = Mixing(mixup, cutmix)(images, labels, numbers, 7)
    weights = numbers[:, :2].contiguous().view(torch.float32)
    boxes = 0
    for n, (own, share) in enumerate(weights.tolist()):
        top, left, height, width = numbers[n, 2:].tolist()
        image = images[n] * own + images[n - 1] * (1 - own)
        if height * width:
            assert own == 1
            assert share == pytest.approx(1 - height * width / 64, abs=1e-6)
            image[:, top : top + height, left : left + width] = images[
                n - 1, :, top : top + height, left : left + width
            ]
            boxes += 1
        target = torch.zeros(7)
        target[labels[n]] += share
        target[labels[n - 1]] += 1 - share
        torch.testing.assert_close(mixed[n], image)
        torch.testing.assert_close(targets[n], target)
    assert (boxes > 0) == (cutmix > 0)
    assert targets.dtype == torch.float32
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixups_shares_have_their_law(alpha: float) -> None:
    law = scipy.stats.beta(alpha, alpha)
    assert scipy.stats.kstest(shares(drawn(alpha, 0, COUNT)), law.cdf).pvalue > 1e-4


def test_cutmix_boxes_are_those_of_the_paper() -> None:
    """Centre evenly over the pixels, sides of a share λ ~ Beta(1, 1), cut off at the border."""
    numbers = drawn(0, 1.0, COUNT)
    top, left, height, width = numbers[:, 2:].double().unbind(1)
    assert (numbers[:, 2:] >= 0).all()
    assert (torch.stack([top + height, left + width]) <= 32).all()
    random = np.random.default_rng(0)
    half = (32 * np.sqrt(1 - random.random(COUNT))).astype(int) // 2
    centre = random.integers(0, 32, (2, COUNT))
    low, high = np.clip(centre - half, 0, 32), np.clip(centre + half, 0, 32)
    for ours, plain in ((height, high[0] - low[0]), (width, high[1] - low[1]), (top, low[0]), (left, low[1])):
        error = (ours.std() ** 2 / COUNT + plain.std() ** 2 / COUNT) ** 0.5
        assert abs(ours.mean() - plain.mean()) < 5 * error


def test_with_both_a_coin_decides() -> None:
    numbers = drawn(0.4, 1.0, COUNT)
    cut = numbers[:, 4] * numbers[:, 5] > 0
    alone = (drawn(0, 1.0, COUNT)[:, 4:].prod(dim=1) > 0).double().mean().item()  # boxes can be of no size
    assert abs(cut.double().mean() - alone / 2) < 5 * 0.5 / COUNT**0.5
    averaged = numbers[:, :2].contiguous().view(torch.float32)[~cut][:, 0].double().numpy()
    averaged = averaged[averaged < 1]
    assert scipy.stats.kstest(averaged, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 1e-4


def test_an_epoch_of_mixed_digits() -> None:
    augment = Augment(crop_padding=1, mixup=0.3, cutmix=1.0)
    batches = Digits().batches(augment, 100, torch.device("cpu"))
    plain = Digits().batches(Augment(crop_padding=1), 100, torch.device("cpu"))
    epochs = [list(batches.train(torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)]
    sizes = [len(labels) for _, labels in epochs[0]]
    assert sizes == [len(labels) for _, labels in plain.train(torch.Generator().manual_seed(0))]
    for images, labels in epochs[0]:
        assert images.shape == (len(labels), 3, 8, 8)
        assert labels.shape == (len(images), 10)
        torch.testing.assert_close(labels.sum(dim=1), torch.ones(len(labels)))
    assert all(torch.equal(one, other) for one, other in zip(*(map(first, epochs[:2])), strict=True))
    assert not torch.equal(epochs[0][0][0], epochs[2][0][0])
    for part in (batches.test(), batches.validation()):
        assert all(labels.dtype == torch.int64 for _, labels in part)


def first(epoch: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    return [images for images, _ in epoch]


def test_mixing_takes_place_within_a_batch() -> None:
    """Each image's label is its own or that of the image before it in the same batch."""
    labels = torch.arange(50)
    images = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 3).contiguous()
    none = (images[:0], labels[:0])
    batches = ResidentBatches((images, labels), none, none, 50, Augment(mixup=1.0), 8)
    order = torch.cat([labels for _, labels in batches_of(images, labels)])
    mixed = [targets for _, targets in batches.train(torch.Generator().manual_seed(0))]
    start = 0
    for targets in mixed:
        members = order[start : start + len(targets)]
        start += len(targets)
        for n, target in enumerate(targets):
            assert set(target.nonzero()[:, 0].tolist()) <= {int(members[n]), int(members[n - 1])}


def batches_of(images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    none = (images[:0], labels[:0])
    plain = ResidentBatches((images, labels), none, none, 50, Augment(), 8)
    return list(plain.train(torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_erased_boxes_follow_the_papers_rule(probability: float) -> None:
    boxes = draw_erased(COUNT, 32, probability, torch.Generator().manual_seed(0)).double()
    top, left, height, width = boxes.unbind(1)
    erased = height * width > 0
    deviation = (probability * (1 - probability) / COUNT) ** 0.5
    assert abs(erased.double().mean() - probability) <= 5 * deviation + 1e-3  # some never fit
    assert (top + height <= 32).all()
    assert (left + width <= 32).all()
    area = (height * width)[erased] / 32**2
    assert 0.015 < area.min() < 0.03
    assert 0.37 < area.max() < 0.43
    ratio = (width / height)[erased].log()
    assert abs(ratio.mean()) < 5 * ratio.std() / len(ratio) ** 0.5 + 0.01


def test_an_erased_box_is_the_mean_and_the_rest_stays() -> None:
    images, _ = batch(40, 12, 2)
    boxes = draw_erased(40, 12, 0.7, torch.Generator().manual_seed(1))
    result = erase(images.clone(memory_format=torch.preserve_format), boxes)
    for before, after, (top, left, height, width) in zip(images, result, boxes.tolist(), strict=True):
        wanted = before.clone()
        wanted[:, top : top + height, left : left + width] = 0
        assert torch.equal(after, wanted)
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("make", [Augment, RandomResizedCrop])
def test_erasing_comes_last(make: type[Augment]) -> None:
    images = torch.randint(
        0, 256, (30, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    plain, erasing = make(size=20, flip=0.5), make(size=20, flip=0.5, erasing=1.0)
    numbers = erasing.draw(30, 16, torch.Generator().manual_seed(3))
    assert numbers is not None
    assert torch.equal(erasing(images, numbers), erase(plain(images, numbers[:, :-4]), numbers[:, -4:]))
    assert torch.equal(erasing(images, None), plain(images, None))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"erasing": 1.5}, "augment.erasing=1.5: give a probability"),
        ({"mixup": -1}, r"augment.mixup=-1: give the α of Beta\(α, α\)"),
        ({"cutmix": float("inf")}, "augment.cutmix=inf: give the α"),
    ],
)
def test_bad_values_are_named(options: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Augment(**options)
