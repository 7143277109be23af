"""Each downloaded data set, from archives in its published form that a server on this machine has."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from downloads import Server, idx, md5, running, tar, zipped
from PIL import Image
from torchvision import datasets

from senet_lab.build import build_dataset
from senet_lab.composition.command import compose_command, options
from senet_lab.data.dataset import ImageData
from senet_lab.data.datasets import EMNIST, KMNIST, MNIST, STL10, Downloaded, FashionMNIST, Imagenette
from senet_lab.errors import UsageError

RANDOM = np.random.default_rng(0)
GREY = {
    "train": RANDOM.integers(0, 256, (6, 28, 28), np.uint8),
    "test": RANDOM.integers(0, 256, (4, 28, 28), np.uint8),
}
LABELS = {"train": np.array([3, 1, 4, 1, 5, 9], np.uint8), "test": np.array([2, 6, 5, 3], np.uint8)}


def serve(dataset: type[Downloaded], files: dict[str, bytes], patch: pytest.MonkeyPatch) -> Any:
    """A server of a data set's archives, by their names; the data set asks it, torchvision knows the MD5s."""
    server = Server(files=files)
    patch.setattr(dataset, "archives", tuple(map(server.elsewhere, dataset.archives)))
    reader = getattr(datasets, dataset.reader)
    content = next(iter(files.values()))
    for attribute in {"md5", "tgz_md5"} & set(vars(reader)):
        patch.setattr(reader, attribute, md5(content))
    if "resources" in vars(reader):
        patch.setattr(reader, "resources", [(name, md5(content)) for name, content in files.items()])
    return running(server)


def mnist_files() -> dict[str, bytes]:
    parts = {"train": "train", "test": "t10k"}
    images = {f"{parts[part]}-images-idx3-ubyte.gz": idx(array) for part, array in GREY.items()}
    return images | {f"{parts[part]}-labels-idx1-ubyte.gz": idx(array) for part, array in LABELS.items()}


def check_grey(data: ImageData, turned: bool = False) -> None:
    for part, images in (("train", data.x_train), ("test", data.x_test)):
        wanted = GREY[part].transpose(0, 2, 1) if turned else GREY[part]
        assert images.shape == (*wanted.shape, 3)
        assert images.flags.c_contiguous
        assert all(np.array_equal(images[..., channel], wanted) for channel in range(3))


@pytest.mark.parametrize("dataset", [MNIST, FashionMNIST, KMNIST])
def test_sets_in_the_form_of_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: type[MNIST]
) -> None:
    with serve(dataset, mnist_files(), monkeypatch) as server:
        for _ in range(2):
            data = dataset(str(tmp_path)).read()
            check_grey(data)
            assert (data.y_train.tolist(), data.y_test.tolist()) == ([3, 1, 4, 1, 5, 9], [2, 6, 5, 3])
            assert data.y_train.dtype == np.int64
        assert server.downloads == 4
    assert not list(tmp_path.rglob("*.gz"))


def test_damage_that_torchvision_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(MNIST, mnist_files(), monkeypatch):
        MNIST(str(tmp_path)).read()
        file = tmp_path / "mnist" / "MNIST" / "raw" / "train-images-idx3-ubyte"
        content = bytearray(file.read_bytes())
        content[500] ^= 1
        file.write_bytes(content)
        with pytest.raises(UsageError, match=r"dataset=mnist: the files in .* are damaged"):
            MNIST(str(tmp_path), download=False).read()
        check_grey(MNIST(str(tmp_path)).read())
        file.unlink()
        check_grey(MNIST(str(tmp_path)).read())


@pytest.mark.parametrize(("subset", "first"), [("balanced", 0), ("letters", 1)])
def test_emnist_is_turned_upright_and_counts_from_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subset: str, first: int
) -> None:
    inside = {}
    for part in ("train", "test"):
        inside[f"gzip/emnist-{subset}-{part}-images-idx3-ubyte.gz"] = idx(GREY[part])
        inside[f"gzip/emnist-{subset}-{part}-labels-idx1-ubyte.gz"] = idx(LABELS[part] + np.uint8(first))
    with serve(EMNIST, {"gzip.zip": zipped(inside)}, monkeypatch):
        data = EMNIST(str(tmp_path), subset=subset).read()
        check_grey(data, turned=True)
        assert (data.y_train.tolist(), data.y_test.tolist()) == ([3, 1, 4, 1, 5, 9], [2, 6, 5, 3])
        assert not list(tmp_path.rglob("*.zip"))
        file = tmp_path / "emnist" / "EMNIST" / "raw" / f"emnist-{subset}-test-labels-idx1-ubyte"
        file.write_bytes(file.read_bytes()[:-1] + b"\x00")
        with pytest.raises(UsageError, match="damaged"):
            EMNIST(str(tmp_path), subset=subset, download=False).read()


