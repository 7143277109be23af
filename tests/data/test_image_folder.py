from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from senet_lab.data import decoded
from senet_lab.data.augment import Augment
from senet_lab.data.batches import LoadedBatches, centred, squared
from senet_lab.data.decoded import decode
from senet_lab.data.image_folder import DecodedImages, ImageFolder, RandomPart
from senet_lab.data.jpeg import Jpeg, decodes_jpeg
from senet_lab.errors import UsageError

CPU = torch.device("cpu")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes: 5 training and 2 test images each, of several shapes; reds for a, blues for b."""
    random = np.random.default_rng(0)
    for part, count in (("train", 5), ("test", 2)):
        for channel, name in ((0, "a"), (2, "b")):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.zeros((20 + 4 * number, 30, 3), np.uint8)
                pixels[..., channel] = random.integers(100, 256, pixels.shape[:2])
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def epoch(root: Path, seed: int, workers: int = 0) -> tuple[Tensor, Tensor]:
    batches = ImageFolder(str(root), image_size=16, workers=workers).batches(Augment(flip=0.5), 4, CPU)
    parts = list(batches.train(torch.Generator().manual_seed(seed)))
    assert [len(labels) for _, labels in parts] == [4, 4, 2]
    images, labels = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_what_the_folders_say(root: Path) -> None:
    dataset = ImageFolder(str(root), image_size=16)
    dataset.check()
    assert (dataset.num_classes, dataset.train_images, dataset.image_size) == (2, 10, 16)
    batches = dataset.batches(Augment(), 4, CPU)
    assert (batches.train_images, batches.test_images) == (10, 4)


def test_images_go_with_their_labels_and_are_normalised(root: Path) -> None:
    images, labels = epoch(root, seed=0)
    assert images.shape == (10, 3, 16, 16)
    assert labels.sum() == 5
    colours = images.mean(dim=(2, 3))
    assert (colours[:, 1] == -1).all()
    assert ((colours[:, 2] > colours[:, 0]) == labels.bool()).all()


def test_the_seed_alone_decides_whatever_the_workers(root: Path) -> None:
    before = torch.get_rng_state()
    alone, _ = epoch(root, seed=1)
    with_workers, _ = epoch(root, seed=1, workers=2)
    other, _ = epoch(root, seed=2)
    assert torch.equal(alone, with_workers)
    assert not torch.equal(alone, other)
    assert torch.equal(before, torch.get_rng_state())


def test_the_test_images_are_centre_crops_in_order(root: Path) -> None:
    batches = ImageFolder(str(root), image_size=16, workers=0).batches(Augment(flip=1.0), 4, CPU)
    [(images, labels)] = batches.test()
    assert labels.tolist() == [0, 0, 1, 1]
    first = Image.open(root / "test" / "a" / "0.png").resize((27, 18), Image.Resampling.BILINEAR)
    expected = np.asarray(first.crop((6, 1, 22, 17)))
    ours = ((images[0] * 0.5 + 0.5) * 255).round().to(torch.uint8).permute(1, 2, 0)
    assert np.abs(ours.numpy().astype(int) - expected).max() <= 1


def test_val_will_do_for_test(root: Path) -> None:
    (root / "test").rename(root / "val")
    ImageFolder(str(root)).check()


def test_an_unreadable_image_is_named(root: Path) -> None:
    (root / "train" / "a" / "3.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"train/a/3\.png: not a readable image"):
        epoch(root, seed=0)


def test_wrong_folders_are_named(tmp_path: Path, root: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset\.root=DIR"):
        ImageFolder(None).check()
    with pytest.raises(UsageError, match="no folder train"):
        ImageFolder(str(tmp_path / "nowhere")).check()
    (root / "test" / "b").rename(root / "test" / "c")
    with pytest.raises(UsageError, match="class b is in one of train and test only"):
        ImageFolder(str(root)).check()


def test_an_empty_class_is_named(root: Path) -> None:
    (root / "train" / "c").mkdir()
    with pytest.raises(UsageError, match="classes c"):
        ImageFolder(str(root)).check()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image_size": 0}, "image_size=0"),
        ({"image_size": 8.5}, "image_size=8.5"),
        ({"workers": -1}, "workers=-1"),
        ({"workers": "many"}, "workers=many"),
    ],
)
def test_bad_options_are_named(root: Path, options: dict, named: str) -> None:
    with pytest.raises(UsageError, match=f"dataset.{named}"):
        ImageFolder(str(root), **options).check()


def test_a_last_batch_of_one_image_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="one image"):
        ImageFolder(str(root)).batches(Augment(), 3, CPU)


def photograph(shape: tuple[int, int] = (60, 80)) -> Image.Image:
    """Smooth, as JPEG wants it."""
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        shape[::-1], Image.Resampling.BICUBIC
    )


def test_images_are_the_way_up_that_their_exif_data_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right
    photograph().save(tmp_path / "turned.jpg", exif=exif)
    photograph().save(tmp_path / "upright.jpg")
    turned, upright = (decode(str(tmp_path / name)) for name in ("turned.jpg", "upright.jpg"))
    assert turned.size == upright.size[::-1]
    assert np.array_equal(np.asarray(turned), np.rot90(np.asarray(upright), k=-1))


@pytest.mark.parametrize("kind", ["colour", "grey", "CMYK", "progressive", "PNG inside", "capital"])
def test_both_decoders_give_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """So a run goes on as it began where torchcodec was installed, or removed, meanwhile."""
    pytest.importorskip("torchcodec")
    file = tmp_path / ("A.JPEG" if kind == "capital" else "a.jpg")
    image = photograph().convert({"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB"))
    image.save(file, "PNG" if kind == "PNG inside" else "JPEG", progressive=kind == "progressive")
    fast = decode(str(file))
    monkeypatch.setattr(decoded, "fast_decoder", lambda: None)
    assert np.array_equal(np.asarray(fast), np.asarray(decode(str(file))))


def test_a_fast_decoder_that_fails_leaves_the_image_to_pillow(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str) -> Tensor:
        raise RuntimeError(path)

    photograph().save(root / "a.jpg")
    monkeypatch.setattr(decoded, "fast_decoder", lambda: fails)
    assert decode(str(root / "a.jpg")).size == (80, 60)
    (root / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"a\.jpg: not a readable image"):
        decode(str(root / "a.jpg"))


def test_what_a_gpu_finishes_is_what_the_workers_would_have_made() -> None:
    """The worker cuts what RandomResizedCrop would cut, or nothing; to resize differs by rounding alone."""
    for shape in ((60, 80), (71, 50)):
        image = photograph(shape)
        for seed in range(20):
            torch.manual_seed(seed)
            wanted = np.asarray(transforms.RandomResizedCrop(24)(image)).astype(int)
            torch.manual_seed(seed)
            part = torch.from_numpy(np.array(RandomPart()(image)))
            assert np.abs(squared(part, 24).numpy() - wanted).max() <= 2
        centre = transforms.Compose([transforms.Resize(27), transforms.CenterCrop(24)])
        whole = torch.from_numpy(np.array(image))
        assert np.abs(centred(whole, 24).numpy() - np.asarray(centre(image)).astype(int)).max() <= 2


def test_batches_of_images_of_any_shape(root: Path) -> None:
    """As for a GPU, on the CPU: what the workers send apart comes out as one batch."""
    samples, _, _ = ImageFolder(str(root)).parts()
    sets = [DecodedImages(samples, cut) for cut in (RandomPart(), None, None)]
    batches = LoadedBatches(*sets, 2, 16, Augment(), batch_size=4, workers=0, device=CPU)
    batches.any_shape = True
    epochs = [list(batches.train(torch.Generator().manual_seed(seed))) for seed in (0, 0, 1)]
    images, labels = (torch.cat(parts) for parts in zip(*epochs[0], strict=True))
    assert images.shape == (10, 3, 16, 16)
    colours = images.mean(dim=(2, 3))
    assert ((colours[:, 2] > colours[:, 0]) == labels.bool()).all()
    assert torch.equal(epochs[0][0][0], epochs[1][0][0])
    assert not torch.equal(epochs[0][0][0], epochs[2][0][0])
    [(tested, _), *_] = batches.test()
    assert tested.shape == (4, 3, 16, 16)


GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
JPEGS = pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=GPU)])
LEVELS = 12
"""By how many levels, of 255, pixels of two decoders may differ."""


def jpegs(folder: Path) -> list[tuple[str, int]]:
    """Files in colour, one for each orientation in EXIF's terms, and the only one without."""
    samples = []
    for orientation in range(9):
        exif = Image.Exif()
        if orientation:
            exif[0x0112] = orientation
        photograph((60, 80 + orientation)).save(folder / f"{orientation}.jpg", exif=exif, subsampling=0)
        samples.append((str(folder / f"{orientation}.jpg"), orientation))
    return samples


