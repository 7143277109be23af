"""TAct and mTAct with one Triton kernel forward and one backward."""

# Triton interprets annotations as its own types.
# mypy: disable-error-code="no-untyped-def"

from typing import Any, ClassVar

import torch
import triton
import triton.language as tl
from torch import Tensor

from senet_lab.networks.activations import MTAct, TAct
from senet_lab.networks.activations.elementwise import ElementwiseFunction, Formula
from senet_lab.networks.pieces import dense, laid_out_as

BLOCK = 1024
"""Elements of one program: in half precision, a load of 16 bytes for each of its 128 threads."""


class TritonTActFunction(ElementwiseFunction):
    """TAct of float32 or half-precision maps with scalar α and β; computed in float32 and rounded once."""

    @staticmethod
    def forward(_formula: Formula, x: Tensor, *coefficients: Tensor) -> Tensor:
        """Apply the activation to every element."""
        x = dense(x)
        out = torch.empty_like(x)
        with torch.cuda.device_of(x):
            forward_kernel[(_programs(x),)](x, out, *coefficients, x.numel(), BLOCK, enable_fp_fusion=True)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, α and β."""
        if torch.is_grad_enabled():
            return ElementwiseFunction.backward(ctx, grad)
        x, alpha, beta = ctx.saved_tensors
        x = dense(x)
        grad = laid_out_as(x, grad)
        grad_x = torch.empty_like(x)
        # One row per program instead of atomic additions, so that sums are reproducible.
        sums = alpha.new_empty(_programs(x), 2)
        with torch.cuda.device_of(x):
            backward_kernel[(len(sums),)](
                x, grad, grad_x, sums, alpha, beta, x.numel(), BLOCK, enable_fp_fusion=True
            )
        return None, grad_x, *sums.sum(0).unbind()


class FastTAct(TAct):
    """TAct with one Triton kernel per direction."""

    function: ClassVar[type[ElementwiseFunction]] = TritonTActFunction


class FastMTAct(MTAct):
    """mTAct with one Triton kernel per direction."""

    function: ClassVar[type[ElementwiseFunction]] = TritonTActFunction


def _programs(x: Tensor) -> int:
    return triton.cdiv(x.numel(), BLOCK)


@triton.jit
def forward_kernel(x_ptr, out_ptr, alpha_ptr, beta_ptr, count, block: tl.constexpr):
    """out = (αx + 1 − α)·σ((1 + β)x), for `count` elements in memory order."""
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
