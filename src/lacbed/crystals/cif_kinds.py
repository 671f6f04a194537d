"""CIFs that describe more than the three-dimensional crystal of nuclei: modulated and magnetic structures."""

from __future__ import annotations

import re

from gemmi import cif

from lacbed.crystals.cif_text import values_by_tag
from lacbed.crystals.cif_values import text_of
from lacbed.errors import CrystalError

_MAGNETIC = re.compile(r"^_(space_group|symmetry|magnetic).*(magn|bns|_og_|_og$)|^_magnetic|_time_reversal")
_MODULATED = re.compile(
    r"_ssg_|_ssg\b|^_space_group_ssg|^_cell_modulation|^_cell_wave_vector|^_cell_subsystem|^_atom_sites_modulation"
    r"|^_atom_sites?_(fourier|displace_|phason|occ_fourier|occ_special|u_fourier|rot_|moment_fourier|moment_special)"
    r"|^_superspace|_superspace_"
)
_MOMENT = re.compile(r"^_atom_site_moment")


def refuse_other_kinds(data: cif.Block, notes: list[str]) -> None:
    """Refuse superspace and magnetic symmetry under every name; moments without it are noted.

    Raises:
        CrystalError: naming the tag.
    """
    moments = False
    for tag, values in values_by_tag(data):
        if not any(text_of(value) not in ("", "0") for value in values):
            continue
        name = tag.lower().replace(".", "_")
        if _MAGNETIC.search(name):
            raise CrystalError(f"magnetic symmetry operations ({tag}); expected the CIF of the nuclear structure")
        if _MODULATED.search(name):
            raise CrystalError(f"a modulated structure in superspace ({tag}); expected one in three dimensions")
        moments = moments or bool(_MOMENT.search(name))
    if moments:
        notes.append("magnetic moments left out; the crystal of the atoms is used")
