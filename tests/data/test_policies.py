"""TrivialAugment and RandAugment against torchvision's operations, image by image."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from senet_lab.data.augment import Augment, RandomResizedCrop, crop
from senet_lab.data.moves import move
from senet_lab.data.policies import BINS, COLUMNS, Kind, Policy, RandAugment, TrivialAugment
from senet_lab.errors import UsageError

MOVES = range(Kind.SHEAR_X, Kind.ROTATE + 1)
NAMES = [kind.name.title().replace("_", "") for kind in Kind]
NAMES[Kind.AUTOCONTRAST] = "AutoContrast"
"""Torchvision's names, in the order of `Kind`."""


def images(count: int, size: int) -> Tensor:
    """Smooth colours with noise, as photographs have, so that each operation has something to do."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 200 + 20
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    noise = torch.randint(-20, 21, smooth.shape, generator=generator)
    return (smooth + noise).clamp(1, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def fixed(policy: Policy, kind: Kind, level: int, sign: int, count: int, size: int) -> Tensor:
    """What `draw` would give for one kind, strength and sign."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "draw_bins", lambda count, _: torch.full((count,), level))
        patch.setattr(
            torch, "randint", lambda n, shape, **_: torch.full(shape, kind if n == 14 else (sign + 1) // 2)
        )
        return policy.draw(count, size, torch.Generator())


def theirs(space: type, kind: Kind, level: int, sign: int, image: Tensor) -> Tensor:
    """The operation as torchvision does it: moves on PIL images as the papers' code, colours on tensors."""
    size = image.shape[0]
    magnitudes, signed = space._AUGMENTATION_SPACE[NAMES[kind]]
    values = magnitudes(BINS, size, size)
    value = 0.0 if values is None else float(values[level]) * (sign if signed else 1)
    of = Image.fromarray(image.numpy()) if kind in MOVES else image.permute(2, 0, 1)
    done = space()._apply_image_or_video_transform(
        of, NAMES[kind], value, v2.InterpolationMode.NEAREST, {Image.Image: 0, Tensor: 0}
    )
    return torch.from_numpy(np.array(done)) if kind in MOVES else done.permute(1, 2, 0)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(
    ("policy", "space"), [(TrivialAugment(), v2.TrivialAugmentWide), (RandAugment(1), v2.RandAugment)]
)
def test_each_operation_is_torchvisions(policy: Policy, space: type, kind: Kind) -> None:
    sources = images(6, 32)
    different = []
    for level in (0, 1, 9, 17, 30):
        for sign in (1, -1):
            ours = policy(sources, fixed(policy, kind, level, sign, 6, 32))
            wanted = torch.stack([theirs(space, kind, level, sign, image) for image in sources])
            different.append((ours.int() - wanted.int()).abs())
    differences = torch.stack(different)
    # Sums of the same float32 products, in another order: a level at most, and seldom.
    assert differences.max() <= (0 if kind in MOVES or kind >= Kind.POSTERIZE else 1)
    assert differences.float().mean() < 5e-3


def test_an_operation_changes_what_it_should() -> None:
    sources = images(6, 32)
    for kind in Kind:
        changed = TrivialAugment()(sources, fixed(TrivialAugment(), kind, 20, 1, 6, 32))
        assert torch.equal(changed, sources) == (kind is Kind.IDENTITY)


@pytest.mark.parametrize("policy", [TrivialAugment(), RandAugment(operations=3)])
def test_a_batch_is_what_its_images_are_alone(policy: Policy) -> None:
    sources = images(200, 32)
    drawn = policy.draw(200, 32, torch.Generator().manual_seed(1))
    assert drawn.shape == (200, policy.columns)
    assert drawn.dtype == torch.int32
    together = policy(sources, drawn)
    alone = [policy(image[None], numbers[None]) for image, numbers in zip(sources, drawn, strict=True)]
    assert torch.equal(together, torch.cat(alone))
    again = policy.draw(200, 32, torch.Generator().manual_seed(1))
    other = policy.draw(200, 32, torch.Generator().manual_seed(2))
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)


def test_kinds_strengths_and_signs_are_drawn_evenly() -> None:
    count = 60_000
    drawn = TrivialAugment().draw(count, 32, torch.Generator().manual_seed(0))
    kinds = torch.bincount(drawn[:, 0], minlength=14)
    assert len(kinds) == 14
    deviation = (count * (1 / 14) * (13 / 14)) ** 0.5
    assert (kinds - count / 14).abs().max() < 5 * deviation
    bright = drawn[drawn[:, 0] == Kind.BRIGHTNESS][:, 1].contiguous().view(torch.float32) - 1
    levels = torch.bincount((bright.abs() / 0.99 * 30).round().long())
    assert len(levels) == BINS
    assert (levels - len(bright) / BINS).abs().max() < 5 * (len(bright) / BINS) ** 0.5
    assert abs((bright > 0).sum() / (bright != 0).sum() - 0.5) < 5 * 0.5 / len(bright) ** 0.5


def test_randaugment_has_one_strength_and_its_number_of_operations() -> None:
    drawn = RandAugment(operations=2, magnitude=30).draw(2000, 32, torch.Generator().manual_seed(0))
    for step in drawn.split(COLUMNS, dim=1):
        solarized = step[step[:, 0] == Kind.SOLARIZE][:, 1].contiguous().view(torch.float32)
        assert len(solarized) > 100
        assert (solarized == 0).all()


@pytest.mark.parametrize("augment", [Augment, RandomResizedCrop])
def test_the_policy_comes_after_the_moves_and_before_normalisation(augment: type[Augment]) -> None:
    sources = images(50, 16)
    plain, whole = augment(size=16, flip=0.5), augment(size=16, flip=0.5, policy=TrivialAugment())
    drawn = whole.draw(50, 16, torch.Generator().manual_seed(3))
    assert drawn is not None
    place, policy = drawn[:, :-COLUMNS], drawn[:, -COLUMNS:]
    assert torch.equal(place, plain.draw(50, 16, torch.Generator().manual_seed(3)))
    if augment is Augment:
        moved = move(sources, place, turned=False)
    else:
        moved = crop(sources.permute(0, 3, 1, 2).float(), place, 16).round().byte().permute(0, 2, 3, 1)
    wanted = TrivialAugment()(moved, policy).permute(0, 3, 1, 2) / 255 * 2 - 1
    result = whole(sources, drawn)
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-6)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(whole(sources, None), plain(sources, None))


def test_small_images_bear_every_operation() -> None:
    for size in (1, 2, 3):
        sources = images(140, size)
        policy = RandAugment(operations=4, magnitude=30)
        assert (
            policy(sources, policy.draw(140, size, torch.Generator().manual_seed(0))).shape == sources.shape
        )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"operations": 0}, "policy.operations=0"),
        ({"operations": 1.5}, "policy.operations=1.5"),
        ({"magnitude": 31}, "policy.magnitude=31"),
        ({"magnitude": -1}, "policy.magnitude=-1"),
    ],
)
def test_bad_values_are_named(options: dict, named: str) -> None:
    with pytest.raises(UsageError, match=f"augment.{named}: give an integer"):
        RandAugment(**options)