@JPEGS
def test_files_that_a_device_decodes_are_what_the_workers_would_have_sent(
    tmp_path: Path, device: torch.device
) -> None:
    """The same crops of the same pixels, the right way up, whichever decodes; the CPU stands for a GPU."""
    samples = jpegs(tmp_path)
    decoded, read = (DecodedImages(samples, RandomPart(), reads) for reads in (False, True))
    files = [read[number, 7 + number][0] for number in range(len(samples))]
    assert all(isinstance(file, Jpeg) for file in files)
    for number, image in enumerate(read.on_device(files, device)):
        wanted, label = decoded[number, 7 + number]
        assert label == number
        assert image.shape == wanted.shape
        assert (image.cpu().int() - wanted.int()).abs().max() <= LEVELS


@JPEGS
def test_batches_of_files_draw_the_same_numbers(tmp_path: Path, device: torch.device) -> None:
    samples = jpegs(tmp_path)
    found = []
    for reads in (False, True):
        sets = [DecodedImages(samples, cut, reads) for cut in (RandomPart(), None, None)]
        batches = LoadedBatches(*sets, 9, 16, Augment(flip=0.5), 3, workers=0, device=device)
        batches.any_shape = True
        parts = list(batches.train(torch.Generator().manual_seed(3)))
        found.append(tuple(torch.cat(part) for part in zip(*parts, strict=True)))
    (images, labels), (same_images, same_labels) = found
    assert torch.equal(labels, same_labels)
    assert (images - same_images).abs().max() <= LEVELS / 255 / 0.5  # normalised by 0.5


