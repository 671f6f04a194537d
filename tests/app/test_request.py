"""What the page may ask for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacbed.app.limits import MAX_CIF_BYTES, MAX_PIXELS
from lacbed.app.request import parse_view, whole_pixels
from lacbed.errors import LacbedError, SettingError

BAD = [
    ({"name": ""}, "choose a built-in crystal"),
    ({"cif": "data_x"}, "choose a built-in crystal"),
    ({"name": 3}, "must be text"),
    ({"name": "", "cif": "x" * (MAX_CIF_BYTES + 1)}, "larger than"),
    ({"voltage": 0}, "voltage must be between"),
    ({"voltage": "200"}, "voltage must be a number"),
    ({"voltage": float("nan")}, "voltage must be a number"),
    ({"voltage": True}, "voltage must be a number"),
    ({"extent": 1e9}, "extent must be between"),
    ({"b_iso": -1}, "b iso must be between"),
    ({"absorption": 101}, "absorption"),
    ({"absorption": "strong"}, "absorption"),
    ({"absorption": ["proportional", 3]}, "absorption"),
    ({"hkl": [1, 0]}, "a reflection must be three whole numbers"),
    ({"hkl": [1.5, 0, 0]}, "a reflection must be three whole numbers"),
    ({"hkl": "000"}, "a reflection must be three whole numbers"),
    ({"zone_axis": [0, 0, 10**9]}, "a zone axis must be three whole numbers"),
    ({"thickness": 0}, "thickness must be between"),
    ({"thickness_step": 1, "thickness_max": 20000}, "20000 thicknesses"),
    ({"detail": 4096}, "detail must be between"),
    ({"detail": float("inf")}, "detail must be a number"),
    ({"tolerance": 0}, "tolerance must be between"),
    ({"laue_zones": 9}, "laue zones must be between"),
    ({"factors": "mine"}, "factors must be one of"),
    ({"factors": ["peng"]}, "factors must be one of"),
    ({"charges": {"Mg": 1.5}}, "charges are whole numbers by element"),
    ({"charges": [["Mg", 2]]}, "charges are whole numbers by element"),
    ({"charges": {"Magnesium": 2}}, "charges are whole numbers by element"),
    ({"foil_normal": [1, 0]}, "a foil normal must be three whole numbers"),
    ({"x_direction": "100"}, "the direction of x must be three whole numbers"),
    ({"have": 3}, "a list of thicknesses"),
    ({"have": [1.0] * 1000}, "a list of thicknesses"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_requests(change, words):
    with pytest.raises(SettingError, match=words) as caught:
        parse_view({"name": "Si", **change})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("data", [None, 3, "Si", [1], b"x"])
def test_a_request_is_an_object(data):
    with pytest.raises(SettingError, match="JSON object"):
        parse_view(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "name",
    "cif",
    "title",
    "zone_axis",
    "voltage",
    "extent",
    "b_iso",
    "absorption",
    "hkl",
    "thickness",
    "detail",
    "tolerance",
    "factors",
    "foil_normal",
    "have",
)


@given(st.dictionaries(st.sampled_from(NAMES), json_values))
def test_anything_is_a_view_or_a_plain_error(data):
    try:
        view = parse_view(data)
    except LacbedError:
        return
    assert parse_view(json.loads(json.dumps(view.to_json()))) == view
    assert 0 < view.pixels <= MAX_PIXELS
    assert view.thickness in view.thicknesses
    assert list(view.thicknesses) == sorted(set(view.thicknesses))


@given(st.integers(1, 32).map(lambda n: n / 2), st.integers(16, MAX_PIXELS))
def test_half_numbers_give_a_whole_number_of_pixels_per_vector(extent, detail):
    pixels = whole_pixels(extent, detail)
    per_vector = pixels / (2 * extent)
    assert abs(per_vector - round(per_vector)) < 1e-9 or pixels == detail
    assert abs(pixels - detail) <= max(extent, 2 * extent - detail)


def test_the_series_holds_what_is_looked_at():
    view = parse_view({"name": "Si", "thickness": 333.5, "thickness_step": 100, "thickness_max": 400})
    assert view.thicknesses == (100, 200, 300, 333.5, 400)


def test_a_data_block_of_a_cif():
    from lacbed.app.structure import crystal_of
    from lacbed.crystals import Crystal

    text = "".join(Crystal.named(name).to_cif() for name in ("Si", "Ge"))
    assert crystal_of(parse_view({"cif": text, "title": "two", "block": "Ge"})).formula == "Ge"
    with pytest.raises(LacbedError, match="2 data blocks hold atoms"):
        crystal_of(parse_view({"cif": text, "title": "two"}))


def test_a_zone_axis_has_no_common_factor_and_names_a_zone():
    view = parse_view({"name": "Si", "zone_axis": [99, 0, 0]})
    assert view.zone_axis == (1, 0, 0)
    same = {"hkl": [2, 2, 0], "thickness": 10, "thickness_max": 500, "thickness_step": 5, "have": [5.0]}
    assert parse_view({"name": "Si", "zone_axis": [1, 0, 0], **same}).zone_key == view.zone_key
    for other in ({"voltage": 100}, {"tolerance": 0.01}, {"name": "Ge"}, {"detail": 64}, {"absorption": "thomas"}):
        assert parse_view({"name": "Si", "zone_axis": [1, 0, 0], **other}).zone_key != view.zone_key


def test_zones_are_shared_by_views_of_one_title_only():
    """A pattern that a worker reads off a zone names the crystal as the zone does."""
    view = {"name": "Si", "title": "mine"}
    assert parse_view(view).zone_key == parse_view({**view, "thickness": 400, "hkl": [2, 2, 0]}).zone_key
    assert parse_view(view).zone_key != parse_view({**view, "title": "yours"}).zone_key
