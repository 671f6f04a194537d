"""Large-angle convergent-beam electron diffraction: exact, fast, differentiable patterns from a CIF.

>>> import lacbed
>>> crystal = lacbed.Crystal.named("SrTiO3")
>>> pattern = lacbed.simulate(crystal, thicknesses=(300, 600), hkl=[(0, 0, 0), (2, 0, 0)])

Everything is imported on first use, so that `import lacbed` is quick.
"""

from __future__ import annotations

TYPE_CHECKING = False  # of typing, which takes a while to import
if TYPE_CHECKING:
    from typing import Any

    from lacbed.converge import ConvergenceReport, convergence
    from lacbed.crystals import Crystal, Site
    from lacbed.datasets.labelled import open_dataset
    from lacbed.datasets.read import LacbedDataset
    from lacbed.differentiable import PreparedModel, intensities, model_state, prepare_model
    from lacbed.errors import LacbedError
    from lacbed.geometry.tilts import TiltGrid
    from lacbed.patterns import (
        assemble_cbed,
        compare_patterns,
        load_pattern,
        max_difference,
        montage,
        r_factor,
        relative_l2,
        save_pattern,
        zncc_loss,
    )
    from lacbed.projection import projected_potential
    from lacbed.simulation import simulate
    from lacbed.state import ModelState

_HOME = {
    "ConvergenceReport": "lacbed.converge",
    "convergence": "lacbed.converge",
    "Crystal": "lacbed.crystals",
    "Site": "lacbed.crystals",
    "LacbedDataset": "lacbed.datasets.read",
    "LacbedError": "lacbed.errors",
    "TiltGrid": "lacbed.geometry.tilts",
    "assemble_cbed": "lacbed.patterns",
    "compare_patterns": "lacbed.patterns",
    "load_pattern": "lacbed.patterns",
    "max_difference": "lacbed.patterns",
    "montage": "lacbed.patterns",
    "open_dataset": "lacbed.datasets.labelled",
    "r_factor": "lacbed.patterns",
    "relative_l2": "lacbed.patterns",
    "save_pattern": "lacbed.patterns",
    "zncc_loss": "lacbed.patterns",
    "projected_potential": "lacbed.projection",
    "PreparedModel": "lacbed.differentiable",
    "intensities": "lacbed.differentiable",
    "model_state": "lacbed.differentiable",
    "prepare_model": "lacbed.differentiable",
    "simulate": "lacbed.simulation",
    "ModelState": "lacbed.state",
}

__all__ = [
    "ConvergenceReport",
    "Crystal",
    "LacbedDataset",
    "LacbedError",
    "ModelState",
    "PreparedModel",
    "Site",
    "TiltGrid",
    "assemble_cbed",
    "compare_patterns",
    "convergence",
    "intensities",
    "load_pattern",
    "max_difference",
    "model_state",
    "montage",
    "open_dataset",
    "prepare_model",
    "projected_potential",
    "r_factor",
    "relative_l2",
    "save_pattern",
    "simulate",
    "zncc_loss",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'lacbed' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return list(__all__)
