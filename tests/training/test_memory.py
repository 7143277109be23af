from pathlib import Path

import torch
from support import tiny
from torch import nn

from senet_lab.compose import compose_command
from senet_lab.training.engine import Engine
from senet_lab.training.memory import free_bytes, kept_bytes, run_bytes

CPU = torch.device("cpu")


def test_what_a_forward_pass_keeps_by_hand() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 7))
        images, labels = torch.empty(16, 3, 2, 2), torch.zeros(16, dtype=torch.int64)
    # The images; the rectified map, once, though two layers keep it; log-probabilities; labels; their number.
    assert kept_bytes(network, images, labels) == 16 * 12 * 4 + 16 * 5 * 4 + 16 * 7 * 4 + 16 * 8 + 4


def test_half_the_precision_and_parts_of_a_batch_take_less(tmp_path: Path) -> None:
    def size(precision: str, *words: str) -> int:
        config = compose_command("train", [*tiny(tmp_path), *words]).points[0].config
        return run_bytes(config, 0, Engine(CPU, precision, deterministic=False))

    whole = size("float32")
    assert size("bfloat16") < 0.7 * whole
    assert size("float32", "accumulate=2") < 0.7 * whole
    assert size("float32", "augment.size=16") > 3 * whole


def test_there_is_some_memory() -> None:
    assert free_bytes(CPU) > 2**20
