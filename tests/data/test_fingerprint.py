"""The fingerprint of a data set: equal for equal data, in every process, and another one after any change."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from senet_lab.data.arrays import Arrays
from senet_lab.data.datasets import Digits
from senet_lab.data.image_folder import ImageFolder

DIGITS = "911a512827f7d520046ba17c9ca1642f5a4179a328073842b140645c438073a1"


def arrays(folder: Path, **changes: Any) -> Arrays:
    folder.mkdir(exist_ok=True)
    content = {
        "x_train": np.arange(4 * 4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 4, 3),
        "y_train": np.array([0, 1, 0, 1]),
        "x_test": np.zeros((2, 4, 4, 3), np.uint8),
        "y_test": np.array([0, 1]),
    }
    np.savez(folder / "set.npz", **(content | changes))
    return Arrays(str(folder / "set.npz"))


def test_the_digits_keep_theirs_in_every_process() -> None:
    assert Digits().fingerprint() == DIGITS  # which another process computed


def test_the_split_is_part_of_it() -> None:
    prints = {Digits(validation=0.1, split_seed=seed).fingerprint() for seed in (0, 1)}
    assert len(prints | {Digits().fingerprint()}) == 3


def test_arrays_have_that_of_their_content_not_of_their_file(tmp_path: Path) -> None:
    first = arrays(tmp_path / "a").fingerprint()
    assert arrays(tmp_path / "b").fingerprint() == first
    pixel = arrays(tmp_path / "a").read().x_train.copy()
    pixel[3, 3, 3, 2] ^= 1
    changed: list[dict[str, Any]] = [
        {"x_train": pixel},
        {"x_test": np.ones((2, 4, 4, 3), np.uint8)},
        {"y_train": np.array([0, 1, 1, 0])},
        {"y_test": np.array([1, 0])},
    ]
    prints = {arrays(tmp_path / str(n), **change).fingerprint() for n, change in enumerate(changed)}
    assert len(prints | {first}) == 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for part in ("train", "test"):
        for name in "ab":
            (root / part / name).mkdir(parents=True)
            for number in range(4):
                file = root / part / name / f"{number}.png"
                Image.new("RGB", (4, 4)).save(file)
                os.utime(file, (1_700_000_000, 1_700_000_000))
    return root


def test_a_folder_moved_with_its_times_keeps_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert ImageFolder(str(folder)).fingerprint() == ImageFolder(str(tmp_path / "elsewhere")).fingerprint()
    assert ImageFolder(str(folder), validation=2).fingerprint() != ImageFolder(str(folder)).fingerprint()


@pytest.mark.parametrize("change", ["time", "size", "name", "class", "more", "fewer"])
def test_any_change_of_the_listing_shows(folder: Path, tmp_path: Path, change: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    file = other / "train" / "a" / "1.png"
    if change == "time":
        os.utime(file, (1_700_000_001, 1_700_000_001))
    elif change == "size":
        file.write_bytes(file.read_bytes() + b"1")
        os.utime(file, (1_700_000_000, 1_700_000_000))
    elif change == "name":
        file.rename(file.with_name("5.png"))
    elif change == "class":
        file.rename(other / "train" / "b" / "5.png")
    elif change == "more":
        shutil.copy2(file, file.with_name("5.png"))
    else:
        file.unlink()
    assert ImageFolder(str(other)).fingerprint() != ImageFolder(str(folder)).fingerprint()
