import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from senet_lab.data.arrays import Arrays
from senet_lab.data.augment import Augment
from senet_lab.data.dataset import load
from senet_lab.errors import UsageError


def arrays(**changes: Any) -> dict[str, Any]:
    """A right set of arrays, 12 training and 6 test images of three classes, with some of them replaced."""
    random = np.random.default_rng(0)
    right = {
        "x_train": random.integers(0, 256, (12, 5, 5, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": random.integers(0, 256, (6, 5, 5, 3), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }
    return {key: value for key, value in (right | changes).items() if value is not None}


def saved(folder: Path, **changes: Any) -> Arrays:
    np.savez(folder / "set.npz", **arrays(**changes))
    return Arrays(str(folder / "set.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_is_saved_is_what_is_trained_on(tmp_path: Path, save: Any) -> None:
    wanted = arrays()
    save(tmp_path / "set.npz", **wanted)
    dataset = Arrays(str(tmp_path / "set.npz"))
    dataset.check()
    assert (dataset.num_classes, dataset.image_size, dataset.train_images) == (3, 5, 12)
    for key, value in wanted.items():
        assert np.array_equal(vars(load(dataset))[key], value)
    images, labels = next(dataset.batches(Augment(), 6, torch.device("cpu")).test())
    assert images.shape == (6, 3, 5, 5)
    assert labels.tolist() == wanted["y_test"].tolist()


def test_one_channel_becomes_three(tmp_path: Path) -> None:
    grey = arrays()["x_train"][..., :1]
    dataset = saved(tmp_path, x_train=grey, x_test=grey[:6])
    assert np.array_equal(load(dataset).x_train, np.concatenate([grey] * 3, axis=3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64, ">i2"])
def test_any_integer_label_type(tmp_path: Path, dtype: Any) -> None:
    dataset = saved(tmp_path, y_train=(np.arange(12) % 3).astype(dtype))
    assert load(dataset).y_train.dtype == np.int64
    assert load(dataset).y_train.tolist() == [0, 1, 2] * 4


def test_column_order_in_the_file_changes_nothing(tmp_path: Path) -> None:
    dataset = saved(tmp_path, x_train=np.asfortranarray(arrays()["x_train"]))
    assert np.array_equal(load(dataset).x_train, arrays()["x_train"])


def test_more_classes_than_the_labels_show(tmp_path: Path) -> None:
    saved(tmp_path, y_train=np.arange(12) % 3 * 2)
    dataset = Arrays(str(tmp_path / "set.npz"), classes=10)
    dataset.check()
    assert dataset.num_classes == 10


def test_the_size_is_known_without_reading_the_images(tmp_path: Path) -> None:
    images = np.full((12, 64, 64, 3), 7, np.uint8)  # larger than any read-ahead
    dataset = saved(tmp_path, x_train=images, x_test=images[:6])
    path = tmp_path / "set.npz"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(images.tobytes(), bytes(images.size)))
    assert path.read_bytes() != whole
    assert (dataset.image_size, dataset.train_images, dataset.num_classes) == (64, 12, 3)
    with pytest.raises(UsageError, match="damaged at x_train"):
        dataset.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "no array x_test in it; needed are x_train, y_train, x_test, y_test"),
        ({"x_train": np.zeros((12, 5, 5, 3), np.float32)}, "x_train is (12, 5, 5, 3) float32; (N, H, H, 3)"),
        ({"x_train": np.full((12, 5, 5, 3), np.nan)}, "x_train is (12, 5, 5, 3) float64; (N, H, H, 3)"),
        ({"x_train": np.zeros((12, 3, 5, 5), np.uint8)}, "x_train is (12, 3, 5, 5) uint8; (N, H, H, 3)"),
        ({"x_train": np.zeros((12, 75), np.uint8)}, "x_train is (12, 75) uint8; (N, H, H, 3)"),
        ({"x_train": np.zeros((12, 5, 6, 3), np.uint8)}, "x_train is (12, 5, 6, 3) uint8; (N, H, H, 3)"),
        ({"x_train": np.zeros((12, 5, 5, 4), np.uint8)}, "x_train is (12, 5, 5, 4) uint8; (N, H, H, 3)"),
        ({"x_test": np.zeros((0, 5, 5, 3), np.uint8)}, "x_test is (0, 5, 5, 3): no image in it"),
        ({"x_test": np.zeros((6, 8, 8, 3), np.uint8)}, "all images must be of one shape"),
        ({"y_test": np.arange(5) % 3}, "6 images in x_test but 5 labels in y_test"),
        ({"y_train": np.zeros(0, np.int64)}, "y_train is (0,): no label in it"),
        ({"y_train": np.zeros((12, 1), np.int64)}, "y_train is (12, 1) int64; (N,) integers"),
        ({"y_train": np.zeros(12)}, "y_train is (12,) float64; (N,) integers"),
        ({"y_train": np.arange(12) % 3 - 1}, "y_train has labels from -1 to 1: classes count from 0"),
        ({"y_train": np.arange(12) % 3 + 1}, "y_train has no image of class 0 but one of class 3"),
        ({"y_train": np.full(12, 2**63, np.uint64)}, "y_train has labels from 9223372036854775808"),
        ({"y_test": np.arange(6)}, "a label 5, but 3 classes in y_train: labels are 0..2"),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    dataset = saved(tmp_path, **changes)
    with pytest.raises(UsageError) as caught:
        dataset.check()
    assert str(caught.value).startswith(f"dataset.path={dataset.path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_beyond_the_given_classes(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(UsageError, match=r"a label 2, but 2 classes said by dataset\.classes"):
        Arrays(str(tmp_path / "set.npz"), classes=2).check()


def test_no_path_no_file_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset=arrays needs a file: dataset\.path=FILE\.npz"):
        Arrays(None).check()
    with pytest.raises(UsageError, match=r"missing\.npz: no such file; give an \.npz"):
        Arrays(str(tmp_path / "missing.npz")).check()
    with pytest.raises(UsageError, match="no such file"):
        Arrays("a\0b").check()
    with pytest.raises(UsageError, match="no such file"):
        Arrays("~nobody-of-this-name/set.npz").check()
    with pytest.raises(UsageError, match="not a regular file"):
        Arrays(str(tmp_path)).check()


def test_what_never_ends_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for a writer
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(UsageError, match=r"not a regular file; give an \.npz"):
            Arrays(str(path)).check()


@pytest.mark.parametrize("key", ["x_train", "y_train"])
def test_more_than_the_memory_is_refused_before_it_is_read(tmp_path: Path, key: str) -> None:
    """An archive of 1.4 MB that says of itself, truly or not, that it holds 4 TB."""
    dataset = saved(tmp_path)
    header = io.BytesIO()
    shape = (2**32, 18, 18, 3) if key == "x_train" else (2**39,)
    described = {"descr": "|u1" if key == "x_train" else "<i8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    size = len(header.getvalue()) + int(np.prod(shape, dtype=object)) * (1 if key == "x_train" else 8)
    path = Path(str(dataset.path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays().items():
            file = io.BytesIO(header.getvalue())
            if name != key:
                np.lib.format.write_array(file, np.asarray(value))
            info = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(info, file.getvalue())
            if name == key:
                info.file_size = size  # in the directory at the end
    with pytest.raises(
        UsageError, match=r"the images take [\d,.]+ GB, and this machine has [\d.]+ GB of memory"
    ):
        dataset.check()


@pytest.mark.parametrize("classes", [0, -1, 2.5, "ten"])
def test_a_number_of_classes_that_is_none(tmp_path: Path, classes: Any) -> None:
    saved(tmp_path)
    with pytest.raises(UsageError, match=f"dataset.classes={classes}: give a whole number"):
        Arrays(str(tmp_path / "set.npz"), classes=classes).check()


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x93NUMPY\x01\x00", pickle.dumps([1])])
def test_another_kind_of_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"not an \.npz file"):
        Arrays(str(path)).check()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_cut_short(tmp_path: Path, save: Any, kept: float) -> None:
    path = tmp_path / "set.npz"
    save(path, **arrays())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(UsageError, match="cut short or damaged"):
        Arrays(str(path)).check()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_bit_never_passes_for_content(tmp_path: Path, save: Any) -> None:
    """Wherever the bit is: either one line of refusal, or (in fields that do not matter) the right arrays."""
    path = tmp_path / "set.npz"
    save(path, **arrays())
    whole = path.read_bytes()
    refused = 0
    for number, position in enumerate(np.random.default_rng(0).integers(0, len(whole), 150)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (number % 8)
        path.write_bytes(damaged)
        try:
            data = Arrays(str(path)).read()
        except UsageError:
            refused += 1
        else:
            assert all(np.array_equal(vars(data)[key], value) for key, value in arrays().items())
    assert refused > 100


class Touch:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_inside_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for key in ("x_train", "y_train"):
        malicious = np.empty(12, dtype=object)
        malicious[:] = [Touch(trap)] * 12
        dataset = saved(tmp_path, **{key: malicious})
        with pytest.raises(UsageError, match=f"{key} holds Python objects"):
            dataset.check()
        assert not trap.exists()
    with np.load(str(dataset.path), allow_pickle=True) as loaded:
        loaded["y_train"]
    assert trap.exists()  # the trap does work


@pytest.mark.parametrize(
    "header", ["{'descr': '|u1', 'fortran_order': False, 'shape': (99999999, 999, 999, 3), }", "f("]
)
def test_a_header_that_lies(tmp_path: Path, header: str) -> None:
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        for key, value in arrays().items():
            file = io.BytesIO()
            np.lib.format.write_array(file, np.asarray(value))
            content = file.getvalue()
            if key == "x_train":
                text = header.encode().ljust(117) + b"\n"
                content = content[:8] + len(text).to_bytes(2, "little") + text + content[128:]
            archive.writestr(f"{key}.npy", content)
    with pytest.raises(UsageError, match="damaged at x_train"):
        Arrays(str(tmp_path / "set.npz")).check()
