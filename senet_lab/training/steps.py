"""The training step and the test step: one plain implementation, and two thin layers around it.

A step can be compiled (`torch.compile` of forward pass and loss) and, on CUDA, captured: replayed as one CUDA
graph, so that the host launches a whole step at once. Nothing here makes the host wait for the device.
"""

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet_lab.training.engine import Engine

Forward = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From network, images and labels to the loss (a mean) and the logits, detached."""


class TrainStep:
    """One optimizer step on one batch.

    Args:
        network: images to logits.
        optimizer: over its parameters.
        engine: how to compute.
        batch_size: images of a full batch, of all processes together.
        accumulate: parts in which a full batch goes through the network.
        processes: how many share each batch.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        engine: Engine,
        batch_size: int,
        accumulate: int,
        processes: int = 1,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.engine = engine
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.processes = processes
        self.forward: Forward = compiled_forward() if engine.compiled else plain_forward
        self.sums = torch.zeros(3, device=engine.device)
        """Loss, top-1 and top-5 hits of the epoch so far."""
        on_device = engine.device.type == "cuda" and isinstance(optimizer, CAPTURABLE)
        self.rates = [torch.zeros((), device=engine.device) for _ in optimizer.param_groups if on_device]
        """Learning rates where a captured step reads them; the optimizer's own stay numbers."""

    def begin(self) -> None:
        """Before an epoch: sums of zero, and the rates that the schedule has set."""
        self.sums.zero_()
        self.set_rates()

    def set_rates(self) -> None:
        """Take over the learning rates that the schedule has set."""
        for rate, group in zip(self.rates, self.optimizer.param_groups, strict=False):
            rate.fill_(group["lr"])

    def __call__(self, images: Tensor, labels: Tensor, count: int) -> None:
        """Take the step.

        Args:
            images: float32 (B, 3, H, H), this process's part of the batch.
            labels: int64 (B,).
            count: images of the batch, of all processes together.
        """
        parts = math.ceil(count * self.accumulate / self.batch_size)
        for part, part_labels in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
            with self.engine.autocast():
                loss, logits = self.forward(self.network, part, part_labels)
            # The processes' gradients are averaged; a batch's loss is the mean over its images.
            (loss * (len(part) * self.processes / count)).backward()
            self.sums += batch_sums(loss.detach(), logits, part_labels)
        self._update()
        # Gradients live within a step, so that captured ones can share their memory.
        self.optimizer.zero_grad(set_to_none=True)

    def _update(self) -> None:
        """The optimizer's step, with the rates on the device where it can read them there.

        For its duration alone: checkpoints and schedules see numbers, whose float32 rounding the device has.
        """
        groups = self.optimizer.param_groups
        numbers = [group["lr"] for group in groups]
        for group, rate in zip(groups, self.rates, strict=False):
            group["lr"] = rate
        try:
            self.optimizer.step()
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group["lr"] = number


class TestStep:
    """Loss and hits of one batch of test images. Eager: large batches hide the launch overhead."""

    __test__ = False  # this is not pytest's

    def __init__(self, network: nn.Module, engine: Engine) -> None:
        self.network = network
        self.engine = engine
        self.sums = torch.zeros(3, device=engine.device)
        """Loss, top-1 and top-5 hits of the epoch so far."""

    def begin(self) -> None:
        """Before an epoch."""
        self.sums.zero_()

    @torch.inference_mode()
    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Add a batch: float32 (B, 3, H, H) and int64 (B,)."""
        with self.engine.autocast():
            logits = self.network(images).float()
        self.sums += batch_sums(F.cross_entropy(logits, labels), logits, labels)


def plain_forward(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """See `Forward`."""
    logits = network(images)
    return F.cross_entropy(logits.float(), labels), logits.detach()


@lru_cache(maxsize=1)
def compiled_forward() -> Forward:
    """`plain_forward` through `torch.compile`: one function for all runs of this process.

    The network is its argument, so its weights are inputs of the compiled code: the next seed or learning
    rate of the same network runs the code that is there. Each network, activation and batch size is compiled
    once; there is no limit at which torch would go on uncompiled without a word.
    """
    no_limit = {"recompile_limit": 2**16, "accumulated_recompile_limit": 2**16}
    settings = torch._dynamo.config.patch({"fail_on_recompile_limit_hit": True, **no_limit})
    return settings(torch.compile(plain_forward, fullgraph=True, dynamic=False))


def batch_sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Loss (a mean) times images, top-1 hits and top-5 hits of a batch, as a float32 vector of 3.

    Labels are classes (B,), or shares of classes (B, K), of which the largest counts.
    """
    if labels.is_floating_point():
        labels = labels.argmax(dim=1)
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == labels[:, None]
    return torch.stack([loss.float() * len(labels), hits[:, 0].sum(), hits.sum()])


CAPTURABLE = (torch.optim.Adam, torch.optim.Adadelta, torch.optim.SGD)
"""Optimizers whose step can be captured: all of it on the device, learning rate and step count included."""

WARM_UP = 3
"""Steps of each batch size that are taken as they are before one is captured.

They are training steps like any other. They leave behind what must be there before a capture: the
optimizer's state, cuDNN's choice of algorithms, compiled code.
"""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""From work to a function that does it again, without Python in between; the work is not done yet."""


class CapturedStep:
    """A training step that is replayed: one graph for each size of batch, the full one and the last.

    Images and labels are copied to where the graph reads them; weights, optimizer state, statistics of batch
    norm and sums are updated in place, so they must stay where they are: after a checkpoint was loaded, a
    new `CapturedStep` is due.
    """

    def __init__(self, step: TrainStep, capture: Capture) -> None:
        self.step = step
        self.capture = capture
        self.taken: Counter[int] = Counter()
        self.graphs: dict[int, tuple[Tensor, Tensor, Callable[[], None]]] = {}

    def __call__(self, images: Tensor, labels: Tensor, count: int) -> None:
        """See `TrainStep`."""
        if count not in self.graphs:
            self.taken[count] += 1
            if self.taken[count] <= WARM_UP:
                self.step(images, labels, count)
                return
            inputs = (images.clone(), labels.clone())
            self.graphs[count] = (*inputs, self.capture(lambda: self.step(*inputs, count)))
        own_images, own_labels, replay = self.graphs[count]
        own_images.copy_(images)
        own_labels.copy_(labels)
        replay()


class CudaCapture:
    """Captures work on the current stream into CUDA graphs that share one pool of memory.

    They may share it because nothing that lies in the pool is read after a replay.
    """

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Capture`."""
        graph = torch.cuda.CUDAGraph()
        # Threads that pin the memory of coming batches may go on meanwhile.
        with torch.cuda.graph(
            graph,
            pool=self.pool,
            stream=torch.cuda.current_stream(),
            capture_error_mode="thread_local",
        ):
            work()
        return graph.replay


def can_capture(engine: Engine, optimizer: torch.optim.Optimizer, processes: int) -> bool:
    """Whether steps are captured: on CUDA, by one process, with an optimizer that stays on the device."""
    return engine.cuda_graph and processes == 1 and isinstance(optimizer, CAPTURABLE)
