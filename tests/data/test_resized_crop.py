import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from senet_lab.data.augment import Augment, RandomResizedCrop
from senet_lab.errors import UsageError


def images(count: int, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


def floats(image: Tensor) -> Tensor:
    return image.permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("size", [48, 20])
def test_each_crop_is_torchvisions(size: int) -> None:
    augment = RandomResizedCrop(size, mean=[0, 0, 0], std=[1, 1, 1])
    x = images(16)
    maps = augment.draw(16, 32, torch.Generator().manual_seed(0))
    assert 0 < maps[:, 4].sum() < 16
    got = augment(x, maps)
    assert got.is_contiguous(memory_format=torch.channels_last)
    for image, crop, (top, left, height, width, flip) in zip(x, got, maps.tolist(), strict=True):
        want = tv.resized_crop(floats(image), top, left, height, width, [size, size], antialias=False)
        torch.testing.assert_close(crop, want.flip(-1) if flip else want, rtol=0, atol=1e-5)


def test_parts_are_drawn_by_torchvisions_rule() -> None:
    draws = 20_000
    ours = RandomResizedCrop(48).draw(draws, 32, torch.Generator().manual_seed(0)).double()
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:4] <= 32).all()
    torch.manual_seed(0)
    crop, blank = v2.RandomResizedCrop(48), [torch.zeros(3, 32, 32)]
    theirs = [crop.make_params(blank) for _ in range(draws // 10)]
    for column, key in enumerate(["top", "left", "height", "width"]):
        values = torch.tensor([params[key] for params in theirs], dtype=torch.float64)
        error = values.std() / len(values) ** 0.5
        assert abs(ours[:, column].mean() - values.mean()) < 5 * error


def test_test_images_are_the_centre_of_a_larger_image() -> None:
    augment = RandomResizedCrop(224, mean=[0, 0, 0], std=[1, 1, 1])
    image = images(1)
    want = tv.center_crop(tv.resize(floats(image[0]), [256, 256], antialias=True), [224, 224])
    torch.testing.assert_close(augment(image, None)[0], want, rtol=0, atol=1e-5)


def test_augment_resizes_to_its_size() -> None:
    augment = Augment(mean=[0, 0, 0], std=[1, 1, 1], size=12)
    image = images(1)
    want = tv.resize(floats(image[0]), [12, 12], antialias=True)
    torch.testing.assert_close(augment(image, None)[0], want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 0}, "augment.size"),
        ({"size": 8, "scale": [0.0, 1.0]}, "augment.scale"),
        ({"size": 8, "scale": [0.5, 1.1]}, "augment.scale"),
        ({"size": 8, "ratio": [2.0, 1.0]}, "augment.ratio"),
    ],
)
def test_bad_values_are_refused_by_name(arguments: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        RandomResizedCrop(**arguments)
