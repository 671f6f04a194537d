"""The cheap config that the tests build with."""

from lacbed.datasets.config import DatasetConfig

CHEAP = DatasetConfig(
    pixels=16, potential_pixels=16, absorption=None, tolerance_z=0.2, tolerance_intensity=0.5, max_beams=400
)
NAMES = ("Cu", "Al", "Ni", "LiF", "MgO", "Fe", "Cr", "V", "SiC", "Cu3Au", "FeSi", "Cr3Si")