@JPEGS
def test_a_file_that_the_device_cannot_decode_is_decoded_here(tmp_path: Path, device: torch.device) -> None:
    """As is every file of another kind, whatever its name."""
    samples = jpegs(tmp_path)[:2]
    for name, mode, kind in (("grey", "L", "JPEG"), ("cmyk", "CMYK", "JPEG"), ("inside", "RGB", "PNG")):
        photograph().convert(mode).save(tmp_path / f"{name}.jpg", kind)
        samples.append((str(tmp_path / f"{name}.jpg"), 0))
    read = DecodedImages(samples, None, reads_jpeg=True)
    images = [read[number, 0][0] for number in range(len(samples))]
    assert [isinstance(image, Jpeg) for image in images] == [True, True, False, False, False]
    broken = replace(images[0], content=images[0].content[:200])
    found = read.on_device([broken, *images[1:]], device)
    for image, (path, _) in zip(found, samples, strict=True):
        assert (image.cpu().int() - torch.from_numpy(np.array(decode(path))).int()).abs().max() <= LEVELS
    Path(samples[0][0]).write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"0\.jpg: not a readable image"):
        read.on_device([broken], device)


def test_a_device_without_a_decoder_is_told_from_one_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    decodes_jpeg.cache_clear()
    assert decodes_jpeg(CPU)

    def fails(*_: object) -> None:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support")

    decodes_jpeg.cache_clear()
    monkeypatch.setattr("torchvision.io.decode_jpeg", fails)
    assert not decodes_jpeg(CPU)
    decodes_jpeg.cache_clear()


def test_as_many_workers_as_the_run_has_threads(root: Path) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert ImageFolder(str(root)).batches(Augment(), 4, CPU).workers == threads
            assert ImageFolder(str(root), workers=0).batches(Augment(), 4, CPU).workers == 0
    finally:
        torch.set_num_threads(before)
