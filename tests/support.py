"""What tests share: a data set and a network so small that an epoch takes a tenth of a second."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from senet_lab.data.datasets import Digits, load

TINY_MODEL = ("model=resnet18", "model.depths=[1,1]", "model.widths=[8,16]")


def tiny_arrays(folder: Path) -> Path:
    """96 training and 48 test images of the digits, as the file that `dataset=arrays` takes."""
    file = folder / "tiny.npz"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        data = load(Digits())
        np.savez(
            file,
            x_train=data.x_train[:96],
            y_train=data.y_train[:96],
            x_test=data.x_test[:48],
            y_test=data.y_test[:48],
        )
    return file


def tiny(folder: Path) -> list[str]:
    """Overrides of a tiny run whose records go to `folder`/outputs."""
    return [
        *TINY_MODEL,
        "dataset=arrays",
        f"dataset.path={tiny_arrays(folder)}",
        "dataset.classes=10",
        "batch_size=32",
        "epochs=2",
        f"outputs={folder / 'outputs'}",
    ]


def rows_without_seconds(metrics: Path) -> list[Sequence[str]]:
    """The rows of a `metrics.csv` as text, without the one column that differs from run to run."""
    with metrics.open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]
