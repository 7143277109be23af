"""Data-parallel training: each process takes its share of every batch, and all take the same step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from senet_lab.errors import UsageError


@dataclass(frozen=True)
class Group:
    """The process group of a run: this process's rank, and the number of processes.

    Control messages are exchanged between CPUs, so that no process waits for its GPU.
    """

    rank: int = 0
    size: int = 1

    @property
    def share(self) -> slice:
        """This process's part of a batch: every `size`-th image."""
        return slice(self.rank, None, self.size)

    def add(self, sums: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(sums)
        return sums

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in one of the processes."""
        return flag if self.size == 1 else bool(self.add(torch.tensor(float(flag))))

    def first(self, value: Any) -> Any:
        """The first process's value."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values, device=torch.device("cpu"))
        return values[0]

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network for training, with gradients and batch norm statistics over all processes.

        Raises:
            UsageError: a kind of batch norm that cannot be synchronised.
        """
        if self.size == 1:
            return network
        for name, module in network.named_modules():
            if type(module) is nn.BatchNorm2d:
                share_statistics(module)
            elif isinstance(module, nn.BatchNorm2d):
                raise UsageError(
                    f"hydra/launcher=torchrun: {name} is a {type(module).__name__}, not BatchNorm2d"
                )
        # Buffers are equal in all processes: the statistics are those of all images.
        return DistributedDataParallel(network, broadcast_buffers=False)

    def check(self, train_images: int, batch_size: int, accumulate: int) -> None:
        """Refuse batches that the processes cannot share.

        Raises:
            UsageError: a process would get no image.
        """
        last = train_images % batch_size or batch_size
        if batch_size % (self.size * accumulate) or last < self.size:
            raise UsageError(
                f"batch_size={batch_size}: {self.size} processes and accumulate={accumulate} cannot share it "
                f"or the last batch of {last}; choose another"
            )


def current_group() -> Group:
    """The process group of torch.distributed; without one, a group of this process only."""
    if not dist.is_initialized():
        return Group()
    return Group(dist.get_rank(), dist.get_world_size())


def share_statistics(norm: nn.BatchNorm2d) -> None:
    """Synchronise a batch norm, already on its device, over all processes, in place."""
    if norm.running_mean is not None and norm.running_mean.is_cuda:
        norm.__class__ = nn.SyncBatchNorm  # type: ignore[assignment]
        norm.process_group = None  # type: ignore[assignment]
    else:
        norm.__class__ = SyncBatchNorm2d


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes; PyTorch's own SyncBatchNorm needs a GPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map (N, C, H, W) to the same shape."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        count = _all_sum(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
        mean = _all_sum(x.sum(dim=(0, 2, 3))) / count
        centred = x - mean.view(1, -1, 1, 1)
        variance = _all_sum(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)  # unbiased
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)


class _AllSum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        return _all_sum(grad)  # by autograd, for derivatives of the gradient


_all_sum: Callable[[Tensor], Tensor] = _AllSum.apply
