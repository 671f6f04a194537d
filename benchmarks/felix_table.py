"""The nine Felix reference sets: how far lacbed is from Felix, and why.

First table: converged lacbed patterns (tolerance=0) against Felix. Second table: at some random pixels, Felix's
own choice of beams is repeated here (`FelixLike`), which shows how much of the distance is due to the number of
beams. The emulation takes Felix's constants and rules from `params.json`:

* pool: |g| <= RgLimit, of them the `pool_reflections` with the smallest | |k z + g| - k | / |g|, of any Laue zone;
* at every pixel the IMinStrongBeams with the smallest |s_g|, ties included, and those of |U_g / 2 pi s_g| >= 0.5;
* vacuum wave vector, no U_0, U'_g for g != 0 only, amplitudes normalised by the flux.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lacbed
from common import number, parser, publish, table
from lacbed.geometry.folding import is_allowed
from lacbed.geometry.frame import make_frame
from lacbed.potential import Absorption, potential_coefficients, structure_factors

BRIGHT = 1e-3
"""Z is reported for reflections with at least this mean intensity."""

THIN = 900
ENERGY = 200e3


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """One Felix pattern with its parameters."""

    name: str
    crystal: lacbed.Crystal
    parameters: dict[str, Any]
    pattern: np.ndarray

    @property
    def absorption(self) -> Absorption:
        """The model of `lacbed.simulate` nearest to that of the set."""
        if "prop" in self.name:
            return ("proportional", float(self.parameters["absorption_percent"]))
        return "thomas" if "BirdKing" in self.name else None

    @property
    def factors(self) -> str:
        """Scattering factors of the set."""
        return "doyle-turner" if "_DT_" in self.name else "kirkland"

    @property
    def k(self) -> float:
        """Vacuum wave number in 1/Å, as Felix has it."""
        return float(self.parameters["k_vacuum_invA"])

    def tilt(self, row: int, col: int) -> np.ndarray:
        """Incident vacuum wave vector of a pixel in 1/Å."""
        kx, ky = (np.array([col, row]) - 63.5) * self.parameters["dk_invA_per_px"]
        return np.array([kx, ky, np.sqrt(self.k**2 - kx**2 - ky**2)])


def load(folder: Path) -> ReferenceSet:
    parameters = json.loads((folder / "params.json").read_text(encoding="utf-8"))
    crystal = lacbed.Crystal.from_cif(folder / "crystal.cif")
    return ReferenceSet(folder.name, crystal, parameters, np.load(folder / "lacbed.npy").astype(float))


class FelixLike:
    """Felix's choice of beams and Felix's constants, for single pixels."""

    def __init__(self, reference: ReferenceSet):
        self.reference = reference
        crystal, parameters = reference.crystal, reference.parameters
        frame, limit, k = make_frame(crystal), parameters["RgLimit_invA"], reference.k
        n = int(limit * max(crystal.cell[:3])) + 1
        axis = np.arange(-n, n + 1)
        hkl = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        hkl = hkl[is_allowed(crystal, hkl)]
        g = frame.vectors(hkl)
        length = np.linalg.norm(g, axis=1)
        inside = length <= limit
        hkl, g, length = hkl[inside], g[inside], length[inside]
        off = np.abs(np.linalg.norm(g + np.array([0, 0, k]), axis=1) - k) / np.maximum(length, 1e-9)
        off[length < 1e-9] = 0.0
        near = off <= np.sort(off)[parameters["pool_reflections"] - 1] + 1e-9
        self.hkl, self.g = hkl[near], g[near]
        self.zone = self.hkl @ np.array(parameters["zone_axis"]) == 0
        self.elastic, self.absorptive = self._potential()
        self.zero = int(np.flatnonzero(np.all(self.hkl == 0, axis=1))[0])

    def _potential(self) -> tuple[np.ndarray, np.ndarray | None]:
        crystal, n = self.reference.crystal, len(self.hkl)
        unique, back = np.unique((self.hkl[:, None] - self.hkl[None]).reshape(-1, 3), axis=0, return_inverse=True)
        scale = self.reference.parameters["gamma_as_felix"] / (np.pi * crystal.volume)
        values = scale * structure_factors(crystal, unique, self.reference.factors).numpy()
        elastic = values[back].reshape(n, n)
        np.fill_diagonal(elastic, 0.0)
        if np.abs(elastic.imag).max() < 1e-12:
            elastic = elastic.real.copy()
        kind = self.reference.absorption
        if kind is None:
            return elastic, None
        if kind == "thomas":
            values = scale * structure_factors(crystal, unique, absorptive_energy=ENERGY).numpy()
            absorptive = values[back].reshape(n, n)
            np.fill_diagonal(absorptive, 0.0)
        else:
            absorptive = kind[1] / 100.0 * elastic
        return elastic, absorptive

    def choose(self, wave: np.ndarray, strong: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the beams at a pixel, and s_g of the pool; `strong` may be "pool" or "zone" for all."""
        s = -(2.0 * self.g @ wave + np.sum(self.g**2, axis=1)) / (2.0 * self.reference.k)
        if isinstance(strong, str):
            return np.flatnonzero(self.zone | (strong == "pool")), s
        limit = np.sort(np.abs(s))[min(strong, len(s)) - 1]
        strength = np.abs(self.elastic[:, self.zero]) / np.maximum(np.abs(2.0 * np.pi * s), 1e-12)
        return np.flatnonzero((np.abs(s) <= limit) | (strength >= 0.5) | (np.arange(len(s)) == self.zero)), s

    def intensities(self, row: int, col: int, strong: int | str) -> tuple[np.ndarray, int, int]:
        """(thickness, reflection) of a pixel, the number of beams, and how many lie in the zero-order zone."""
        wave, parameters = self.reference.tilt(row, col), self.reference.parameters
        beams, s = self.choose(wave, strong)
        root = np.sqrt(2.0 * (wave[2] + self.g[beams, 2]))
        matrix = self.elastic[np.ix_(beams, beams)]
        matrix[np.diag_indices(len(beams))] = 2.0 * self.reference.k * s[beams]
        start = np.zeros(len(beams))
        start[np.searchsorted(beams, self.zero)] = 1.0
        if self.absorptive is None:
            gamma, states = np.linalg.eigh(matrix / np.outer(root, root))
            excited = states.conj().T @ start
        else:
            matrix = matrix + 1j * self.absorptive[np.ix_(beams, beams)]
            gamma, states = np.linalg.eig(matrix / np.outer(root, root))
            excited = np.linalg.solve(states, start)
        place = {tuple(h): i for i, h in enumerate(self.hkl[beams].tolist())}
        out = [place.get(tuple(h), -1) for h in parameters["hkl"]]
        result = np.zeros((len(parameters["thickness_A"]), len(out)))
        for i, t in enumerate(parameters["thickness_A"]):
            psi = np.append(states @ (np.exp(2j * np.pi * gamma * t) * excited), 0.0)
            result[i] = np.abs(psi[out]) ** 2
        return result, len(beams), int(self.zone[beams].sum())


