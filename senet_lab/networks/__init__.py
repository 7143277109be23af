"""Networks and their parts: activations, squeeze-and-excitation, residual units."""
