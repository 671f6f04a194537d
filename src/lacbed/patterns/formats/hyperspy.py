"""HyperSpy signals (.hspy, .zspy), written through RosettaSciIO, an optional extra, and read without it.

Thickness and reflection are navigation axes, ky and kx are calibrated signal axes in 1/Å. A thickness series
without one step, and the reflections, are numbered; their values are in the original metadata, from which
`read` restores everything exactly.
"""

from __future__ import annotations

import importlib
import io
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr

from lacbed.errors import FileFormatError, MissingExtraError
from lacbed.io.sizes import COMPRESSED
from lacbed.patterns.formats.hdf5 import opened, read_values, write_sealed
from lacbed.patterns.formats.netcdf import require as require_hdf5
from lacbed.patterns.schema import axis_step, labels_from_json, labels_to_json, rebuild

_ZSPY_TEXT = b'"lacbed"'


def require(path: Path) -> Any:
    """The RosettaSciIO module for the ending of a path.

    Raises:
        MissingExtraError: if it is not installed, or cannot work with the other packages that are.
    """
    try:
        module = importlib.import_module(f"rsciio.{path.suffix.lower()[1:]}")
    except ImportError:
        raise MissingExtraError(
            f'{path.suffix} files need RosettaSciIO: pip install "lacbed[hyperspy]", or choose .nc or .tif'
        ) from None
    if path.suffix.lower() == ".zspy":
        _try_zspy(module)
    return module


def _try_zspy(module: Any) -> None:
    """Write one number: RosettaSciIO and Zarr may both be there and not fit together (Zarr 3 came later)."""
    one = xr.DataArray(np.zeros((1, 1)), {"y": [0.0], "x": [0.0]}, ("y", "x"))
    try:
        with TemporaryDirectory() as folder:
            _write_signal(module, one, Path(folder) / "one.zspy")
    except (AttributeError, ImportError, TypeError):
        raise MissingExtraError(
            "the installed RosettaSciIO cannot write .zspy with the installed Zarr (it needs Zarr 2); choose .hspy"
        ) from None


