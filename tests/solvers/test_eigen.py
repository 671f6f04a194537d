"""The derivative of the exponential against torch.matrix_exp, where eigenvalues coincide too."""

import pytest
import torch

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
