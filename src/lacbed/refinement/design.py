"""What a measurement would tell, before it is made: uncertainties and correlations of a design.

At the state that is expected, let J be the derivatives of the images in electrons by all parameters, each image
less its best scale and background, and N the electrons of every pixel. With counting noise, readout noise r and
diffuse background b the covariance of what a refinement finds is

    C = (Jᵀ W J)⁻¹,   W = 1 / (N + b + r²),

the bound of Cramér and Rao, which least squares with these weights reaches; priors add their
own precision. It knows nothing of faults of the model.

Several stacks of one crystal share what belongs to the crystal. Each contributes the inverse of its own C for
these parameters alone, geometry and thickness being its own affair, and the inverses add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from lacbed.beams import HKL, beams_within, reflections_within
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.tilts import TiltGrid
from lacbed.io.checks import check_number, check_whole
from lacbed.refinement.bonding import members
from lacbed.refinement.joint import Joint
from lacbed.refinement.objective import Fit, Target, compare, make_target
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.parameter import KINDS, OF_CRYSTAL, Parameter, state_function
from lacbed.refinement.parameters import default_parameters
from lacbed.refinement.problem import Measured
from lacbed.refinement.structure import family_of
from lacbed.refinement.uncertainties import correlations, covariance, evidence, standard_uncertainties
from lacbed.simulation import simulate

ROUGH = 1.8
"""Beams up to this |h| in 1/Å choose the brightest images."""

MOST = 200
"""Designs that are compared at once."""


@dataclass(frozen=True)
class Design:
    """A measurement that could be made.

    Attributes:
        zone_axis: [uvw].
        thickness: of the foil in Å.
        half_width: of the images in 1/Å.
        energy: of the electrons in eV.
        images: how many reflections are kept, the brightest.
        pixels: along a side.
        blur: of the images, standard deviation in pixels.
        dose: electrons per pixel in the incident beam.
        background: electrons per pixel beside the pattern.
        readout: standard deviation of a pixel that no electron hits, in electrons.
    """

    zone_axis: tuple[int, int, int] = (0, 0, 1)
    thickness: float = 600.0
    half_width: float = 0.5
    energy: float = 200e3
    images: int = 12
    pixels: int = 48
    blur: float = 0.5
    dose: float = 1000.0
    background: float = 1.0
    readout: float = 0.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: saying what was expected and what came.
        """
        for name, unit in (("thickness", "Å"), ("half_width", "1/Å"), ("energy", "eV"), ("dose", "electrons")):
            check_number(f"the {name} of a design", getattr(self, name), above=0, unit=unit)
        for name in ("background", "readout"):
            check_number(f"the {name} of a design", getattr(self, name), low=0, unit="electrons")
        check_number("the blur of a design", self.blur, above=0, high=10, unit="pixels")
        check_whole("the number of images of a design", self.images, 1, 500)
        check_whole("the pixels of a design", self.pixels, 8, 512)

    @property
    def label(self) -> str:
        """In a few words."""
        zone = " ".join(str(i) for i in self.zone_axis)
        size = f"±{self.half_width:g} 1/Å, {self.images} images"
        return f"[{zone}] {self.energy / 1e3:g} kV, {self.thickness:g} Å, {size}"


@dataclass(frozen=True, eq=False)
class Forecast:
    """What a design, or several together, would tell.

    Attributes:
        designs: one, or those that are measured together.
        hkl: reflections of each.
        parameters: what would be refined; of several designs only what belongs to the crystal.
        covariance: of the parameters, infinite for what is not determined: (p, p).
    """

    designs: tuple[Design, ...]
    hkl: tuple[tuple[HKL, ...], ...]
    parameters: tuple[Parameter, ...]
    covariance: FloatArray

    @property
    def uncertainties(self) -> dict[str, float]:
        """Standard uncertainty of every parameter by its name."""
        values = standard_uncertainties(self.covariance)
        return {p.name: float(s) for p, s in zip(self.parameters, values, strict=True)}

    def worst(self, name: str) -> tuple[str, float]:
        """The parameter with which one is correlated most, and the correlation; "" and 0 if it stands alone."""
        names = [p.name for p in self.parameters]
        row = correlations(self.covariance)[names.index(name)].copy()
        row[names.index(name)] = 0.0
        place = int(np.abs(row).argmax())
        return (names[place], float(row[place])) if abs(row[place]) > 0 else ("", 0.0)

    def score(self, want: Sequence[str]) -> float:
        """Geometric mean of the uncertainties of the parameters that are wanted, of one kind each or by name."""
        logs = []
        for wanted in want:
            mine = [s for name, s in self.uncertainties.items() if _is(wanted, name, self.parameters)]
            logs.append(float(np.mean(np.log(np.maximum(mine, 1e-300)))) if mine else math.inf)
        return math.exp(min(float(np.mean(logs)), 700.0)) if np.all(np.isfinite(logs)) else math.inf


