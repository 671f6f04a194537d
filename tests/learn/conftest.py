"""One small trained model for the tests of what uses a model, and a small data set beside which others stream."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from stream_rows import CONFIG, NAMES
from synthetic import EXTENT, PIXELS, SyntheticData, small_config

from lacbed.catalog.files import table_of
from lacbed.catalog.generate import all_candidates, row_of_candidate
from lacbed.catalog.rows import row_of
from lacbed.crystals import Crystal
from lacbed.datasets.build import build
from lacbed.datasets.plan import make_plan
from lacbed.datasets.workers import here
from lacbed.learn import data
from lacbed.learn.config import config_from_dict
from lacbed.learn.export import finish
from lacbed.learn.train import train

DATA_CONFIG = {
    "zone_axis": [0, 0, 1],
    "thicknesses": {"low": 100.0, "high": 2000.0, "count": 2, "seed": 0},
    "energy": {"low": 60e3, "high": 300e3, "count": 1, "seed": 0},
    "pixels": PIXELS,
    "extent": EXTENT,
    "factors": "kirkland",
    "absorption": ["proportional", 5.0],
    "potential_pixels": 32,
    "potential_g_max": 3.0,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """Folder of a finished run of a U-Net, with a domain."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    config = config_from_dict(small_config("unet"))
    training, validation = SyntheticData(12), SyntheticData(6, 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "data_record", lambda d: {"crystals": len(d), "config": DATA_CONFIG})
        train(config, training, validation, folder)
        finish(folder, config, training, validation)
    return folder


@pytest.fixture(scope="session")
def rows():
    """Rows of a catalogue: named crystals, and prototypes that the generator knows too."""
    named = [
        row_of(Crystal.named(n), source="t", source_id=n, licence="CC0-1.0", kind="experimental") for n in NAMES
    ]
    every = [c for c in all_candidates() if c.prototype in ("fcc", "rock salt", "CsCl", "perovskite")]
    return named + [row_of_candidate(c, 5) for c in every[::60]]


@pytest.fixture(scope="session", name="data")
def data_set(rows, tmp_path_factory) -> Path:
    """A data set of them."""
    folder = tmp_path_factory.mktemp("stream") / "data.zarr"
    build(make_plan(table_of(rows), CONFIG, batch=4), folder, here)
    return folder
