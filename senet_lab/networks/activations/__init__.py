"""Activation functions that `torch.nn` does not have, and the sites where they stand.

The others need no class here: their YAML names `torch.nn.ReLU` and the like.
"""

from senet_lab.networks.activations.sites import activation_sites, as_site, coefficient_rows, coefficients
from senet_lab.networks.activations.tact import MTAct, TAct

__all__ = ["MTAct", "TAct", "activation_sites", "as_site", "coefficient_rows", "coefficients"]
