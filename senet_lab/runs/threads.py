"""CPU threads of a run: all that it may have, or one where more do not make it faster."""

import statistics
import time

import torch
from torch import nn

from senet_lab.training.engine import Engine

GAIN = 1.1
"""Speed over that of one thread from which a run gets all its threads.

Less is not worth the risk of a machine that becomes busy later.
"""
SECONDS = 0.5
"""Time to measure."""
SIDE = 16
"""Pixels a side of the measured images: how long an operation takes depends on the pixels of the batch."""
PIXELS = 2**14
"""The most pixels of a measured batch; larger operations gain more."""


def useful_threads(engine: Engine, pixels: int, most: int) -> int:
    """`most` if so many threads make training on the CPU faster, else 1.

    Operations on small images, or on a busy machine, may take longer with several threads: each one waits for
    the thread that lost its core. Measured with a small network on this machine as it is now, one and all in
    turn; see `docs/performance.md`. On other devices, threads only decode images.

    Args:
        engine: device and precision of the run.
        pixels: pixels of a micro-batch, over all images.
        most: the most CPU threads that the run may have; `OMP_NUM_THREADS` limits them, too.
    """
    before = torch.get_num_threads()
    most = min(most, before)
    if most == 1 or engine.device.type != "cpu":
        return most
    with torch.random.fork_rng(devices=[]):
        step = _Step(engine, max(1, min(pixels, PIXELS) // SIDE**2))
    try:
        step.seconds(1), step.seconds(most)  # the first ones allocate memory and start threads
        gains: list[float] = []
        end = time.perf_counter() + SECONDS
        while len(gains) < 5 or time.perf_counter() < end:
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
        self.network = engine.place(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)))
        self.images = torch.rand(images, 3, SIDE, SIDE).to(memory_format=torch.channels_last)

    def seconds(self, threads: int) -> float:
        """The time of one step."""
        torch.set_num_threads(threads)
        started = time.perf_counter()
        with self.engine.autocast():
            out = self.network(self.images)
        out.float().sum().backward()
        return time.perf_counter() - started
