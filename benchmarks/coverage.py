"""Do the uncertainties of refined numbers hold? The share of truths within one of them, over many trials.

The true images come from `lacbed.simulate` with converged beams, at half the pixel distance and beyond the border,
and are then spoiled by what the term in the first column describes, image by image, and counted. The model of the
refinement (fewer beams, points of a lattice, its own blur) is linearised once at the truth; each trial counts the
images anew, takes one step of least squares, and asks for the covariance as a refinement does. The centres of
priors are drawn from the priors. With `--full`, complete refinements from a wrong start, bonds in the truth, are
added. If uncertainties are right, 68 % of the numbers lie within one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import affine_transform, gaussian_filter, zoom

import lacbed
from common import finished, measure, number, parser, publish, table
from lacbed.beams import HKL, reflections_within
from lacbed.geometry.frame import Frame, make_frame
from lacbed.potential import potential_coefficients
from lacbed.refinement.charge import charge_factors
from lacbed.refinement.joint import Joint
from lacbed.refinement.objective import explain, reweighted
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.parameter import Parameter
from lacbed.refinement.parameters import default_parameters
from lacbed.refinement.problem import Measured
from lacbed.refinement.refine import FINER as FINER_MODEL
from lacbed.refinement.refine import refine
from lacbed.refinement.stages import MOVED, stiffened
from lacbed.refinement.uncertainties import Evidence, covariance, evidence, response, standard_uncertainties
from lacbed.xray import xray_factors


@dataclass(frozen=True)
class Case:
    """Crystal, zone axis, thickness in Å, half-width in 1/Å, images, families whose U_g bonds change."""

    crystal: str
    zone: tuple[int, int, int]
    thickness: float
    half: float
    images: int
    families: tuple[HKL, ...]


CASES = (
    Case("Si", (1, 1, 0), 700.0, 0.42, 9, ((1, -1, 1), (2, -2, 0), (1, -1, 3), (0, 0, 4))),
    Case("MgO", (0, 0, 1), 800.0, 0.6, 13, ((2, 0, 0), (2, 2, 0), (4, 0, 0))),
    Case("C", (1, 1, 0), 650.0, 0.5, 9, ((1, -1, 1), (2, -2, 0))),
    Case("SiC", (1, 1, 0), 600.0, 0.45, 9, ((1, -1, 1), (0, 0, 2), (2, -2, 0), (1, -1, 3))),
    Case("GaAs", (1, 1, 0), 500.0, 0.42, 11, ((1, -1, 1), (0, 0, 2), (2, -2, 0), (1, -1, 3))),
    Case("LiF", (1, 1, 0), 700.0, 0.6, 13, ((1, -1, 1), (0, 0, 2), (2, -2, 0), (1, -1, 3))),
)
ENERGY, BLUR, MARGIN, FINER, FEW_BEAMS = 200e3, 0.8, 4, 2, 60
WIDTH = float(np.sqrt(BLUR**2 + (FINER**2 - 1) / 12.0 / FINER**2))
"""Of the blur in pixels, with that of the mean over the points of a pixel."""
BONDS = 0.02
"""Standard deviation of the changes, as parts of U_g."""

SPREAD, TAIL, TAIL_WIDTH = 0.02, 0.12, 4.0
BORDER = 10.0
"""Per cent: so few pixels want a wider border than the default, for the blur to find its light within."""

DISTORTION, SHIFT, GAIN, BACKGROUND = 0.002, 0.1, 0.1, 10.0

Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Term:
    """What is done to the truth, and with which terms it is refined.

    Attributes:
        truth: of "spread", "tail", "distortion", "gain": what the images have.
        free: parameters besides the default ones.
        align: how images may be moved.
        weights: of the refinement.
        common: whether one scale serves all images.
    """

    truth: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    align: str = "none"
    weights: str = "correlation"
    common: bool = False


ALL = ("spread", "tail", "distortion", "gain")
TERMS = {
    "counting noise": Term(),
    "counting noise, its variance known": Term(weights="poisson"),
    "counting noise, one scale": Term(weights="poisson", common=True),
    "gain and background of each image": Term(("gain",)),
    "distortion of each image": Term(("distortion",), align="affine"),
    "thickness spread": Term(("spread",), ("spread",)),
    "tail of the blur": Term(("tail",), ("tail",)),
    "all of these": Term(ALL, ("spread", "tail"), "affine"),
    "gain, one scale in the model": Term(("gain",), weights="poisson", common=True),
    "distortion, images not moved": Term(("distortion",)),
    "spread, not in the model": Term(("spread",)),
    "tail, not in the model": Term(("tail",)),
    "all of these, none in the model": Term(ALL),
}
FULL = ("counting noise", "all of these")
"""Terms of complete refinements."""

FEW_PIXELS, FEWER_IMAGES, NARROWER = 20, 7, 0.65
"""Complete refinements are dear: pixels a side, images, and the part of the half-width that they have."""

GROUPS = {
    "thickness": ("thickness", "spread"),
    "B": ("B",),
    "U_g, F_g": ("bonding", "Ug"),
    "their phase": ("phase",),
    "geometry": ("half_width", "tilt", "rotation", "stretch", "shear", "blur", "tail"),
    "absorption": ("absorption", "electronic"),
}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, default=40, help="countings of each crystal and term")
    options.add_argument("--pixels", type=int, default=24)
    options.add_argument("--dose", type=float, default=1e3, help="incident electrons per pixel")
    options.add_argument("--crystals", type=int, default=len(CASES), help="how many of them")
    options.add_argument("--full", type=int, default=0, help="complete refinements of each crystal")
    options.add_argument("--keep", type=Path, help="file of finished trials; those in it are not made again")
    chosen = options.parse_args()
    rows = []
    everything = list(_all_trials(chosen))
    for name, full in [*((n, False) for n in TERMS), *((n, True) for n in FULL if chosen.full)]:
        mine = [found for found in everything if found["term"] == name and full == (found["full"] >= 0)]
        pulls = [pair for found in mine for pair in found["pulls"]]
        rows.append([f"{name}, complete refinements" if full else name, *_shares(pulls)])
    head = ("in the truth", "numbers", "all", *GROUPS, "root mean square of error / uncertainty")
    parts = [str(__doc__).partition("\n")[2].strip(), table(head, rows)]
    publish("Coverage", parts, chosen)


def _shares(pulls: Sequence[tuple[str, float]]) -> list[str]:
    """Numbers, per cent within one uncertainty (all, and of each group), root mean square."""
    values = np.array([value for _, value in pulls])
    if not len(values):
        return ["0"] * (3 + len(GROUPS))
    row = [str(len(values)), f"{100 * np.mean(np.abs(values) < 1):.0f} %"]
    for kinds in GROUPS.values():
        mine = np.array([value for kind, value in pulls if kind in kinds])
        row.append(f"{100 * np.mean(np.abs(mine) < 1):.0f} %" if len(mine) else "")
    return [*row, number(float(np.sqrt(np.mean(values**2))))]


def _all_trials(chosen: Any) -> Iterator[dict[str, Any]]:
    """Pulls of each crystal and term."""
    work = [(case, name, chosen.trials, -1) for name in TERMS for case in CASES[: chosen.crystals]]
    work += [(case, name, 1, n) for n in range(chosen.full) for name in FULL for case in CASES[: chosen.crystals]]
    for case, name, trials, which in work:
        key = {"crystal": case.crystal, "term": name, "trials": trials, "full": which}
        key |= {"pixels": chosen.pixels if which < 0 else FEW_PIXELS, "dose": chosen.dose}
        yield finished(chosen.keep, key, partial(_trial, case, name, which, chosen))


def _trial(case: Case, name: str, which: int, chosen: Any) -> dict[str, Any]:
    make = partial(_pulls, case, TERMS[name], chosen)
    if which >= 0:
        make = partial(full_trial, case, TERMS[name], which, chosen.dose)
    timing, pulls = measure(lambda: list(make()), 1, warm=False)
    print(case.crystal, name, which, *_shares(pulls), f"{timing.cpu:.0f} CPU s", flush=True)
    return {"pulls": pulls, "cpu": timing.cpu}


def _pulls(case: Case, term: Term, chosen: Any) -> Iterator[tuple[str, float]]:
    """Kind and (estimate - truth) / uncertainty of every number that a trial gives."""
    for parameters, step, found, bias in linear_trials(case, term, chosen.trials, chosen.pixels, chosen.dose):
        su = standard_uncertainties(covariance(found, precisions(parameters)) + np.outer(bias, bias))
        for p, off, s in zip(parameters, step.tolist(), su.tolist(), strict=True):
            if np.isfinite(s) and s < p.high - p.low:
                yield ("phase" if p.name.endswith(":phase") else p.kind, off / s)


def precisions(parameters: Sequence[Parameter]) -> np.ndarray:
    return np.array([1.0 / p.spread**2 for p in parameters])


def linear_trials(
    case: Case, term: Term, trials: int, pixels: int, dose: float
) -> Iterator[tuple[tuple[Parameter, ...], np.ndarray, Evidence, np.ndarray]]:
    """Parameters, how far a step from the truth leads, the evidence there, and the step to a finer model."""
    crystal, frame = lacbed.Crystal.named(case.crystal), make_frame(lacbed.Crystal.named(case.crystal), case.zone)
    hkl = _brightest(case, crystal, frame)
    rng = np.random.default_rng([*case.crystal.encode(), *term.weights.encode(), *"".join(term.truth).encode()])
    sharp = true_images(case, term, crystal, hkl, pixels)
    measured = Measured(spoiled(sharp, term, dose, rng), hkl, frame, ENERGY, case.half)
    options = RefinementOptions(
        free=(*default_parameters("thomas"), *term.free),
        thicknesses=(case.thickness,),
        blur=WIDTH,
        align=term.align,  # type: ignore[arg-type]
        weights=term.weights,  # type: ignore[arg-type]
        common_scale=term.common,
        border=BORDER,
    )
    joint = Joint(crystal, [measured], options)
    problem, parameters = joint.problems[0], joint.parameters
    true = {"spread": SPREAD * case.thickness, "tail": TAIL, "tail_width": TAIL_WIDTH}
    values = np.array([true.get(p.name, p.value) for p in parameters])
    part = joint.part(0, values)
    moves = None if term.align == "none" else torch.zeros(len(hkl), 6, dtype=torch.float64)
    images, slopes, by_move = part.model.jacobian(part.state_of, torch.as_tensor(values), moves)
    state = part.state_of(torch.as_tensor(values))
    finer, finer_by_move = joint.part(0, values, finer=FINER_MODEL).model.read(state, moves)
    moved = torch.tensor([p.kind in MOVED[options.align] for p in parameters])
    precision = precisions(parameters)
    for _ in range(trials):
        counted = replace(measured, images=rng.poisson(spoiled(sharp, term, dose, rng)).astype(float))
        counted = counted.without_border(options.border)
        target = problem.target(counted)
        fit = explain(target, images, None, None, moves)
        target = reweighted(target, fit)
        if moves is not None:
            target = stiffened(target, explain(target, images, by_move, None, None), 0.005)
        fit = explain(target, images, None if moves is None else by_move, slopes, moves)
        assert fit.slopes is not None
        J = torch.where(moved[:, None, None], 0.0, fit.slopes)
        centre = np.where(precision > 0, rng.normal(size=len(parameters)), 0.0)  # of the prior, in its widths
        first = evidence(target, fit.residual, J)
        pull = first.unit * np.sqrt(precision) * centre
        step = response(first, first.scores.sum(axis=0) + pull, precision)
        rest = fit.residual + torch.einsum("p,pgn->gn", torch.as_tensor(step), J)
        found = evidence(target, rest, J)
        better = explain(target, finer, None if moves is None else finer_by_move, None, moves)
        change = torch.einsum("pgn,gn->p", J, better.residual - fit.residual).numpy()
        yield parameters, step, found, response(found, change, precision)


def _brightest(case: Case, crystal: lacbed.Crystal, frame: Frame) -> tuple[HKL, ...]:
    return reflections_within(crystal, frame, 2.2 * case.half)[: case.images]


def true_images(
    case: Case,
    term: Term,
    crystal: lacbed.Crystal,
    hkl: tuple[HKL, ...],
    pixels: int,
    bonds: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Blurred images with a margin, as parts of the dose, with what bonds change added: (g, ky, kx)."""
    wide = pixels + 2 * MARGIN
    grid = lacbed.TiltGrid(FINER * wide, k_max=case.half * wide / pixels)
    nodes, weight = np.polynomial.hermite_e.hermegauss(7 if "spread" in term.truth else 1)
    thick = tuple((case.thickness * (1 + SPREAD * nodes)).tolist())
    exact = lacbed.simulate(crystal, case.zone, ENERGY, thick, grid, hkl, absorption="thomas", tolerance=1e-3)
    fine = np.tensordot(weight / weight.sum(), exact.values, axes=1) + bonds
    sharp = gaussian_filter(fine, (0, FINER * BLUR, FINER * BLUR), mode="nearest")
    if "tail" in term.truth:
        far = gaussian_filter(fine, (0, FINER * TAIL_WIDTH, FINER * TAIL_WIDTH), mode="nearest")
        sharp = (1 - TAIL) * sharp + TAIL * far
    return np.asarray(sharp.reshape(len(hkl), wide, FINER, wide, FINER).mean(axis=(2, 4)))


