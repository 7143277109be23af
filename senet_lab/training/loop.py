"""One run: a network trained and evaluated epoch by epoch."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor

from senet_lab.build import build_augment, build_dataset, build_network, build_schedule, spans_training
from senet_lab.config import RunConfig, WhenTested
from senet_lab.data.batches import Part, first_images
from senet_lab.networks.activations import coefficient_rows
from senet_lab.networks.signals import SIGNAL_IMAGES, signals
from senet_lab.records.rows import MEASURES, Coefficient, Metrics, PreActivation
from senet_lab.records.run import State
from senet_lab.seeding import Stream, generator, global_state, set_global_state
from senet_lab.training import cuda
from senet_lab.training.average import WeightAverage
from senet_lab.training.distributed import current_group
from senet_lab.training.engine import Engine
from senet_lab.training.steps import CapturedStep, CudaCapture, TestStep, TrainStep, can_capture
from senet_lab.training.streams import Lent
from senet_lab.training.turns import Turns, in_turns

Stop = Callable[[], bool]
"""True if training should stop; called before every step."""

Record = Callable[[Metrics, State], object]
"""Takes an epoch's metrics and its run's state: running, finished or diverged."""

StepHook = Callable[["Training", int, Stop], bool | None]
"""Takes a training, the index of the next step in the epoch (evaluation steps included), and the stop
function. Returning True stops the run there; an exception fails it."""

streams: Lent[torch.cuda.Stream] = Lent(torch.cuda.Stream)
"""CUDA streams, reused: each holds cuBLAS workspaces and freed memory until the process ends."""

step_hooks: list[StepHook] = []
"""Called before every step of every run of this process: for tests and for profiling."""


@dataclass(frozen=True)
class Evaluation:
    """A set of images on which a network is evaluated after an epoch."""

    name: str
    """Prefix of its columns in `Metrics`."""
    step: TestStep
    batches: Callable[[], Iterator[Part]]
    images: int


class Training:
    """The state of one run, and its epoch loop.

    Args:
        config: the run's config.
        engine: device and precision.
    """

    def __init__(self, config: RunConfig, engine: Engine) -> None:
        dataset = build_dataset(config.dataset)
        self.config = config
        self.engine = engine
        self.group = current_group()
        self.group.check(dataset.train_images, config.batch_size, config.accumulate)
        # Runs that share a GPU overlap if each has its own stream; capture needs one as well.
        alone = engine.device.type == "cuda" and self.group.size == 1
        self.stream = streams.lend(self, engine.device) if alone else None
        with self.on_stream():
            self.batches = dataset.batches(build_augment(config.augment), config.batch_size, engine.device)
            self.batches.share = self.group.share
            self.network = engine.place(build_network(config, dataset.num_classes), self.group.size)
            self.average = WeightAverage(self.network, config.ema) if config.ema else None
            self.parallel = self.group.wrap(self.network)
            self.optimizer = engine.make_optimizer(config.optimizer, self.network, config.lr)
            steps = config.epochs * math.ceil(self.batches.train_images / config.batch_size)
            self.schedule = build_schedule(config.schedule, self.optimizer, steps)
            self.schedule_by_step = spans_training(config.schedule)
            self._make_steps()
        self.epochs_done = 0
        self.images_done = 0
        """Images trained on and evaluated so far; grows with every step."""

    def _make_steps(self) -> None:
        """Make the steps for the current tensors of network and optimizer."""
        self.train_step = TrainStep(
            self.parallel,
            self.optimizer,
            self.engine,
            self.config.batch_size,
            self.config.accumulate,
            self.group.size,
            self.config.label_smoothing,
            self.config.clip_grad,
        )
        self.test_step = TestStep(self.network, self.engine)
        self.average_step = TestStep(self.average.network, self.engine) if self.average else None
        self.step: TrainStep | CapturedStep = self.train_step
        if can_capture(self.engine, self.optimizer, self.group.size):
            self.step = CapturedStep(self.train_step, CudaCapture())

    @contextmanager
    def on_stream(self) -> Iterator[None]:
        """Within, work goes to this run's own CUDA stream, after all work submitted before."""
        if self.stream is None:
            yield
            return
        self.stream.wait_stream(torch.cuda.current_stream(self.stream.device))
        with torch.cuda.stream(self.stream):
            yield

    @property
    def images_per_epoch(self) -> int:
        """Images trained on and evaluated in an epoch, as `images_done` counts them."""
        return self.batches.train_images + sum(part.images for part in self._evaluations(last=False))

    def _evaluations(self, last: bool) -> list[Evaluation]:
        """The evaluations after an epoch, of the weights and of their average; empty sets are left out."""
        batches = self.batches
        parts = [Evaluation("val", self.test_step, batches.validation, batches.validation_images)]
        when = self.config.test
        if when is WhenTested.each_epoch or (last and when is WhenTested.end):
            parts.append(Evaluation("test", self.test_step, batches.test, batches.test_images))
        if self.average_step is not None:
            step = self.average_step
            parts += [replace(part, name=f"{part.name}_ema", step=step) for part in parts]
        return [part for part in parts if part.images]

    def run(self, should_stop: Stop, record: Record | None = None) -> Turns[State]:
        """Train from the current to the last epoch, one step per turn.

        Args:
            should_stop: asked before every step.
            record: called after every epoch.

        Returns:
            Finished, diverged, or interrupted if `should_stop` turned true.
        """
        self.broadcast_state()
        while self.epochs_done < self.config.epochs:
            metrics = yield from self.epoch(should_stop)
            if metrics is None:
                return State.INTERRUPTED
            state = State.FINISHED if self.epochs_done == self.config.epochs else State.RUNNING
            if not is_finite(metrics):
                state = State.DIVERGED
            if record is not None:
                record(metrics, state)
            if state is State.DIVERGED:
                return state
        return State.FINISHED

    def epoch(self, should_stop: Stop) -> Turns[Metrics | None]:
        """Train and evaluate one epoch, one step per turn; None if `should_stop` turned true."""
        started = time.perf_counter()
        lr = float(self.optimizer.param_groups[0]["lr"])
        ask = self._with_hooks(should_stop)
        train = yield from self.train(lambda: self.group.any(ask()))
        if train is None:
            return None
        sums = {"train": (train, self.batches.train_images)}
        for part in self._evaluations(last=self.epochs_done == self.config.epochs - 1):
            # Ranks evaluate different numbers of batches, so they cannot synchronise a stop in between.
            total = yield from self.evaluate(part, ask if self.group.size == 1 else lambda: False)
            if total is None:
                return None
            sums[part.name] = total, part.images
        self._prepare_next()
        means = self._means(sums)
        if not self.schedule_by_step:
            self.schedule.step()
        self.epochs_done += 1
        self.images_done = self.epochs_done * self.images_per_epoch
        return Metrics(
            epoch=self.epochs_done - 1,
            lr=lr,
            seconds=time.perf_counter() - started,
            images=self.epochs_done * self.batches.train_images,
            **means,
        )

    def _prepare_next(self) -> None:
        """Draw the next epoch's random numbers while a GPU is busy with the end of this one."""
        if self.epochs_done + 1 < self.config.epochs:
            with self.on_stream():
                self.batches.prepare(generator(self.config.seed, Stream.EPOCH, self.epochs_done + 1))

    def _with_hooks(self, should_stop: Stop) -> Stop:
        """`should_stop` for one epoch, with the hooks called first."""
        steps = count()

        def ask() -> bool:
            step = next(steps)
            stops = [hook(self, step, should_stop) for hook in step_hooks]
            return any(stops) or should_stop()

        return ask

    def _means(self, sums: Mapping[str, tuple[Tensor, int]]) -> dict[str, Any]:
        """Columns of `Metrics`: losses and accuracies, from sums on the device and numbers of images."""
        with self.on_stream():
            # The only copy from the device in an epoch.
            totals = torch.stack([total for total, _ in sums.values()]).double().cpu()
        means: dict[str, Any] = dict.fromkeys(("test_loss", "test_top1", "test_top5"))
        for row, (name, (_, images)) in zip(totals, sums.items(), strict=True):
            loss, top1, top5 = (row / images).tolist()
            means |= {f"{name}_loss": loss, f"{name}_top1": top1, f"{name}_top5": top5}
        del means["train_top5"]
        return means

    def coefficients(self) -> Iterator[Coefficient]:
        """The learned values of the activations at the end of the last epoch."""
        for site, name, value in coefficient_rows(self.network):
            yield Coefficient(self.epochs_done - 1, site, name, value)

    def pre_activations(self) -> list[PreActivation]:
        """Distributions of the pre-activations and dead channels; empty unless the config asks for them.

        Of this process's first test images; the network is left in evaluation mode, as after an epoch.
        """
        if not self.config.pre_activations:
            return []
        with self.on_stream(), self.engine.autocast():
            sites = signals(self.network, first_images(self.batches.test(), SIGNAL_IMAGES))
        done = self.epochs_done
        return [PreActivation(done, row["site"], name, row[name]) for row in sites for name in MEASURES]

    def state_dict(self) -> dict[str, Any]:
        """The complete state from which the next epoch follows."""
        state = {
            "epochs_done": self.epochs_done,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": global_state(self.engine.device),
        }
        return state if self.average is None else {**state, "average": self.average.state_dict()}

    def broadcast_state(self) -> None:
        """Copy rank 0's state to all ranks."""
        if self.group.size > 1:
            self.load_state_dict(self.group.first(self.state_dict() if self.group.rank == 0 else None))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict`, from any device."""
        with self.on_stream():
            self.network.load_state_dict(state["network"])
            load_optimizer(self.optimizer, state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self._make_steps()  # the optimizer's state has new tensors
        set_global_state(state["rng"], self.engine.device)
        self.epochs_done = state["epochs_done"]
        self.images_done = self.epochs_done * self.images_per_epoch

    def train(self, should_stop: Stop) -> Turns[Tensor | None]:
        """One pass over the training images: sums of loss, top-1 and top-5 hits, on the device."""
        return in_turns(self._train(should_stop), self.on_stream)

    def evaluate(self, part: Evaluation, should_stop: Stop) -> Turns[Tensor | None]:
        """One pass over a part of the images: sums of loss, top-1 and top-5 hits, on the device."""
        return in_turns(self._evaluate(part, should_stop), self.on_stream)

    def test(self, should_stop: Stop) -> Turns[Tensor | None]:
        """One pass over the test images: see `evaluate`."""
        part = Evaluation("test", self.test_step, self.batches.test, self.batches.test_images)
        return self.evaluate(part, should_stop)

    def _train(self, should_stop: Stop) -> Turns[Tensor | None]:
        self.network.train()
        self.train_step.begin()
        size, parts = self.config.batch_size, 0
        batches = self.batches.train(generator(self.config.seed, Stream.EPOCH, self.epochs_done))
        for number, (images, labels) in enumerate(batches):
            if should_stop():
                return None
            # Images over all ranks; the last batch is smaller.
            count = min(size, self.batches.train_images - number * size)
            self.step(images, labels, count)
            if self.average is not None:
                self.average.update()
            parts += self.train_step.parts(count)
            if self.schedule_by_step:
                self.schedule.step()
                self.train_step.set_rates()
            self.images_done += count
            yield
        cuda.count_batches(self.network, parts)
        return self.group.add(self.train_step.sums)

    def _evaluate(self, part: Evaluation, should_stop: Stop) -> Turns[Tensor | None]:
        part.step.network.eval()
        part.step.begin()
        for images, labels in part.batches():
            if should_stop():
                return None
            part.step(images, labels)
            self.images_done += len(labels) * self.group.size
            yield
        return self.group.add(part.step.sums.clone())


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Restore an optimizer's state; keep this device's flags.

    Args:
        optimizer: freshly built, with as many groups of parameters.
        state: a `state_dict`, from any device.
    """
    groups = [
        {**saved, **{key: own[key] for key in ("fused", "foreach", "capturable") if key in own}}
        for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


def is_finite(metrics: Metrics) -> bool:
    """Whether every measured loss is finite; otherwise the run ends as diverged."""
    losses = (metrics.train_loss, metrics.test_loss, metrics.val_loss)
    return all(math.isfinite(loss) for loss in losses if loss is not None)
