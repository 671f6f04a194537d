"""One small trained model for the tests of what uses a model."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from synthetic import EXTENT, PIXELS, SyntheticData, small_config

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
