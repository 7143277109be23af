"""Training and test steps: one eager implementation, with compilation and capture as thin layers.

A step can be compiled (`torch.compile` of forward pass and loss) and, on CUDA, captured: replayed as one CUDA
graph, a single launch by the host. The host never waits for the device.
"""

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet_lab.training import cuda
from senet_lab.training.engine import Engine

Forward = Callable[[nn.Module, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""Maps network, images, labels and label smoothing to the mean loss and the detached logits."""


class TrainStep:
    """One optimizer step on one batch.

    Args:
        network: maps images to logits.
        optimizer: optimizer of its parameters.
        engine: device and precision.
        batch_size: images of a full batch, over all processes.
        accumulate: micro-batches of a full batch.
        processes: number of processes that share each batch.
        label_smoothing: share of each label that is spread over all classes: Szegedy et al., arXiv
            1512.00567, section 7. The recorded loss includes it.
        clip_grad: largest norm of the gradient, over all parameters; 0: not clipped. Pascanu et al., arXiv
            1211.5063, section 3.2.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        engine: Engine,
        batch_size: int,
        accumulate: int,
        processes: int = 1,
        label_smoothing: float = 0.0,
        clip_grad: float = 0.0,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.engine = engine
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.processes = processes
        self.label_smoothing = label_smoothing
        self.clip_grad = clip_grad
        casts = engine.device.type == "cuda" and engine.precision == "bfloat16" and processes == 1
        self.plain: Forward = cast_forward if casts else plain_forward
        self.forward: Forward = compiled_forward() if engine.compiled else self.plain
        self.sums = torch.zeros(3, device=engine.device)
        """Loss, top-1 and top-5 hits of the epoch so far."""
        on_device = engine.device.type == "cuda" and isinstance(optimizer, CAPTURABLE)
        self.rates = [torch.zeros((), device=engine.device) for _ in optimizer.param_groups if on_device]
        """Learning rates on the device, for a captured step; the optimizer's own stay numbers."""

    def begin(self) -> None:
        """Prepare for an epoch: reset the sums and set the learning rates."""
        self.sums.zero_()
        self.set_rates()

    def set_rates(self) -> None:
        """Copy the schedule's learning rates to the device."""
        for rate, group in zip(self.rates, self.optimizer.param_groups, strict=False):
            rate.fill_(group["lr"])

    def __call__(self, images: Tensor, labels: Tensor, count: int) -> None:
        """Take the step.

        Args:
            images: float32 (B, 3, H, H), this process's part of the batch.
            labels: int64 (B,).
            count: images of the batch, over all processes.
        """
        parts = self.parts(count)
        # The smaller last batch is not worth a compilation, or a search for its fastest kernels.
        full = count == self.batch_size
        forward = self.forward if full else self.plain
        with self.engine.search(full):
            for part, part_labels in zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True):
                with self.engine.autocast():
                    loss, logits = forward(self.network, part, part_labels, self.label_smoothing)
                # The processes' gradients are averaged; a batch's loss is the mean over its images.
                (loss * (len(part) * self.processes / count)).backward()
                self.sums += batch_sums(loss.detach(), logits, part_labels)
        if self.clip_grad:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_grad)
        self._update()
        # Gradients live within a step, so that captured graphs can share their memory.
        self.optimizer.zero_grad(set_to_none=True)

    def parts(self, count: int) -> int:
        """Number of micro-batches of a batch of `count` images."""
        return math.ceil(count * self.accumulate / self.batch_size)

    def _update(self) -> None:
        """The optimizer's step, with its learning rates on the device if it supports that.

        Only during the step: checkpoints and schedules see Python numbers, the device their float32 rounding.
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

    __test__ = False  # not a test class for pytest

    def __init__(self, network: nn.Module, engine: Engine) -> None:
        self.network = network
        self.engine = engine
        self.sums = torch.zeros(3, device=engine.device)
        """Loss, top-1 and top-5 hits of the epoch so far."""

    def begin(self) -> None:
        """Reset the sums before an epoch."""
        self.sums.zero_()

    @torch.inference_mode()
    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Add a batch: float32 (B, 3, H, H) and int64 (B,)."""
        with self.engine.autocast():
            logits = self.network(images).float()
        self.sums += batch_sums(F.cross_entropy(logits, labels), logits, labels)


def plain_forward(
    network: nn.Module, images: Tensor, labels: Tensor, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """See `Forward`."""
    return _with_loss(network(images), labels, label_smoothing)


def cast_forward(
    network: nn.Module, images: Tensor, labels: Tensor, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """`plain_forward` with all bfloat16 casts of weights in a few kernels."""
    return _with_loss(cuda.forward_with_cast_weights(network, images), labels, label_smoothing)


def _with_loss(logits: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    return F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing), logits.detach()


@lru_cache(maxsize=1)
def compiled_forward() -> Forward:
    """`plain_forward` through `torch.compile`: one compiled function for all runs of this process.

    The network is an argument, so its weights are inputs of the compiled code: other seeds and learning
    rates of the same network reuse it. Each network, activation and batch size is compiled once; the limit
    at which torch would silently fall back to eager is lifted.
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
"""Optimizers with a capturable step: learning rate and step count are on the device, too."""

WARM_UP = 3
"""Eager steps of each batch size before one is captured.

They are training steps like any other, and create what a capture needs: the optimizer's state, cuDNN's choice
of algorithms, compiled code.
"""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Records work without executing it; returns a function that replays it without Python in between."""


class CapturedStep:
    """A replayed training step, with one graph per batch size: the full one and the last one.

    Images and labels are copied to the graph's input tensors; weights, optimizer state, statistics of batch
    norm and sums are updated in place, so their addresses must not change: after loading a checkpoint, make a
    new `CapturedStep`.
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
    """Captures work on the current stream into CUDA graphs with a shared memory pool.

    Sharing is safe because nothing in the pool is read after a replay.
    """

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Capture`."""
        graph = torch.cuda.CUDAGraph()
        # Threads that pin the memory of the next batches may continue during the capture.
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
