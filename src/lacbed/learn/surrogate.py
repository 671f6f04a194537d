"""The learned simulator: patterns of crystals in milliseconds, with an uncertainty and a warning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from lacbed.datasets.compute import crystal_numbers
from lacbed.errors import FileFormatError, SettingError
from lacbed.geometry.frame import make_frame
from lacbed.geometry.tilts import TiltGrid
from lacbed.learn.checkpoint import load_model
from lacbed.learn.domain import check_domain, outside, unlike_training
from lacbed.learn.models import predicts
from lacbed.learn.symmetry import pattern_symmetry
from lacbed.learn.trust import is_flagged, predicted_z, signs_needed, signs_of
from lacbed.patterns.result import label_pattern
from lacbed.projection import mean_absorptive_potential, projected_potential
from lacbed.settings import Settings
from lacbed.setup import choose_device
from lacbed.simulation import simulate
from lacbed.solvers.blocks import Tick

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.crystals import Crystal


ZONE = (0, 0, 1)


def crystal_inputs(
    crystals: Sequence[Crystal], thicknesses: Sequence[float], energy: float, domain: Mapping[str, Any]
) -> dict[str, Tensor]:
    """A batch of crystals at the same thicknesses (Å) and energy (eV); see `lacbed.learn.models`.

    Args:
        crystals: B of them.
        thicknesses: T of them.
        energy: of the electrons.
        domain: how the data were made: "potential_pixels", "potential_g_max", "factors", "absorption".
    """
    images, damping, scalars = [], [], []
    absorption = domain["absorption"]
    absorption = tuple(absorption) if isinstance(absorption, list) else absorption
    for crystal in crystals:
        projected = projected_potential(
            crystal, ZONE, domain["potential_pixels"], domain["potential_g_max"], domain["factors"]
        )
        period = float(projected.attrs["period"])
        images.append(torch.as_tensor(projected.values / period, dtype=torch.float32)[None])
        absorptive = mean_absorptive_potential(
            crystal,
            energy,
            absorption,
            ZONE,
            domain["potential_pixels"],
            domain["potential_g_max"],
            domain["factors"],
        )
        damping.append(torch.as_tensor(absorptive, dtype=torch.float32)[None])
        inner = float(projected.attrs["mean_inner_potential"])
        means = {"mean_inner_potential": inner, "mean_absorptive_potential": float(absorptive.mean())}
        scalars.append({"period": period, **means, **crystal_numbers(crystal, ZONE)})
    batch = {name: torch.tensor([s[name] for s in scalars], dtype=torch.float32) for name in scalars[0]}
    batch["potential"], batch["absorptive"] = torch.stack(images), torch.stack(damping)
    batch["thickness"] = torch.tensor([list(thicknesses)] * len(crystals), dtype=torch.float32)
    batch["energy"] = torch.full((len(crystals),), energy, dtype=torch.float32)
    batch["symmetry"] = pattern_symmetry(batch["potential"])
    return batch


WEIGHTS = Path(__file__).parent / "weights"
DEFAULT = "default"
SHORT = {"vae": "vae-symmetric"}
"""Other names of packaged models."""

BATCH = 16
TOLERANCE = 0.1
"""Largest error of an intensity that is computed because no model has learned it: Z is then 0.04 % in the mean
(docs/benchmarks/learned.md), less than what is learned, and a smaller tolerance takes longer."""


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A trained model with everything that belongs to it; `Surrogate.load()` makes one.

    Attributes:
        model: the network.
        record: what came with the weights: "config", "data", "metrics", "domain", "warning".
        descriptors: of training rows.
        name: of the model, for metadata.
        device: what it computes on.
    """

    model: nn.Module
    record: dict[str, Any]
    descriptors: dict[str, Tensor]
    name: str
    device: torch.device

    @classmethod
    def load(cls, path: str | Path | None = None, device: str = "cpu") -> Surrogate:
        """A packaged model by name, or one from the folder that `lacbed train` made.

        Args:
            path: folder of a model or a run, or the name of a packaged model; default the packaged one.
            device: "cpu", "cuda" or "auto".

        Raises:
            FileFormatError: if there is no such model or it is damaged.
            SettingError: if it was saved without the domain in which it holds.
        """
        folder = find_model(path)
        loaded = load_model(folder)
        if "domain" not in loaded.record:
            raise SettingError(
                f"{folder} does not state its training range; finish its training first: lacbed train ... --resume"
            )
        if predicts(loaded.record["config"]["model"]["name"]) != "pattern":
            raise SettingError(f"{folder} predicts potentials from patterns; lacbed retrieve takes it (--model)")
        chosen = choose_device(device)
        return cls(loaded.model.to(chosen), loaded.record, loaded.descriptors, folder.name, chosen)

    @property
    def domain(self) -> dict[str, Any]:
        """The crystals, thicknesses and voltages for which it was trained."""
        domain: dict[str, Any] = self.record["domain"]
        return domain

    @overload
    def predict(
        self,
        crystal: Crystal,
        thicknesses: Sequence[float] = ...,
        energy: float = ...,
        *,
        zone_axis: Sequence[float] = ...,
        hkl: Sequence[Sequence[int]] = ...,
        called: str | Sequence[str] | None = ...,
    ) -> xr.DataArray: ...
    @overload
    def predict(
        self,
        crystal: Sequence[Crystal],
        thicknesses: Sequence[float] = ...,
        energy: float = ...,
        *,
        zone_axis: Sequence[float] = ...,
        hkl: Sequence[Sequence[int]] = ...,
        called: str | Sequence[str] | None = ...,
    ) -> list[xr.DataArray]: ...
    def predict(
        self,
        crystal: Crystal | Sequence[Crystal],
        thicknesses: Sequence[float] = (600.0,),
        energy: float = 200e3,
        *,
        zone_axis: Sequence[float] = (0, 0, 1),
        hkl: Sequence[Sequence[int]] = ((0, 0, 0),),
        called: str | Sequence[str] | None = None,
    ) -> xr.DataArray | list[xr.DataArray]:
        """The pattern of 000 along [001] of one or many cubic crystals.

        Args:
            crystal: one, or a list of them, which are computed in batches.
            thicknesses: in Å.
            energy: in eV.
            zone_axis: [uvw]; anything the model has not learned is refused.
            hkl: reflections; 000 is what models learn.
            called: the crystal on the command line, its name and options, for the message of an error.

        Returns:
            what `lacbed.simulate` returns, one array a crystal, with the attributes `expected_rms_error`,
            `expected_z` and `warnings`, one value for each thickness.

        Raises:
            SettingError: outside what was learned, with the command that computes it exactly.
        """
        many = not hasattr(crystal, "cell")
        crystals: list[Crystal] = list(crystal) if many else [crystal]  # type: ignore[arg-type, list-item]
        if not crystals:
            return []
        settings = self.settings(thicknesses, energy)
        for one in crystals:
            check_domain(self.domain, one, settings.thicknesses, energy, zone_axis, hkl, called)
        found: list[xr.DataArray] = []
        for start in range(0, len(crystals), BATCH):
            found += self._predict_batch(crystals[start : start + BATCH], settings)
        return found if many else found[0]

    def intensities(
        self, potential: Tensor, lattice_parameter: Tensor, thickness: Tensor, energy: Tensor, **scalars: Tensor
    ) -> Tensor:
        """The pattern as a differentiable function of tensors: (B, T, m, m).

        Args:
            potential: mean along the beam in V, pixel i at i/n: (B, 1, n, n).
            lattice_parameter: in Å: (B,).
            thickness: in Å: (B, T).
            energy: in eV: (B,).
            scalars: whatever else the model takes: (B,).
        """
        batch = {
            "potential": potential,
            "lattice_parameter": lattice_parameter,
            "thickness": thickness,
            "energy": energy,
            "symmetry": pattern_symmetry(potential),
            **scalars,
        }
        pattern: Tensor = self.model(batch)["pattern"]
        return pattern

    def settings(self, thicknesses: Sequence[float], energy: float) -> Settings:
        """Those of the simulations that it learned from."""
        domain, absorption = self.domain, self.domain["absorption"]
        return Settings(
            zone_axis=domain["zone_axis"],
            energy=energy,
            thicknesses=thicknesses,
            grid=TiltGrid(pixels=domain["pixels"], extent=domain["extent"]),
            absorption=tuple(absorption) if isinstance(absorption, list) else absorption,
            factors=domain["factors"],
            dtype="float32",
        )

    def _predict_batch(self, crystals: list[Crystal], settings: Settings) -> list[xr.DataArray]:
        batch = crystal_inputs(crystals, settings.thicknesses, settings.energy, self.domain)
        with torch.inference_mode():
            output = self.model({name: value.to(self.device) for name, value in batch.items()})
            output = {name: value.float().cpu() for name, value in output.items()}
        trust = self._trust(batch, output)
        return [
            self._label(crystal, settings, output["pattern"][i].numpy(), {k: v[i] for k, v in trust.items()})
            for i, crystal in enumerate(crystals)
        ]

    def _trust(self, batch: dict[str, Tensor], output: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """Expected errors and warnings, (B, T) each, as far as the model has them."""
        found: dict[str, np.ndarray] = {}
        pattern = output["pattern"]
        if "log_sigma" in output:
            square = torch.exp(2.0 * output["log_sigma"]).expand_as(pattern).mean(dim=(-2, -1))
            found["expected_rms_error"] = square.sqrt().numpy()
        fitted = self.record.get("warning")
        if fitted and self.descriptors:
            signs = signs_of(batch, output, self.descriptors, signs_needed(fitted))
            numbers = {name: values.numpy() for name, values in signs.items()}
            found["expected_z"] = predicted_z(fitted, numbers)
            found["flagged"] = is_flagged(fitted, numbers)
        return found

    def _label(
        self, crystal: Crystal, settings: Settings, values: np.ndarray, trust: dict[str, np.ndarray]
    ) -> xr.DataArray:
        remarks = [remark] if (remark := unlike_training(self.domain, crystal)) else []
        for t, flagged in zip(settings.thicknesses, trust.pop("flagged", ()), strict=False):
            if flagged:
                z = 100 * trust["expected_z"][list(settings.thicknesses).index(t)]
                remarks.append(
                    f"{t:g} Å: outside its training range, expected Z {z:.3g} %; compare with the exact pattern"
                )
        extra: dict[str, Any] = {
            "solver": "learned",
            "model": self.name,
            "model_code": self.record.get("code", ""),
        }
        extra |= {name: [float(v) for v in numbers] for name, numbers in trust.items()}
        extra |= {"warnings": remarks}
        pixels = settings.grid.pixels
        frame = make_frame(crystal, settings.zone_axis)
        flat = values.reshape(len(values), 1, pixels * pixels)
        pattern = label_pattern(
            flat,
            np.ones(pixels * pixels, dtype=bool),
            ((0, 0, 0),),
            crystal,
            frame,
            settings,
            extra,
            [*crystal.notes, *remarks],
        )
        pattern.attrs["kind"] = "learned"
        return pattern


def predict(
    crystal: Crystal,
    thicknesses: Sequence[float] = (600.0,),
    energy: float = 200e3,
    *,
    zone_axis: Sequence[float] = (0, 0, 1),
    hkl: Sequence[Sequence[int]] | str | tuple[str, float] = ((0, 0, 0),),
    model: str | Path | None = None,
    device: str = "cpu",
    called: str | Sequence[str] | None = None,
    progress: Tick | None = None,
) -> xr.DataArray:
    """The pattern of a crystal: learned, in milliseconds, or computed where nothing has been learned.

    The packaged model has learned 000 of cubic crystals along [001]. Anything else is computed with the same grid
    and absorption by the engine (see `lacbed.Zone`) in some tenths of a second, with a tolerance of 0.1, which
    makes Z 0.04 % in the mean. The attribute `kind` says which it was: "learned" or "simulated". For many crystals
    load the model once, `Surrogate.load(model)`, and call its `predict`.

    Args:
        crystal: what to predict.
        thicknesses: in Å.
        energy: in eV.
        zone_axis: [uvw].
        hkl: reflections, as `lacbed.simulate` takes them.
        model: name of a packaged model or folder of a trained one, which refuses what it has not learned; default
            the packaged one, or a computation.
        device: "cpu", "cuda" or "auto".
        called: the crystal on the command line, its name and options, for the message of an error.
        progress: called with the fraction done of a computation.

    Returns:
        What `lacbed.simulate` returns; with the attributes `expected_rms_error`, `expected_z` and `warnings` if it
        was learned, and `error_estimate` if it was computed.

    Raises:
        FileFormatError: if there is no such model.
        SettingError: outside what a model that was named has learned, with the command that computes it exactly.
    """
    surrogate = Surrogate.load(model, device)
    listed = ((0, 0, 0), (1, 0, 0)) if isinstance(hkl, str) or "all" in hkl else hkl  # more than 000
    why = outside(surrogate.domain, crystal, thicknesses, energy, zone_axis, listed)  # type: ignore[arg-type]
    if model is not None or not why:
        return surrogate.predict(
            crystal,
            thicknesses,
            energy,
            zone_axis=zone_axis,
            hkl=listed,  # type: ignore[arg-type]
            called=called,
        )
    settings = surrogate.settings(thicknesses, energy)
    pattern = simulate(
        crystal,
        zone_axis,
        energy,
        thicknesses,
        settings.grid,
        hkl,  # type: ignore[arg-type]
        absorption=settings.absorption,
        factors=settings.factors,
        tolerance=TOLERANCE,
        progress=progress,
    )
    remark = f"computed within {TOLERANCE:g} and not learned: the learned simulator {why}"
    pattern.attrs["notes"] = [*pattern.attrs.get("notes", []), remark]
    return pattern


def find_model(path: str | Path | None = None) -> Path:
    """Folder of a packaged model by name, of the packaged default, or a folder itself.

    Raises:
        FileFormatError: if there is none.
    """
    name = DEFAULT if path is None else str(path)
    packaged = WEIGHTS / SHORT.get(name, name)
    if not Path(name).exists() and (packaged / "config.json").is_file():
        return packaged
    if path is None and (WEIGHTS / "config.json").is_file():
        return WEIGHTS
    if path is None:
        raise FileFormatError(
            "this installation has no trained model; train one (lacbed train) and name its folder (--model)"
        )
    if not Path(path).exists():
        known = sorted(p.parent.name for p in WEIGHTS.glob("*/config.json"))
        more = f", and the packaged models are {', '.join(known)}" if known else ""
        raise FileFormatError(f"no model {str(path)!r}: there is no such folder{more}")
    return Path(path)
