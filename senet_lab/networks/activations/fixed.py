"""Activations without coefficients that `torch.nn` lacks, or that lose the memory layout there."""

from torch import Tensor, nn
from torch.nn import functional as F

from senet_lab.networks.activations.elementwise import Elementwise
from senet_lab.networks.pieces import laid_out_as


class RReLU(nn.RReLU):
    """`torch.nn.RReLU` in the layout of its input; PyTorch's output is always contiguous.

    The slopes of a training step come from PyTorch's global generator of the device. Xu et al., arXiv
    1505.00853, section 2.4.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Apply to every element."""
        return laid_out_as(input, super().forward(input))


class LogSigmoid(Elementwise):
    """LogSigmoid(x) = ln σ(x), in the layout of its input; PyTorch's output is always contiguous."""

    formula = staticmethod(F.logsigmoid)


class SquaredReLU(Elementwise):
    """SquaredReLU(x) = max(x, 0)². So et al., arXiv 2109.08668, section 3."""

    @staticmethod
    def formula(x: Tensor) -> Tensor:
        """The square of ReLU."""
        return x.relu().square()


class Serf(Elementwise):
    """Serf(x) = x·erf(ln(1 + eˣ)). Nag et al., WACV 2023, arXiv 2108.09598."""

    @staticmethod
    def formula(x: Tensor) -> Tensor:
        """The formula with softplus, which does not overflow."""
        return x * F.softplus(x).erf()


class Smish(Elementwise):
    """Smish(x) = x·tanh(ln(1 + σ(x))). Wang, Ren and Wang, Electronics 11(4):540, 2022."""

    @staticmethod
    def formula(x: Tensor) -> Tensor:
        """x·s(2 + s)/(s(2 + s) + 2) with s = σ(x), since tanh(ln u) = (u² − 1)/(u² + 1)."""
        s = x.sigmoid()
        product = s * (2 + s)
        return x * product / (product + 2)


class Logish(Elementwise):
    """Logish(x) = x·ln(1 + σ(x)). Zhu et al., Neurocomputing 458, 2021."""

    @staticmethod
    def formula(x: Tensor) -> Tensor:
        """The formula as published, exact for small σ(x)."""
        return x * x.sigmoid().log1p()


class TanhExp(Elementwise):
    """TanhExp(x) = x·tanh(eˣ). Liu and Di, arXiv 2003.09855, section 3."""

    @staticmethod
    def formula(x: Tensor) -> Tensor:
        """The exponent is clamped at 20, where tanh is 1: the gradient at ∞ would be NaN."""
        return x * x.clamp(max=20).exp().tanh()


class Phish(Elementwise):
    """Phish(x) = x·tanh(GELU(x)). Naveen, TechRxiv 17283824, 2021."""

    @staticmethod
    def formula(x: Tensor) -> Tensor:
        """The formula with the exact GELU."""
        return x * F.gelu(x).tanh()
