"""The derivative of the exponential against torch.matrix_exp, where eigenvalues coincide too."""

import pytest
import torch

from lacbed.invert.derivative import eigensystem, pull_back, push_forward, waves

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

    direction = (hermitian(5, False) + 1j * hermitian(6, False))[None]
    moved = push_forward(system, incoming, phase, direction, torch.zeros(1, 2, COLUMNS, dtype=torch.float64))
    dot = (moved[0] * cotangent.conj()).real.sum()
    torch.testing.assert_close(dot, (P * direction[0]).real.sum(), rtol=1e-8, atol=1e-8)


def test_separated_tail_errs_little():
    spectrum = torch.tensor([-40.0, -35.0, -31.0, -0.9, -0.4, 0.2, 0.7], dtype=torch.float64)
    stack = torch.diag(spectrum) + 0.3 * hermitian(0, False)
    damping = hermitian(1, False)[0] @ hermitian(1, False)[0]
    incoming, phase = torch.tensor([[4], [6]]), torch.full((2, 1), 10.0, dtype=torch.float64)
    errors = []
    for size in (0.02, 0.002):
        exact = waves(eigensystem(stack, size * damping), incoming, phase)
        separated = waves(eigensystem(stack, size * damping, border=-20.0), incoming, phase)
        errors.append(float((exact - separated).abs().max()))
    assert 0.0 < errors[0] < 2e-4
    assert errors[1] < 0.4 * errors[0]
