"""The coefficient tables: read once from the CSV files beside this module, which cite their papers."""

from functools import cache
from importlib import resources

import torch

from lacbed.errors import ScatteringError

FACTOR_TABLES: tuple[str, ...] = ("kirkland", "lobato", "peng", "doyle-turner")
"""Names of the elastic tables, the default first."""

FACTORS: tuple[str, ...] = (*FACTOR_TABLES, "ionic")
"""What a simulation takes: a table of neutral atoms, or "kirkland" with the charges of the sites added."""

_VALIDITY_LIMITS = {"kirkland": 6.0, "lobato": 6.0, "peng": 2.0, "doyle-turner": 2.0}
_ABSORPTIVE_FILE = "thomas-absorptive"


def validity_limit(table: str) -> float:
    """Largest s = sin θ / λ = |g| / 2, in 1/Å, for which an elastic table was fitted.

    Beyond it "kirkland" and "lobato" still fall as 1/s², as they should ("lobato" to the exact Mott-Bethe
    limit, "kirkland" within 10 % of it); the Gaussians of "peng" and "doyle-turner" fall to zero much too
    fast: at s = 3 1/Å they are at about half and a third of the true value, or less.

    Raises:
        ScatteringError: If there is no table of that name.
    """
    check_table(table)
    return _VALIDITY_LIMITS[table]


def covered_elements(table: str) -> frozenset[str]:
    """Symbols of the neutral elements that an elastic table holds.

    Raises:
        ScatteringError: If there is no table of that name.
    """
    check_table(table)
    return frozenset(rows_of_table(table))


def check_table(table: str) -> None:
    """Raise ScatteringError unless `table` is one of FACTOR_TABLES."""
    if table not in FACTOR_TABLES:
        raise ScatteringError(f"No scattering-factor table {table!r}; choose one of {', '.join(FACTOR_TABLES)}.")


def coefficients(element: str, table: str) -> torch.Tensor:
    """Coefficients of one element, shape (columns,), float64, in the order of the CSV header.

    Raises:
        ScatteringError: If the table does not exist or does not hold the element.
    """
    check_table(table)
    symbol = neutral_symbol(element)
    rows = rows_of_table(table)
    if symbol not in rows:
        others = [name for name in FACTOR_TABLES if symbol in rows_of_table(name)]
        remedy = f"It is in: {', '.join(others)}." if others else "No table holds it; neutral H to Lr are known."
        raise ScatteringError(f"Table {table!r} has no electron scattering factor for {element!r}. {remedy}")
    return rows[symbol][0]


def absorptive_coefficients(element: str) -> torch.Tensor:
    """Rows (B, a1, b1, ..., a4, b4, c) of the absorptive table of one element, shape (13, 10), float64.

    Raises:
        ScatteringError: If the table does not hold the element.
    """
    rows = rows_of_table(_ABSORPTIVE_FILE)
    symbol = neutral_symbol(element)
    if symbol not in rows:
        raise ScatteringError(f"No absorptive scattering factor for {element!r}; neutral H to Lr are known.")
    return rows[symbol]


def neutral_symbol(element: str) -> str:
    """Symbol as the tables spell it: "Fe" for "FE", and "H" for deuterium and tritium."""
    symbol = element.strip().capitalize()
    return "H" if symbol in ("D", "T") else symbol


@cache
def rows_of_table(name: str) -> dict[str, torch.Tensor]:
    """All rows of one file by element or species, each tensor (rows, columns) in float64."""
    text = resources.files(__package__).joinpath("data", f"{name}.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    numbers: dict[str, list[list[float]]] = {}
    for line in lines[1:]:  # the first is the header
        symbol, *cells = line.split(",")
        numbers.setdefault(symbol, []).append([float(cell) for cell in cells])
    return {symbol: torch.tensor(rows, dtype=torch.float64) for symbol, rows in numbers.items()}
