"""Data sets of the Hugging Face hub, by folders that the library loads without a network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from senet_lab.data import hugging_face
from senet_lab.data.augment import Augment
from senet_lab.data.dataset import load
from senet_lab.data.hugging_face import HuggingFace
from senet_lab.errors import UsageError

datasets = pytest.importorskip("datasets")


def pictures(count: int, seed: int, shape: tuple[int, ...] = (10, 14, 3)) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)) for _ in range(count)]


def saved(folder: Path, labels: list[Any], kind: Any, images: list[Image.Image] | None = None) -> str:
    """A folder with 6 training and 4 test images as the hub has them; returns its path."""
    features = datasets.Features({"img": datasets.Image(), "fine": kind, "text": datasets.Value("string")})
    (folder / "data").mkdir(parents=True)
    for seed, (split, count) in enumerate((("train", 6), ("test", 4))):
        content = {
            "img": (images or pictures(6, seed))[:count],
            "fine": labels[:count],
            "text": ["a"] * count,
        }
        part = datasets.Dataset.from_dict(content, features=features)
        part.to_parquet(str(folder / "data" / f"{split}-0.parquet"))
    return str(folder)


def opened(root: Path, path: str, **options: Any) -> HuggingFace:
    names = {"image_column": "img", "label_column": "fine", "image_size": 5}
    return HuggingFace(str(root), path, **(names | options))


@pytest.fixture
def classes() -> Any:
    return datasets.ClassLabel(names=["cat", "dog", "owl"])


def test_images_are_squares_with_their_labels(tmp_path: Path, classes: Any) -> None:
    dataset = opened(tmp_path, saved(tmp_path / "set", [0, 1, 0, 1, 0, 1], classes))
    dataset.check()
    assert (dataset.num_classes, dataset.train_images, dataset.image_size) == (3, 6, 5)
    data = load(dataset)
    assert data.y_train.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.y_test.tolist() == [0, 1, 0, 1]
    for image, seed_image in zip(data.x_train, pictures(6, 0), strict=True):
        resized = seed_image.resize((7, 5), Image.Resampling.BILINEAR)
        assert np.array_equal(image, np.asarray(resized.crop((1, 0, 6, 5))))
    images, _ = next(dataset.batches(Augment(), 3, torch.device("cpu")).test())
    assert images.shape == (4, 3, 5, 5)


def test_grey_images_get_three_channels_and_plain_integers_are_labels(tmp_path: Path) -> None:
    path = saved(tmp_path / "set", [4, 0, 2, 1, 4, 0], datasets.Value("int32"), pictures(6, 0, (5, 5)))
    dataset = opened(tmp_path, path)
    data = load(dataset)
    assert dataset.num_classes == 5
    assert data.y_train.dtype == np.int64
    assert data.x_train.shape == (6, 5, 5, 3)
    assert np.array_equal(data.x_train[..., 0], data.x_train[..., 2])


def test_images_are_decoded_once(tmp_path: Path, classes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "set", [0, 1, 2, 1, 0, 1], classes)
    first = opened(tmp_path, path).read()
    with monkeypatch.context() as patch:
        patch.setattr(hugging_face, "square", None)  # which nothing calls any more
        again = opened(tmp_path, path).read()
    assert all(np.array_equal(vars(again)[key], value) for key, value in vars(first).items())
    [kept] = tmp_path.glob(".senet-lab-huggingface-*-5.npz")
    kept.write_bytes(kept.read_bytes()[:-100])
    assert np.array_equal(opened(tmp_path, path).read().x_test, first.x_test)  # a damaged file is made again
    assert opened(tmp_path, path, image_size=4).read().x_train.shape == (6, 4, 4, 3)


def test_other_data_under_the_same_name_are_decoded_anew(tmp_path: Path, classes: Any) -> None:
    path = saved(tmp_path / "set", [0, 1, 2, 1, 0, 1], classes)
    first = opened(tmp_path, path).fingerprint()
    file = tmp_path / "set" / "data" / "train-0.parquet"
    file.write_bytes((tmp_path / "set" / "data" / "test-0.parquet").read_bytes())
    hugging_face._opened.cache_clear()
    load.cache_clear()
    assert opened(tmp_path, path).train_images == 4
    assert opened(tmp_path, path, label_column="fine", image_size=6).fingerprint() != first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": None}, "dataset=huggingface needs a name on the hub, or a folder: dataset.path="),
        ({"path": "/no/such/folder"}, "dataset.path=/no/such/folder: Couldn't find"),
        ({"subset": "large"}, "BuilderConfig 'large' not found"),
        ({"train_split": "training"}, 'Unknown split "training"'),
        ({"image_column": "image"}, "dataset.image_column=image: no column of images; "),
        ({"label_column": "text"}, "dataset.label_column=text: no column of classes or integers; "),
        ({"label_column": "img"}, "dataset.label_column=img: no column of classes or integers; "),
        ({"image_size": 0}, "dataset.image_size=0"),
        ({"image_size": 10**8}, "dataset.image_size=100000000: the images take"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, classes: Any, options: Any, message: str) -> None:
    path = saved(tmp_path / "set", [0, 1, 2, 1, 0, 1], classes)
    with pytest.raises(UsageError) as caught:
        opened(tmp_path, **({"path": path} | options)).check()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_test_images_without_a_label_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "set", [-1, 1, 2, 1, 0, 1], datasets.Value("int64"))
    with pytest.raises(
        UsageError, match=r"dataset\.label_column=fine: labels from -1 to 2 in train, where 0\.\.2"
    ):
        opened(tmp_path, path).check()


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("senet_lab.extras.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"needs datasets, .*pip install 'senet-lab\[huggingface\]'"):
        HuggingFace(str(tmp_path), "nobody/knows").check()
