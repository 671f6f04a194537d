"""The recipe: settings checked, beams chosen, one of the simulators run, the result labelled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from lacbed.crystals import Crystal
from lacbed.engine.zone import Zone, covers, with_tolerance
from lacbed.geometry.frame import make_frame
from lacbed.geometry.tilts import TiltGrid
from lacbed.patterns.result import label_pattern
from lacbed.potential import Absorption
from lacbed.settings import Reflections, Settings
from lacbed.setup import check_request, chooses_beams_by_convergence, prepare, solve
from lacbed.solvers.blocks import Tick, describe_work, one_thread_each, part_of

if TYPE_CHECKING:
    import xarray as xr


def simulate(
    crystal: Crystal,
    zone_axis: Sequence[float] = (0, 0, 1),
    energy: float = 200e3,
    thicknesses: Sequence[float] = (600.0,),
    grid: TiltGrid | None = None,
    hkl: Reflections = ((0, 0, 0),),
    *,
    foil_normal: Sequence[float] | None = None,
    x_direction: Sequence[float] | None = None,
    g_max: float | None = None,
    sg_max: float | None = None,
    beams: int | Literal["auto"] = "auto",
    weak_beams: int = 0,
    laue_zones: int = 0,
    refraction: bool = True,
    paraxial: bool = True,
    absorption: Absorption = None,
    factors: str = "kirkland",
    output: Literal["intensity", "amplitude"] = "intensity",
    solver: str = "auto",
    device: str = "auto",
    dtype: str = "float64",
    frozen_phonons: int = 0,
    tolerance: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> xr.DataArray:
    """Exact LACBED patterns of a crystal by Bloch waves.

    The pattern of reflection g is the intensity of beam g as a function of the incident direction:
    I_g(kx, ky) = |ψ_g(t)|² n·(K+g) / n·K, the current in the beam as a fraction of the incident current.

    Args:
        crystal: what to compute; `Crystal.from_cif(...)` or `Crystal.named(...)`.
        zone_axis: [uvw] of the direct lattice; the electrons travel along it.
        energy: kinetic energy in eV (200e3 for a 200 kV microscope).
        thicknesses: along the foil normal in Å; each further one costs next to nothing.
        grid: the incident directions; default `TiltGrid(pixels=128, extent=4)`.
        hkl: reflections; "all" for every allowed one of the zone no further than the half-width of the grid,
            ("all", g) for every one with |g| ≤ g in 1/Å.
        foil_normal: [uvw] normal of both surfaces; default the zone axis.
        x_direction: (hkl) along +x; default the shortest reciprocal vector of the zone.
        g_max: choose beams by |h| ≤ g_max in 1/Å, or limit the other rules to that.
        sg_max: choose beams by excitation error |s_g| ≤ sg_max in 1/Å.
        beams: number of beams (completed to a whole shell), or "auto" for as many as `tolerance` needs, unless
            g_max or sg_max choose them.
        weak_beams: number of further beams that enter by Bethe's second-order perturbation.
        laue_zones: highest order of Laue zone that takes part; 0 is the projection approximation.
        refraction: whether the mean inner potential refracts the incident wave.
        paraxial: whether the term γ² of the wave equation is left out, as textbooks, Felix and abTEM do; False
            keeps it (γ → sqrt(K_n² + 2 K_n γ) - K_n, for one Laue zone and a flat foil). The effect on
            intensities is about 1e-4, up to 4e-3 for gold at 1000 Å.
        absorption: None, ("proportional", percent), or "thomas" for the factors of Thomas et al. (2024).
        factors: "kirkland", "lobato", "peng" or "doyle-turner" scattering factors of neutral atoms; "ionic" adds
            the charges of the sites to the first, see `Crystal.with_charges`.
        output: "intensity", or "amplitude" for complex waves (columns of the scattering matrix).
        solver: "auto", or "zone", "tilted", "chebyshev", "reference", "multislice" for a number of beams; or
            "fast", which with many beams is ten to a hundred times faster than these with absorption or on grids
            that do not fit the reciprocal lattice, for one Laue zone and a flat foil, good to about 1e-3 in
            intensity (Z ≤ 0.01 %).
        device: "auto", "cpu", "cuda", "cuda:1", ...; patterns of a `lacbed.Zone` are computed on the CPU.
        dtype: "float64" or "float32"; of the result alone where a `lacbed.Zone` computes it.
        frozen_phonons: for solver="multislice", number of configurations of displaced atoms to average over; 0
            for the averaged potential with Debye-Waller factors.
        tolerance: largest error of an intensity (a fraction of the incident one) at any pixel, compared with
            infinitely many beams, from 0 to 0.5; it takes the place of `beams`, `g_max` and `sg_max`. Reflections
            of the zero-order Laue zone are then computed as `lacbed.Zone` does, within seconds for 1e-3; with
            weak beams, or a solver other than "auto" and "fast", beams are added until |ΔI| is below it. The
            attribute `error_estimate` says what was reached. None: 1e-3 where a `lacbed.Zone` holds, solver
            and device are left open and nothing else chooses the beams. Otherwise, or with 0, beams are added
            until Z ≤ 0.1 % and |ΔI| ≤ 0.01; see `lacbed.convergence`.
        progress: called with the fraction of the work done, the search for enough beams included. If it has a
            method `describe`, that is called with a few words about what is being done.

    Returns:
        Labelled array (thickness, hkl, ky, kx), coordinates in Å, 1/Å and mrad, with metadata to reproduce it.

    Raises:
        SettingError: on impossible settings, or weak beams so strong that the result is not physical;
        ScatteringError: on elements that a table does not cover;
        MemoryLimitError: if the request does not fit, with the estimate.
    """
    settings = Settings(
        zone_axis,
        energy,
        thicknesses,
        TiltGrid() if grid is None else grid,
        hkl,
        foil_normal,
        x_direction,
        g_max,
        sg_max,
        beams,
        weak_beams,
        laue_zones,
        refraction,
        paraxial,
        absorption,
        factors,
        output,
        solver,
        device,
        dtype,
        frozen_phonons,
        tolerance,
    )
    settings = with_tolerance(crystal, settings)
    check_request(crystal, settings)
    with one_thread_each(torch.device("cpu")):
        return _simulate(crystal, settings, progress)


def _simulate(crystal: Crystal, settings: Settings, tick: Tick | None) -> xr.DataArray:
    """`simulate` with settings that are checked."""
    if settings.solver == "multislice":
        from lacbed.multislice.simulate import simulate_multislice  # an optional extra

        return simulate_multislice(crystal, settings, tick, frozen_phonons=settings.frozen_phonons)
    remark = ""
    facts: dict[str, float] = {}
    asked_z, asked_change = 1e-3, 1e-2
    if settings.tolerance:
        if covers(settings, make_frame(crystal, settings.zone_axis, settings.foil_normal)):
            return Zone.of(crystal, settings).solve(settings, tick)
        facts["tolerance"] = settings.tolerance
        asked_z, asked_change = 1.0, settings.tolerance
        settings = replace(settings, tolerance=None)
    if chooses_beams_by_convergence(settings):
        from lacbed.converge import converge, search_share

        share = 0.0 if tick is None else search_share(crystal, settings)
        search = part_of(tick, 0.0, share)
        report = converge(crystal, settings, tick=search, tolerance_z=asked_z, tolerance_intensity=asked_change)
        settings, remark = replace(settings, beams=report.beams), report.summary
        if facts:
            facts["error_estimate"] = report.error
            remark = f"tolerance {facts['tolerance']:g} by an exact solver with ever more beams: {remark}"
        tick = part_of(tick, share, 1.0)
        describe_work(tick, f"simulating with {report.beams} beams")
    if settings.solver == "fast":
        from lacbed.fast import solve_fast  # it calls back to this module

        result = solve_fast(crystal, settings, tick)
        return label_pattern(
            result.values.numpy(),
            result.setup.inside,
            result.setup.hkl,
            crystal,
            result.setup.frame,
            settings,
            {"solver": "fast", **result.setup.describe(), **result.facts, **facts},
            [*crystal.notes, f"solver fast: {result.note}", remark],
        )
    setup = prepare(crystal, settings)
    name, why, values = solve(setup, tick)
    return label_pattern(
        values.numpy(),
        setup.inside,
        setup.hkl,
        crystal,
        setup.frame,
        settings,
        {"solver": name, **setup.describe(), **facts},
        [*crystal.notes, f"solver {name}: {why}", remark, setup.weak_beams_note()],
    )