def converged(reference: ReferenceSet) -> tuple[Any, float]:
    """The pattern of lacbed with as many beams as it takes, and the CPU seconds for it, beam search included."""
    parameters = reference.parameters
    start = time.process_time()
    pattern = lacbed.simulate(
        reference.crystal,
        energy=ENERGY,
        thicknesses=parameters["thickness_A"],
        grid=lacbed.TiltGrid(128, k_max=parameters["convergence_radius_invA"]),
        hkl=parameters["hkl"],
        factors=reference.factors,
        absorption=reference.absorption,
        refraction=False,
        device="cpu",
        tolerance=0,
    )
    return pattern, time.process_time() - start


def without_mean_absorption(reference: ReferenceSet, values: np.ndarray) -> np.ndarray:
    """Undo U'_0, which Felix leaves out: the factor exp(-2 pi U'_0 t / K_n), exact for a flat foil, one zone."""
    zero = np.zeros((1, 3), dtype=int)
    _, mean = potential_coefficients(reference.crystal, zero, ENERGY, absorption=reference.absorption)
    assert mean is not None
    axis = (np.arange(128) - 63.5) * reference.parameters["dk_invA_per_px"]
    kz = np.sqrt(reference.k**2 - axis[:, None] ** 2 - axis[None, :] ** 2)
    t = np.array(reference.parameters["thickness_A"])[:, None, None, None]
    return np.asarray(values * np.exp(2.0 * np.pi * float(mean[0].real) * t / kz))


