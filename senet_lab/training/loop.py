"""One run: a network trained and tested epoch by epoch."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from senet_lab.build import (
    build_augment,
    build_dataset,
    build_network,
    build_optimizer,
    build_schedule,
)
from senet_lab.networks.activations import LearnableActivation
from senet_lab.training.distributed import current_group
from senet_lab.training.engine import Engine
from senet_lab.training.seeding import Stream, generator, global_state, set_global_state


@dataclass(frozen=True)
class EpochMetrics:
    """One row of `metrics.csv`: losses are means per image, accuracies fractions."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    test_loss: float
    test_top1: float
    test_top5: float
    seconds: float


class Training:
    """The state of one run between epochs, and the epoch itself.

    Args:
        config: the fields of `RunConfig`, plain values.
        engine: where and how the steps run.
    """

    def __init__(self, config: Mapping[str, Any], engine: Engine) -> None:
        dataset = build_dataset(config["dataset"])
        self.engine = engine
        self.seed: int = config["seed"]
        self.batch_size: int = config["batch_size"]
        self.accumulate: int = config["accumulate"]
        self.group = current_group()
        self.group.check(dataset.train_images, self.batch_size, self.accumulate)
        self.batches = dataset.batches(build_augment(config["augment"]), config["batch_size"], engine.device)
        self.batches.share = self.group.share
        self.network = engine.place(build_network(config, dataset.num_classes))
        self.parallel = self.group.wrap(self.network)
        self.optimizer = build_optimizer(config["optimizer"], self.network, config["lr"])
        self.schedule = build_schedule(config["schedule"], self.optimizer)
        self.epochs_done = 0
        self.images_done = 0
        """Trained on and tested so far; grows with every step."""

    @property
    def images_per_epoch(self) -> int:
        """Images trained on and tested in one epoch."""
        return self.batches.train_images + self.batches.test_images

    def epoch(self, should_stop: Callable[[], bool]) -> EpochMetrics | None:
        """Train and test one epoch; None where `should_stop` turned true, between two steps."""
        started = time.perf_counter()
        lr = self.optimizer.param_groups[0]["lr"]
        train = self.train(lambda: self.group.any(should_stop()))
        # Processes that test different numbers of batches cannot agree between them.
        test = None if train is None else self.test(should_stop if self.group.size == 1 else lambda: False)
        if train is None or test is None:
            return None
        # The one copy of an epoch from the device.
        train_loss, train_top1, _ = (train.double().cpu() / self.batches.train_images).tolist()
        test_loss, test_top1, test_top5 = (test.double().cpu() / self.batches.test_images).tolist()
        self.schedule.step()
        epoch = self.epochs_done
        self.epochs_done += 1
        seconds = time.perf_counter() - started
        return EpochMetrics(
            epoch, float(lr), train_loss, train_top1, test_loss, test_top1, test_top5, seconds
        )

    def coefficients(self) -> Iterator[tuple[str, float, float]]:
        """Site, α and β of each learned activation, or of each of its channels."""
        for site, module in self.network.named_modules():
            if isinstance(module, LearnableActivation):
                values = module.coefficients().cpu()
                if values.dim() == 1:
                    yield site, *values.tolist()
                else:
                    for channel, (alpha, beta) in enumerate(values.T.tolist()):
                        yield f"{site}[{channel}]", alpha, beta

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
        """Go back to where `state_dict` was taken."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        set_global_state(state["rng"], self.engine.device)
        self.epochs_done = state["epochs_done"]
        self.images_done = self.epochs_done * self.images_per_epoch

    def train(self, should_stop: Callable[[], bool]) -> Tensor | None:
        """One pass over the training images: sums of loss, top-1 and top-5 hits, on the device."""
        self.network.train()
        sums = torch.zeros(3, device=self.engine.device)
        batches = self.batches.train(generator(self.seed, Stream.EPOCH, self.epochs_done))
        for step, (images, labels) in enumerate(batches):
            if should_stop():
                return None
            # Of all processes together; the last batch is smaller.
            count = min(self.batch_size, self.batches.train_images - step * self.batch_size)
            parts = math.ceil(count * self.accumulate / self.batch_size)
            self.optimizer.zero_grad(set_to_none=True)
            for part, part_labels in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
                with self.engine.autocast():
                    logits = self.parallel(part)
                loss = F.cross_entropy(logits.float(), part_labels)
                # The processes' gradients are averaged; a batch's loss is the mean over its images.
                (loss * (len(part) * self.group.size / count)).backward()
                sums += batch_sums(loss.detach(), logits.detach(), part_labels)
            self.optimizer.step()
            self.images_done += count
        return self.group.add(sums)

    @torch.inference_mode()
    def test(self, should_stop: Callable[[], bool]) -> Tensor | None:
        """One pass over the test images: sums of loss, top-1 and top-5 hits, on the device."""
        self.network.eval()
        sums = torch.zeros(3, device=self.engine.device)
        for images, labels in self.batches.test():
            if should_stop():
                return None
            with self.engine.autocast():
                logits = self.network(images).float()
            sums += batch_sums(F.cross_entropy(logits, labels), logits, labels)
            self.images_done += len(labels) * self.group.size
        return self.group.add(sums)


def batch_sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Loss (a mean) times images, top-1 hits and top-5 hits of a batch, as a float32 vector of 3."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == labels[:, None]
    return torch.stack([loss.float() * len(labels), hits[:, 0].sum(), hits.sum()])
