"""Elastic factors: laws, then the four tables against each other, then other programs."""

import math

import gemmi
import numpy as np
import pytest
import torch

from lacbed.constants import BOHR_RADIUS
from lacbed.errors import ScatteringError
from lacbed.scattering import FACTOR_TABLES, covered_elements, elastic_factor, validity_limit

SYMBOLS = [gemmi.Element(z).name for z in range(1, 104)]
COVERED = [
    (table, element) for table in FACTOR_TABLES for element in SYMBOLS if element in covered_elements(table)
]


def grid(low: float, high: float, count: int = 61) -> torch.Tensor:
    return torch.linspace(low, high, count, dtype=torch.float64)


def curves(table: str, s: torch.Tensor) -> dict[str, np.ndarray]:
    return {e: elastic_factor(e, s, table).numpy() for e in SYMBOLS if e in covered_elements(table)}


@pytest.mark.parametrize(
    ("table", "count", "last"),
    [("kirkland", 103, "Lr"), ("lobato", 103, "Lr"), ("peng", 98, "Cf"), ("doyle-turner", 54, "U")],
)
def test_coverage(table, count, last):
    elements = covered_elements(table)
    assert len(elements) == count
    assert max(elements, key=SYMBOLS.index) == last


@pytest.mark.parametrize("table", FACTOR_TABLES)
def test_positive_and_falling_within_the_range_of_the_fit(table):
    s = grid(0.0, validity_limit(table), 401)
    for element in covered_elements(table):
        f = elastic_factor(element, s, table)
        assert (f > 0).all(), element
        assert (f.diff() < 0).all(), element


def test_lobato_obeys_the_mott_bethe_limit():
    # f_e -> Z / (8 pi^2 a_0 s^2), exact by construction of that table.
    s = torch.tensor([300.0], dtype=torch.float64)
    for z, element in enumerate(SYMBOLS, start=1):
        limit = z / (8.0 * math.pi**2 * BOHR_RADIUS * s**2)
        assert (elastic_factor(element, s, "lobato") / limit).item() == pytest.approx(1.0, abs=1e-5), element


def test_kirkland_approaches_the_mott_bethe_limit():
    # The electrons still screen Z by some percent at the end of the fit; more so in heavy atoms.
    s = torch.tensor([6.0], dtype=torch.float64)
    for z, element in enumerate(SYMBOLS, start=1):
        limit = z / (8.0 * math.pi**2 * BOHR_RADIUS * s**2)
        assert 0.92 < (elastic_factor(element, s, "kirkland") / limit).item() < 1.03, element


def test_hydrogen_is_the_exact_atom():
    # f_e = (1 - f_x) / (8 pi^2 a_0 s^2) with f_x = (1 + (2 pi a_0 s)^2)^-2.
    s = grid(0.05, 1.5)
    exact = (1.0 - (1.0 + (2.0 * math.pi * BOHR_RADIUS * s) ** 2) ** -2) / (8.0 * math.pi**2 * BOHR_RADIUS * s**2)
    for table, tolerance in (("kirkland", 5e-3), ("lobato", 1e-3), ("peng", 0.03)):
        torch.testing.assert_close(elastic_factor("H", s, table), exact, rtol=tolerance, atol=0.0)


@pytest.mark.parametrize(
    ("table", "reference", "low", "high"),
    [
        ("lobato", "kirkland", 0.3, 1.5),
        ("kirkland", "lobato", 0.3, 1.5),
        # Not Peng with Kirkland: five Gaussians leave a ripple of 7 % in Rb and Cs, more than a step in Z.
        ("peng", "lobato", 0.2, 1.0),
        ("doyle-turner", "kirkland", 0.2, 1.0),
        ("doyle-turner", "lobato", 0.2, 1.0),
    ],
)
def test_every_row_is_nearest_to_its_own_element_in_another_table(table, reference, low, high):
    """Finds rows that were swapped, shifted or mistyped, without any other program."""
    s = grid(low, high)
    others = curves(reference, s)
    wrong = {}
    for element, f in curves(table, s).items():
        distance = {other: float(np.sqrt(np.mean((f / g - 1.0) ** 2))) for other, g in others.items()}
        nearest = min(distance, key=distance.__getitem__)
        if nearest != element:
            wrong[element] = nearest
    assert wrong == {}


@pytest.mark.parametrize(
    ("table", "worst", "typical"),
    [("lobato", 0.03, 0.01), ("peng", 0.08, 0.01), ("doyle-turner", 0.08, 0.03)],
)
def test_tables_agree_with_kirkland_outside_the_valence_region(table, worst, typical):
    s = grid(0.2, 1.5)
    reference = curves("kirkland", s)
    deviations = [np.abs(f / reference[e] - 1.0).max() for e, f in curves(table, s).items()]
    assert max(deviations) < worst
    assert np.median(deviations) < typical


