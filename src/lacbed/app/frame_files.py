"""Files of frames that the page sends: a series, and with it the vacuum scan if there is one."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from lacbed.app.limits import MAX_PAYLOAD
from lacbed.app.session import DAMAGE
from lacbed.errors import FileFormatError, LacbedError, MemoryLimitError, SettingError
from lacbed.io.checks import is_list, is_whole

FILES = (".npy", ".h5", ".hdf5", ".nxs", ".hspy", ".dm3", ".dm4", ".mib", ".mrc", ".blo", ".tif", ".tiff")
"""Endings of single files that hold a series."""

ENDINGS = (*FILES, ".zip")
"""The same, and the zip of a .zarr folder."""

_HDF5 = (".h5", ".hdf5", ".nxs", ".hspy")
MOST_UNPACKED = 2**30
"""Bytes that a zip file may unpack to."""

_MEMBERS = 20_000


def parse_frames(listed: Any, payload: bytes, most: int = MAX_PAYLOAD) -> list[tuple[str, bytes]]:
    """Ending and content of the file of a series, and then of the vacuum scan if there is one.

    Args:
        listed: [{"ending": ".npy", "size": bytes}, ...] in the order of their contents.
        payload: the contents, one after the other.
        most: bytes that each may have.

    Raises:
        SettingError: if they are none that the page takes.
    """
    if not any(is_list(listed, lambda v: isinstance(v, Mapping), count) for count in (1, 2)) or not all(
        one.get("ending") in ENDINGS for one in listed
    ):
        raise SettingError(
            f"a series of frames is one file, one of {', '.join(FILES)}, or a zip of a .zarr folder, and so is a "
            "vacuum scan"
        )
    sizes = [one.get("size") for one in listed]
    if not all(is_whole(size, 1) for size in sizes) or sum(sizes) != len(payload):
        raise SettingError("the frames arrived incomplete, or the file is empty; drop it again")
    if max(sizes) > most:
        raise SettingError(f"a file of frames is larger than {most / 1e6:g} MB; use lacbed experiment extract")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [(one["ending"], payload[end - size : end]) for one, size, end in zip(listed, sizes, ends, strict=True)]


def stored(ending: str, content: bytes, folder: Path, stem: str) -> Path:
    """The file under a name of our own; of a zip the folder that is in it.

    Raises:
        LacbedError: if it is a damaged or dangerous container.
    """
    path = folder / f"{stem}{ending}"
    path.write_bytes(content)
    if ending in _HDF5:
        _refuse_other_files(path)
    if ending != ".zip":
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            return _unpacked(archive, folder / f"{stem}.zarr")
    except LacbedError:
        raise
    except DAMAGE:
        raise FileFormatError("the zip file is damaged; expected that of a .zarr folder") from None


def _refuse_other_files(path: Path) -> None:
    """Refuse an HDF5 file with arrays that lie in other ones: here those would be files of this machine."""
    try:
        import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return  # reading the frames says so

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise FileFormatError(f"{name} lies in other files; save it as one file")

    try:
        with h5py.File(path, "r") as file:
            file.visititems(look)
    except LacbedError:
        raise
    except Exception:  # h5py raises anything at all on damage
        return  # reading the frames says what is damaged


def _unpacked(archive: zipfile.ZipFile, to: Path) -> Path:
    """Unpack a zipped Zarr store, whose folder may lie in the file or be the file."""
    infos = [i for i in archive.infolist() if not i.is_dir() and not _of_macos(PurePosixPath(i.filename))]
    if len(infos) > _MEMBERS or sum(info.file_size for info in infos) > MOST_UNPACKED:
        raise MemoryLimitError(
            f"the zip file unpacks to more than {MOST_UNPACKED / 2**30:g} GiB or {_MEMBERS} files; "
            "use lacbed experiment extract"
        )
    names = [PurePosixPath(info.filename) for info in infos]
    if any(name.is_absolute() or ".." in name.parts or "\\" in str(name) for name in names):
        raise FileFormatError("the zip file holds names that lead out of it")
    tops = {name.parts[0] for name in names if len(name.parts) > 1}
    inside = 1 if len(tops) == 1 and all(len(name.parts) > 1 for name in names) and _is_folder(*tops) else 0
    for info, name in zip(infos, names, strict=True):
        path = to.joinpath(*name.parts[inside:])
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as member:
            content = member.read(info.file_size + 1)
        if len(content) != info.file_size:
            raise FileFormatError("the zip file is damaged: a part of it is not as large as it says")
        path.write_bytes(content)
    return to


def _of_macos(name: PurePosixPath) -> bool:
    return name.parts[:1] == ("__MACOSX",) or name.name == ".DS_Store"


def _is_folder(name: str) -> bool:
    return name.lower().endswith(".zarr")
