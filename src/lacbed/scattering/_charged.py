"""What charges and stretched valence shells change in the scattering factor of a neutral atom.

An atom and its ion have the same nucleus, so that by Mott and Bethe their electron scattering factors differ by

    Δf_e(s) = C [f_x(atom) - f_x(ion)] / s²,   C = 1 / (8π² a_0),

f_x being the X-ray factors of Waasmaier & Kirfel, Acta Cryst. A51 (1995) 416, scaled to the right number of
electrons. The charge q of an ion acts far out: Δf_e = C q / s² + a finite part. In a crystal that is neutral the
first term cancels at g = 0, which leaves the finite part for the mean inner potential; what the arrangement of the
charges within the cell adds to that depends on the surfaces and is left out, as in Ewald's sums.

The valence shell of an atom is what it has more than its ion with the largest charge. Where it is stretched by
1/κ in space (Coppens et al., Acta Cryst. A35 (1979) 63), f_x = f_core(s) + f_valence(s/κ).
"""

import functools
import re

import torch

from lacbed.constants import MOTT_BETHE
from lacbed.errors import ScatteringError
from lacbed.scattering._tables import neutral_symbol, rows_of_table

_FILE = "waasmaier-kirfel"


def species_name(element: str, charge: int) -> str:
    """Element with charge: "O2-" for oxygen with charge -2, "O" for a neutral atom."""
    symbol = neutral_symbol(element)
    return f"{symbol}{abs(charge)}{'+' if charge > 0 else '-'}" if charge else symbol


def split_species(species: str) -> tuple[str, int]:
    """Element and charge of a species such as "O2-"."""
    found = re.fullmatch(r"([A-Za-z]+)(?:(\d+)([+-]))?", species.strip())
    if found is None:
        raise ScatteringError(f'a species is an element with its charge, such as "O2-" or "Na1+", got {species!r}')
    return found[1], int(f"{found[3]}{found[2]}") if found[2] else 0


@functools.cache
def known_charges(element: str) -> tuple[int, ...]:
    """Charges of an element that the table of X-ray factors holds, in rising order."""
    symbol = neutral_symbol(element)
    held = (split_species(name) for name in rows_of_table(_FILE))
    return tuple(sorted(charge for name, charge in held if name == symbol and charge))


def has_valence(element: str) -> bool:
    """Whether the table holds a positive ion of an element, and so says what its valence shell is."""
    return max(known_charges(element), default=0) > 0


def xray_factor(species: str, s: torch.Tensor) -> torch.Tensor:
    """X-ray scattering factor f_x of an atom or ion at rest, in electrons.

    Args:
        species: such as "O" or "O2-".
        s: sin θ / λ = |g| / 2 in 1/Å, up to 6, any shape.

    Raises:
        ScatteringError: if the table does not hold it.
    """
    a, b = _gaussians(species)
    return (a * torch.exp(-b * torch.square(s.double())[..., None])).sum(dim=-1).to(s.dtype)


def ionic_change(element: str, charge: int, s: torch.Tensor) -> torch.Tensor:
    """What its charge adds to the electron scattering factor of an ion, in Å; at s = 0 the finite part of it.

    Args:
        element: chemical symbol.
        charge: formal charge in elementary charges.
        s: |g| / 2 in 1/Å, any shape.

    Raises:
        ScatteringError: if there is no X-ray factor for the ion.
    """
    square = torch.square(s.double())
    change = _falling(species_name(element, 0), square) - _falling(species_name(element, charge), square)
    far = torch.where(square > 1e-12, charge / square.clamp(min=1e-12), 0.0)
    return (MOTT_BETHE * (change + far)).to(s.dtype)


def valence_change(element: str, kappa: torch.Tensor | float, s: torch.Tensor) -> torch.Tensor:
    """What a valence shell stretched by 1/κ adds to the electron scattering factor of a neutral atom, in Å.

    C [f_valence(s) - f_valence(s/κ)] / s², finite at s = 0, zero for κ = 1.

    Args:
        element: chemical symbol.
        kappa: κ, above 0; differentiable.
        s: |g| / 2 in 1/Å, any shape.

    Raises:
        ScatteringError: if the table has no positive ion of the element.
    """
    if not has_valence(element):
        raise ScatteringError(
            f"the valence shell of {element} is not known: the X-ray factors of Waasmaier & Kirfel (1995) have no "
            "positive ion of it"
        )
    kappa = torch.as_tensor(kappa, dtype=torch.float64)
    square = torch.square(s.double())
    stretched = square / torch.square(kappa)
    change = torch.zeros_like(stretched)
    for species, sign in (
        (species_name(element, 0), 1.0),
        (species_name(element, max(known_charges(element))), -1.0),
    ):
        # (f(s) - f(s/κ)) / s² with f(0) taken out of both.
        change = change + sign * (_falling(species, square) - _falling(species, stretched) / torch.square(kappa))
    return (MOTT_BETHE * change).to(s.dtype)


def _falling(species: str, square: torch.Tensor) -> torch.Tensor:
    """[f_x(s) - f_x(0)] / s² without loss of digits at small s."""
    a, b = _gaussians(species)
    x = b * square[..., None]
    small = x < 1e-6
    quotient = torch.where(small, -1.0 + 0.5 * x, torch.expm1(-x) / torch.where(small, 1.0, x))
    total: torch.Tensor = (a * b * quotient).sum(dim=-1)
    return total


@functools.cache
def _gaussians(species: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Heights, summing to the number of electrons, and exponents in Å²: (6,) each, the last exponent 0."""
    element, charge = split_species(species)
    rows = rows_of_table(_FILE)
    name = species_name(element, charge)
    if name not in rows:
        known = ", ".join(species_name(element, c) for c in known_charges(element)) or "no ions of it"
        raise ScatteringError(
            f"there is no X-ray scattering factor for {name}; Waasmaier & Kirfel (1995) have {known}"
        )
    row = rows[name][0]
    a, b = torch.cat([row[:10:2], row[10:]]), torch.cat([row[1:10:2], row.new_zeros(1)])
    return a * (_electrons(element, charge) / float(a.sum())), b


def _electrons(element: str, charge: int) -> int:
    import gemmi

    return int(gemmi.Element(neutral_symbol(element)).atomic_number) - charge
