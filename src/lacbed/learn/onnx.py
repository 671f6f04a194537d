"""Models as ONNX, for programs without PyTorch; checked against the model before the file appears."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lacbed.errors import FileFormatError, MissingExtraError, SettingError
from lacbed.io.atomic import check_replaceable, reason, replacing
from lacbed.learn.checkpoint import LoadedModel
from lacbed.learn.features import SCALARS

TOLERANCE = 1e-4
"""Largest difference of intensity between the model and its ONNX form."""

INPUTS = ("potential", "lattice_parameter", "thickness", "energy", "symmetry", *SCALARS)
_EXAMPLE_BATCH, _CHECKED_BATCH = 2, 3


class _Positional(nn.Module):
    """The model with tensors in place of a dictionary."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Pattern, and log_sigma if the model has one."""
        output = self.model(dict(zip(self.names, values, strict=True)))
        return tuple(output[name] for name in ("pattern", "log_sigma") if name in output)


def export_onnx(loaded: LoadedModel, path: str | Path) -> float:
    """Write a model as ONNX and return its largest difference from the model under onnxruntime.

    Inputs are named as in `lacbed.learn.models`, outputs "pattern" and, if there is one, "log_sigma". The number
    of crystals is free; the number of thicknesses is one.

    Args:
        loaded: the model.
        path: a .onnx file.

    Raises:
        MissingExtraError: without onnx and onnxruntime.
        SettingError: if the model uses something that ONNX lacks, or the difference exceeds 1e-4.
        FileFormatError: if the file cannot be written.
    """
    path = Path(path)
    _check_installed()
    check_file(path)
    if not getattr(loaded.model, "EXPORTABLE", True):
        name = loaded.record["config"]["model"]["name"]
        raise SettingError(
            f"the model {name} cannot be exported as ONNX: its matrices depend on the crystal, or it is not a "
            "simulator; export a vae, unet or fno"
        )
    model = loaded.model.cpu().eval()
    names = (*INPUTS, *getattr(model, "NEEDS", ()))
    example = example_batch(loaded, _EXAMPLE_BATCH, seed=0)
    with torch.no_grad():
        made = model(example)
    outputs = tuple(name for name in ("pattern", "log_sigma") if name in made)
    with replacing(path) as temporary:
        _write(_Positional(model, names), tuple(example[n] for n in names), names, outputs, temporary)
        difference = _largest_difference(model, temporary, example_batch(loaded, _CHECKED_BATCH, seed=1))
        if not difference <= TOLERANCE:
            raise SettingError(
                f"the ONNX form differs from the model by {difference:.2g}; allowed is {TOLERANCE:g}"
            )
    return difference


def check_file(path: Path) -> None:
    """Refuse, before any work, a place where no exported model can be written.

    Raises:
        FileFormatError: saying why.
    """
    if path.suffix.lower() != ".onnx":
        raise FileFormatError(f"an exported model is a .onnx file, got {str(path)!r}")
    if not path.parent.is_dir():
        raise FileFormatError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it")
    check_replaceable(path, _is_ours, "exported model")


def _is_ours(path: Path) -> bool:
    """Whether a file is ONNX with the inputs that every exported model has."""
    import onnx

    return {entry.name for entry in onnx.load(str(path)).graph.input} <= {*INPUTS, "absorptive"}


def example_batch(loaded: LoadedModel, crystals: int, seed: int) -> dict[str, Tensor]:
    """A batch of plausible inputs: atoms as Gaussians at random places, no symmetry but inversion."""
    from lacbed.learn.symmetry import pattern_symmetry

    generator = torch.Generator().manual_seed(seed)
    domain = loaded.record.get("domain", {})
    pixels = int(domain.get("potential_pixels", getattr(loaded.model.settings, "pixels", 128)))
    place = torch.arange(pixels) / pixels
    potential = torch.zeros(crystals, 1, pixels, pixels)
    for _ in range(3):
        centre = torch.rand(crystals, 2, generator=generator)
        offset = [(place - centre[:, i, None] + 0.5) % 1.0 - 0.5 for i in (0, 1)]
        potential[:, 0] += 150.0 * torch.exp(-200.0 * (offset[0][:, :, None] ** 2 + offset[1][:, None, :] ** 2))
    low, high = domain.get("thickness", (600.0, 600.0))
    batch = {
        "potential": potential,
        "lattice_parameter": 4.0 + torch.rand(crystals, generator=generator),
        "thickness": torch.full((crystals, 1), 0.5 * (low + high)),
        "energy": torch.full((crystals,), 200e3),
        "symmetry": pattern_symmetry(potential),
    }
    batch |= {name: torch.full((crystals,), value) for name, value in SCALARS.items()}
    return batch | {"absorptive": 0.05 * potential}


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError('ONNX needs an extra; install it with pip install "lacbed[onnx]"') from None


def _write(
    model: nn.Module, example: tuple[Tensor, ...], names: tuple[str, ...], outputs: tuple[str, ...], path: Path
) -> None:
    crystals = torch.export.Dim("crystals", min=1, max=4096)
    shapes = {"values": tuple({0: crystals} for _ in names)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            torch.onnx.export(
                model,
                example,
                str(path),
                input_names=list(names),
                output_names=list(outputs),
                dynamo=True,
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever the exporter cannot translate
        raise SettingError(f"this model cannot be written as ONNX: {reason(error)}") from None


def _largest_difference(model: nn.Module, path: Path, batch: dict[str, Tensor]) -> float:
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = [entry.name for entry in session.get_inputs()]
    found = session.run(["pattern"], {name: batch[name].numpy() for name in wanted})[0]
    with torch.no_grad():
        expected = model(batch)["pattern"].float().numpy()
    return float(np.abs(found - expected).max())
