"""A refinement that was stopped goes on: its state in a folder, and what it belongs to."""

from dataclasses import replace

import numpy as np
import pytest
from gaas_stack import measured

from lacbed.errors import FileFormatError
from lacbed.refinement.files import STATE, fingerprint, load_progress, save_progress
from lacbed.refinement.options import Progress, RefinementOptions, Start
from lacbed.refinement.refine import refine
from lacbed.report import check_resumable


def test_resume_goes_on_where_it_stopped(finished):
    again = refine(finished.data, finished.first, finished.options, resume=finished.saved[-1])
    np.testing.assert_allclose(again.values, finished.result.values, rtol=1e-9)


def test_folder_and_state(tmp_path):
    crystal, data, _ = measured()
    mark = fingerprint(data, crystal, RefinementOptions())
    assert mark != fingerprint(data, crystal, RefinementOptions(free=("thickness",)))
    assert mark == fingerprint([data], crystal, RefinementOptions(profile="thickness"))  # one can be added
    assert mark != fingerprint([data, data], crystal, RefinementOptions())
    folder = tmp_path / "new"
    with pytest.raises(FileFormatError, match="resume"):
        check_resumable(folder, "refinement", STATE, True)
    check_resumable(folder, "refinement", STATE, False)
    progress = Progress(
        2,
        np.array([1.0, 2.0]),
        (Start(300.0, 0.7, 90, np.ones((4, 2)), np.array([[300.0, 0.5]])),),
        (("x", 0.1),),
        ("odd",),
    )
    save_progress(folder, progress, mark)
    back = load_progress(folder, mark)
    assert back.stage == 2
    assert (back.history, back.notes) == (progress.history, progress.notes)
    (start,), (first,) = back.starts, progress.starts
    assert (start.thickness, start.blur, start.beams) == (300.0, 0.7, 90)
    np.testing.assert_array_equal(start.moves, first.moves)
    second = replace(first, thickness=500.0, moves=np.full((3, 6), 0.01))
    save_progress(folder, replace(progress, starts=(first, second)), mark)
    there = load_progress(folder, mark).starts
    assert [s.thickness for s in there] == [300.0, 500.0]
    assert there[1].moves.shape == (3, 6)
    with pytest.raises(FileFormatError, match="another experiment"):
        load_progress(folder, "other")
    with pytest.raises(FileFormatError, match="not empty"):
        check_resumable(folder, "refinement", STATE, False)
    (folder / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileFormatError, match="damaged"):
        load_progress(folder, mark)


def test_the_fingerprint_is_that_of_the_numbers_and_not_of_a_cif(monkeypatch):
    crystal, data, _ = measured()
    mark = fingerprint(data, crystal, RefinementOptions())
    monkeypatch.setattr(type(crystal), "to_cif", lambda self: "another way to write it")
    again = replace(crystal, name="x", notes=("read otherwise",), source="elsewhere")
    assert fingerprint(data, again, RefinementOptions()) == mark
    first = crystal.sites[0]
    for changed in (
        replace(crystal, cell=(crystal.cell[0] * 1.001,) * 3 + crystal.cell[3:]),
        replace(crystal, sites=(replace(first, occupancy=0.9), *crystal.sites[1:])),
        replace(crystal, sites=(replace(first, u_iso=0.011), *crystal.sites[1:])),
        crystal.with_b_iso(0.7),
    ):
        assert fingerprint(data, changed, RefinementOptions()) != mark
