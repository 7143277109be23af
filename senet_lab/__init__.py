"""Config-driven sweeps over activations, learning rates and squeeze-and-excitation variants."""

__version__ = "0.1.0"