def plan(
    crystal: Crystal,
    designs: Sequence[Design],
    want: Sequence[str] = ("thickness", "B"),
    *,
    absorption: str | tuple[str, float] | None = "thomas",
    factors: str = "kirkland",
    together: int = 1,
    progress: Callable[[float], None] | None = None,
) -> list[Forecast]:
    """Forecast what designs would tell, the best first.

    Besides what is wanted, all that `lacbed.refine` frees by itself is free: geometry, thickness, blur, B and
    absorption.

    Args:
        crystal: what is expected.
        designs: measurements to choose from.
        want: kinds of parameters (see `lacbed refine --free`), or single ones such as "B:Ga1".
        absorption: model of absorption.
        factors: scattering factors.
        together: 1 for single stacks; 2 to rank pairs of stacks that share the crystal as well, and so on.
        progress: called with the fraction done.

    Returns:
        Forecasts, by the geometric mean of the uncertainties that are wanted; with several stacks together, of
        those that belong to the crystal.

    Raises:
        SettingError: if there is no design or there are too many, if a parameter is not known, or if no design
            shows what is wanted.
    """
    check_whole("the number of stacks together", together, 1, 3)
    count = sum(math.comb(len(designs), n) for n in range(1, together + 1))
    if not 0 < len(designs) <= MOST or count > 50 * MOST:
        raise SettingError(f"a plan compares 1 to {MOST} designs, got {len(designs)}; name fewer of them")
    unknown = [name for name in want if name.partition(":")[0] not in KINDS]
    if unknown or not want:
        raise SettingError(f"what is wanted is of {', '.join(KINDS)}; got {(unknown or ['nothing'])[0]!r}")
    if not judged_by(want, together):
        raise SettingError(f"stacks together share {', '.join(OF_CRYSTAL)}; want one of these")
    names = tuple(dict.fromkeys([*default_parameters(absorption), *want]))  # type: ignore[arg-type]
    free = tuple(n for n in names if ":" not in n or n.partition(":")[0] not in names)
    found = []
    for number, design in enumerate(designs):
        found.append(forecast(crystal, design, free, absorption, factors))
        if progress is not None:
            progress((number + 1) / len(designs))
    for size in range(2, together + 1):
        found += [joined(crystal, part) for part in combinations(found[: len(designs)], size)]
    judged = judged_by(want, together)
    found.sort(key=lambda one: one.score(judged))
    if not math.isfinite(found[0].score(judged)):
        raise SettingError(
            f"none of the designs shows {', '.join(judged)} of {crystal.name}; try other zone axes, wider images "
            "or more of them"
        )
    return found


def judged_by(want: Sequence[str], together: int) -> list[str]:
    """What forecasts are ranked by: all that is wanted, or of several stacks together what they share."""
    return [name for name in want if together == 1 or name.partition(":")[0] in OF_CRYSTAL]


def forecast(
    crystal: Crystal,
    design: Design,
    free: Sequence[str],
    absorption: str | tuple[str, float] | None = "thomas",
    factors: str = "kirkland",
) -> Forecast:
    """What one design would tell.

    Args:
        crystal: what is expected.
        design: the measurement.
        free: parameters that a refinement would free.
        absorption: model of absorption.
        factors: scattering factors.

    Raises:
        SettingError: on a parameter that symmetry fixes, or a zone axis without reflections.
    """
    parameters, hkl, target, fit = linearised(crystal, design, free, absorption, factors)
    assert fit.slopes is not None
    precision = np.array([1.0 / p.spread**2 for p in parameters])
    matrix = covariance(evidence(target, torch.zeros_like(fit.residual), fit.slopes), precision)
    return Forecast((design,), (hkl,), parameters, matrix)


def linearised(
    crystal: Crystal,
    design: Design,
    free: Sequence[str],
    absorption: str | tuple[str, float] | None,
    factors: str,
) -> tuple[tuple[Parameter, ...], tuple[HKL, ...], Target, Fit]:
    """Parameters, reflections, images without noise, and the model at the truth with its slopes."""
    frame = make_frame(crystal, design.zone_axis)
    hkl, images = _brightest(crystal, frame, design, absorption, factors)
    measured = _counted(design, frame, hkl, design.dose * images)
    options = RefinementOptions(
        free=tuple(free),
        thicknesses=(design.thickness,),
        absorption=absorption,  # type: ignore[arg-type]
        factors=factors,
        weights="variance",
        align="none",
        blur=design.blur,
    )
    problem = Joint(crystal, [measured], options).problems[0]
    state_of = state_function(problem.base, problem.parameters)
    values = torch.tensor([p.value for p in problem.parameters], dtype=torch.float64)
    model = problem.model(measured)
    expected = compare(model, problem.target(measured), state_of, values).images
    exact = _counted(design, frame, hkl, design.dose * expected.clamp(min=0.0).numpy())
    assert exact.variance is not None
    target = make_target(torch.as_tensor(exact.images), "variance", variance=torch.as_tensor(exact.variance))
    return problem.parameters, hkl, target, compare(model, target, state_of, values, None, True)


