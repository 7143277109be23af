"""Activations with coefficients learned at each site.

Every coefficient is a parameter: a number, or one value per channel. `channels` is the width of the site.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from senet_lab.errors import UsageError
from senet_lab.networks.activations.elementwise import (
    Elementwise,
    along_channels,
    plain,
    refuse_integers,
    wide_dtype,
)


def shape_of(channels: int, per_channel: bool) -> tuple[int, ...]:
    """The shape of a coefficient: (channels,) or ()."""
    return (channels,) if per_channel else ()


def coefficient(value: float, shape: tuple[int, ...] = ()) -> nn.Parameter:
    """A parameter filled with one initial value."""
    return nn.Parameter(torch.full(shape, float(value)))


class PReLU(Elementwise):
    """PReLU(x) = x for x > 0, else a·x. He et al., ICCV 2015, arXiv 1502.01852, section 2.1.

    `torch.nn.PReLU` requires x in the dtype of its weight.
    """

    def __init__(self, channels: int, a: float = 0.25, per_channel: bool = True) -> None:
        super().__init__()
        self.a = coefficient(a, shape_of(channels, per_channel))

    @staticmethod
    def formula(x: Tensor, a: Tensor) -> Tensor:
        """The sum of both branches, each 0 on the other's side: several times as fast as `where`."""
        return x.relu() + a * x.clamp(max=0)


class Swish(Elementwise):
    """Swish(x) = x·σ(βx) with β learned. Ramachandran, Zoph and Le, arXiv 1710.05941, section 4."""

    def __init__(self, channels: int, beta: float = 1.0, per_channel: bool = False) -> None:
        super().__init__()
        self.beta = coefficient(beta, shape_of(channels, per_channel))

    @staticmethod
    def formula(x: Tensor, beta: Tensor) -> Tensor:
        """The formula as published."""
        return x * (beta * x).sigmoid()


class StarReLU(Elementwise):
    """StarReLU(x) = s·max(x, 0)² + b. Yu et al., arXiv 2210.13452, "Techniques to improve MetaFormer".

    For standard normal x, the published s and b give the output mean 0 and variance 1.
    """

    def __init__(self, s: float = 0.8944, b: float = -0.4472) -> None:
        super().__init__()
        self.s = coefficient(s)
        self.b = coefficient(b)

    @staticmethod
    def formula(x: Tensor, s: Tensor, b: Tensor) -> Tensor:
        """The formula as published."""
        return s * x.relu().square() + b


class AconC(Elementwise):
    """ACON-C(x) = (p₁ − p₂)x·σ(β(p₁ − p₂)x) + p₂x. Ma et al., CVPR 2021, arXiv 2009.04759, table 1.

    p₁ and p₂ start as standard normal draws and β as 1, as in the authors' code (github.com/nmaac/acon).
    """

    def __init__(self, channels: int, per_channel: bool = True) -> None:
        super().__init__()
        shape = shape_of(channels, per_channel)
        self.p1 = nn.Parameter(torch.randn(shape))
        self.p2 = nn.Parameter(torch.randn(shape))
        self.beta = coefficient(1.0, shape)

    @staticmethod
    def formula(x: Tensor, p1: Tensor, p2: Tensor, beta: Tensor) -> Tensor:
        """The formula as published."""
        difference = (p1 - p2) * x
        return difference * (beta * difference).sigmoid() + p2 * x


class MetaAconC(nn.Module):
    """ACON-C whose β is a function of the map: for each image β = σ(W₂·W₁·mean of x), (N, C).

    Ma et al., CVPR 2021, arXiv 2009.04759. The hidden width is that of the authors' code, which also has
    biases and a batch norm after each layer; the paper's formula has neither.

    Args:
        channels: width of the site.
        reduction: the hidden width is channels / reduction, but at least `reduction`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(reduction, channels // reduction)
        self.p1 = nn.Parameter(torch.randn(channels))
        self.p2 = nn.Parameter(torch.randn(channels))
        self.fc1 = nn.Linear(channels, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply to x (N, C, …); shape, dtype and layout stay those of x.

        Raises:
            TypeError: x is not of a floating-point dtype.
        """
        refuse_integers(self, x)
        mean = x.reshape(*x.shape[:2], -1).mean(2, dtype=wide_dtype(x))
        beta = self.fc2(self.fc1(mean)).sigmoid()
        beta = beta.view(*beta.shape, *(1,) * (x.ndim - 2))
        return plain(AconC.formula, x, along_channels(self.p1, x), along_channels(self.p2, x), beta)


