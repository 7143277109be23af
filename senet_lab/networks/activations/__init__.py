"""Activation functions that `torch.nn` lacks, and activation sites.

The others need no class here: their YAML names `torch.nn.ReLU` and the like.
"""

from senet_lab.networks.activations.fixed import (
    Logish,
    LogSigmoid,
    Phish,
    RReLU,
    Serf,
    Smish,
    SquaredReLU,
    TanhExp,
)
from senet_lab.networks.activations.learned import (
    APL,
    PAU,
    XIELU,
    AconC,
    MetaAconC,
    PReLU,
    Snake,
    SReLU,
    StarReLU,
    Swish,
)
from senet_lab.networks.activations.sites import activation_sites, as_site, coefficient_rows, coefficients
from senet_lab.networks.activations.tact import MTAct, TAct

__all__ = [
    "APL",
    "PAU",
    "XIELU",
    "AconC",
    "LogSigmoid",
    "Logish",
    "MTAct",
    "MetaAconC",
    "PReLU",
    "Phish",
    "RReLU",
    "SReLU",
    "Serf",
    "Smish",
    "Snake",
    "SquaredReLU",
    "StarReLU",
    "Swish",
    "TAct",
    "TanhExp",
    "activation_sites",
    "as_site",
    "coefficient_rows",
    "coefficients",
]
