"""Catalogues from what others made: a Parquet file, or a folder or zip of CIFs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gemmi import cif

from lacbed.catalog.files import Row, read_catalog, rows_of
from lacbed.catalog.rows import crystal_of, deduplicated, row_of
from lacbed.catalog.standard import standardised
from lacbed.crystals.cif import MAX_BYTES, parse_cif
from lacbed.crystals.cif_text import decode_cif, has_atoms, parse_blocks
from lacbed.errors import CrystalError, FileFormatError
from lacbed.io.atomic import reason

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Provenance:
    """What is recorded for CIFs that do not say it themselves.

    Attributes:
        source: name of the collection.
        licence: of the data, an SPDX identifier if there is one.
        kind: such as experimental or dft_relaxed_theoretical.
    """

    source: str = "CIF"
    licence: str = "unknown"
    kind: str = "experimental"


@dataclass
class Imported:
    """Rows, and what became no row.

    Attributes:
        rows: the structures.
        failures: name and reason of everything that cannot be used.
        duplicates: id of each structure left out, and the id of the one that stands for it.
    """

    rows: list[Row] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)


def import_source(
    path: str | Path, provenance: Provenance | None = None, progress: Progress | None = None
) -> Imported:
    """Read a catalogue, or all CIFs of a folder and the folders in it or of a zip, and drop duplicates.

    Rows of a catalogue keep their source, id, licence and kind. Each data block of a CIF that holds atoms is a
    structure of its own.

    Args:
        path: a .parquet file, a folder, a .zip or a single .cif.
        provenance: for CIFs; entries of the COD are recognised and need none.
        progress: called with the fraction done.

    Raises:
        FileFormatError: if the source cannot be read at all or holds nothing.
        MissingExtraError: if spglib is needed and not installed.
    """
    path = Path(path)
    if not path.exists():
        raise FileFormatError(f"no such file or folder: {path}")
    imported = Imported()
    if path.suffix.lower() == ".parquet":
        _from_parquet(path, imported, progress)
    else:
        _from_cifs(path, provenance or Provenance(), imported, progress)
    imported.rows, dropped = deduplicated(imported.rows)
    imported.duplicates = [(row["source_id"], other["source_id"]) for row, other in dropped]
    return imported


def _from_parquet(path: Path, imported: Imported, progress: Progress | None) -> None:
    """Every row whose crystal can be built."""
    table = read_catalog(path)
    for i, row in enumerate(rows_of(table)):
        try:
            crystal_of(row)
        except CrystalError as error:
            imported.failures.append((f"row {i} ({row['source_id']})", str(error)))
        else:
            imported.rows.append(row)
        if progress is not None and i % 100 == 0:
            progress(i / max(table.num_rows, 1))


def _from_cifs(path: Path, provenance: Provenance, imported: Imported, progress: Progress | None) -> None:
    """Every data block that holds atoms."""
    for name, fraction, text in _texts(path):
        for block in _blocks(text) if isinstance(text, str) else (None,):
            title = name if block is None else f"{name} ({block})"
            try:
                if isinstance(text, CrystalError):
                    raise text
                imported.rows.append(row_of_cif(text, name, provenance, block))
            except CrystalError as error:
                imported.failures.append((title, str(error).removeprefix(f"{name}: ")))
        if progress is not None:
            progress(fraction)


def _blocks(text: str) -> tuple[str | None, ...]:
    """Names of the data blocks with atoms where there are several, else None: the only one, or nothing of use."""
    names = [block.name for block in _parsed(text) if has_atoms(block)]
    return tuple(names) if len(names) > 1 else (None,)


def row_of_cif(text: str, name: str, provenance: Provenance, block: str | None = None) -> Row:
    """The row of one CIF, standardised.

    Args:
        text: of the file.
        name: of the file; with the block it is the id of a structure that has no number in the COD.
        provenance: what the CIF does not say itself.
        block: name of the data block, needed if several hold atoms.

    Raises:
        CrystalError: if it is not one crystal that can be used.
        MissingExtraError: if spglib is not installed.
    """
    crystal = parse_cif(text, Path(name).stem if block is None else block, block, origin=name)
    standard, symprec = standardised(crystal)
    known_u = not any("Debye-Waller" in note for note in crystal.notes)
    code = _cod_code(text, block)
    return row_of(
        standard,
        source="COD" if code else provenance.source,
        source_id=code or (name if block is None else f"{name}#{block}"),
        licence="CC0-1.0" if code else provenance.licence,
        kind=provenance.kind,
        experimentally_known=True if provenance.kind == "experimental" else None,
        symprec=symprec,
        note={"file": name, "remarks": list(crystal.notes)} if crystal.notes else {"file": name},
        known_u=known_u,
    )


def _cod_code(text: str, wanted: str | None) -> str:
    """Number in the Crystallography Open Database, whose entries are in the public domain; "" if there is none."""
    codes = (b.find_value("_cod_database_code") for b in _parsed(text) if wanted in (None, b.name))
    return next((cif.as_string(code) for code in codes if code and not cif.is_null(code)), "")


def _parsed(text: str) -> list[cif.Block]:
    """The data blocks of a CIF; none if it is not one."""
    try:
        return parse_blocks(text, "file")
    except CrystalError:
        return []


def _texts(path: Path) -> Iterator[tuple[str, float, str | CrystalError]]:
    """Name, fraction done, and text of every CIF, or the reason why it cannot be read."""
    if path.is_dir() or path.suffix.lower() == ".cif":
        yield from _texts_of_folder(path)
    elif zipfile.is_zipfile(path):
        yield from _texts_of_zip(path)
    else:
        raise FileFormatError(f"{path} is neither a catalogue (.parquet) nor a folder, zip or file of CIFs")


def _texts_of_folder(path: Path) -> Iterator[tuple[str, float, str | CrystalError]]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() == ".cif")
    if not files:
        raise FileFormatError(f"{path} holds no .cif files")
    root = path.parent if path.is_file() else path
    for i, file in enumerate(files, start=1):
        name = file.relative_to(root).as_posix()
        try:
            text: str | CrystalError = _decoded(file.read_bytes(), file.stat().st_size)
        except OSError as error:
            text = CrystalError(f"cannot be read: {reason(error)}")
        yield name, i / len(files), text


def _texts_of_zip(path: Path) -> Iterator[tuple[str, float, str | CrystalError]]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = sorted((e for e in archive.infolist() if e.filename.lower().endswith(".cif")), key=_name)
            if not entries:
                raise FileFormatError(f"{path} holds no .cif files")
            for i, entry in enumerate(entries, start=1):
                yield entry.filename, i / len(entries), _text_of_entry(archive, entry)
    except (zipfile.BadZipFile, OSError) as error:
        raise FileFormatError(f"{path} is a damaged zip: {reason(error)}") from None


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename


def _text_of_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str | CrystalError:
    """An entry as text; one that claims or turns out to be too large is refused without unpacking it all."""
    try:
        with archive.open(entry) as stream:
            return _decoded(stream.read(MAX_BYTES + 1), entry.file_size)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        return CrystalError(f"cannot be unpacked: {reason(error)}")


def _decoded(content: bytes, size: int) -> str | CrystalError:
    if max(len(content), size) > MAX_BYTES:
        return CrystalError(f"larger than {MAX_BYTES // 10**6} MB; that is not a crystal's CIF")
    return decode_cif(content)
