"""The card of an exported data set, as a page for people and as the front matter that hubs read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lacbed.datasets.croissant import describe
from lacbed.datasets.reader import Store

_CREATOR = "The lacbed founders"
_KEYWORDS = ["electron diffraction", "LACBED", "crystal structures", "machine learning"]
_HUB = {"CC0-1.0": "cc0-1.0", "CC-BY-4.0": "cc-by-4.0", "Apache-2.0": "apache-2.0", "MIT": "mit"}


def card(store: Store, manifest: Mapping[str, Any], counts: Mapping[str, int], about: Mapping[str, str]) -> str:
    """README.md: YAML front matter, then text."""
    config = store.config
    shape = (config.thickness_count, len(config.hkl), config.pixels, config.pixels)
    names = dict.fromkeys(str(one["licence"]) for one in manifest["licences"])
    lines = ["---", f"pretty_name: {json.dumps(about['name'])}"]
    lines += ["license:", *(f"- {name}" for name in dict.fromkeys(_HUB.get(name, "other") for name in names))]
    lines += ["tags:", *(f"- {word}" for word in _KEYWORDS), "configs:", "- config_name: default", "  data_files:"]
    lines += [f"  - split: {side}\n    path: data/{side}.parquet" for side in counts]
    lines += ["---", "", f"# {about['name']}", "", describe(manifest, about), ""]
    lines += ["| side | crystals |", "|---|---:|", *(f"| {side} | {n} |" for side, n in counts.items()), ""]
    lines += [
        "## Reading",
        "",
        "```python",
        "import numpy as np",
        "import pyarrow.parquet as pq  # or: datasets.load_dataset(FOLDER)",
        "",
        'row = pq.read_table("data/test.parquet").to_pylist()[0]',
        f'pattern = np.array(row["pattern"]).reshape{shape} / 65535  # thickness, hkl, ky, kx',
        f'steps = np.array(row["potential"]).reshape{(config.potential_pixels,) * 2}  # v, u',
        'potential = row["potential_offset"] + row["potential_scale"] * steps  # V',
        "```",
        "",
        "Thicknesses in Å are thickness_0 and so on; energy is in eV, lattice_parameter in Å. Reflections: "
        + ", ".join(" ".join(str(i) for i in g) for g in config.hkl)
        + f". Tilts: {config.pixels} along each side over ±{config.extent:g} reciprocal lattice vectors, at the "
        "centres of pixels.",
        "",
        "`lacbed dataset import FOLDER -o data.zarr` makes the data set of lacbed again, bit for bit.",
        "",
        "## Licences",
        "",
        "| source | licence | rows |",
        "|---|---|---:|",
        *(f"| {one['source']} | {one['licence']} | {one['rows']} |" for one in manifest["licences"]),
    ]
    if manifest["attribution"]:
        lines += ["", "Attribution required:", "", *(f"- {line}" for line in manifest["attribution"])]
    lines += ["", "## How each crystal was computed", "", "```json", json.dumps(config.to_dict(), indent=1), "```"]
    return "\n".join(lines) + "\n"


def zenodo(manifest: Mapping[str, Any], about: Mapping[str, str]) -> dict[str, Any]:
    """What Zenodo reads from an archive: .zenodo.json."""
    names = list(dict.fromkeys(str(one["licence"]) for one in manifest["licences"]))
    return {
        "title": about["name"],
        "upload_type": "dataset",
        "description": describe(manifest, about),
        "creators": [{"name": _CREATOR}],
        "license": names[0].lower() if len(names) == 1 else "other-open",
        "keywords": _KEYWORDS,
        "notes": "; ".join(manifest["attribution"]),
    }
