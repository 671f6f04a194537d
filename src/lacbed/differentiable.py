"""Patterns as differentiable functions: crystal, electrons, foil and grid as tensors in, intensities out.

    model = lacbed.prepare_model(crystal, grid=lacbed.TiltGrid(pixels=24, extent=1.5), beams=60)
    state = lacbed.model_state(model)
    images = lacbed.intensities(model, state.changed(thickness=t, u=u))

`simulate` takes the same steps with the same beams and matrices, but for numbers that stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL, check_reflections
from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.potential import potential_coefficients, symmetric_change
from lacbed.settings import Settings
from lacbed.setup import Setup, check_gain, check_request, chooses_beams_by_convergence, prepare
from lacbed.solvers.differentiable import differentiable_intensities
from lacbed.solvers.problem import Moving, build_problem
from lacbed.state import ModelState, crystal_state, thickness_nodes


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """What was decided once for a crystal as it stands: orientation, tilts, beams.

    Attributes:
        setup: the simulation, without use of symmetry.
        pixel: the pixel of every tilt: (tilt,).
        changes: reflection and direction of every individual change of U_g, the entries of `ModelState.ug_change`.
    """

    setup: Setup
    pixel: np.ndarray
    changes: tuple[tuple[HKL, complex], ...]


def prepare_model(crystal: Crystal, *, free_ug: Sequence[HKL] = (), **settings: Any) -> PreparedModel:
    """Decide orientation, tilts and beams, so that `intensities` can be asked for many states.

    Args:
        crystal: the crystal. Beams and symmetry of sites are those of the crystal as it stands.
        free_ug: reflections whose U_g may change on their own, with all that symmetry makes equal: the amounts are
            `ModelState.ug_change`, one along U_g for each, and one across it (a phase) where symmetry lets it.
        settings: as for `lacbed.simulate`, without device, dtype, output and solver; `beams`, `g_max` or `sg_max`
            must be given. The pattern's symmetry is not used, for a state need not have it.

    Raises:
        SettingError: on impossible settings, paraxial=False, or a U_g that symmetry forbids or that plays no part.
    """
    refused = sorted(set(settings) & {"device", "dtype", "output", "solver", "frozen_phonons", "tolerance"})
    if refused:
        raise SettingError(f"a differentiable model has no {', '.join(refused)}; leave it out")
    try:
        asked = Settings(**settings, solver="reference")
    except TypeError as error:
        raise SettingError(f"settings are those of lacbed.simulate: {error}") from None
    if chooses_beams_by_convergence(asked):
        raise SettingError("choose the beams of a differentiable model: beams=..., g_max=... or sg_max=...")
    if not asked.paraxial:
        raise SettingError("gradients are of the paraxial equation; leave paraxial=False out")
    check_request(crystal, asked)
    setup = prepare(crystal, asked)  # the reference uses no symmetry
    wanted = np.flatnonzero(setup.inside)
    pixel = np.empty(len(setup.reduction.tilts), dtype=np.int64)
    pixel[setup.reduction.pair_tilt[setup.reduction.source[0]]] = wanted
    return PreparedModel(setup, pixel, _changes(setup, free_ug))


def _changes(setup: Setup, free_ug: Sequence[HKL]) -> tuple[tuple[HKL, complex], ...]:
    """Directions of U_g in the complex plane that symmetry leaves free."""
    found: list[tuple[HKL, complex]] = []
    crystal, settings = setup.crystal, setup.settings
    for hkl in check_reflections(crystal, setup.frame, free_ug, settings.laue_zones) if len(free_ug) else ():
        if not any(hkl):
            raise SettingError("U_0 is the mean inner potential and not free; leave 0,0,0 out of free_ug")
        place = np.array([hkl])
        value = complex(potential_coefficients(crystal, place, settings.energy, settings.factors)[0][0])
        along = value / abs(value) if abs(value) > 1e-9 else 1.0 + 0.0j
        allowed = [
            (hkl, unit)
            for unit in (along, 1j * along)
            if abs(symmetric_change(crystal, hkl, unit, place)[0]) > 1e-6
        ]
        if not allowed:
            raise SettingError(f"U of {hkl} cannot be free: the space group of {crystal.name} forbids it")
        found += allowed
    return tuple(found)


def model_state(model: PreparedModel) -> ModelState:
    """The state of a model as it was prepared, without blur: `intensities` of it is the pattern of `simulate`."""
    setup = model.setup
    settings, grid = setup.settings, setup.settings.grid
    kx, ky = grid.axes(setup.frame, settings.energy)
    return crystal_state(
        setup.crystal,
        settings.energy,
        grid.half_width(setup.frame, settings.energy),
        thickness=settings.thicknesses,
        tilt=(kx.mean(), ky.mean()),
        blur=0.0,
        ug_change=[0.0] * len(model.changes),
    )


def intensities(model: PreparedModel, state: ModelState) -> Tensor:
    """I_g(kx, ky) as fractions of the incident current: (thickness, hkl, ky, kx) float64, 0 outside a disc.

    Differentiable in every field of the state, at degenerate Bloch waves too (Daleckii & Krein's derivative of the
    exponential, see `lacbed.solvers.eigen`); a gradient costs about as much as the value.

    Args:
        model: from `prepare_model`.
        state: such as `model_state(model).changed(thickness=...)`.

    Raises:
        ScatteringError: if absorptive factors are not known at a displacement.
        SettingError: if weak beams are so strong that the result is not physical.
    """
    setup = model.setup
    nodes, weights = thickness_nodes(state)
    moving = Moving(
        state.changed(thickness=nodes.reshape(-1)), setup.settings.grid.pixels, model.pixel, model.changes
    )
    s = setup.settings
    problem = build_problem(
        setup.crystal,
        setup.frame,
        setup.wave,
        setup.beams,
        setup.reduction,
        np.array(s.thicknesses),
        s.factors,
        s.absorption,
        s.refraction,
        s.paraxial,
        moving,
    )
    places = (state.half_width, state.tilt, state.distortion, state.cell)
    pairs = differentiable_intensities(problem, share=not any(t.requires_grad for t in places))
    if s.weak_beams:
        check_gain(setup, float(pairs.detach().max()))
    pairs = torch.tensordot(weights, pairs.reshape(len(weights), -1, pairs.shape[1]), dims=1)
    values = pairs[:, torch.as_tensor(setup.reduction.source)]  # (thickness, hkl, wanted pixel)
    n = s.grid.pixels
    if not setup.inside.all():
        full = torch.zeros(*values.shape[:2], n * n, dtype=values.dtype)
        values = full.index_copy(2, torch.as_tensor(np.flatnonzero(setup.inside)), values)
    images = values.reshape(*values.shape[:2], n, n)
    spread = point_spread(state, 1)
    images = over_cone(images, state.cone)
    sharp = not spread.requires_grad and not bool(spread[:2].any())
    return images if sharp else spread_light(images, spread)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Convolution with a Gaussian of standard deviation σ pixels, differentiable in σ: (..., n, n).

    At the edge the weights are scaled to a sum of 1.
    """
    n = images.shape[-1]
    step = torch.arange(n, dtype=images.dtype)
    square = torch.square(step[:, None] - step[None, :])
    width = torch.square(sigma) + 1e-12
    matrix = torch.exp(-0.5 * square / width)
    matrix = matrix / matrix.sum(dim=1, keepdim=True)
    return matrix @ images @ matrix.T