def spoiled(sharp: np.ndarray, term: Term, dose: float, rng: np.random.Generator) -> np.ndarray:
    """Expected counts of images with distortions, gains and backgrounds of their own, without the margin."""
    images = sharp.copy()
    if "distortion" in term.truth:
        middle = (np.array(images.shape[1:]) - 1) / 2
        for i, image in enumerate(images):
            matrix = np.eye(2) + rng.normal(0, DISTORTION, (2, 2))
            offset = middle - matrix @ middle + rng.normal(0, SHIFT, 2)
            images[i] = affine_transform(image, matrix, offset, order=3, mode="nearest")
    counts = dose * np.clip(images[:, MARGIN:-MARGIN, MARGIN:-MARGIN], 0, None)
    if "gain" in term.truth:
        gain = rng.uniform(1 - GAIN, 1 + GAIN, (len(images), 1, 1))
        counts = gain * counts + rng.uniform(0, BACKGROUND, (len(images), 1, 1))
    return np.asarray(counts)


@lru_cache(maxsize=1)
def bonded(case: Case, hkl: tuple[HKL, ...], pixels: int) -> tuple[np.ndarray, list[HKL], dict[HKL, complex]]:
    """What bonds change in the exact images, the families whose phase is free, and the changes of U_g.

    The difference of two patterns of `lacbed.intensities` with few beams, at every second point.
    """
    crystal, wide = lacbed.Crystal.named(case.crystal), pixels + 2 * MARGIN
    model = lacbed.prepare_model(
        crystal,
        free_ug=case.families,
        zone_axis=case.zone,
        energy=ENERGY,
        thicknesses=(case.thickness,),
        grid=lacbed.TiltGrid(wide, k_max=case.half * wide / pixels),
        hkl=hkl,
        beams=FEW_BEAMS,
        absorption="thomas",
    )
    state = lacbed.model_state(model)
    places = np.array([g for g, _ in model.changes])
    size = potential_coefficients(crystal, places, ENERGY)[0].abs().numpy()
    parts = np.random.default_rng([*case.crystal.encode()]).normal(0.0, BONDS, len(size))
    with torch.no_grad():
        two = [
            lacbed.intensities(model, state.changed(ug_change=torch.as_tensor(x * size * parts))).numpy()[0]
            for x in (0.0, 1.0)
        ]
    change = zoom(two[1] - two[0], (1, FINER, FINER), order=3, mode="nearest", grid_mode=True)
    changes: dict[HKL, complex] = {}
    turning = [g for i, (g, _) in enumerate(model.changes) if g in [h for h, _ in model.changes[:i]]]
    for (g, unit), part, one in zip(model.changes, parts.tolist(), size.tolist(), strict=True):
        changes[g] = changes.get(g, 0j) + part * one * unit
    return change, turning, changes


