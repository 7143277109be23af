import pytest
import torch
from torch import Tensor

from senet_lab.data.augment import Augment
from senet_lab.data.batches import AT_ONCE, ResidentBatches, check_batch_size, first_images
from senet_lab.data.datasets import Digits
from senet_lab.data.policies import TrivialAugment
from senet_lab.errors import UsageError


def numbered(augment: Augment, batch_size: int = 8) -> ResidentBatches:
    """50 training, 1,200 test and 600 validation images; each image's pixels and label say its number."""

    def part(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(count)
        return (labels % 256).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 4, 4, 3).contiguous(), labels

    return ResidentBatches(part(50), part(1200), part(600), 1200, augment, batch_size)


def test_an_epoch_has_each_image_once_and_keeps_the_last_batch() -> None:
    batches = numbered(Augment())
    epoch = list(batches.train(torch.Generator().manual_seed(0)))
    assert [len(labels) for _, labels in epoch] == [8] * 6 + [2]
    labels = torch.cat([labels for _, labels in epoch])
    assert labels.tolist() != sorted(labels.tolist())
    assert sorted(labels.tolist()) == list(range(50))


def test_images_go_with_their_labels() -> None:
    batches = numbered(Augment(flip=0.5))
    for epoch in (batches.train(torch.Generator().manual_seed(1)), batches.test()):
        for images, labels in epoch:
            numbers = ((images * 0.5 + 0.5) * 255).round().long()
            assert (numbers == (labels % 256).view(-1, 1, 1, 1)).all()


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (500, [500]), (501, [500, 1]), (9999, [500, 500, 200])]
)
def test_the_first_images_are_those_of_the_first_batches(count: int, sizes: list[int]) -> None:
    parts = list(first_images(numbered(Augment()).test(), count))
    assert [len(images) for images, _ in parts] == sizes
    assert torch.cat([labels for _, labels in parts]).tolist() == list(range(sum(sizes)))


def test_the_test_set_is_in_order_whole_and_never_augmented() -> None:
    batches = numbered(Augment(flip=1.0, rotate=90, crop_padding=3))
    images, labels = (torch.cat(parts) for parts in zip(*batches.test(), strict=True))
    assert labels.tolist() == list(range(1200))
    assert batches.test_images == 1200
    assert torch.equal(images, torch.cat([images for images, _ in numbered(Augment()).test()]))


def test_what_a_batch_is_made_of() -> None:
    for images, labels in (
        Digits().batches(Augment(flip=0.5, rotate=30), 128, torch.device("cpu")).train(torch.Generator())
    ):
        assert images.shape == (len(labels), 3, 8, 8)
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_follows_from_its_generator_alone() -> None:
    digits = Digits().batches(Augment(flip=0.4, rotate=30), 100, torch.device("cpu"))

    def epoch(seed: int) -> Tensor:
        torch.manual_seed(torch.seed())  # whatever the global generator is at
        return torch.cat([images for images, _ in digits.train(torch.Generator().manual_seed(seed))])

    assert torch.equal(epoch(3), epoch(3))
    assert not torch.equal(epoch(3), epoch(4))


def test_augmentation_belongs_to_the_image_not_to_the_batch_size() -> None:
    small, large = (
        Digits().batches(Augment(flip=0.4, rotate=30), size, torch.device("cpu")) for size in (100, 300)
    )
    first, second = (
        torch.cat([images for images, _ in batches.train(torch.Generator().manual_seed(5))])
        for batches in (small, large)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize(("images", "batch_size"), [(129, 128), (10, 1), (10, 3), (1, 5)])
def test_a_last_batch_of_one_image_is_refused(images: int, batch_size: int) -> None:
    with pytest.raises(UsageError, match=f"batch_size={batch_size} leaves a last batch of one image"):
        check_batch_size(images, batch_size)


@pytest.mark.parametrize(
    ("images", "batch_size"), [(128, 128), (130, 128), (1437, 128), (50_000, 128), (5, 9)]
)
def test_other_last_batches_are_kept(images: int, batch_size: int) -> None:
    check_batch_size(images, batch_size)


def test_batches_refuse_a_last_batch_of_one_image() -> None:
    with pytest.raises(UsageError, match="one image"):
        numbered(Augment(), batch_size=7)


STRONG = {
    "flip": 0.5,
    "rotate": 30,
    "crop_padding": 2,
    "policy": TrivialAugment(),
    "erasing": 0.3,
    "mixup": 0.5,
}


@pytest.mark.parametrize("options", [{}, {"flip": 0.4, "rotate": 30}, {"size": 12, "flip": 0.5}, STRONG])
@pytest.mark.parametrize("share", [slice(None), slice(1, None, 2)])
def test_many_batches_made_together_are_the_same(
    monkeypatch: pytest.MonkeyPatch, options: dict, share: slice
) -> None:
    def epoch(at_once: int) -> list[tuple[Tensor, Tensor]]:
        monkeypatch.setitem(AT_ONCE, "cpu", at_once)
        digits = Digits().batches(Augment(**options), 100, torch.device("cpu"))
        digits.share = share
        make = digits.train_batch
        monkeypatch.setattr(digits, "train_batch", lambda *part: made.append(at_once) or make(*part))
        return list(digits.train(torch.Generator().manual_seed(6)))

    made: list[int] = []
    alone = epoch(0)
    side = Augment(**options).output_size(8)
    # Five batches, two and a half (so two), all of them.
    for at_once, times in ((5 * 100 * 12 * side**2, 3), (250 * 12 * side**2, 8), (10**9, 1)):
        together = epoch(at_once)
        assert made.count(at_once) == times
        assert len(together) == len(alone) == 15
        for (images, labels), (ours, own_labels) in zip(alone, together, strict=True):
            assert torch.equal(images, ours)
            assert torch.equal(labels, own_labels)
            assert ours.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_drawn_ahead_is_the_same_and_serves_its_own_generator_only() -> None:
    digits = Digits().batches(Augment(flip=0.4, rotate=30), 100, torch.device("cpu"))

    def epoch(seed: int) -> Tensor:
        return torch.cat([images for images, _ in digits.train(torch.Generator().manual_seed(seed))])

    third, fourth = epoch(3), epoch(4)
    digits.prepare(torch.Generator().manual_seed(4))
    assert torch.equal(epoch(4), fourth)
    digits.prepare(torch.Generator().manual_seed(4))
    assert torch.equal(epoch(3), third)
    assert torch.equal(epoch(4), fourth)
