"""The derivative of the exponential against torch.matrix_exp, where eigenvalues coincide too."""

import pytest
import torch

from lacbed.solvers.absorbing import absorbing_eigensystem
from lacbed.solvers.eigen import eigensystem, pull_back, push_forward, waves

N, COLUMNS = 7, 3
SPECTRA = {
    "apart": [-9.0, -5.0, -3.0, -1.0, -0.4, 0.2, 0.7],
    "threefold": [-9.0, -5.0, -3.0, 0.2, 0.2, 0.2, 0.7],
    "all equal": [0.3] * N,
    "nearly equal": [0.3, 0.3 + 1e-13, 0.3 + 1e-9, 0.3 + 1e-6, 0.3 + 1e-5, 0.3 + 1e-4, 0.3 + 1e-3],
}


def hermitian(seed: int, real: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if real else torch.complex128
    raw = torch.randn(2, N, N, dtype=dtype, generator=generator)
    return 0.5 * (raw + raw.mH)


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("absorbing", [False, True], ids=["elastic", "absorbing"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_equals_the_matrix_exponential(spectrum, absorbing, real):
    turn = torch.linalg.eigh(hermitian(0, real))[1]
    values = torch.diag(torch.tensor(SPECTRA[spectrum], dtype=torch.float64)).to(turn.dtype)
    stack = turn @ values @ turn.mH
    damping = 0.02 * hermitian(1, real)[0] @ hermitian(1, real)[0] if absorbing else None
    incoming = torch.tensor([[0, 1, 1], [2, 2, 6]])
    phase = torch.tensor([[40.0, 41.0, 40.5], [39.0, 55.0, 40.0]], dtype=torch.float64)
    complete = (stack + (0.0 if damping is None else 1j * damping)).to(torch.complex128).requires_grad_()
    tau = phase.clone().requires_grad_()
    number = torch.arange(2)[:, None]
    exact = torch.linalg.matrix_exp(1j * tau[:, :, None, None] * complete[:, None])[
        number, torch.arange(3), :, incoming
    ]
    system = eigensystem(stack, damping)
    torch.testing.assert_close(waves(system, incoming, phase), exact.detach(), rtol=0, atol=1e-11)

    cotangent = torch.randn(2, COLUMNS, N, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))
    expected, expected_tau = torch.autograd.grad((exact * cotangent.conj()).real.sum(), (complete, tau))
    P, by_phase = pull_back(system, incoming, phase, cotangent)
    size = float(expected.abs().max())
    torch.testing.assert_close(P.conj(), expected, rtol=0, atol=1e-9 * size)
    torch.testing.assert_close(by_phase, expected_tau, rtol=1e-9, atol=1e-9)

    direction = hermitian(5, False) + 1j * hermitian(6, False)
    still = torch.zeros(2, COLUMNS, dtype=torch.float64)
    (moved,) = push_forward(system, incoming, phase, [(direction, still)])
    dot = (moved * cotangent.conj()).real.sum()
    torch.testing.assert_close(dot, (P * direction).real.sum(), rtol=1e-8, atol=1e-8)


def test_beams_may_be_rows_of_a_basis():
    turn = torch.linalg.eigh(hermitian(0, False))[1][0]
    basis = turn[:, :4]
    inside = hermitian(1, False)[:, :4, :4]
    incoming, phase = torch.tensor([[0, 2], [5, 6]]), torch.full((2, 2), 30.0, dtype=torch.float64)
    system = eigensystem(inside, 0.01 * torch.eye(4), basis)
    spread = basis @ torch.linalg.matrix_exp(30.0j * (inside + 0.01j * torch.eye(4))) @ basis.mH
    expected = spread.mT[torch.arange(2)[:, None], incoming]
    torch.testing.assert_close(waves(system, incoming, phase), expected, rtol=0, atol=1e-11)


def rotated(hermitian, absorptive, seed):
    """The same matrices in another orthonormal basis."""
    raw = torch.randn(*hermitian.shape, dtype=hermitian.dtype, generator=torch.Generator().manual_seed(seed))
    turn = torch.linalg.qr(raw)[0]
    return turn @ hermitian @ turn.mH, turn @ absorptive @ turn.mH


def off_by(hermitian, absorptive):
    """Largest error of exp(iτ(H + iW)) at a phase as in a thick foil, and of R L = 1."""
    values, right, left = absorbing_eigensystem(hermitian, absorptive)
    assert (values.dtype, right.dtype, left.dtype) == (torch.complex128, torch.complex64, torch.complex64)
    right, left = right.to(torch.complex128), left.to(torch.complex128)
    found = right @ (torch.exp(150j * values)[:, None] * left)
    exact = torch.matrix_exp(150j * (hermitian + 1j * absorptive))
    return max(float((found - exact).abs().max()), float((right @ left - torch.eye(len(values))).abs().max()))


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("strength", [0.0, 1e-4, 2e-2, 0.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_eigenvectors_with_absorption_from_those_without(real, strength, seed):
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if real else torch.complex128
    raw, damp = (torch.randn(40, 40, dtype=dtype, generator=generator) for _ in range(2))
    diagonal = torch.diag(torch.linspace(-6.0, 1.0, 40, dtype=torch.float64)).to(dtype)
    assert off_by(diagonal + 0.03 * (raw + raw.mH), strength * (damp @ damp.mH) / 40) < 5e-5


@pytest.mark.parametrize("real", [True, False], ids=["real", "complex"])
@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("seed", range(3))
def test_levels_of_two_waves_that_symmetry_makes_equal(real, gap, seed):
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.float64 if real else torch.complex128
    raw, damp = (torch.randn(12, 12, dtype=dtype, generator=generator) for _ in range(2))
    twice, moved = torch.eye(2, dtype=dtype), torch.tensor([[1.0, 0.0], [0.0, 1.0 + gap]], dtype=dtype)
    pair = torch.kron(raw + raw.mH, moved), torch.kron(0.002 * damp @ damp.mH, twice)
    assert off_by(*rotated(*pair, seed)) < 5e-5


@pytest.mark.parametrize("distance", [0.0, 1e-12, 1e-6])
def test_an_exceptional_point_is_left_to_the_general_solver(distance, monkeypatch):
    """[[d + ib, ib], [ib, -d + ib]] has one eigenvector if d = b; near it the answer is still right."""
    hermitian = torch.diag(torch.tensor([0.01 + distance, -0.01 - distance, 3.0], dtype=torch.float64))
    absorptive = 0.01 * torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    asked = []
    eig = torch.linalg.eig
    monkeypatch.setattr(torch.linalg, "eig", lambda matrix: asked.append(1) or eig(matrix))
    values, right, _ = absorbing_eigensystem(hermitian, absorptive)
    matrix = (hermitian + 1j * absorptive).to(torch.complex64)
    assert (matrix @ right - right * values.to(torch.complex64)).abs().max() < 1e-4 * right.abs().max()
    assert bool(asked) == (distance < 1e-9)
