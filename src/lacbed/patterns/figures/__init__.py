"""Figures of patterns, differences, potentials and CBED patterns, drawn without any global plotting state."""

from lacbed.patterns.figures.cbed import cbed_figure
from lacbed.patterns.figures.difference import difference_figure
from lacbed.patterns.figures.montage import montage
from lacbed.patterns.figures.potential import potential_figure
from lacbed.patterns.figures.style import save_figure

__all__ = ["cbed_figure", "difference_figure", "montage", "potential_figure", "save_figure"]
