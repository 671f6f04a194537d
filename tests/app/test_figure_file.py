"""Figures for papers: files of every kind, with captions that are true."""

import io
import re

import numpy as np
import pytest
from PIL import Image

import lacbed
from lacbed.app.figure import caption_of, figure_bytes, parse_layout
from lacbed.errors import SettingError

HKL = [(0, 0, 0), (2, 0, 0), (-2, 2, 0)]
LAYOUT = {"panels": [[list(g), 300] for g in HKL], "columns": 3, "width": 86}


@pytest.fixture(scope="module")
def patterns():
    crystal = lacbed.Crystal.named("SrTiO3")
    grid = lacbed.TiltGrid(pixels=12, extent=1)
    return [lacbed.simulate(crystal, (0, 0, 1), 200e3, [300, 600], grid, HKL, beams=40, absorption="thomas")]


def test_every_kind_of_file_holds_its_caption(patterns):
    for ending, start in ((".svg", b"<?xml"), (".pdf", b"%PDF"), (".png", b"\x89PNG")):
        content, caption = figure_bytes(patterns, parse_layout({**LAYOUT, "format": ending}))
        assert content.startswith(start)
        assert content == figure_bytes(patterns, parse_layout({**LAYOUT, "format": ending}))[0]  # no date in it
        if ending == ".png":
            image = Image.open(io.BytesIO(content))
            assert image.text["Description"] == caption
            assert abs(image.width / 600 * 25.4 - 86) < 0.2  # mm
        elif ending == ".svg":
            assert "at 200 kV" in content.decode()
            assert float(re.search(rb'width="([\d.]+)pt"', content).group(1)) == pytest.approx(
                86 / 25.4 * 72, abs=0.1
            )


def test_the_caption_says_what_is_drawn(patterns):
    _, caption = figure_bytes(patterns, parse_layout({**LAYOUT, "contrast": "common", "logarithmic": True}))
    for words in (
        "SrTiO₃ along [001] at 200 kV",
        "reflections 000, 200, 2̅20, thickness 300 Å",
        "absorption of Thomas et al. (2024)",
        "Kirkland scattering factors",
        "half-width 6.42 mrad",
        "logarithmic",
        "one scale for all panels",
        f"{patterns[0].attrs['beams']} beams",
        "lacbed",
    ):
        assert words in caption
    one = [[[0, 0, 0], 600]]
    _, caption = figure_bytes(patterns, parse_layout({**LAYOUT, "panels": one}))
    assert "reflection 000, thickness 600 Å" in caption
    assert "each panel" not in caption


def test_other_absorption_and_laue_zones_are_named():
    crystal = lacbed.Crystal.named("Si")
    grid = lacbed.TiltGrid(pixels=4, extent=1)
    for absorption, words in ((None, "no absorption"), (("proportional", 7), "7 % proportional")):
        pattern = lacbed.simulate(
            crystal,
            (0, 0, 1),
            200e3,
            [300],
            grid,
            [(0, 0, 0)],
            beams=60,
            absorption=absorption,
            laue_zones=1,
            foil_normal=(0, 1, 9),
        )
        caption = caption_of([pattern], parse_layout({"panels": [[[0, 0, 0], 300]]}), 0.4)
        for said in (words, "Laue zones 0 to 1", "foil normal [019]", "B = 0.4 Å²"):
            assert said in caption


def test_the_panel_is_the_data(patterns):
    layout = {"panels": [[[2, 0, 0], 600]], "format": ".png", "width": 40, "smooth": False}
    bare = {"scale_bar": False, "indices": False, "colour_bar": False}
    content, _ = figure_bytes(patterns, parse_layout({**layout, **bare}))
    image = np.asarray(Image.open(io.BytesIO(content)).convert("L"), dtype=float)
    size = image.shape[0]
    at = ((np.arange(12) + 0.5) / 12 * size).astype(int)
    values = patterns[0].sel(thickness=600, hkl="2,0,0").values
    assert np.corrcoef(image[np.ix_(at, at)][::-1].ravel(), values.ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"panels": []}, "1 to 64 panels"),
        ({"panels": [[[0, 0], 300]]}, "1 to 64 panels"),
        ({"panels": [[[0, 0, 0], 300]] * 65}, "1 to 64 panels"),
        ({"format": ".gif"}, ".svg"),
        ({"colours": "jet"}, "colours"),
        ({"width": 5}, "width"),
        ({"columns": 2.5}, "columns"),
        ({"indices": 1}, "indices"),
        ({"panels": [[[4, 0, 0], 300]]}, "no reflection 4,0,0"),
        ({"panels": [[[0, 0, 0], 301]]}, "no reflection 0,0,0 at 301"),
        ({"panels": [[[0, 0, 0], 300]] * 16, "columns": 16, "width": 40}, "leave no room"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused(patterns, change, words):
    with pytest.raises(SettingError) as caught:
        figure_bytes(patterns, parse_layout({**LAYOUT, **change}))
    assert words in str(caught.value)