def test_emnists_subsets(tmp_path: Path) -> None:
    letters = EMNIST(str(tmp_path), subset="letters")
    assert (letters.num_classes, letters.train_images) == (26, 124_800)
    with pytest.raises(UsageError, match=r"dataset\.subset=roman: must be one of byclass, bymerge, balanced"):
        EMNIST(str(tmp_path), subset="roman").check()


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = RANDOM.integers(0, 256, (3, 3, 96, 96), np.uint8)
    files = {
        "train_X.bin": images.tobytes(),
        "train_y.bin": bytes([1, 10, 5]),
        "unlabeled_X.bin": images[:1].tobytes(),
        "test_X.bin": images[::-1].tobytes(),
        "test_y.bin": bytes([2, 3, 4]),
    }
    for attribute, names in (("train_list", list(files)[:3]), ("test_list", list(files)[3:])):
        monkeypatch.setattr(datasets.STL10, attribute, [[name, md5(files[name])] for name in names])
    archive = tar({f"stl10_binary/{name}": content for name, content in files.items()})
    with serve(STL10, {"stl10_binary.tar.gz": archive}, monkeypatch):
        data = STL10(str(tmp_path)).read()
    assert np.array_equal(data.x_train, images.transpose(0, 3, 2, 1))  # which are published column by column
    assert np.array_equal(data.x_test, data.x_train[::-1])
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([0, 9, 4], [1, 2, 3])
    assert (data.y_train.dtype, data.x_train.flags.c_contiguous) == (np.int64, True)


def test_imagenette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = list(datasets.Imagenette._WNID_TO_CLASS)
    pictures, files = {}, {}
    for part in ("train", "val"):
        for number, folder in enumerate(folders):
            grey = number == 4  # as some of ImageNet's are
            image = Image.fromarray(RANDOM.integers(0, 256, (20, 30) if grey else (20, 30, 3), np.uint8))
            image.save(content := io.BytesIO(), "JPEG")
            pictures[part, number] = content
            files[f"imagenette2-160/{part}/{folder}/{number}.JPEG"] = content.getvalue()
    archive = tar(files)
    archives = {"160px": (datasets.Imagenette._ARCHIVES["160px"][0], md5(archive))}
    monkeypatch.setattr(datasets.Imagenette, "_ARCHIVES", archives)
    with serve(Imagenette, {"imagenette2-160.tgz": archive}, monkeypatch) as server:
        data = Imagenette(str(tmp_path), image_size=10).read()
        assert server.downloads == 1
    assert data.y_train.tolist() == data.y_test.tolist() == list(range(10))
    for part, images in (("train", data.x_train), ("val", data.x_test)):
        for number, image in enumerate(images):
            whole = (
                Image.open(pictures[part, number]).convert("RGB").resize((15, 10), Image.Resampling.BILINEAR)
            )
            assert np.array_equal(image, np.asarray(whole.crop((2, 0, 12, 10))))
    again = Imagenette(str(tmp_path), download=False, image_size=10)
    monkeypatch.setattr(datasets, "Imagenette", None)  # decoded images need it no more
    assert np.array_equal(again.read().x_test, data.x_test)
    with pytest.raises(UsageError, match=r"dataset\.image_size=0"):
        Imagenette(str(tmp_path), image_size=0).check()


@pytest.mark.parametrize("name", options("dataset"))
def test_every_downloaded_set_is_known_to_torchvision_by_the_same_file(name: str) -> None:
    dataset = build_dataset(compose_command("train", [f"dataset={name}"]).points[0].config.dataset)
    if not isinstance(dataset, Downloaded):
        pytest.skip("is not downloaded by this package")
    known = repr([vars(one) for one in getattr(datasets, dataset.reader).__mro__])
    assert dataset.name == name
    for archive in dataset.archives:
        assert archive.url.rpartition("/")[2] in known
        assert len(bytes.fromhex(archive.sha256)) == 32
    assert dataset.train_images > dataset.num_classes >= 10
