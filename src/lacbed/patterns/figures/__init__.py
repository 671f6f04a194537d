"""Figures of patterns, differences, potentials and CBED patterns, drawn without any global plotting state."""

from lacbed.patterns.figures.montage import difference_figure, montage
from lacbed.patterns.figures.projected import cbed_figure, potential_figure
from lacbed.patterns.figures.style import replace_figure, save_figure

__all__ = ["cbed_figure", "difference_figure", "montage", "potential_figure", "replace_figure", "save_figure"]
