"""From frames to a stack, on series whose truth is known; none of the code that makes them takes part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from extract_series import GAAS, SCOPE, make, sites_of
from frame_series import Series, make_vacuum

import lacbed
from lacbed.cli import main
from lacbed.errors import SettingError
from lacbed.experiment.extract.pipeline import kept_images


def test_intensities_are_the_truth_within_their_noise(series: Series, found: lacbed.Extraction) -> None:
    stack, lattice = found.stack, found.look.lattice
    truth = sites_of(series, lattice.basis)
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


def test_the_cone_of_directions_of_a_tilt_is_the_disc_without_the_point_spread(
    series: Series, found: lacbed.Extraction
) -> None:
    scale = np.sqrt(abs(np.linalg.det(series.matrix)))  # pixels per 1/Å
    assert found.experiment.cone == pytest.approx(SCOPE.radius / scale, rel=0.08)
    with pytest.raises(SettingError, match="cone in the metadata of an experiment must be a number of 1/Å"):
        found.experiment.annotated(cone=-1.0)


def test_pixels_of_a_uniform_disc_are_no_directions() -> None:
    series = make(replace(SCOPE, flat=True))
    frames = lacbed.open_frames(series.frames)
    found = lacbed.extract(
        frames, GAAS, (1, 1, 0), 200e3, lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain)
    )
    assert found.experiment.cone == 0.0
    assert any("each tilt is taken as one direction" in note for note in found.experiment.notes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Dask leaves sockets behind when its workers end
def test_the_workers_of_a_cluster_find_the_same(series: Series, found: lacbed.Extraction) -> None:
    distributed = pytest.importorskip("distributed")
    settings = lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        frames = lacbed.open_frames(series.frames)
        again = lacbed.extract(frames, GAAS, (1, 1, 0), 200e3, settings)
        done = client.run(lambda dask_worker: len(dask_worker.state.tasks) + dask_worker.state.executed_count)
    assert sum(done.values()) > 0
    assert np.array_equal(again.stack.images, found.stack.images, equal_nan=True)
    assert again.experiment.hkl == found.experiment.hkl
    assert again.experiment.half_width == found.experiment.half_width


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