def test_forward_factors_agree_as_far_as_the_atomic_configurations_do():
    # f_e(0) hangs on the valence electrons; Po (11 %), Ir (9 %) and the 4d metals differ by configuration.
    zero = torch.zeros(1, dtype=torch.float64)
    deviations = {
        e: abs((elastic_factor(e, zero, "lobato") / elastic_factor(e, zero, "kirkland")).item() - 1.0)
        for e in SYMBOLS
    }
    assert max(deviations.values()) < 0.12
    assert {e for e, d in deviations.items() if d > 0.07} <= {"Po", "Ir"}
    assert np.median(list(deviations.values())) < 0.01


def test_peng_equals_the_copy_in_gemmi():
    s = grid(0.0, 2.0, 21)
    for element in covered_elements("peng"):
        row = gemmi.Element(element).c4322
        other = sum(a * np.exp(-b * s.numpy() ** 2) for a, b in zip(row.a, row.b, strict=True))
        np.testing.assert_allclose(elastic_factor(element, s, "peng").numpy(), other, rtol=1e-5)


def test_pinned_values():
    # From a separate evaluation of the same rows; Sr and Rb because other copies of Lobato's table swap them.
    zero = torch.zeros(1, dtype=torch.float64)
    assert elastic_factor("Si", zero, "kirkland").item() == pytest.approx(5.8143, abs=1e-4)
    assert elastic_factor("Si", zero, "lobato").item() == pytest.approx(5.8360, abs=1e-4)
    assert elastic_factor("Si", zero, "doyle-turner").item() == pytest.approx(
        2.129 + 2.533 + 0.835 + 0.322, abs=1e-9
    )
    assert elastic_factor("Sr", zero, "lobato").item() == pytest.approx(13.1099, abs=1e-4)
    assert elastic_factor("Rb", zero, "lobato").item() == pytest.approx(11.7826, abs=1e-4)


@pytest.mark.parametrize("table", FACTOR_TABLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_gradient(table, dtype):
    s = torch.rand(2, 3, 4, dtype=dtype, requires_grad=True)
    f = elastic_factor("Fe", s, table)
    assert f.shape == s.shape
    assert f.dtype == dtype
    (gradient,) = torch.autograd.grad(f.sum(), s)
    assert torch.isfinite(gradient).all()
    assert (gradient < 0).all()
    # Single precision loses nothing, even where large terms cancel (He of Lobato).
    for element in ("He", "Fe"):
        full = elastic_factor(element, s.detach().double(), table)
        torch.testing.assert_close(elastic_factor(element, s.detach(), table).double(), full, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("table", FACTOR_TABLES)
def test_gradcheck(table):
    s = torch.tensor([0.0, 0.2, 1.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: elastic_factor("Cu", x, table), s)


def test_deuterium_and_spelling():
    s = grid(0.0, 1.0, 5)
    torch.testing.assert_close(elastic_factor("D", s), elastic_factor("H", s))
    torch.testing.assert_close(elastic_factor("FE", s), elastic_factor("Fe", s))


def test_errors_say_what_to_do():
    s = torch.zeros(1)
    with pytest.raises(ScatteringError, match="choose one of kirkland"):
        elastic_factor("Si", s, "waasmaier")
    with pytest.raises(ScatteringError, match="It is in: kirkland, lobato, peng"):
        elastic_factor("H", s, "doyle-turner")
    with pytest.raises(ScatteringError, match="No table holds it"):
        elastic_factor("Fe3+", s)
    with pytest.raises(ScatteringError, match="floating-point"):
        elastic_factor("Si", torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ScatteringError, match="choose one of"):
        covered_elements("peng-high")
    with pytest.raises(ScatteringError, match="choose one of"):
        validity_limit("peng-high")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("table", "name"), [("kirkland", "KirklandParametrization"), ("lobato", "LobatoParametrization")]
)
def test_equals_abtem(table, name):
    other = getattr(pytest.importorskip("abtem.parametrizations"), name)()
    s = grid(0.0, 3.0, 31)
    for element in SYMBOLS:
        expected = other.scattering_factor(element)((2.0 * s.numpy()) ** 2)
        # abTEM takes its coefficients in single precision; worst for He, where terms of 60 Å cancel.
        np.testing.assert_allclose(elastic_factor(element, s, table).numpy(), expected, rtol=3e-5)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_equals_diffsims():
    lobato = pytest.importorskip("diffsims.utils.lobato_scattering_params").ATOMIC_SCATTERING_PARAMS_LOBATO
    doyle_turner = pytest.importorskip("diffsims.structure_factor.atomic_scattering_parameters")
    s = grid(0.0, 2.0, 21)
    s2 = s.numpy() ** 2
    for element in covered_elements("lobato"):
        f = sum(a * (2 + b * 4 * s2) / (1 + b * 4 * s2) ** 2 for a, b in lobato[element])
        np.testing.assert_allclose(elastic_factor(element, s, "lobato").numpy(), f, rtol=1e-9)
    for element in covered_elements("doyle-turner"):
        a, b = doyle_turner.get_atomic_scattering_parameters(element)
        f = (a * np.exp(-b * s2[:, None])).sum(1)
        np.testing.assert_allclose(elastic_factor(element, s, "doyle-turner").numpy(), f, rtol=1e-9)
