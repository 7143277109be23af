"""TAct and mTAct with one Triton kernel forward and one backward."""

# Triton reads annotations as types of its own.
# mypy: disable-error-code="no-untyped-def"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from senet_lab.networks.activations import MTAct, TAct
from senet_lab.networks.pieces import dense, laid_out_as

BLOCK = 1024
"""Elements of one program: in half precision, a load of 16 bytes for each of its 128 threads."""


class FastTAct(TAct):
    """TAct of float32 or half-precision maps; computed in float32 and rounded once, as the plain one is."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply to every element."""
        return _Function.apply(x, *self.effective())


class FastMTAct(FastTAct, MTAct):
    """The same with squared coefficients."""


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        x = dense(x)
        ctx.save_for_backward(x, alpha, beta)
        out = torch.empty_like(x)
        with torch.cuda.device_of(x):
            forward_kernel[(_programs(x),)](x, out, alpha, beta, x.numel(), BLOCK, enable_fp_fusion=True)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, alpha, beta = ctx.saved_tensors
        grad = laid_out_as(x, grad)
        grad_x = torch.empty_like(x)
        # A row for each program instead of atomic additions: the same sums each time.
        sums = alpha.new_empty(_programs(x), 2)
        with torch.cuda.device_of(x):
            backward_kernel[(len(sums),)](
                x, grad, grad_x, sums, alpha, beta, x.numel(), BLOCK, enable_fp_fusion=True
            )
        return grad_x, *sums.sum(0).unbind()


def _programs(x: Tensor) -> int:
    return triton.cdiv(x.numel(), BLOCK)


@triton.jit
def forward_kernel(x_ptr, out_ptr, alpha_ptr, beta_ptr, count, block: tl.constexpr):
    """out = (αx + 1 − α)·σ((1 + β)x), for `count` elements in the order of memory."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < count
    alpha, beta = tl.load(alpha_ptr), tl.load(beta_ptr)
    x = tl.load(x_ptr + at, mask=inside).to(tl.float32)
    out = (alpha * x + (1 - alpha)) * tl.sigmoid((1 + beta) * x)
    tl.store(out_ptr + at, out, mask=inside)


@triton.jit
def backward_kernel(x_ptr, grad_ptr, grad_x_ptr, sums_ptr, alpha_ptr, beta_ptr, count, block: tl.constexpr):
    """The gradient of x, and each program's part of those of α and β: `sums` is (programs, 2)."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < count
    alpha, beta = tl.load(alpha_ptr), tl.load(beta_ptr)
    x = tl.load(x_ptr + at, mask=inside, other=0).to(tl.float32)
    grad = tl.load(grad_ptr + at, mask=inside, other=0).to(tl.float32)
    gate = tl.sigmoid((1 + beta) * x)
    through_line = grad * gate
    through_gate = through_line * (alpha * x + (1 - alpha)) * (1 - gate)
    tl.store(grad_x_ptr + at, alpha * through_line + (1 + beta) * through_gate, mask=inside)
    tl.store(sums_ptr + 2 * tl.program_id(0), tl.sum(through_line * (x - 1)))
    tl.store(sums_ptr + 2 * tl.program_id(0) + 1, tl.sum(through_gate * x))