def full_trial(case: Case, term: Term, trial: int, dose: float) -> Iterator[tuple[str, float]]:
    """Kind and (estimate - truth) / uncertainty of every number of a complete refinement from a wrong start."""
    case = replace(case, half=NARROWER * case.half, images=FEWER_IMAGES)
    crystal = lacbed.Crystal.named(case.crystal)
    frame, rng = make_frame(crystal, case.zone), np.random.default_rng([trial, *case.crystal.encode()])
    hkl = _brightest(case, crystal, frame)
    change, turning, changes = bonded(case, hkl, FEW_PIXELS)
    sharp = true_images(case, term, crystal, hkl, FEW_PIXELS, change)
    counts = rng.poisson(spoiled(sharp, term, dose, rng)).astype(float)
    measured = Measured(counts, hkl, frame, ENERGY, case.half * rng.uniform(0.99, 1.01))
    sites = tuple(replace(s, u_iso=s.u_iso * rng.uniform(0.85, 1.15)) for s in crystal.sites)
    usual = [n for n in default_parameters("thomas") if n != "bonding"]
    options = RefinementOptions(
        free=(*usual, *(f"Ug:{h},{k},{l}" for h, k, l in case.families), *term.free),  # noqa: E741
        thicknesses=(case.thickness + rng.uniform(-10.0, 10.0),),
        starts=1,
        align=term.align,  # type: ignore[arg-type]
        weights=term.weights,  # type: ignore[arg-type]
        common_scale=term.common,
        border=BORDER,
    )
    result = refine(measured, replace(crystal, sites=sites), options)
    true = {f"B:{site.label}": site.b_iso for site in crystal.sites}
    true |= {"thickness": case.thickness, "half_width": case.half, "blur": WIDTH, "absorption": 1.0}
    true |= {"spread": SPREAD * case.thickness, "tail": TAIL, "tail_width": TAIL_WIDTH}
    for p, value, su in zip(
        result.parameters, result.values.tolist(), standard_uncertainties(result.covariance).tolist(), strict=True
    ):
        if p.kind in MOVED[options.align] or not np.isfinite(su) or p.kind == "Ug":
            continue
        yield (p.kind, (value - true.get(p.name, 0.0)) / su)
    factors = charge_factors(result)
    assert factors is not None
    places = np.array(factors.hkl)
    u = potential_coefficients(crystal, places, ENERGY)[0].numpy()
    u = u + np.array([changes.get(g, 0j) for g in factors.hkl])
    exactly = xray_factors(crystal, places, torch.as_tensor(u), ENERGY).numpy()
    for i, g in enumerate(factors.hkl):
        yield ("Ug", float((abs(factors.thermal[i]) - abs(exactly[i])) / factors.uncertainty[1, i]))
        if g in turning:
            off = np.degrees(np.angle(factors.thermal[i] / exactly[i]))
            yield ("phase", float(off / factors.uncertainty[3, i]))


if __name__ == "__main__":
    main()