def _write_signal(module: Any, array: xr.DataArray, path: Path | _Buffer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between RosettaSciIO and Zarr
        target = path if isinstance(path, _Buffer) else str(path)
        module.file_writer(target, _signal(array), show_progressbar=False)


def write(array: xr.DataArray, path: Path) -> None:
    """Write one array as a signal."""
    module = require(path)
    if path.suffix.lower() == ".zspy":
        _write_signal(module, array, path)
        return
    # In memory first: HDF5 may crash the whole process when a disk runs full under it.
    buffer = _Buffer(str(path))
    _write_signal(module, array, buffer)
    write_sealed(path, buffer.getbuffer())


class _Buffer(io.BytesIO):
    """A file in memory with the name that RosettaSciIO wants of a file; HDF5 writes to it all the same."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __fspath__(self) -> str:
        """The name, which is not opened."""
        return self._name


def _signal(array: xr.DataArray) -> dict[str, Any]:
    return {
        "data": array.values,
        "axes": [_axis(array, i) for i in range(array.ndim)],
        "metadata": {
            "General": {"title": str(array.attrs.get("crystal", array.name or "lacbed"))},
            "Signal": {"signal_type": "", "quantity": str(array.attrs.get("long_name", array.name or ""))},
        },
        "original_metadata": {"lacbed": labels_to_json(array, values=True, seal=True)},
        "package_info": {"package": "lacbed", "package_version": str(array.attrs.get("software", ""))},
        "attributes": {"_lazy": False, "ragged": False},
        "learning_results": {},
        "models": {},
        "tmp_parameters": {},
    }


def read(path: Path) -> xr.DataArray:
    """Read what `write` wrote.

    Raises:
        FileFormatError: if it is another signal, or asks for more memory than such a file needs.
    """
    if path.suffix.lower() == ".hspy":
        return _read_hspy(path)
    signals = read_zspy(path)
    text = signals[0]["original_metadata"].get("lacbed") if len(signals) == 1 else None
    return rebuild(signals[0]["data"], labels_from_json(_ours(text)))


def read_zspy(path: Path) -> list[dict[str, Any]]:
    """The signals of a .zspy folder: "data", "axes" in the order of the array, and "original_metadata".

    By Zarr alone: RosettaSciIO takes chunks that are missing for fill values, and needs Zarr 2.

    Raises:
        FileFormatError: if it is no such folder, parts of it are missing, or it asks for too much memory.
    """
    import zarr

    from lacbed.patterns.formats.zarr_folder import check_files, is_store, read_array

    if not path.is_dir():
        raise FileFormatError("a .zspy is a folder, but this is a file")
    if not is_store(path):
        raise FileFormatError("it is a folder without a Zarr store in it")
    size = check_files(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parts that it cannot read; the error says it
            experiments: Any = zarr.open_group(path, mode="r", use_consolidated=False)["Experiments"]
            groups = dict(experiments.groups())
            signals = [
                _zspy_signal(name, dict(group.members()), size, read_array)
                for name, group in sorted(groups.items())
            ]
    except (KeyError, AttributeError):
        raise FileFormatError(
            "it does not have the groups of a HyperSpy signal; parts of it are missing"
        ) from None
    if not signals:
        raise FileFormatError("it holds no HyperSpy signal")
    return signals


def _zspy_signal(name: str, parts: dict[str, Any], size: int, read_array: Any) -> dict[str, Any]:
    if not hasattr(parts.get("data"), "chunks"):
        raise FileFormatError(f"the array of its signal {name!r} is missing or damaged")
    dims = len(parts["data"].shape)
    missing = [f"axis-{i}" for i in range(dims) if f"axis-{i}" not in parts or not dict(parts[f"axis-{i}"].attrs)]
    if missing:
        raise FileFormatError(f"the metadata of its signal {name!r} are missing or damaged: {', '.join(missing)}")
    axes = [
        {key: None if value == "_None_" else value for key, value in parts[f"axis-{i}"].attrs.items()}
        for i in range(dims)
    ]
    original = dict(parts["original_metadata"].attrs) if "original_metadata" in parts else {}
    return {"data": read_array(parts["data"], "its array", size), "axes": axes, "original_metadata": original}


def _read_hspy(path: Path) -> xr.DataArray:
    """By h5py alone, which is told what to read and how much of it."""
    require_hdf5()
    with opened(path) as file:
        return rebuild(read_values(_signal_of(file), "data", COMPRESSED), labels_from_json(_ours(_text_of(file))))


def is_ours(path: Path) -> bool:
    """Whether a file was written by `write`."""
    if path.is_dir():
        return _ZSPY_TEXT in path.joinpath(".zmetadata").read_bytes()
    require_hdf5()
    with opened(path) as file:
        return isinstance(_text_of(file), str)


def _signal_of(file: Any) -> Any:
    """The one signal of a file."""
    signals = file.get("Experiments", {})
    if len(signals) != 1:
        raise FileFormatError("it is a HyperSpy file without the metadata that lacbed writes")
    return next(iter(signals.values()))


def _text_of(file: Any) -> Any:
    return _signal_of(file).get("original_metadata").attrs.get("lacbed")


def _ours(text: Any) -> str:
    if not isinstance(text, str):
        raise FileFormatError("it is a HyperSpy file without the metadata that lacbed writes")
    return text


def _axis(array: xr.DataArray, index: int) -> dict[str, Any]:
    dim = str(array.dims[index])
    coordinate = array.coords[dim]
    axis: dict[str, Any] = {
        "_type": "UniformDataAxis",
        "name": dim,
        "size": array.shape[index],
        "index_in_array": index,
        "navigate": index < array.ndim - 2,
        "units": "",
        "offset": 0.0,
        "scale": 1.0,
    }
    values = coordinate.values
    if values.dtype.kind in "fiu":
        step = axis_step(coordinate)
        if np.allclose(np.diff(values), step, rtol=1e-6) and step != 0:
            axis |= {
                "units": str(coordinate.attrs.get("units", "")),
                "offset": float(values[0]),
                "scale": step,
            }
    return axis
