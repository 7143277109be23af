"""The choice of CPU threads for runs that have several cores each."""

import statistics
import time
from collections.abc import Sequence

import torch
from torch import nn

from senet_lab.build import pixels_at_once
from senet_lab.config import RunConfig
from senet_lab.training.engine import Engine, choose_engine

GAIN = 1.1
"""Least speed over that of one thread for which runs get all their threads."""
SECONDS = 0.5
"""Least time of a measurement."""
PAIRS = 3
"""Least number of steps with one thread and with all."""
SIDE = 16
"""Pixels a side of the measured images: what counts for an operation are the pixels of the batch."""
PIXELS = 2**14
"""Most pixels of a measured batch; larger operations gain more."""


def useful_threads(configs: Sequence[RunConfig], most: int) -> int:
    """`most` if training on the CPU is clearly faster with so many threads, else 1.

    Operations on small images, or on a busy machine, may take longer with several threads, since each one
    waits for the thread that lost its core. So steps of a small network are timed on this machine as it is
    now, with one thread and with all in turn; see `docs/performance.md`. On other devices, threads only
    decode images.

    Args:
        configs: of the runs, which shall have equally many; the smallest micro-batch counts.
        most: threads that each run may have; on the CPU `OMP_NUM_THREADS` is a limit, too.
    """
    engine = choose_engine(configs[0].trainer)
    if engine.device.type != "cpu":
        return most
    before = torch.get_num_threads()
    most = min(most, before)
    if most == 1:
        return 1
    pixels = min(PIXELS, *map(pixels_at_once, configs))
    with torch.random.fork_rng(devices=[]):
        step = _Step(engine, max(1, pixels // SIDE**2))
    gains: list[float] = []
    try:
        step.seconds(1), step.seconds(most)  # warm-up
        end = time.perf_counter() + SECONDS
        while len(gains) < PAIRS or time.perf_counter() < end:
            gains.append(step.seconds(1) / step.seconds(most))
    finally:
        torch.set_num_threads(before)
    return most if statistics.median(gains) >= GAIN else 1


class _Step:
    """Forward and backward pass of convolutions, batch norm and ReLU at three resolutions."""

    def __init__(self, engine: Engine, images: int) -> None:
        self.engine = engine
        layers: list[nn.Module] = []
        for channels, width, stride in ((3, 64, 1), (64, 128, 2), (128, 256, 2)):
            conv = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        self.network = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.images = torch.rand(images, 3, SIDE, SIDE).to(memory_format=torch.channels_last)

    def seconds(self, threads: int) -> float:
        """The time of one step."""
        torch.set_num_threads(threads)
        started = time.perf_counter()
        with self.engine.autocast():
            out = self.network(self.images)
        out.float().sum().backward()
        return time.perf_counter() - started
