"""Which element an atom of a CIF is: its type symbol, else its label, with the formula as a witness.

A type symbol counts only whole: an element and a charge. Nothing is taken from the letters that happen to begin
a word, for then water ("Wat") would be tungsten and a vacancy ("Vac") vanadium.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import gemmi

from lacbed.crystals.site import is_element
from lacbed.errors import CrystalError

_WATER = re.compile(r"(?:h2o|oh2|d2o|od2|h3o|hoh|ow|wat|water|aq|oh|od|hydroxyl)\d*", re.IGNORECASE)
_NO_ELEMENT = {"va", "vac", "vacancy", "vc", "du", "dum", "dummy", "bq", "x", "q", "cg", "cen", "cent", "uuo"}
_BONDED = {"cval": "C", "siva": "Si", "sival": "Si"}
"""Names of the scattering factors of bonded atoms in the International Tables."""

_TWO_ATOMS = {"CO", "NO", "CN", "HO", "OS", "HF", "HE", "HG", "NE", "PO"}
"""Capitals that are as likely two light elements, or an atom on another, as the one heavy element."""

_PLAIN_SIGNS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻−–", "0123456789+---")
_CHARGE = re.compile(r"[ _(]*(?:(\d(?:\.\d+)?)?(\++|-+)|([+-])(\d(?:\.\d+)?)|[IVX]+\)|)\)?")


@dataclass(frozen=True)
class Species:
    """What an atom is, and how that was concluded.

    Attributes:
        element: chemical symbol.
        charge: formal charge.
        remark: key of a remark that is due, "" if the symbol says plainly what is meant: "isotope", "water"
            (hydrogens are meant that have no row of their own), "doubtful" (it may mean something else) or
            "disagree" (label and type symbol name different elements).
    """

    element: str
    charge: int = 0
    remark: str = ""


def formula_numbers(formula: str) -> dict[str, tuple[float, float]]:
    """Number and half the unit of its last digit (0 for a whole number) of each element; D counts as H.

    "C10 H12.5 O2" is the form of the CIF dictionary; other spellings, brackets excepted, are understood too.
    Empty if it cannot be read.
    """
    text = re.sub(r"(?<=\d)\(\d+\)", "", formula)
    found: dict[str, tuple[float, float]] = {}
    capitals = text.upper() == text and " " in text.strip()
    for word in text.split():
        pattern = r"([A-Z]{1,2})(\d*\.?\d*)" if capitals else r"([A-Z][a-z]?)(\d*\.?\d*)"
        parts = re.findall(pattern, word)
        if "".join(a + b for a, b in parts) != word:
            return {}
        for symbol, digits in parts:
            element = symbol.capitalize()
            if not is_element(element) or digits == "." or len(digits) > 9:
                return {}
            if float(digits or 1) == 0.0:
                continue
            unit = 0.5 * 10.0 ** -len(digits.partition(".")[2]) if "." in digits else 0.0
            key = "H" if element == "D" else element
            count, rounding = found.get(key, (0.0, 0.0))
            found[key] = (count + float(digits or 1), rounding + unit)
    return found


def formula_elements(formula: str) -> frozenset[str]:
    """Elements of a formula, also of one with brackets such as "(Mg,Fe)2 SiO4"; D counts as H."""
    found = set(formula_numbers(formula)) or {e for e in re.findall(r"[A-Z][a-z]?", formula) if is_element(e)}
    return frozenset("H" if e == "D" else e for e in found)


def species_of(type_symbol: str, label: str, known: frozenset[str]) -> Species:
    """Element and charge of one atom.

    Args:
        type_symbol: of the file, without quotes; "" if it gives none.
        label: of the atom.
        known: elements of the file's formula; empty if it has none.

    Raises:
        CrystalError: if the symbol or the label names no element, with both.
    """
    if not type_symbol:
        return _from_label(label, known)
    found = _from_type(type_symbol, known)
    if found is None:
        raise CrystalError(
            f"atom {shown(label)}: expected a chemical element, got {shown(type_symbol)!r} as type symbol; "
            "correct it (such as Fe or Fe3+), or delete the row if it is not an atom"
        )
    if not found.remark and _disagrees(label, found.element, known):
        return Species(found.element, found.charge, "disagree")
    return found


def shown(text: str) -> str:
    """The beginning of a text from a file, fit for a message."""
    return text[:20].encode("ascii", "backslashreplace").decode()


@lru_cache(maxsize=1024)
def _from_type(text: str, known: frozenset[str]) -> Species | None:
    """Element, charge and remark of a whole type symbol; None if it is no element."""
    text = re.sub(r",spin=.*$", "", text.translate(_PLAIN_SIGNS).strip()).rstrip(".")  # pymatgen writes the spin
    word = re.sub(r"[^a-z0-9]", "", text.lower())
    if word in _BONDED or _WATER.fullmatch(word):
        return Species(_BONDED.get(word, "O"), 0, "" if word in _BONDED else "water")
    matched = re.fullmatch(r"(\d{1,3})?([A-Za-z]{1,2})(?![A-Za-z])(.*)", text)
    if matched is None or matched.group(2).lower() in _NO_ELEMENT:
        return None
    before, letters, rest = matched.groups()
    element, number = letters.capitalize(), rest if rest.isdecimal() else ""
    doubtful = letters in _TWO_ATOMS or (bool(number) and _is_pair(letters))
    unlikely = element not in known if known else bool(number) or element == "No"
    charge = 0 if number else _charge(rest)
    if charge is None or not _scatters(element) or ((doubtful or (letters == "W" and known)) and unlikely):
        return None  # CO3, NO and PO4 are groups, W without tungsten in the formula is rather water
    if _is_isotope(element, before or "") or (not before and element != "H" and _is_isotope(element, number)):
        return Species("D" if (element, before) == ("H", "2") else element, charge, "isotope")
    if before or len(number) > 2 or number in ("60", "70"):  # C60 is a molecule, "Fe3" like a label
        return None
    return Species(element, charge, "doubtful" if doubtful and not known else "")


def _is_pair(letters: str) -> bool:
    """True for capitals that are two elements as well as one: CO, PO, CF."""
    return len(letters) == 2 and letters.isupper() and all(is_element(letter) for letter in letters)


def _scatters(element: str) -> bool:
    """True for the elements up to lawrencium; of heavier ones (NH4!) there are no scattering factors."""
    return is_element(element) and gemmi.Element(element).atomic_number <= 103


def _charge(text: str) -> int | None:
    """3 for "3+", "+3", "_3+", "(3+)" and "+++", 2 for 2.5+, 0 for "(III)" and ""; None if it is no charge."""
    found = _CHARGE.fullmatch(text)
    if found is None:
        return None
    size, sign = found.group(1) or found.group(4), found.group(2) or found.group(3)
    if sign is None or (size and len(sign) > 1):
        return None if sign else 0
    count = round(float(size)) if size else len(sign)
    return -count if sign[0] == "-" else count


def _is_isotope(element: str, mass: str) -> bool:
    """True if a number is the mass of an isotope: 11 for boron, 57 for iron; not 3 for iron, 1 for oxygen."""
    if not mass or element in ("H", "D"):
        return mass in ("1", "2") and element == "H"
    weight = gemmi.Element(element).weight
    return int(mass) >= 6 and abs(int(mass) - weight) <= max(2.5, 0.06 * weight)


def _from_label(label: str, known: frozenset[str]) -> Species:
    """Element of a label such as "Fe1", "SI2", "Ow1", "Wat" or "Si(1)"; where there is a formula, it holds it."""
    mass = label[: len(label) - len(label.lstrip("0123456789"))]
    word = re.split(r"[^A-Za-z]", label[len(mass) :])[0]
    choices = [c for n in (2, 1) if len(c := word[:n].capitalize()) == n and _scatters(c)]
    inside = [c for c in choices if ("H" if c == "D" else c) in known]
    if re.match(r"(?:h2o|d2o|h3o)", label, re.IGNORECASE) or _WATER.fullmatch(word):
        if not known or "O" in known:
            return Species("O", 0, "water")
    elif word.lower() in _NO_ELEMENT or (mass and not any(_is_isotope(c, mass) for c in choices)):
        pass
    elif inside:
        return Species(inside[0], 0, "isotope" if mass else "")
    elif "O" in known and re.fullmatch(r"W[A-Za-z]?|W[A-Z]+", word):
        return Species("O", 0, "water")  # W1 of a hydrate without tungsten
    elif not known and choices:
        element, rest = choices[0], word[len(choices[0]) :]
        if len(element) == 2 or not rest[:1].islower() or element in "CHNO":  # "Ow" is oxygen, "Vx" nothing
            odd = (
                not label.startswith(element)
                or (element != "O" and rest[:1].islower())
                or word[:2] in _TWO_ATOMS
                or word == "W"
            )
            return Species(element, 0, "doubtful" if odd else "")
    where = f" of the formula ({', '.join(sorted(known)[:8])})" if known else ""
    raise CrystalError(
        f"atom {shown(label)}: expected a chemical element, got {shown(label)!r}, a label that names none{where}; "
        "give its _atom_site_type_symbol"
    )


def _disagrees(label: str, element: str, known: frozenset[str]) -> bool:
    """True if a label begins with the symbol of another element than the type symbol.

    Site names (A1, B1, M2, T, X, Y) say nothing, nor does "CA1" of a carbon or "OW1" of an oxygen.
    """
    found = re.match(r"([A-Z][a-z]?)(?![a-z])", label)
    name = found.group(1) if found else ""
    if not is_element(name) or name in ("B", "Y", "W", element) or {name, element} == {"D", "H"}:
        return False
    if ("H" if element == "D" else element) in known:  # then "Re1" of resorcinol is a mere name
        return name in known
    return label[: len(element)].upper() != element.upper() or element not in ("C", "H", "N", "O")
