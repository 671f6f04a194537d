"""The crystal: a cell, the sites of its asymmetric unit and the operations that repeat them."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lacbed.crystals.cell import Cell, FloatArray, direct_basis, reciprocal_basis, volume
from lacbed.crystals.expand import Atoms, check_distances, expand_sites
from lacbed.crystals.site import B_PER_U, MAX_U_ISO, STANDING_STILL, Site
from lacbed.crystals.symmetry import IDENTITY, check_metric, find_space_group, matrices_of, operations_of
from lacbed.errors import CrystalError
from lacbed.io.checks import check_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Crystal:
    """A crystal structure that has been checked and can be computed with.

    Attributes:
        name: what to call it in titles.
        cell: a, b, c in Å and α, β, γ in degrees.
        sites: the asymmetric unit.
        operations: symmetry operations as triplets such as "-y,x,z+1/4", centring included.
        space_group: Hermann-Mauguin symbol with setting, or "" if unknown.
        notes: remarks on what was assumed when the structure was read; they travel into every result.
        source: where the structure comes from.

    Raises:
        CrystalError: on an impossible cell, atoms that collide, a site filled more than once, or operations
            that the cell does not have.
    """

    name: str
    cell: Cell
    sites: tuple[Site, ...]
    operations: tuple[str, ...] = IDENTITY
    space_group: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Check everything once, so that an invalid crystal cannot exist."""
        self._freeze()
        if not self.sites:
            raise CrystalError(f"{self.name}: no atoms; a crystal needs at least one site")
        try:
            check_metric(self.direct, self.rotations)
            check_distances(self.atoms, self.direct, [site.label for site in self.sites])
        except CrystalError as error:
            raise CrystalError(f"{self.name}: {error}") from None

    def _freeze(self) -> None:
        """Turn the lists and number types that callers may have given into plain tuples of floats."""
        try:
            cell = tuple(float(v) for v in self.cell)
        except (TypeError, ValueError):
            raise CrystalError(f"{self.name}: a cell is six numbers, got {self.cell!r}") from None
        object.__setattr__(self, "cell", cell)
        for name in ("sites", "operations", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    # -- geometry -----------------------------------------------------------------------------------
    @cached_property
    def direct(self) -> FloatArray:
        """Columns a, b, c in Å in the crystal frame."""
        return direct_basis(self.cell)

    @cached_property
    def reciprocal(self) -> FloatArray:
        """Columns a*, b*, c* in 1/Å."""
        return reciprocal_basis(self.direct)

    @cached_property
    def volume(self) -> float:
        """Volume of the unit cell in Å³."""
        return volume(self.direct)

    # -- symmetry -----------------------------------------------------------------------------------
    @cached_property
    def rotations(self) -> npt.NDArray[np.int64]:
        """Rotation parts of the operations, acting on fractional coordinates: (operation, 3, 3)."""
        return matrices_of(self.operations)[0]

    @cached_property
    def translations(self) -> FloatArray:
        """Translation parts of the operations in fractions of the cell: (operation, 3)."""
        return matrices_of(self.operations)[1]

    @cached_property
    def atoms(self) -> Atoms:
        """All atoms of one unit cell."""
        return expand_sites(self.sites, self.rotations, self.translations, self.direct, self.reciprocal)

    @property
    def formula(self) -> str:
        """Reduced formula, elements in the order of the sites."""
        return reduced_formula(self.atoms)

    # -- where crystals come from ---------------------------------------------------------------------
    @classmethod
    def build(
        cls,
        name: str,
        cell: Cell | float,
        space_group: str | int,
        sites: Iterable[Site],
        *,
        notes: tuple[str, ...] = (),
        source: str = "",
    ) -> Crystal:
        """A crystal from a space group symbol or number (its reference setting) and an asymmetric unit.

        A single number as `cell` is the lattice parameter of a cubic crystal.

        Raises:
            CrystalError: as the class, and if the symbol is unknown or leaves the origin choice open.
        """
        full: Cell = (cell, cell, cell, 90.0, 90.0, 90.0) if isinstance(cell, int | float) else cell
        group = find_space_group(space_group)
        return cls(name, full, tuple(sites), operations_of(group), group.xhm(), notes=notes, source=source)

    @classmethod
    def from_cif(cls, path: str | Path, block: str | None = None) -> Crystal:
        """Read a CIF; see `lacbed.crystals.cif.read_cif`."""
        from lacbed.crystals.cif import read_cif  # the class sits below its readers

        return read_cif(path, block)

    @classmethod
    def from_cif_text(
        cls, text: str, name: str | None = None, block: str | None = None, origin: str = "CIF"
    ) -> Crystal:
        """Read a CIF that is already in memory; `origin` names it in messages.

        Without a `name`, the one in the CIF is used.
        """
        from lacbed.crystals.cif import parse_cif

        return parse_cif(text, name, block, origin)

    @classmethod
    def named(cls, name: str) -> Crystal:
        """A built-in crystal such as "SrTiO3"; `lacbed.crystals.named.NAMES` lists them."""
        from lacbed.crystals.named import named_crystal

        return named_crystal(name)

    @classmethod
    def from_ase(cls, atoms: Any, name: str | None = None) -> Crystal:
        """Convert an `ase.Atoms`; see `lacbed.crystals.adaptors.from_ase`."""
        from lacbed.crystals.adaptors import from_ase

        return from_ase(atoms, name)

    @classmethod
    def from_pymatgen(cls, structure: Any, name: str | None = None) -> Crystal:
        """Convert a `pymatgen` Structure; see `lacbed.crystals.adaptors.from_pymatgen`."""
        from lacbed.crystals.adaptors import from_pymatgen

        return from_pymatgen(structure, name)

    def to_cif(self) -> str:
        """The crystal as the text of a CIF that `from_cif_text` reads back to an equal crystal."""
        from lacbed.crystals.cif_write import write_cif

        still = all(site.u_iso == 0.0 for site in self.sites) and STANDING_STILL not in self.notes
        return write_cif(replace(self, notes=(*self.notes, STANDING_STILL)) if still else self)

    def noted(self, *notes: str) -> Crystal:
        """The same crystal with more notes, each once; it is not checked again."""
        other = copy(self)
        object.__setattr__(other, "notes", tuple(dict.fromkeys((*self.notes, *notes))))
        return other

    def with_b_iso(self, b_iso: float) -> Crystal:
        """The same crystal with one isotropic B (Å²) on every site.

        Raises:
            CrystalError: if B is negative or far beyond that of any crystal.
        """
        check_number("B", b_iso, 0, MAX_U_ISO * B_PER_U, unit="Å²", error=CrystalError)
        sites = tuple(replace(s, u_iso=b_iso / B_PER_U, u_aniso=None) for s in self.sites)
        return replace(self, sites=sites, notes=(*self.notes, f"B = {b_iso:g} Å² set on every site"))

    def with_charges(self, charges: Mapping[str, int]) -> Crystal:
        """The same crystal with formal charges by element, which `factors="ionic"` uses.

        Args:
            charges: such as {"Sr": 2, "Ti": 4, "O": -2}; elements that are left out keep the charges they have.

        Raises:
            CrystalError: if the crystal has no such element, or a charge is no whole number from -4 to 8.
        """
        present = dict.fromkeys(site.element for site in self.sites)
        for element, charge in charges.items():
            if element not in present:
                raise CrystalError(f"charges: {self.name} has no {element}, but {', '.join(present)}")
            if isinstance(charge, bool) or not isinstance(charge, int) or not -4 <= charge <= 8:
                raise CrystalError(f"the charge of {element} must be a whole number from -4 to 8, got {charge!r}")
        sites = tuple(replace(s, charge=charges.get(s.element, s.charge)) for s in self.sites)
        return replace(self, sites=sites)


def reduced_formula(atoms: Atoms) -> str:
    """Formula with the smallest whole numbers, or with decimals where occupancies are fractional."""
    counts: dict[str, float] = {}
    for element, occupancy in zip(atoms.elements, atoms.occupancy, strict=True):
        counts[element] = counts.get(element, 0.0) + float(occupancy)
    whole = {e: round(n) for e, n in counts.items()}
    if all(abs(n - whole[e]) < 1e-3 for e, n in counts.items()):
        divisor = int(np.gcd.reduce(list(whole.values()))) or 1
        return "".join(f"{e}{n // divisor if n != divisor else ''}" for e, n in whole.items())
    least = min(counts.values())
    return "".join(f"{e}{n / least:.3g}" if abs(n - least) > 1e-3 else e for e, n in counts.items())
