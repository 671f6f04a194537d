"""From a 000 pattern to the projected potential: a first answer, then its Fourier coefficients refined."""
