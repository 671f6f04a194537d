"""Where a scan has its minima."""

from __future__ import annotations

import numpy as np

from lacbed.crystals.cell import FloatArray


def local_minima(scores: FloatArray) -> list[int]:
    """Places of the local minima, the deepest first."""
    padded = np.concatenate([[np.inf], scores, [np.inf]])
    lows = [i for i in range(len(scores)) if padded[i + 1] <= padded[i] and padded[i + 1] < padded[i + 2]]
    return sorted(lows, key=lambda i: scores[i]) or [int(np.argmin(scores))]