class PAU(Elementwise):
    """PAU(x) = P(x)/(1 + |Q(x)|), P = a₀ + … + a₅x⁵ and Q = b₁x + … + b₄x⁴.

    Padé activation unit, the safe form of degrees 5 and 4: Molina, Schramowski and Kersting, ICLR 2020, arXiv
    1907.06732, section 2. It starts as leaky ReLU with slope 0.01, fitted by the authors on [−3, 3]
    (github.com/ml-research/pau).
    """

    NUMERATOR = (3.35583603e-02, 5.05000375e-01, 1.65343934, 2.01001052, 9.31901999e-01, 1.52424124e-01)
    DENOMINATOR = (3.30847488e-06, 3.98021568, 5.12471206e-07, 3.01830109e-01)

    def __init__(self) -> None:
        super().__init__()
        for power, value in enumerate(self.NUMERATOR):
            self.register_parameter(f"a{power}", coefficient(value))
        for power, value in enumerate(self.DENOMINATOR, start=1):
            self.register_parameter(f"b{power}", coefficient(value))

    @staticmethod
    def formula(x: Tensor, *values: Tensor) -> Tensor:
        """Both polynomials by Horner's rule."""
        a, b = values[:6], values[6:]
        numerator, denominator = a[5] * x + a[4], b[3] * x + b[2]
        for value in a[3::-1]:
            numerator = numerator * x + value
        for value in b[1::-1]:
            denominator = denominator * x + value
        return numerator / (1 + (denominator * x).abs())


class XIELU(Elementwise):
    """xIELU(x) = αₚx² + x/2 for x > 0, else αₙ(eˣ − 1 − x) + x/2.

    αₚ = softplus(alpha_p) and αₙ = 1/2 + softplus(alpha_n), with alpha_p and alpha_n learned. Huang and
    Schlag, arXiv 2411.13010: β = 1/2, and αₚ and αₙ start at 0.8.
    """

    BETA = 0.5

    def __init__(self, alpha_p: float = 0.8, alpha_n: float = 0.8) -> None:
        super().__init__()
        self.alpha_p = coefficient(math.log(math.expm1(alpha_p)))
        self.alpha_n = coefficient(math.log(math.expm1(alpha_n - self.BETA)))

    def effective(self) -> tuple[Tensor, Tensor]:
        """αₚ and αₙ."""
        return F.softplus(self.alpha_p), self.BETA + F.softplus(self.alpha_n)

    @staticmethod
    def formula(x: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The sum of both branches, each 0 on the other's side."""
        below = x.clamp(max=0)
        return positive * x.relu().square() + negative * (below.expm1() - below) + XIELU.BETA * x


class Snake(Elementwise):
    """Snake(x) = x + sin²(ax)/a with a learned. Ziyin, Hartwig and Ueda, NeurIPS 2020, arXiv 2006.08195."""

    def __init__(self, channels: int, a: float = 1.0, per_channel: bool = False) -> None:
        super().__init__()
        if a == 0:
            raise UsageError("activation.a=0: Snake divides by a; take another value")
        self.a = coefficient(a, shape_of(channels, per_channel))

    @staticmethod
    def formula(x: Tensor, a: Tensor) -> Tensor:
        """The formula as published."""
        return x + (a * x).sin().square() / a


class APL(Elementwise):
    """APL(x) = max(x, 0) + Σₛ aₛ·max(bₛ − x, 0). Agostinelli et al., arXiv 1412.6830, section 2.

    Published with coefficients for each neuron; here they are per channel. aₛ starts uniform in [−0.2, 0.2]
    and bₛ normal with standard deviation 0.5, as in the authors' code
    (github.com/forestagostinelli/Learned-Activation-Functions-Source), which has 5 hinges for CIFAR-10.
    """

    def __init__(self, channels: int, hinges: int = 5, per_channel: bool = True) -> None:
        super().__init__()
        shape = shape_of(channels, per_channel)
        for s in range(1, hinges + 1):
            self.register_parameter(f"a{s}", nn.Parameter(torch.empty(shape).uniform_(-0.2, 0.2)))
        for s in range(1, hinges + 1):
            self.register_parameter(f"b{s}", nn.Parameter(torch.empty(shape).normal_(std=0.5)))

    @staticmethod
    def formula(x: Tensor, *values: Tensor) -> Tensor:
        """All slopes, then all hinges."""
        out = x.relu()
        hinges = len(values) // 2
        for a, b in zip(values[:hinges], values[hinges:], strict=True):
            out = out + a * (b - x).relu()
        return out


class SReLU(Elementwise):
    """SReLU(x) = x between tₗ and tᵣ, tᵣ + aᵣ(x − tᵣ) from tᵣ on, tₗ + aₗ(x − tₗ) up to tₗ.

    Jin et al., AAAI 2016, arXiv 1512.07030, section 3. As published it starts as leaky ReLU: tₗ = 0,
    aₗ = 0.2, aᵣ = 1 and any positive tᵣ. The published recipe freezes it for some epochs and then sets tᵣ
    from the data; here it learns from the first step on.
    """

    def __init__(
        self,
        channels: int,
        t_left: float = 0.0,
        a_left: float = 0.2,
        t_right: float = 1.0,
        a_right: float = 1.0,
        per_channel: bool = True,
    ) -> None:
        super().__init__()
        shape = shape_of(channels, per_channel)
        self.t_left = coefficient(t_left, shape)
        self.a_left = coefficient(a_left, shape)
        self.t_right = coefficient(t_right, shape)
        self.a_right = coefficient(a_right, shape)

    @staticmethod
    def formula(x: Tensor, t_left: Tensor, a_left: Tensor, t_right: Tensor, a_right: Tensor) -> Tensor:
        """x plus the change of slope beyond each threshold."""
        return x + (a_left - 1) * (x - t_left).clamp(max=0) + (a_right - 1) * (x - t_right).relu()
