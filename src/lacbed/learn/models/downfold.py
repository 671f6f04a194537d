"""An effective Hamiltonian of few waves with an exact exponential behind it, and a network that knows its error.

Potential and absorptive potential become a small matrix for each of the few tilts that a pattern needs
(`lacbed.learn.downfold`). Symmetry, reciprocity and the dependence on thickness hold by construction, unitarity
and the thin limit up to the share of the wave that is left out (below 1 % with the defaults). The error grows with
that share, the depth of the potential and the thickness in a way that a small network has learned; it turns them
into the standard deviation of the intensity.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lacbed.constants import ELECTRON_REST_ENERGY, H2_OVER_2M
from lacbed.errors import SettingError
from lacbed.learn.downfold.solve import Cell, Reach, solve_cell
from lacbed.learn.downfold.symmetry import centred, lattices_of
from lacbed.learn.features import wavelength
from lacbed.solvers.blocks import one_thread_each, own_stream

_AT_ONCE = 8
"""Cells that a GPU works on side by side: the matrices of one of them leave most of it idle."""

_SWAP = 4  # of `lacbed.learn.symmetry.OPERATIONS`: the exchange of the axes, which makes 2mm into 4mm


@dataclass(frozen=True)
class Settings:
    """What is kept of the Hamiltonian (see `lacbed.learn.downfold.solve.Reach`) and the size of the network.

    Attributes:
        margin, near, g_max, beams, most, spacing: as in `Reach`.
        extent: half-width of the pattern in a*.
        pixels: of the pattern along a side.
        hidden: width of the network for the error.
    """

    margin: float = 0.5
    near: float = 2.0
    g_max: float = 3.0
    beams: int = 1200
    most: int = 6000
    spacing: float = 1.2
    extent: int = 4
    pixels: int = 128
    hidden: int = 24

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit.

        Raises:
            SettingError: naming the setting.
        """
        if min(self.margin, self.near, self.g_max, self.spacing) <= 0:
            raise SettingError("model downfold: margin, near, g_max and spacing must be positive")
        if min(self.beams, self.most, self.extent, self.pixels, self.hidden) < 1:
            raise SettingError("model downfold: beams, most, extent, pixels and hidden must be positive")
        if self.pixels % (2 * self.extent):
            raise SettingError(f"pixels = {self.pixels} must be a multiple of 2 extent = {2 * self.extent}")


class Model(nn.Module):
    """See the module."""

    NEEDS = ("absorptive",)
    """Images that a batch must have beside the potential."""

    EXPORTABLE = False
    """The size of the matrices depends on the crystal, so that ONNX cannot express the model."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.reach = Reach(
            settings.margin, settings.near, settings.g_max, settings.beams, settings.most, settings.spacing
        )
        self.error = nn.Sequential(
            nn.Linear(6, settings.hidden),
            nn.SiLU(),
            nn.Linear(settings.hidden, settings.hidden),
            nn.SiLU(),
            nn.Linear(settings.hidden, 1),
        )

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `lacbed.learn.models`; the batch also has "absorptive", an image like the potential, in V.

        Raises:
            SettingError: if it has not.
        """
        if "absorptive" not in batch:
            raise SettingError("this model needs the absorptive potential of every crystal beside its potential")
        cells, device = self._cells(batch), batch["potential"].device
        enabled = torch.is_grad_enabled()

        def solve(number: int) -> tuple[Tensor, Tensor]:
            with torch.set_grad_enabled(enabled), own_stream(device):
                thickness = batch["thickness"][number]
                return solve_cell(cells[number], thickness, self.settings.pixels, self.settings.extent, self.reach)

        # Small primitive cells and large ones cost most: first, so that no worker is left with one at the end.
        order = sorted(range(len(cells)), key=lambda number: cells[number].size, reverse=True)
        with (
            one_thread_each(device) as workers,
            ThreadPoolExecutor(_AT_ONCE if device.type == "cuda" else workers) as pool,
        ):
            found = dict(zip(order, pool.map(solve, order), strict=True))
        solved = [found[number] for number in range(len(cells))]
        quadrant = torch.stack([pattern for pattern, _ in solved])
        signs = torch.stack([s for _, s in solved]).to(next(self.error.parameters()).dtype)
        half = torch.cat([quadrant.flip(-1), quadrant], dim=-1)
        pattern = torch.cat([half.flip(-2), half], dim=-2).clamp(0.0, 1.0)
        return {"pattern": pattern, "log_sigma": self.error(signs)[..., None] - 5.0}

    def _cells(self, batch: Mapping[str, Tensor]) -> list[Cell]:
        tables = (
            _table(batch[name][:, 0]) * self._per_volt(batch["energy"]) for name in ("potential", "absorptive")
        )
        elastic, absorptive = centred(*tables)
        waves, lattices = wavelength(batch["energy"]), lattices_of(elastic.detach())
        return [
            Cell(
                elastic[i],
                absorptive[i],
                batch["lattice_parameter"][i],
                waves[i],
                lattices[i],
                bool(batch["symmetry"][i, _SWAP]),
            )
            for i in range(len(elastic))
        ]

    @staticmethod
    def _per_volt(energy: Tensor) -> Tensor:
        """γ / (h² / 2 m_e), from V to 1/Å²: (B,) to (B, 1, 1)."""
        return ((1.0 + energy / ELECTRON_REST_ENERGY) / H2_OVER_2M)[:, None, None]


def _table(image: Tensor) -> Tensor:
    """Fourier coefficients V_hk, V(x, y) = Σ V_hk exp(2πi (h x + k y)), as many orders below 0 as above.

    (B, n, n) to (B, n - 1, n - 1), of an odd n to (B, n, n).
    """
    n = image.shape[-1]
    first = 1 - n % 2  # an even n has an order -n/2 without its opposite
    table: Tensor = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))[:, first:, first:] / n**2
    return table
