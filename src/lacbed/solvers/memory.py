"""How much memory a simulation takes at its peak, from its numbers of beams, tilts and pairs.

What is counted are the arrays that live together, as the code makes them; measured peaks agree within a factor of
1.5 (see `tests/solvers/test_memory.py` and `benchmarks/memory.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lacbed.solvers.blocks import check_memory
from lacbed.solvers.convolution import convolution_sides
from lacbed.solvers.exponential import PORTION
from lacbed.solvers.subspace import MARGIN, NEAR

if TYPE_CHECKING:
    from lacbed.solvers.problem import Problem


OVERHEAD = 4 * 2**20
"""Bytes of buffers of the libraries."""


@dataclass(frozen=True)
class Size:
    """The numbers that decide how much a simulation takes.

    Attributes:
        beams: of all kinds.
        tilts: that are solved.
        matrices: different q among them.
        pairs: (tilt, reflection) that are solved.
        thicknesses: of them.
        is_real: whether the potential is stored as real numbers.
        absorbs: whether there is absorption.
        inside: beams whose waves are kept in the subspace of the solver "fast", or that absorption mixes in full.
        near: beams that the solver "fast" diagonalises.
        sides: of the box of the convolution, and the length of its transform; None if there is none.
    """

    beams: int
    tilts: int
    matrices: int
    pairs: int
    thicknesses: int
    is_real: bool
    absorbs: bool
    inside: int
    near: int
    sides: tuple[int, int, int] | None = None


def size_of(problem: Problem, name: str) -> Size:
    """The size of a problem for the named solver."""
    energies = problem.vectors[:, :2].square().sum(dim=1)
    highest = float(problem.wave_vectors[:, :2].square().sum(dim=1).max())
    margin = problem.tail_margin() if name in ("zone", "tilted") and problem.absorptive is not None else MARGIN
    flat = name in ("zone", "fast")
    return Size(
        beams=len(problem.vectors),
        tilts=len(problem.anchor),
        matrices=len(problem.distinct[0]) if flat else len(problem.anchor),
        pairs=len(problem.pair_tilt),
        thicknesses=len(problem.thicknesses),
        is_real=problem.is_real,
        absorbs=problem.absorptive is not None,
        inside=int((energies <= highest + margin).sum()),
        near=int((energies <= highest + MARGIN + NEAR).sum()),
        sides=convolution_sides(problem.lattice) if problem.convolves and problem.lattice is not None else None,
    )


def result_bytes(pixels: int, reflections: int, pairs: int, thicknesses: int, word: int, complex_out: bool) -> int:
    """Bytes at the peak of all that grows with the pixels: tables of symmetry, amplitudes, and the values.

    Args:
        pixels: of the whole grid.
        reflections: that are asked for.
        pairs: that are solved, fewer by symmetry.
        thicknesses: of them.
        word: bytes of a real number.
        complex_out: whether the result is complex.
    """
    wanted = pixels * reflections
    tables = 8 * wanted + 45 * pairs
    reduction = 135 * wanted + 65 * pixels
    amplitudes = 6 * word * pairs * thicknesses  # three copies while they are put in order
    values = word * (2 if complex_out else 1) * wanted * thicknesses + 3 * word * pairs * thicknesses
    return max(reduction, tables + max(amplitudes, values))


def check_result_size(
    pixels: int, reflections: int, pairs: int, thicknesses: int, word: int, complex_out: bool
) -> None:
    """Refuse a result that cannot be held, before anything is computed; see `result_bytes`.

    Raises:
        MemoryLimitError: with the estimate.
    """
    need = OVERHEAD + result_bytes(pixels, reflections, pairs, thicknesses, word, complex_out)
    what = f"{pixels} pixels, {reflections} reflections and {thicknesses} thicknesses"
    check_memory(need, torch.device("cpu"), what, "fewer pixels, reflections or thicknesses")


def preparation_bytes(beams: int, absorbs: bool, is_real: bool = False) -> int:
    """Bytes at the peak of the preparation: numbers of the differences of beams, and the matrices.

    Args:
        beams: of all kinds.
        absorbs: whether there is absorption.
        is_real: whether the potential will be stored as real numbers.
    """
    matrix = 8 if is_real else 16
    return (8 + matrix * (2 if absorbs else 1)) * beams**2


def check_preparation(beams: int, absorbs: bool) -> None:
    """Refuse matrices that cannot be held, before they are made.

    Raises:
        MemoryLimitError: with the estimate.
    """
    need = OVERHEAD + preparation_bytes(beams, absorbs)
    check_memory(need, torch.device("cpu"), f"the matrices of {beams} beams", "fewer beams or a smaller g_max")


def solver_bytes(name: str, size: Size, word: int) -> tuple[int, int, int]:
    """Bytes that a solver needs.

    Args:
        name: of the solver.
        size: of the problem.
        word: bytes of a real number.

    Returns:
        What it needs once, in every thread, and for each matrix (or tilt) of a block.
    """
    n, square = size.beams, size.beams**2
    width = word * (1 if size.is_real else 2)
    once = _held(size, 8) + (_held(size, 4) if word == 4 else 0)
    once += 2 * word * size.pairs * size.thicknesses + OVERHEAD
    count = size.matrices if name in ("zone", "fast") else size.tilts
    pairs = -(-size.pairs // max(1, count))
    if name == "reference":
        return once, (110 if size.absorbs else 130) * square, 0
    if name == "chebyshev":
        each = 2 * word * ((8 if size.sides else 16) * n + pairs * size.thicknesses)
        if size.sides is not None:
            short, long, length = size.sides
            complete = 4 * word * square if size.absorbs else 0
            return once + complete + 4 * word * length * short**2, 0, each + 2 * word * short * (long + 4 * length)
        return once, 4 * word * square if size.absorbs else 0, each
    if name == "fast":
        far = n - size.near
        small = size.inside
        once += width * (square + 2 * far**2 + 3 * size.near**2 + 6 * n * small)
        return once, 0, 2 * word * (7 * small**2 + pairs * (small + size.thicknesses))
    each = 2 * width * square + pairs * n * (2 * width + 7 * word)
    work = (2 if size.is_real else 4) * word * square
    if size.absorbs:
        tail = n - size.inside
        each += 2 * width * square + 2 * word * (5 * size.inside**2 + 6 * size.inside * tail + 4 * pairs * n)
        work = 7 * max(PORTION, 2 * word * size.inside**2)  # matrices of the exponential's polynomial
        if name == "tilted":
            each += (width + word) * square
    elif name == "tilted":  # the matrices and their scale are gone when the waves come
        each = max(each, (2 * width + word) * square)
    return once, work, each


def _held(size: Size, word: int) -> int:
    """Bytes of the matrices of a problem."""
    return word * (1 if size.is_real else 2) * (2 if size.absorbs else 1) * size.beams**2