def point_spread(state: ModelState, binning: int) -> Tensor:
    """Numbers of the point spread in pixels of `binning` full ones: σ, share of the tail, σ of the tail: (3,)."""
    core, wide = (binned_sigma(sigma, binning) for sigma in (state.blur, state.tail_width))
    return torch.stack([core, state.tail, wide])


def spread_light(images: Tensor, spread: Tensor) -> Tensor:
    """Convolution with the point spread, a Gaussian and the tail, differentiable in both: (..., n, n).

    Args:
        images: (..., n, n).
        spread: of `point_spread`: (3,).
    """
    core = blur(images, spread[0])
    if not spread.requires_grad and float(spread[1]) == 0.0:
        return core
    return (1.0 - spread[1]) * core + spread[1] * blur(images, spread[2])


def over_cone(images: Tensor, radius: Tensor) -> Tensor:
    """Means over the directions of a cone around each pixel: (..., n, n).

    A convergent beam has the directions of a disc. Where frames of a tilt series are summed over whole discs, each
    tilt stands for all of them. At the edge, directions that are not there do not count.

    Args:
        images: (..., n, n).
        radius: of the cone in half-widths of the images, no gradient flows through it: ().

    Raises:
        SettingError: if the cone is wider than the images.
    """
    n = images.shape[-1]
    pixels = float(radius.detach()) * n / 2.0
    if pixels > n / 2.0:
        raise SettingError(
            f"the cone of incident directions of a pixel has a radius of {2 * pixels / n:.3g} half-widths of the "
            "images; at most 1 can be averaged over"
        )
    if pixels < _SHARP or not images.numel():
        return images
    transform, share = _cone(n, pixels)
    size = 2 * (transform.shape[-1] - 1)
    spectrum = torch.fft.rfft2(images, s=(size, size)) * transform.to(images.dtype)
    means: Tensor = torch.fft.irfft2(spectrum, s=(size, size))[..., :n, :n] / share.to(images.dtype)
    return means


_SHARP = 0.05  # pixels of a cone that makes no difference
_FINE = 15  # parts of a pixel along each side


@lru_cache(maxsize=64)
def _cone(n: int, radius: float) -> tuple[Tensor, Tensor]:
    """Fourier transform of a disc with radius in pixels, and what of it lies within an image of n x n."""
    reach = math.ceil(radius + 0.5)
    size = n + reach + (n + reach) % 2
    place = (torch.arange((2 * reach + 1) * _FINE, dtype=torch.float64) + 0.5) / _FINE - reach - 0.5
    within = (place[:, None] ** 2 + place**2 <= radius**2).double()
    disc = torch.nn.functional.avg_pool2d(within[None], _FINE)[0]
    kernel = torch.zeros(size, size, dtype=torch.float64)
    kernel[: 2 * reach + 1, : 2 * reach + 1] = disc / disc.sum()
    transform = torch.fft.rfft2(kernel.roll((-reach, -reach), (0, 1))).real
    ones = torch.fft.rfft2(torch.ones(n, n, dtype=torch.float64), s=(size, size)) * transform
    return transform, torch.fft.irfft2(ones, s=(size, size))[:n, :n]


def binned_sigma(sigma: Tensor, binning: int) -> Tensor:
    """The blur σ of full pixels in binned ones; the mean over b x b pixels adds (b² - 1) / 12 to its square."""
    if binning == 1:
        return sigma
    return torch.sqrt(torch.square(sigma) + (binning**2 - 1) / 12.0) / binning
