"""From frames to a stack, on series whose truth is known; none of the code that makes them takes part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frame_series import Microscope, Series, make_series, make_vacuum
from scipy.ndimage import binary_dilation, map_coordinates

import lacbed
from lacbed.cli import main
from lacbed.experiment.extract.camera import study_camera
from lacbed.experiment.extract.indices import candidates, from_spots
from lacbed.experiment.extract.look import Look, look_at
from lacbed.experiment.extract.pipeline import kept_images, sum_stack
from lacbed.experiment.extract.scan import guess_shape, order_frames
from lacbed.experiment.extract.tilts import Tilts, find_tilts
from lacbed.experiment.extract.vacuum import beam_places, check_beam
from lacbed.experiment.extract.write import interpolate
from lacbed.geometry.frame import make_frame

GAAS = lacbed.Crystal.named("GaAs")
SCOPE = Microscope(
    tilts=18, half_width=0.42, tilt_turn=33.0, flip=True, turn=-70.0, camera=72, spacing=15.0, dose=4e4, hot=3,
    descan=(2.0, -1.5), fine=1, dropped=(100,), doubled=(211,), diffuse=0.15,
)  # fmt: skip


def make(scope: Microscope) -> Series:
    """A series of GaAs along [110], a polar direction."""
    return make_series(
        GAAS, (1, 1, 0), scope, reach=0.75, beams=37, solver="tilted", dtype="float64", absorption=None
    )


@pytest.fixture(scope="module")
def series() -> Series:
    """Camera mirrored and turned, scan turned, one frame lost, one twice."""
    return make(SCOPE)


@pytest.fixture(scope="module")
def found(series: Series) -> lacbed.Extraction:
    settings = lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain)
    return lacbed.extract(lacbed.open_frames(series.frames), GAAS, (1, 1, 0), 200e3, settings)


def _sites(series: Series, basis: np.ndarray) -> dict[tuple[int, ...], int]:
    exact = series.vectors @ series.matrix.T @ np.linalg.inv(basis)
    assert np.abs(exact - np.round(exact)).max() < 0.1
    return {tuple(np.round(e).astype(int).tolist()): i for i, e in enumerate(exact)}


def test_indices_and_handedness_are_found_without_help(series: Series, found: lacbed.Extraction) -> None:
    o, lattice = found.orientation, found.look.lattice
    truth = _sites(series, lattice.basis)
    rows = kept_images(found.stack, lattice.sites, o.origin)
    sites = [s for s in (tuple((lattice.sites[r] - o.origin).tolist()) for r in rows) if s in truth]
    assert len(sites) > 8
    assert o.choice is not None
    assert o.choice.decided
    assert len(o.choice.equivalent) == 2  # the mirror of the zone; the two polar directions are not equal
    right = [
        all(tuple(w.of(np.array([s]))[0]) == tuple(series.hkl[truth[s]]) for s in sites)
        for w in o.choice.equivalent
    ]
    assert sum(right) == 1


def test_intensities_are_the_truth_within_their_noise(series: Series, found: lacbed.Extraction) -> None:
    stack, lattice = found.stack, found.look.lattice
    truth = _sites(series, lattice.basis)
    squares = []
    for r in kept_images(stack, lattice.sites, found.orientation.origin):
        i = truth.get(tuple((lattice.sites[r] - found.orientation.origin).tolist()))
        if i is None:  # beyond the reflections that were simulated
            continue
        good = np.isfinite(stack.images[r])
        squares.append(((stack.images[r] - series.truth[i])[good] ** 2 / stack.variance[r][good]).mean())
    assert 0.85 < np.mean(squares) < 1.2


def test_the_geometry_follows_from_the_images(series: Series, found: lacbed.Extraction) -> None:
    grid = found.orientation.grid
    n = SCOPE.tilts
    assert grid.half_width == pytest.approx(SCOPE.half_width, rel=0.0015)
    middle = series.k.reshape(-1, 2).mean(axis=0)
    assert np.hypot(*(np.array(grid.center) - middle)) < 0.2 * 2 * SCOPE.half_width / n
    assert abs(grid.stretch) < 0.003
    assert abs(grid.shear) < 0.15
    assert 0 < grid.uncertainty[0] < 0.005 * SCOPE.half_width
    assert abs(grid.half_width - SCOPE.half_width) < 3 * grid.uncertainty[0]


def test_the_missing_and_the_doubled_frame_are_found(series: Series, found: lacbed.Extraction) -> None:
    row, place = divmod(SCOPE.dropped[0], SCOPE.tilts)
    column = SCOPE.tilts - 1 - place if row % 2 else place
    assert np.argwhere(~found.look.scan.known).tolist() == [[row, column]]
    assert found.look.scan.serpentine
    assert any("repeat the one before" in note for note in found.experiment.notes)


def test_descan_and_drift_are_followed(series: Series, found: lacbed.Extraction) -> None:
    assert _off(found.look, series) < 0.15


def test_the_series_itself_is_no_vacuum_scan(series: Series) -> None:
    frames = lacbed.open_frames(series.frames)
    with pytest.raises(lacbed.LacbedError, match="do not show one whole, bright disc"):
        look_at(frames, lacbed.ExtractSettings(scan=series.scan, vacuum=frames))


def test_blank_frames_of_a_vacuum_scan_are_filled_in_from_their_row() -> None:
    scope = replace(SCOPE, dropped=(), doubled=())
    frames = make_vacuum(scope)
    camera, scan = study_camera(frames[::5]), order_frames(np.zeros((324, 4), np.float32), (18, 18), True, None)
    whole, _ = beam_places(lacbed.open_frames(frames), camera, scan)
    lost = frames.copy()
    lost[[100, 101, 102, 180]] = 0  # the last of them begins a row
    places, notes = beam_places(lacbed.open_frames(lost), camera, scan)
    assert notes == ()
    assert np.abs(places - whole).max() < 0.5  # a step of the descan error is up to 0.4 pixels
    assert np.sum(np.abs(places - whole).max(axis=-1) > 1e-9) <= 4


def test_a_vacuum_scan_whose_beam_leaves_the_camera_is_refused() -> None:
    frames = np.roll(make_vacuum(SCOPE), -SCOPE.camera // 2, axis=2)
    with pytest.raises(lacbed.LacbedError, match="do not show one whole, bright disc"):
        check_beam(frames[::5], study_camera(frames[::5]))


@pytest.mark.parametrize("waves", [(0.0, 0.0), (1.6, 1.2)])
@pytest.mark.parametrize("stop", [False, True])
def test_a_beam_stop_is_found_and_no_gap_between_discs_taken_for_one(
    stop: bool, waves: tuple[float, float]
) -> None:
    frames = make(replace(SCOPE, stop=stop, descan_waves=waves)).frames
    blind = look_at(lacbed.open_frames(frames), lacbed.ExtractSettings(scan=(18, 18))).camera.blind
    covered = np.zeros(blind.shape, dtype=bool)
    if stop:
        middle = SCOPE.camera // 2
        covered[middle - 5 : middle + 6, : middle + 5] = True
        assert (blind & covered)[:, 12:].sum() > 0.9 * covered[:, 12:].sum()  # further out is no light
    assert not (blind & ~binary_dilation(covered, iterations=2)).any()


def _off(look: Look, series: Series) -> float:
    """Root mean square of what is wrong with the track in pixels."""
    off = (look.track.places - series.beam) @ np.linalg.inv(look.lattice.basis)
    off = (off - np.round(np.median(off.reshape(-1, 2), axis=0))) @ look.lattice.basis
    return float(np.sqrt((off**2).mean()))


def test_a_vacuum_scan_shows_a_descan_error_of_any_shape(series: Series) -> None:
    wavy = replace(SCOPE, descan_waves=(0.8, -0.6), dropped=(), doubled=())
    other = make(wavy)
    vacuum = lacbed.open_frames(make_vacuum(replace(wavy, drift=(-0.7, 0.4), seed=5)))
    settings = lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain)
    without = look_at(lacbed.open_frames(other.frames), settings)
    known = look_at(lacbed.open_frames(other.frames), replace(settings, vacuum=vacuum))
    assert _off(known, other) < 0.05
    assert _off(without, other) > 0.3  # no cubic
    assert any("descan error is that of the vacuum scan" in note for note in known.notes)


def test_a_vacuum_scan_changes_nothing_but_noise_where_the_series_shows_its_descan_error(series: Series) -> None:
    vacuum = lacbed.open_frames(make_vacuum(replace(SCOPE, dropped=(7, 200), seed=5)))
    settings = lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain, vacuum=vacuum)
    assert _off(look_at(lacbed.open_frames(series.frames), settings), series) < 0.08


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:, :-4], "have 68x72 pixels and those of the series 72x72"),
        (lambda v: v[:-40], "has 284 frames and the series 18x18 tilts"),
        (lambda v: v.reshape(12, 27, 72, 72), "has 12x27 tilts and the series 18x18"),
        (
            lambda v: np.random.default_rng(0).poisson(9.0, v.shape).astype("u2"),
            "do not show one whole, bright disc",
        ),
        (lambda v: v * 0, "200 of 200 frames of the vacuum scan do not show one whole, bright disc"),
        (lambda v: v[::-1], "the vacuum scan belongs to the series"),
    ],
)
def test_a_vacuum_scan_that_is_none_gets_one_line(series: Series, change: Any, message: str) -> None:
    vacuum = make_vacuum(replace(SCOPE, dropped=(), doubled=(), descan=(9.0, -8.0), drift=(0.0, 0.0)))
    settings = lacbed.ExtractSettings(scan=series.scan, vacuum=lacbed.open_frames(change(vacuum)))
    with pytest.raises(lacbed.LacbedError, match=message) as caught:
        look_at(lacbed.open_frames(series.frames), settings)
    assert "\n" not in str(caught.value)
    with pytest.raises(lacbed.LacbedError, match="must be a series of frames"):
        lacbed.ExtractSettings(vacuum="vacuum.npy")  # type: ignore[arg-type]


def test_every_pixel_has_variance_mask_and_background(found: lacbed.Extraction, tmp_path: Path) -> None:
    from lacbed.patterns.files import save_pattern

    e = found.experiment
    assert e.variance is not None
    assert e.background is not None
    assert np.array_equal(np.isfinite(e.variance), e.mask)
    flags = e.pattern["mask"].values
    assert np.array_equal(flags == 0, e.mask)
    assert (e.background[e.mask] > 0).mean() > 0.95
    facts = json.loads(e.pattern.attrs["extraction"])
    assert facts["scan"]["serpentine"] is True
    assert facts["gain"] == SCOPE.gain
    for ending in ("nc", "npz", "zarr"):
        save_pattern(e.pattern, tmp_path / f"stack.{ending}")
        again = lacbed.load_experiment(tmp_path / f"stack.{ending}")
        assert again.variance is not None
        np.testing.assert_array_equal(again.variance, e.variance)
        assert again.pattern.attrs == e.pattern.attrs


def test_what_is_known_of_pixels_goes_along_when_a_stack_is_turned_or_binned(found: lacbed.Extraction) -> None:
    e = found.experiment
    other = "-x-y"
    turned = e.turned(other).turned(e.orientation)
    np.testing.assert_array_equal(turned.variance, e.variance)
    binned = e.binned(2)
    assert binned.variance is not None
    assert e.variance is not None
    by_hand = e.variance[:, :2, :2].mean(axis=(1, 2)) / 4
    np.testing.assert_allclose(binned.variance[:, 0, 0], by_hand)
    broken = e.pattern.assign_coords(variance=e.pattern["variance"] * 0)
    with pytest.raises(lacbed.LacbedError, match="positive number in every used pixel"):
        lacbed.Experiment(broken)


def _uneven(k: np.ndarray) -> np.ndarray:
    """What is left of directions k (row, column, 2) after the nearest even grid, in its steps; NaN stays."""
    rows, columns = np.mgrid[: k.shape[0], : k.shape[1]]
    even = np.stack([np.ones(rows.size), rows.ravel(), columns.ravel()], axis=1)
    flat = k.reshape(-1, 2)
    known = np.isfinite(flat).all(axis=1)
    found = np.linalg.lstsq(even[known], flat[known], rcond=None)[0]
    return np.asarray(((flat - even @ found) @ np.linalg.inv(found[1:])).reshape(k.shape))


def _tilts(series: Series, distortion: bool = True) -> Tilts:
    """Of a series, by the steps of `extract` that lead to them."""
    frames, settings = lacbed.open_frames(series.frames), lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain)
    look = look_at(frames, settings)
    stack = sum_stack(frames, look, settings)
    rows = kept_images(stack, look.lattice.sites, np.zeros(2))
    sites = look.lattice.sites[rows]
    return find_tilts(stack.images[rows], stack.variance[rows], sites, look.lattice.basis, distortion)[0]


@pytest.mark.parametrize(
    ("bend", "barrel", "order"),
    [(0.015, 0.0, 2), (0.0, 0.02, 3), (0.01, -0.02, 3)],
    ids=["bend", "pincushion", "both"],
)
def test_a_smooth_distortion_is_found_to_a_tenth_of_a_tilt(bend: float, barrel: float, order: int) -> None:
    made = make(replace(SCOPE, tilts=24, tilt_bend=bend, tilt_barrel=barrel))
    found = _tilts(made)
    places = np.moveaxis(np.mgrid[:24, :24].astype(float), 0, -1)
    truth, distortion = _uneven(made.k), found.distortion
    assert distortion.order == order
    assert np.linalg.norm(truth, axis=-1).max() > 0.17  # before
    off = np.linalg.norm(distortion.of(places) - truth, axis=-1)
    assert off.max() < 0.1
    assert np.sqrt((off**2).mean()) < 0.03
    size, error = found.displacement
    assert size == pytest.approx(np.linalg.norm(truth, axis=-1).max(), abs=max(4 * error, 0.02))
    np.testing.assert_allclose(distortion.even(distortion.recorded(places)), places, atol=1e-4)
    np.testing.assert_allclose(found.place(found.k(places)), places, atol=1e-4)


def test_an_even_scan_has_no_distortion(found: lacbed.Extraction) -> None:
    for seed in (1, 2, 3):
        assert _tilts(make(replace(SCOPE, seed=seed))).distortion.order == 1
    assert found.orientation.tilts.distortion.order == 1
    assert found.orientation.tilts.displacement == (0.0, 0.0)
    assert found.orientation.tilts.chi2 == pytest.approx(1, abs=0.3)


def test_the_stack_of_a_distorted_scan_lies_on_an_even_grid() -> None:
    made = make(replace(SCOPE, tilts=24, tilt_bend=0.01, tilt_barrel=0.02))
    settings = lacbed.ExtractSettings(scan=made.scan, gain=SCOPE.gain)
    found = lacbed.extract(lacbed.open_frames(made.frames), GAAS, (1, 1, 0), 200e3, settings)
    grid, e = found.orientation.grid, found.experiment
    assert grid.resampled
    inside = ((grid.at >= 0) & (grid.at <= 23)).all(axis=-1)
    k = np.stack([map_coordinates(made.k[..., i], np.moveaxis(grid.at, -1, 0), order=1) for i in (0, 1)], axis=-1)
    k[~inside] = np.nan
    assert np.nanmax(np.linalg.norm(_uneven(k), axis=-1)) < 0.1
    assert e.variance is not None
    assert np.array_equal(np.isfinite(e.variance), e.mask)
    facts = json.loads(e.pattern.attrs["extraction"])["distortion"]
    assert facts["order"] == 3
    assert facts["largest"][0] == pytest.approx(np.linalg.norm(_uneven(made.k), axis=-1).max(), abs=0.06)
    assert any("distorted smoothly" in note for note in e.notes)
    assert _tilts(made, distortion=False).distortion.order == 1


def test_two_named_spots_decide_the_indices(series: Series, found: lacbed.Extraction) -> None:
    look, o = found.look, found.orientation
    assert o.choice is not None
    other = next(w for w in o.choice.equivalent if w is not o.indexing)
    spots = []
    for site in ((1, 0), (0, 1)):
        y, x = look.middle + (o.origin + np.array(site)) @ look.lattice.basis
        h, k, l = other.of(np.array([site]))[0].tolist()  # noqa: E741
        spots.append(((x, y), (h, k, l)))
    beam = look.middle + o.origin @ look.lattice.basis
    ways = candidates(GAAS, make_frame(GAAS, (1, 1, 0)), look.lattice.basis, o.tilts.steps)
    (left,) = from_spots(ways, look.lattice.basis, beam, spots)
    assert np.array_equal(left.hkl, other.hkl)
    wrong = [(spots[0][0], (0, 0, 2)), (spots[1][0], (2, -2, 0))]
    with pytest.raises(lacbed.LacbedError, match="no indexing of the lattice gives the named spots"):
        from_spots(ways, look.lattice.basis, beam, wrong)
    with pytest.raises(lacbed.LacbedError, match="is the direct beam"):
        from_spots(ways, look.lattice.basis, beam, [((beam[1], beam[0]), (1, -1, 1)), spots[1]])


def test_another_crystal_is_refused(series: Series, found: lacbed.Extraction) -> None:
    crystal = lacbed.Crystal.named("SrTiO3")
    with pytest.raises(lacbed.LacbedError, match="is not that of SrTiO3"):
        candidates(
            crystal, make_frame(crystal, (0, 0, 1)), found.look.lattice.basis, found.orientation.tilts.steps
        )


def test_the_noise_shows_the_gain(series: Series, found: lacbed.Extraction) -> None:
    noise = sum_stack(lacbed.open_frames(series.frames), found.look, lacbed.ExtractSettings()).noise
    assert noise.gain == pytest.approx(SCOPE.gain, abs=max(4 * noise.error, 0.4))
    assert noise.floor == pytest.approx(SCOPE.readout**2 - SCOPE.gain * SCOPE.pedestal, abs=12)


def test_a_series_without_a_lattice_says_so() -> None:
    frames = np.random.default_rng(0).poisson(5.0, (81, 32, 32)).astype(np.uint16)
    with pytest.raises(lacbed.LacbedError, match="lattice of discs"):
        look_at(lacbed.open_frames(frames), lacbed.ExtractSettings())
    with pytest.raises(lacbed.LacbedError, match="all frames of the sample are empty"):
        look_at(lacbed.open_frames(frames * 0), lacbed.ExtractSettings())


def test_the_shape_of_a_scan_must_fit() -> None:
    assert guess_shape(4096, None) == (64, 64)
    assert guess_shape(4090, None) == (64, 64)
    with pytest.raises(lacbed.LacbedError, match="not a square scan"):
        guess_shape(4500, None)
    with pytest.raises(
        lacbed.LacbedError, match="a scan of 60x60 tilts has 3600 frames, and there are 4096: 496 more"
    ):
        guess_shape(4096, (60, 60))


@pytest.mark.parametrize("serpentine", [True, False])
def test_frames_are_put_in_order(serpentine: bool) -> None:
    rng = np.random.default_rng(1)
    v, u = np.meshgrid(np.linspace(0, 3, 12), np.linspace(0, 3, 15), indexing="ij")
    pictures = np.stack([np.sin(a * u + b * v) for a, b in rng.normal(size=(9, 2))], axis=-1)
    ordered = pictures.copy()
    if serpentine:
        ordered[1::2] = ordered[1::2, ::-1]
    flat = np.delete(ordered.reshape(-1, 9), [40, 97], axis=0).astype(np.float32)
    scan = order_frames(flat, (12, 15))
    assert scan.serpentine is serpentine
    expected = np.zeros((12, 15), dtype=bool)
    expected.ravel()[[40, 97]] = True
    if serpentine:
        expected[1::2] = expected[1::2, ::-1]
    assert np.array_equal(~scan.known, expected)
    np.testing.assert_allclose(scan.on_grid(flat)[scan.known], pictures[scan.known], atol=1e-6)


def test_cubic_convolution_keeps_a_parabola_and_knows_its_noise() -> None:
    rows, columns = np.mgrid[:12, :12].astype(float)
    image = (rows**2 + 2 * columns)[None]
    at = np.stack(np.meshgrid(np.arange(2, 9) + 0.5, np.arange(2, 9) + 0.25, indexing="ij"), axis=-1)
    values, variance = interpolate(image, np.ones_like(image), at)
    np.testing.assert_allclose(values[0], at[..., 0] ** 2 + 2 * at[..., 1], atol=1e-9)
    assert np.all((variance > 0.3) & (variance < 0.7))
    image[0, 5, 5] = np.nan
    assert np.isnan(interpolate(image, np.ones_like(image), np.array([[[5.5, 5.5]]]))[0]).all()


def test_the_command_looks_and_extracts(
    series: Series, found: lacbed.Extraction, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "series.npy", series.frames)
    words = ["experiment", "extract", str(tmp_path / "series.npy"), "GaAs", "--zone", "1,1,0", "--scan", "18x18"]
    vacuum, out = tmp_path / "vacuum.npy", tmp_path / "stack.nc"
    np.save(vacuum, make_vacuum(replace(SCOPE, seed=5)))
    words += ["--vacuum", str(vacuum)]
    beam = found.look.middle + found.orientation.origin @ found.look.lattice.basis
    for site in ((1, 0), (0, 1)):
        y, x = beam + np.array(site) @ found.look.lattice.basis
        hkl = found.orientation.indexing.of(np.array([site]))[0].tolist()
        words += ["--spot", f"{x:.2f},{y:.2f}={','.join(map(str, hkl))}"]
    assert main([*words, "-o", str(out), "--report", str(tmp_path / "report"), "--gain", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["half_width"] == pytest.approx(SCOPE.half_width, rel=0.004)
    assert said["extraction"]["vacuum"] == "vacuum.npy"
    assert "indices.png" in {p.name for p in (tmp_path / "report").iterdir()}
    assert lacbed.load_experiment(out).variance is not None
    assert main([*words]) == 2
    assert "-o FILE.nc" in capsys.readouterr().err
    assert main([*words, "--look"]) == 2
    assert "--report FOLDER" in capsys.readouterr().err
    assert main([*words, "-o", str(out), "--spot", "1,2=3"]) == 2
    assert "--spot must be" in capsys.readouterr().err
