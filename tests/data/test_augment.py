import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from senet_lab.build import build_augment
from senet_lab.composition.command import compose_command
from senet_lab.data.augment import Augment
from senet_lab.data.moves import rotation_maps
from senet_lab.errors import UsageError


def images(count: int, size: int, seed: int = 0) -> Tensor:
    """Random images without black pixels, so that black can only come from outside."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)


def pixels(normalised: Tensor) -> Tensor:
    """Undo the normalisation with mean 0.5 and std 0.5: float (B, 3, H, H) → uint8 (B, H, H, 3)."""
    return ((normalised * 0.5 + 0.5) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


@pytest.mark.parametrize("size", [1, 8, 32, 33])
def test_rotation_is_pillows_nearest_rotation(size: int) -> None:
    angles = torch.empty(400, dtype=torch.float64).uniform_(
        -180, 180, generator=torch.Generator().manual_seed(1)
    )
    angles[:9] = torch.tensor([0, 30, -30, 45, 90, -90, 180, -180, 1e-9])
    sources = images(len(angles), size)
    ours = pixels(Augment(rotate=180)(sources, rotation_maps(angles, size)))
    for source, angle, image in zip(sources, angles.tolist(), ours, strict=True):
        pillow = Image.fromarray(source.numpy()).rotate(angle, resample=Image.Resampling.NEAREST)
        np.testing.assert_array_equal(image, np.asarray(pillow), err_msg=f"angle {angle}")


def test_flip_comes_before_rotation() -> None:
    sources = images(200, 32)
    flipped_first = Augment(flip=1.0, rotate=30)
    maps = flipped_first.draw(200, 32, torch.Generator().manual_seed(2))
    angles = Augment(rotate=30).draw(200, 32, torch.Generator().manual_seed(2))
    assert torch.equal(flipped_first(sources, maps), Augment(rotate=30)(sources.flip(2), angles))


def test_angles_fill_their_range_evenly() -> None:
    maps = Augment(rotate=30).draw(20_000, 32, torch.Generator().manual_seed(3))
    sine = -maps[:, 1] / 2**16
    angles = torch.rad2deg(torch.asin(sine))
    assert angles.abs().max() <= 30.01
    counts = torch.histc(angles, bins=6, min=-30, max=30)
    # Each bin is binomial with n = 20,000 and p = 1/6: five standard deviations are 264.
    assert (counts - 20_000 / 6).abs().max() < 264


@pytest.mark.parametrize("probability", [0.4, 0.5, 1.0])
def test_flip_probability(probability: float) -> None:
    augment = Augment(flip=probability)
    sources = images(1, 4).expand(10_000, -1, -1, -1)
    result = pixels(augment(sources, augment.draw(10_000, 4, torch.Generator().manual_seed(4))))
    flipped = (result == sources.flip(2)).flatten(1).all(dim=1)
    assert torch.equal(result[~flipped], sources[~flipped])
    # Five standard deviations of the binomial.
    assert (
        abs(flipped.float().mean().item() - probability)
        <= 5 * (probability * (1 - probability) / 10_000) ** 0.5
    )


def test_crop_is_a_window_of_the_padded_image() -> None:
    augment = Augment(crop_padding=4)
    sources = images(500, 16)
    maps = augment.draw(500, 16, torch.Generator().manual_seed(5))
    left, top = maps[:, 2] // 2**16 + 4, maps[:, 5] // 2**16 + 4
    assert set(left.tolist()) == set(top.tolist()) == set(range(9))
    padded = torch.nn.functional.pad(sources, (0, 0, 4, 4, 4, 4))
    windows = [
        image[y : y + 16, x : x + 16] for image, x, y in zip(padded, left.tolist(), top.tolist(), strict=True)
    ]
    assert torch.equal(pixels(augment(sources, maps)), torch.stack(windows))


def test_crop_and_flip_are_the_standard_sequence() -> None:
    augment = Augment(flip=1.0, crop_padding=4)
    sources = images(100, 16)
    maps = augment.draw(100, 16, torch.Generator().manual_seed(6))
    crops = maps.clone()
    crops[:, 0], crops[:, 2] = 2**16, maps[:, 2] - (16 * 2**16 - 1)
    cropped = Augment(crop_padding=4)(sources, crops)
    assert torch.equal(augment(sources, maps), cropped.flip(3))


@pytest.mark.parametrize("name", ["none", "published", "standard"])
def test_without_maps_it_is_exactly_torchvisions_normalisation(name: str) -> None:
    node = compose_command("train", [f"augment={name}"]).points[0].config.augment
    mean, std = node["mean"], node["std"]
    augment = Augment(mean=mean, std=std)
    sources = images(5, 8)
    assert augment.draw(5, 8, torch.Generator()) is None
    plain = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    expected = torch.stack([plain(Image.fromarray(source.numpy())) for source in sources])
    result = augment(sources, None)
    assert torch.equal(result, expected)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_the_published_options() -> None:
    augment = build_augment(compose_command("train", ["augment=published"]).points[0].config.augment)
    assert (augment.flip, augment.rotate, augment.crop_padding) == (0.4, 30, 0)
    assert augment.mean.tolist() == augment.std.tolist() == [0.5] * 3


@pytest.mark.parametrize("options", [{"flip": 0.4, "rotate": 30}, {"flip": 0.5, "crop_padding": 4}])
def test_same_generator_same_maps(options: dict) -> None:
    augment = Augment(**options)
    first, second, other = (augment.draw(50, 32, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"flip": 1.5}, "augment.flip=1.5"),
        ({"flip": float("nan")}, "augment.flip=nan"),
        ({"rotate": -1}, "augment.rotate=-1"),
        ({"rotate": float("inf")}, "augment.rotate=inf"),
        ({"crop_padding": -4}, "augment.crop_padding=-4"),
        ({"mean": [0.5]}, r"augment.mean=\[0.5\]"),
        ({"std": [0.5, 0, 0.5]}, r"augment.std=\[0.5, 0, 0.5\]"),
    ],
)
def test_bad_options_are_named(options: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Augment(**options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_pixels() -> None:
    augment = Augment(flip=0.4, rotate=30, crop_padding=4)
    sources = images(1000, 32)
    maps = augment.draw(1000, 32, torch.Generator().manual_seed(9))
    on_cpu = pixels(augment(sources, maps))
    on_gpu = pixels(augment.cuda()(sources.cuda(), maps)).cpu()
    assert torch.equal(on_cpu, on_gpu)
