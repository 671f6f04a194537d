"""What every solver is given: one crystal, its beams, and the pairs (tilt, reflection) that are wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL, BeamList
from lacbed.crystals.cell import FloatArray
from lacbed.geometry.frame import Frame, IntArray
from lacbed.geometry.moving import direct_basis, grid_positions, microscope_axes
from lacbed.geometry.symmetry import Reduction
from lacbed.geometry.wave import ElectronWave, internal_wave_vectors, wave_number
from lacbed.potential import Absorption, electronic_shape, potential_coefficients, symmetric_change
from lacbed.solvers.convolution import FEWEST, Convolution, convolution_bounds, convolution_of
from lacbed.state import ModelState

if TYPE_CHECKING:
    from lacbed.crystals import Crystal

_DENSE = 50_000_000  # differences of indices that may be marked in a table
_KEY = 1e9  # two q that agree to 1e-9 1/Å are one


@dataclass(frozen=True, eq=False)
class Problem:
    """The dynamical problem in the waves q + h.

    With K the wave vector of the refracted incident wave of a tilt, G the anchor of the tilt and P_h = K - G + h
    the wave vectors in the crystal, the Bloch waves obey (Spence & Zuo, 1992, eq. 3.2)

        (K² - |P_h|²) C_h + Σ_h' (U + iU')_{h-h'} C_h' = 2 γ (n · P_h) C_h,

    the term γ² C_h being left out. In a flat foil and one Laue zone it can be kept (`paraxial=False`): there
    n · P_h = K_n for all waves, and the forward root of γ² + 2 K_n γ = λ is γ = sqrt(K_n² + λ) - K_n with the
    same Bloch waves. The wave at depth t is Σ_j c_j C^j exp(2πi γ_j t).

    Attributes:
        potential: U_{h-h'} in 1/Å², Hermitian: (beam, beam).
        absorptive: U'_{h-h'} in 1/Å², Hermitian, or None: (beam, beam).
        vectors: h in the microscope frame in 1/Å: (beam, 3).
        strong: the first `strong` beams are solved for, the others enter by Bethe perturbation.
        wave_vectors: K of each tilt in 1/Å: (tilt, 3).
        reduced: q of each tilt, in the plane: (tilt, 2).
        anchor: index of the incident wave h = G of each tilt: (tilt,).
        pair_tilt: tilt of each wanted pair: (pair,).
        pair_out: index of the wave h = G + g of each wanted pair: (pair,).
        normal: unit foil normal: (3,).
        thicknesses: along the foil normal in Å: (thickness,).
        paraxial: whether the terms in γ² are left out.
        gauge: phases d_h by which the waves were multiplied to make U real, or None.
        lattice: integer coordinates of h on the lattice of the zone, or None with several Laue zones: (beam, 2).
    """

    potential: Tensor
    absorptive: Tensor | None
    vectors: Tensor
    strong: int
    wave_vectors: Tensor
    reduced: Tensor
    anchor: Tensor
    pair_tilt: Tensor
    pair_out: Tensor
    normal: Tensor
    thicknesses: Tensor
    paraxial: bool = True
    gauge: Tensor | None = None
    lattice: Tensor | None = None

    @property
    def is_flat_zone(self) -> bool:
        """Whether all waves have the same component along the foil normal: one Laue zone, flat foil."""
        along = self.vectors @ self.normal
        return bool(along.abs().max() < 1e-9 and self.normal[:2].abs().max() < 1e-9)

    @cached_property
    def distinct(self) -> tuple[Tensor, Tensor]:
        """Tilts with different q, and which of them each tilt shares its q with: (matrix,), (tilt,)."""
        keys = torch.round(self.reduced.to(torch.float64) * _KEY).to(torch.int64)
        numbers = [torch.unique(column, return_inverse=True)[1] for column in keys.unbind(dim=1)]
        _, inverse = torch.unique(numbers[0] * len(keys) + numbers[1], return_inverse=True)
        first = torch.full((int(inverse.max()) + 1,), len(inverse), dtype=torch.int64, device=keys.device)
        first.scatter_reduce_(0, inverse, torch.arange(len(inverse), device=keys.device), "amin")
        return first, inverse

    @property
    def is_real(self) -> bool:
        """Whether the potential is stored as real numbers."""
        return not self.potential.is_complex()

    def tail_margin(self) -> float:
        """Transverse energy in 1/Å² above the incident wave's from which Bloch waves hardly take part.

        Twice the depth of the potential as the beams resolve it (the largest eigenvalue of U), four times that of
        U', and 1 1/Å² more; found by trial on light and heavy crystals from 20 to 300 kV to keep
        `lacbed.solvers.absorption` within 1e-5.
        """
        return 0.0 if self.absorptive is None else margin_of(self.depths)

    @cached_property
    def depths(self) -> tuple[float, float, float]:
        """Lowest and highest eigenvalue of U, and the largest magnitude of one of U' (0 without), in 1/Å²."""
        elastic = torch.linalg.eigvalsh(self.potential)
        damping = 0.0 if self.absorptive is None else float(torch.linalg.eigvalsh(self.absorptive).abs().max())
        return float(elastic[0]), float(elastic[-1]), damping

    @property
    def returns_only(self) -> bool:
        """Whether every wanted pair asks for the incident beam itself."""
        return bool(torch.equal(self.pair_out, self.anchor[self.pair_tilt]))

    @property
    def complete_potential(self) -> Tensor:
        """U + iU', real where U is and nothing absorbs: (beam, beam)."""
        return self.potential if self.absorptive is None else self.potential + 1j * self.absorptive

    @property
    def convolves(self) -> bool:
        """Whether products with the potential are better done as convolutions."""
        many = self.lattice is not None and len(self.vectors) >= FEWEST and self.strong == len(self.vectors)
        return many and self.potential.device.type == "cpu" and not self.potential.requires_grad

    @cached_property
    def convolution(self) -> Convolution:
        """`complete_potential` as a convolution, where the problem `convolves`."""
        assert self.lattice is not None
        return convolution_of(self.complete_potential, self.lattice)

    @cached_property
    def bounds(self) -> tuple[float, float, float]:
        """Like `depths`, but no more than bounds of them where those would take long to compute."""
        if not self.convolves or "depths" in self.__dict__:
            return self.depths
        assert self.lattice is not None
        low, high = convolution_bounds(self.potential, self.lattice)
        damping = (0.0, 0.0) if self.absorptive is None else convolution_bounds(self.absorptive, self.lattice)
        return low, high, max(-damping[0], damping[1])

    @property
    def complex_dtype(self) -> torch.dtype:
        """Complex type of the amplitudes."""
        return torch.complex64 if self.vectors.dtype == torch.float32 else torch.complex128

    def to(self, device: torch.device, real: torch.dtype) -> Problem:
        """A copy on a device with the given real precision (indices stay integers)."""
        kind = {torch.float32: torch.complex64, torch.float64: torch.complex128}[real]

        def move(value: Tensor | None) -> Tensor | None:
            if value is None or not (value.is_floating_point() or value.is_complex()):
                return None if value is None else value.to(device)
            return value.to(device, kind if value.is_complex() else real)

        moved = {name: move(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        copy = replace(self, **moved)  # type: ignore[arg-type]
        copy.__dict__["distinct"] = tuple(t.to(device) for t in self.distinct)  # found in full precision
        for name in ("depths", "bounds"):
            if name in self.__dict__:
                copy.__dict__[name] = self.__dict__[name]
        return copy


def margin_of(depths: tuple[float, float, float]) -> float:
    """`Problem.tail_margin` of an absorbing crystal with the given `Problem.depths`."""
    _, depth, damping = depths
    return 2.0 * depth + 4.0 * damping + 1.0


def build_problem(
    crystal: Crystal,
    frame: Frame,
    wave: ElectronWave,
    beams: BeamList,
    reduction: Reduction,
    thicknesses: FloatArray,
    factors: str,
    absorption: Absorption,
    refraction: bool,
    paraxial: bool = True,
    moving: Moving | None = None,
) -> Problem:
    """Compute the structure matrix and lay out the pairs; everything in float64 on the CPU.

    With `moving` all numbers follow from its state and carry its gradients; what was chosen for the crystal as it
    stands (beams, anchors, pairs) stays.
    """
    total = len(beams.hkl)
    difference, index = unique_differences(beams.hkl)
    lookup, zero = torch.as_tensor(index).reshape(total, total), _zero_row(difference)
    fixed = True  # whether no number that changes can take a centre of symmetry away
    if moving is None:
        elastic, absorptive = potential_coefficients(crystal, difference, wave.energy, factors, absorption)
        view = _standing(frame, wave, beams, reduction, thicknesses)
    else:
        elastic, absorptive = _moving_potential(crystal, difference, factors, absorption, moving)
        view = _moving_view(crystal, frame, beams, reduction, moving)
        fixed = not (moving.state.xyz.requires_grad or moving.state.ug_change.requires_grad)
    mean_u = elastic[zero].real.clone() if refraction else torch.zeros((), dtype=torch.float64)
    elastic = elastic * (torch.arange(len(elastic)) != zero)  # U_0 is in K
    shift, gauge = None, None
    if fixed:
        shift = shift_to_centre(elastic.detach(), absorptive, difference, crystal, beams.hkl)
    if shift is not None:
        phase = half_turns(difference, shift)
        elastic = (elastic * phase).real
        absorptive = None if absorptive is None else (absorptive * phase).real
        gauge = half_turns(beams.hkl, shift)
    anchor = beams.index(reduction.folding.anchor)
    out = beams.index(reduction.folding.anchor[reduction.pair_tilt] + reduction.pair_hkl)
    assert anchor.min() >= 0  # select_beams was told to hold them
    assert out.min() >= 0
    return Problem(
        potential=elastic[lookup],
        absorptive=None if absorptive is None else absorptive[lookup],
        vectors=view.vectors,
        strong=beams.strong,
        wave_vectors=internal_wave_vectors(view.tilts, view.wave_number, view.normal, mean_u),
        reduced=view.reduced,
        anchor=torch.as_tensor(anchor),
        pair_tilt=torch.as_tensor(reduction.pair_tilt),
        pair_out=torch.as_tensor(out),
        normal=view.normal,
        thicknesses=view.thicknesses,
        paraxial=paraxial,
        gauge=gauge,
        lattice=_lattice(beams.hkl, reduction.folding.basis),
    )


@dataclass(frozen=True, eq=False)
class Moving:
    """A state of the model, and what it needs to know of the simulation that it belongs to.

    Attributes:
        state: the state.
        pixels: of a side of the grid.
        pixel: the pixel of every tilt: (tilt,).
        changes: reflection and direction in the complex plane of every individual change of U_g.
    """

    state: ModelState
    pixels: int
    pixel: IntArray
    changes: tuple[tuple[HKL, complex], ...] = ()


@dataclass(frozen=True, eq=False)
class _View:
    """Electrons and foil: tilts (tilt, 2), k, n (3,), h (beam, 3), q (tilt, 2), t (thickness,)."""

    tilts: Tensor
    wave_number: Tensor | float
    normal: Tensor
    vectors: Tensor
    reduced: Tensor
    thicknesses: Tensor


def _standing(
    frame: Frame, wave: ElectronWave, beams: BeamList, reduction: Reduction, thicknesses: FloatArray
) -> _View:
    tensor = torch.as_tensor
    return _View(
        tensor(reduction.tilts),
        wave.wave_number,
        tensor(frame.normal),
        tensor(beams.vectors),
        tensor(reduction.folding.reduced),
        tensor(thicknesses),
    )


def _moving_view(crystal: Crystal, frame: Frame, beams: BeamList, reduction: Reduction, moving: Moving) -> _View:
    state = moving.state
    direct = direct_basis(state.cell)
    axes = microscope_axes(direct, frame.zone_axis, frame.x_direction)
    reciprocal = axes @ torch.linalg.inv(direct).T

    def vectors(hkl: IntArray) -> Tensor:
        found: Tensor = torch.as_tensor(hkl, dtype=torch.float64) @ reciprocal.T
        return found

    uvw = torch.as_tensor(np.linalg.solve(frame.rotation @ crystal.direct, frame.normal))
    normal = axes @ direct @ uvw
    tilts = grid_positions(state.half_width, state.tilt, state.distortion, moving.pixels)[moving.pixel]
    return _View(
        tilts=tilts,
        wave_number=wave_number(state.energy),
        normal=normal / torch.linalg.vector_norm(normal),
        vectors=vectors(beams.hkl),
        reduced=tilts - vectors(reduction.folding.anchor)[:, :2],
        thicknesses=state.thickness.reshape(-1),
    )


def _moving_potential(
    crystal: Crystal, hkl: IntArray, factors: str, absorption: Absorption, moving: Moving
) -> tuple[Tensor, Tensor | None]:
    """U_g with individual changes, and U'_g with its factor."""
    state = moving.state
    elastic, absorptive = potential_coefficients(crystal, hkl, state.energy, factors, absorption, state.structure)
    if moving.changes:
        shapes = np.stack([symmetric_change(crystal, g, unit, hkl) for g, unit in moving.changes])
        change = state.ug_change.to(torch.complex128) @ torch.as_tensor(shapes)
        elastic = elastic + change
        if isinstance(absorption, tuple) and absorptive is not None:
            absorptive = absorptive + change * (absorption[1] / 100.0)
    if absorptive is not None:
        absorptive = state.absorption * absorptive * (1.0 + state.electronic * electronic_shape(crystal, hkl))
    return elastic, absorptive


def unique_differences(hkl: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct h - h' and, for every pair of beams, the position of its difference among them."""
    reach = hkl.max(axis=0) - hkl.min(axis=0)
    size = 2 * reach + 1
    place = np.array([size[1] * size[2], size[2], 1])
    code = hkl @ place
    difference = code[:, None] - code[None, :] + reach @ place
    if size.prod() <= _DENSE:  # marking places of a table is ten times faster than sorting
        present = np.zeros(size.prod(), dtype=bool)
        present[difference] = True
        table, index = np.flatnonzero(present), (np.cumsum(present) - 1)[difference]
    else:
        table, index = np.unique(difference, return_inverse=True)
    return np.stack(np.unravel_index(table, tuple(size)), axis=1) - reach, index


def _lattice(hkl: IntArray, basis: IntArray) -> Tensor | None:
    """Coordinates of reflections on a basis of the zone: (beam, 3), (2, 3) to (beam, 2), or None."""
    places = np.round(hkl @ np.linalg.pinv(basis)).astype(np.int64)
    return torch.as_tensor(places) if np.array_equal(places @ basis, hkl) else None


def _zero_row(hkl: IntArray) -> int:
    return int(np.flatnonzero(np.all(hkl == 0, axis=1))[0])


def half_turns(hkl: IntArray, shift: FloatArray) -> Tensor:
    """exp(πi h·w): (n, 3), (3,) to (n,)."""
    return torch.as_tensor(np.exp(1j * np.pi * (hkl @ shift)))


def shift_to_centre(
    elastic: Tensor, absorptive: Tensor | None, difference: IntArray, crystal: Crystal, hkl: IntArray
) -> FloatArray | None:
    """w, such that with the origin at w/2, a centre of symmetry of the (projected) crystal, U is real; or None.

    An operation x → R x + w that inverts every h in the list gives U_h = U*_h exp(-2πi h·w), so that
    d_h = exp(πi h·w) makes d_h U_{h-h'} d*_h' real; that is U_{h-h'} exp(πi (h-h')·w).
    """
    absorptive = None if absorptive is None else absorptive.detach()
    scale = float(elastic.abs().max()) or 1.0
    inverse_transposed = np.round(np.linalg.inv(crystal.rotations).transpose(0, 2, 1)).astype(np.int64)
    inverts = np.all(hkl @ inverse_transposed.transpose(0, 2, 1) == -hkl, axis=(1, 2))
    for shift in crystal.translations[inverts][:8]:
        phase = half_turns(difference, shift)
        if all(m is None or float((m * phase).imag.abs().max()) < 1e-10 * scale for m in (elastic, absorptive)):
            return np.asarray(shift)
    return None
