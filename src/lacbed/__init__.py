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
    from lacbed.datasets.dataset import LacbedDataset, open_dataset
    from lacbed.differentiable import PreparedModel, intensities, model_state, prepare_model
    from lacbed.engine.zone import Zone
    from lacbed.errors import LacbedError
    from lacbed.experiment.experiment import Experiment
    from lacbed.experiment.extract.frames import open_frames
    from lacbed.experiment.extract.pipeline import Extraction, extract
    from lacbed.experiment.extract.settings import ExtractSettings
    from lacbed.experiment.folder import load_experiment
    from lacbed.geometry.tilts import TiltGrid
    from lacbed.identification.identify import Identification, identify
    from lacbed.learn.surrogate import Surrogate, predict
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
    from lacbed.refinement.design import Design, Forecast, plan
    from lacbed.refinement.fit import FitResult, fit
    from lacbed.refinement.options import FitSettings, RefinementOptions
    from lacbed.refinement.refine import refine
    from lacbed.refinement.result import Refinement
    from lacbed.retrieval.forward import Foil
    from lacbed.retrieval.retrieve import Retrieval, retrieve
    from lacbed.retrieval.solution import Solution, SolveOptions
    from lacbed.retrieval.solve import solve_structure
    from lacbed.simulation import simulate
    from lacbed.state import ModelState

_NAMES = {
    "converge": ("ConvergenceReport", "convergence"),
    "crystals": ("Crystal", "Site"),
    "datasets.dataset": ("LacbedDataset", "open_dataset"),
    "differentiable": ("PreparedModel", "intensities", "model_state", "prepare_model"),
    "engine.zone": ("Zone",),
    "errors": ("LacbedError",),
    "experiment.experiment": ("Experiment",),
    "experiment.extract.frames": ("open_frames",),
    "experiment.extract.pipeline": ("Extraction", "extract"),
    "experiment.extract.settings": ("ExtractSettings",),
    "experiment.folder": ("load_experiment",),
    "geometry.tilts": ("TiltGrid",),
    "identification.identify": ("Identification", "identify"),
    "learn.surrogate": ("Surrogate", "predict"),
    "patterns": (
        "assemble_cbed",
        "compare_patterns",
        "load_pattern",
        "max_difference",
        "montage",
        "r_factor",
        "relative_l2",
        "save_pattern",
        "zncc_loss",
    ),
    "projection": ("projected_potential",),
    "refinement.design": ("Design", "Forecast", "plan"),
    "refinement.fit": ("FitResult", "fit"),
    "refinement.options": ("FitSettings", "RefinementOptions"),
    "refinement.refine": ("refine",),
    "refinement.result": ("Refinement",),
    "retrieval.forward": ("Foil",),
    "retrieval.retrieve": ("Retrieval", "retrieve"),
    "retrieval.solution": ("Solution", "SolveOptions"),
    "retrieval.solve": ("solve_structure",),
    "simulation": ("simulate",),
    "state": ("ModelState",),
}
"""The public names by the module that defines them."""

_HOME = {name: f"lacbed.{module}" for module, names in _NAMES.items() for name in names}

__all__ = [
    "ConvergenceReport",
    "Crystal",
    "Design",
    "Experiment",
    "ExtractSettings",
    "Extraction",
    "FitResult",
    "FitSettings",
    "Foil",
    "Forecast",
    "Identification",
    "LacbedDataset",
    "LacbedError",
    "ModelState",
    "PreparedModel",
    "Refinement",
    "RefinementOptions",
    "Retrieval",
    "Site",
    "Solution",
    "SolveOptions",
    "Surrogate",
    "TiltGrid",
    "Zone",
    "assemble_cbed",
    "compare_patterns",
    "convergence",
    "extract",
    "fit",
    "identify",
    "intensities",
    "load_experiment",
    "load_pattern",
    "max_difference",
    "model_state",
    "montage",
    "open_dataset",
    "open_frames",
    "plan",
    "predict",
    "prepare_model",
    "projected_potential",
    "r_factor",
    "refine",
    "relative_l2",
    "retrieve",
    "save_pattern",
    "simulate",
    "solve_structure",
    "zncc_loss",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'lacbed' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return list(__all__)