def _counted(design: Design, frame: Frame, hkl: tuple[HKL, ...], electrons: FloatArray) -> Measured:
    """Images without noise, with the variance that they would have."""
    variance = electrons + design.background + design.readout**2 + 1e-6
    return Measured(electrons, hkl, frame, design.energy, design.half_width, variance=variance)


def _brightest(
    crystal: Crystal, frame: Frame, design: Design, absorption: str | tuple[str, float] | None, factors: str
) -> tuple[tuple[HKL, ...], FloatArray]:
    """The reflections with the brightest images, shortest first, and these: (g, ky, kx)."""
    hkl = reflections_within(crystal, frame, 2.0 * design.half_width)
    pattern = simulate(
        crystal,
        design.zone_axis,
        design.energy,
        (design.thickness,),
        TiltGrid(design.pixels, k_max=design.half_width),
        hkl,
        beams=max(len(hkl), beams_within(crystal, frame, ROUGH)),
        absorption=absorption,  # type: ignore[arg-type]
        factors=factors,
        solver="fast",
    )
    images = pattern.values[0]
    chosen = np.sort(np.argsort(-images.mean(axis=(1, 2)), kind="stable")[: design.images])
    return tuple(hkl[i] for i in chosen), np.asarray(images[chosen], dtype=np.float64)


def joined(crystal: Crystal, forecasts: Sequence[Forecast]) -> Forecast:
    """What several stacks of one crystal would tell of it together.

    A family of U_g that several zones choose is one parameter, whatever reflection each of them calls it by; one
    that only some choose is taken as known to the others, as it is in their own forecasts.

    Args:
        crystal: the crystal.
        forecasts: of single designs.
    """
    shared: dict[str, Parameter] = {}
    told = []
    for one in forecasts:
        known = np.isfinite(np.diag(one.covariance))
        mine = [p if p.kind in OF_CRYSTAL and k else None for p, k in zip(one.parameters, known, strict=True)]
        shared |= {p.name: p for p in one.parameters if p.kind in OF_CRYSTAL and not _alias(crystal, p, shared)}
        told.append([(i, *(_alias(crystal, p, shared) or (p.name, 1.0))) for i, p in enumerate(mine) if p])
    names = list(shared)
    prior = np.diag([1.0 / p.spread**2 for p in shared.values()])
    information = prior.copy()
    for one, found in zip(forecasts, told, strict=True):
        if found:
            own, sign = [i for i, _, _ in found], np.array([sign for _, _, sign in found])
            places = np.array([names.index(name) for _, name, _ in found])
            among = np.ix_(places, places)
            known_by = np.linalg.pinv(one.covariance[np.ix_(own, own)], hermitian=True) * np.outer(sign, sign)
            information[among] += known_by - prior[among]  # the prior counts once
    total = np.full(information.shape, np.nan)
    seen = np.diag(information) > 0
    total[np.diag_indices(len(names))] = np.inf
    total[np.ix_(seen, seen)] = np.linalg.pinv(information[np.ix_(seen, seen)], rcond=1e-12, hermitian=True)
    designs = tuple(d for one in forecasts for d in one.designs)
    return Forecast(designs, tuple(h for one in forecasts for h in one.hkl), tuple(shared.values()), total)


def _alias(crystal: Crystal, parameter: Parameter, among: Mapping[str, Parameter]) -> tuple[str, float] | None:
    """The name that a parameter has among others, and -1 for a phase that Friedel's law turns round, else 1.

    An absolute change of U_g is the same for one name only: symmetry may turn it in the complex plane.
    """
    if parameter.name in among:
        return parameter.name, 1.0
    if parameter.field != "ug_change" or parameter.unit == "1/Å²":
        return None
    phase = parameter.name.endswith(":phase")
    g = family_of(parameter.name.removesuffix(":phase"))
    turned = {tuple(row) for row in (np.array(g) @ crystal.rotations).tolist()}
    for name, other in among.items():
        if other.field == "ug_change" and other.unit == parameter.unit:
            h = family_of(name.removesuffix(":phase"))
            if h in members(crystal, g):
                return name, -1.0 if phase and h not in turned else 1.0
    return None


def _is(wanted: str, name: str, parameters: Sequence[Parameter]) -> bool:
    """Whether a parameter is one of those that are wanted."""
    if ":" in wanted:
        return name == wanted
    return next(p.kind for p in parameters if p.name == name) == wanted