def rows_of_set(reference: ReferenceSet) -> tuple[list[list[Any]], np.ndarray, int]:
    """Rows of the first table (two for absorbing crystals), the values to go on with, and the beams."""
    pattern, cpu = converged(reference)
    variants = {"": pattern.values}
    if reference.absorption is not None:
        bare = without_mean_absorption(reference, pattern.values)
        variants = {", with U'_0": pattern.values, ", without U'_0": bare}
    rows = []
    for label, values in variants.items():
        z = 100.0 * lacbed.zncc_loss(values, reference.pattern)
        bright = reference.pattern.mean(axis=(2, 3)) > BRIGHT
        thin = np.array(reference.parameters["thickness_A"]) <= THIN
        worst = [np.where(bright & keep[:, None], z, -1.0) for keep in (thin, ~thin)]
        difference = np.abs(values - reference.pattern)
        by_reflection = np.where(bright & thin[:, None], z, np.nan)
        each = ", ".join("-" if np.all(np.isnan(c)) else f"{np.nanmax(c):.3f}" for c in by_reflection.T)
        rows.append(
            [
                reference.name + label,
                reference.parameters["IMinStrongBeams"],
                pattern.attrs["beams"],
                each,
                f"{worst[0].max():.3f}",
                f"{worst[1].max():.3f}",
                f"{difference[thin].max():.4f}",
                f"{difference[~thin].max():.4f}",
                number(cpu),
                pattern.attrs["solver"],
                number(reference.parameters["cpu_s"]),
            ]
        )
    return rows, values, int(pattern.attrs["beams"])


def row_of_beams(reference: ReferenceSet, ours: np.ndarray, pixels: int, seed: int) -> list[Any]:
    """One row of the second table: Felix's beams, the zone of its pool, and lacbed, at the same random pixels."""
    felix = FelixLike(reference)
    places = np.random.default_rng(seed).integers(0, 128, (pixels, 2))
    target = np.stack([reference.pattern[:, :, r, c] for r, c in places], axis=-1)
    distance, counts = [], ""
    for strong in (reference.parameters["IMinStrongBeams"], "zone"):
        found = [felix.intensities(int(r), int(c), strong) for r, c in places]
        values = np.stack([f[0] for f in found], axis=-1)
        distance.append((values, target))
        if strong != "zone":
            counts = f"{np.median([f[1] for f in found]):.0f} ({np.median([f[2] for f in found]):.0f})"
    here = np.stack([ours[:, :, r, c] for r, c in places], axis=-1)
    distance += [(here, target), (distance[1][0], here)]
    bright = target.mean(axis=-1) > BRIGHT
    cells = []
    for first, second in distance:
        z = 100.0 * lacbed.zncc_loss(first[:, :, None, :], second[:, :, None, :])
        cells.append(f"{np.abs(first - second).max():.4f} ({np.where(bright, z, 0.0).max():.3f} %)")
    zone = f"{len(felix.hkl)} ({int(felix.zone.sum())})"
    return [reference.name, zone, counts, *cells]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--reference", type=Path, required=True, help="folder with the Felix sets")
    options.add_argument("--pixels", type=int, default=20, help="random pixels for the second table")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--sets", nargs="+", help="names of the sets to take (default: all)")
    chosen = options.parse_args()
    first, second = [], []
    for folder in sorted(p.parent for p in chosen.reference.glob("*/params.json")):
        if chosen.sets and folder.name not in chosen.sets:
            continue
        reference = load(folder)
        rows, values, _ = rows_of_set(reference)
        first += rows
        second.append(row_of_beams(reference, values, chosen.pixels, chosen.seed))
        print(first[-1], second[-1], flush=True)
    head = [
        "set",
        "Felix strong beams",
        "lacbed beams",
        f"Z of each reflection, t <= {THIN} Å (%)",
        f"Z, t <= {THIN} (%)",
        f"Z, t > {THIN} (%)",
        f"max abs dI, t <= {THIN}",
        f"max abs dI, t > {THIN}",
        "CPU s here",
        "solver",
        "Felix CPU s (given, one octant)",
    ]
    beams = [
        "set",
        "pool (in the zone)",
        "Felix beams (in the zone)",
        "Felix's beams - Felix",
        "all the zone - Felix",
        "lacbed - Felix",
        "all the zone - lacbed",
    ]
    explained = (
        f"Z is the largest over reflections with mean intensity above {BRIGHT:g} and the thicknesses named. "
        'lacbed: beams="auto", CPU time of the search for the number of beams included, no refraction (Felix '
        "applies none). Felix leaves out the mean absorption U'_0; for one Laue zone it is an exact factor, "
        'divided out in the rows "without U\'_0".'
    )
    why = (
        f"At {chosen.pixels} random pixels: max abs dI over all reflections and thicknesses, and in brackets the "
        "largest Z over the bright ones, from those pixels alone. Felix's beams are chosen here with Felix's rule "
        'and constants; "all the zone" takes every zero-order beam of Felix\'s pool at every pixel instead. Where '
        "the first is near Felix and the last two agree with each other, it is Felix's choice of beams, and not "
        "the physics, that makes the distance. Absorbing sets: U'_0 divided out; for Bird-King the emulation uses "
        "the factors of Thomas et al. (2024)."
    )
    publish("lacbed and Felix", [explained, table(head, first), why, table(beams, second)], chosen)


if __name__ == "__main__":
    main()
