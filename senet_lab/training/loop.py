"""One run: a network trained and tested epoch by epoch."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from senet_lab.build import (
    build_augment,
    build_dataset,
    build_network,
    build_schedule,
    spans_training,
)
from senet_lab.config import RunConfig
from senet_lab.errors import UsageError
from senet_lab.networks.activations import coefficient_rows
from senet_lab.records.rows import Coefficient, Metrics
from senet_lab.seeding import Stream, generator, global_state, set_global_state
from senet_lab.training.distributed import current_group
from senet_lab.training.engine import Engine
from senet_lab.training.steps import CapturedStep, CudaCapture, TestStep, TrainStep, can_capture
from senet_lab.training.turns import Turns, in_turns


class Training:
    """The state of one run between epochs, and the epoch itself.

    Args:
        config: of the run.
        engine: where and how the steps run.
    """

    def __init__(self, config: RunConfig, engine: Engine) -> None:
        dataset = build_dataset(config.dataset)
        self.engine = engine
        self.seed: int = config.seed
        self.batch_size: int = config.batch_size
        self.accumulate: int = config.accumulate
        self.group = current_group()
        self.group.check(dataset.train_images, self.batch_size, self.accumulate)
        # Work of several runs on one GPU overlaps where each has a stream, and only there it is captured.
        alone = engine.device.type == "cuda" and self.group.size == 1
        self.stream = torch.cuda.Stream(engine.device) if alone else None
        with self.on_stream():
            self.batches = dataset.batches(build_augment(config.augment), config.batch_size, engine.device)
            self.batches.share = self.group.share
            self.network = engine.place(build_network(config, dataset.num_classes))
            self.parallel = self.group.wrap(self.network)
            self.optimizer = engine.make_optimizer(config.optimizer, self.network, config.lr)
            self.steps_per_epoch = math.ceil(self.batches.train_images / self.batch_size)
            self.schedule = build_schedule(
                config.schedule, self.optimizer, config.epochs * self.steps_per_epoch
            )
            self.schedule_by_step = spans_training(config.schedule)
            self._make_steps()
        self.epochs_done = 0
        self.images_done = 0
        """Trained on and tested so far; grows with every step."""

    def _make_steps(self) -> None:
        """The steps, on the tensors that network and optimizer have now."""
        self.train_step = TrainStep(
            self.parallel, self.optimizer, self.engine, self.batch_size, self.accumulate, self.group.size
        )
        self.test_step = TestStep(self.network, self.engine)
        self.take: TrainStep | CapturedStep = self.train_step
        if can_capture(self.engine, self.optimizer, self.group.size):
            self.take = CapturedStep(self.train_step, CudaCapture())

    @contextmanager
    def on_stream(self) -> Iterator[None]:
        """Inside, work goes to this run's own stream of the GPU, after all that was given to it before."""
        if self.stream is None:
            yield
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        with torch.cuda.stream(self.stream):
            yield

    @property
    def images_per_epoch(self) -> int:
        """Images trained on and tested in one epoch."""
        return self.batches.train_images + self.batches.test_images

    def epoch(self, should_stop: Callable[[], bool]) -> Turns[Metrics | None]:
        """Train and test one epoch, a step a turn; None where `should_stop` turned true between two."""
        started = time.perf_counter()
        lr = float(self.optimizer.param_groups[0]["lr"])
        train = yield from self.train(lambda: self.group.any(should_stop()))
        if train is None:
            return None
        # Processes that test different numbers of batches cannot agree between them.
        test = yield from self.test(should_stop if self.group.size == 1 else lambda: False)
        if test is None:
            return None
        with self.on_stream():
            # The one copy of an epoch from the device.
            train_loss, train_top1, _ = (train.double().cpu() / self.batches.train_images).tolist()
            test_loss, test_top1, test_top5 = (test.double().cpu() / self.batches.test_images).tolist()
        if not self.schedule_by_step:
            self.schedule.step()
        epoch = self.epochs_done
        self.epochs_done += 1
        seconds = time.perf_counter() - started
        return Metrics(
            epoch=epoch,
            lr=lr,
            train_loss=train_loss,
            train_top1=train_top1,
            test_loss=test_loss,
            test_top1=test_top1,
            test_top5=test_top5,
            seconds=seconds,
            images=self.epochs_done * self.batches.train_images,
        )

    def coefficients(self) -> Iterator[Coefficient]:
        """The learned values of the activations at the end of the last epoch."""
        for site, name, value in coefficient_rows(self.network):
            yield Coefficient(self.epochs_done - 1, site, name, value)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        return {
            "epochs_done": self.epochs_done,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": global_state(self.engine.device),
        }

    def agree(self) -> None:
        """Take over the first process's state, where there are several."""
        if self.group.size > 1:
            self.load_state_dict(self.group.first(self.state_dict() if self.group.rank == 0 else None))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to where `state_dict` was taken, on whatever device that was."""
        with self.on_stream():
            self.network.load_state_dict(state["network"])
            self._load_optimizer(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self._make_steps()  # the optimizer's state lies elsewhere now
        set_global_state(state["rng"], self.engine.device)
        self.epochs_done = state["epochs_done"]
        self.images_done = self.epochs_done * self.images_per_epoch

    def _load_optimizer(self, state: Mapping[str, Any]) -> None:
        """Restore the optimizer's state; keep this device's flags."""
        if len(state["param_groups"]) != len(self.optimizer.param_groups):
            raise UsageError(
                "the checkpoint is of a version in which activation coefficients decayed: delete it, "
                "and the run starts again"
            )
        groups = [
            {**saved, **{key: own[key] for key in ("fused", "foreach", "capturable") if key in own}}
            for saved, own in zip(state["param_groups"], self.optimizer.param_groups, strict=True)
        ]
        self.optimizer.load_state_dict({**state, "param_groups": groups})

    def train(self, should_stop: Callable[[], bool]) -> Turns[Tensor | None]:
        """One pass over the training images: sums of loss, top-1 and top-5 hits, on the device."""
        return in_turns(self._train(should_stop), self.on_stream)

    def test(self, should_stop: Callable[[], bool]) -> Turns[Tensor | None]:
        """One pass over the test images: sums of loss, top-1 and top-5 hits, on the device."""
        return in_turns(self._test(should_stop), self.on_stream)

    def _train(self, should_stop: Callable[[], bool]) -> Turns[Tensor | None]:
        self.network.train()
        self.train_step.begin()
        batches = self.batches.train(generator(self.seed, Stream.EPOCH, self.epochs_done))
        for step, (images, labels) in enumerate(batches):
            if should_stop():
                return None
            # Of all processes together; the last batch is smaller.
            count = min(self.batch_size, self.batches.train_images - step * self.batch_size)
            self.take(images, labels, count)
            if self.schedule_by_step:
                self.schedule.step()
                self.train_step.set_rates()
            self.images_done += count
            yield
        return self.group.add(self.train_step.sums)

    def _test(self, should_stop: Callable[[], bool]) -> Turns[Tensor | None]:
        self.network.eval()
        self.test_step.begin()
        for images, labels in self.batches.test():
            if should_stop():
                return None
            self.test_step(images, labels)
            self.images_done += len(labels) * self.group.size
            yield
        return self.group.add(self.test_step.sums)
