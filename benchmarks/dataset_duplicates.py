"""Near duplicates in a data set, and what they would do to a test that does not mind them.

For several bounds of Z: crystals that have a near duplicate, groups, the largest group, and how many pairs stand
on two sides of a split by compound and by prototype if near duplicates are not kept together. Groups are closed
(neighbours of neighbours belong), so that a bound too large joins everything.
"""

from __future__ import annotations

import time
from pathlib import Path

from common import number, parser, publish, table
from lacbed.datasets.reader import Store
from lacbed.datasets.splits import BOUND, KINDS, SIDES, near_duplicates, split_rows

BOUNDS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)


def straddling(groups: list[str], joined: list[list[int]], near: list[list[int]], kind: str) -> int:
    """Crystals whose group of near duplicates stands on two sides."""
    side = split_rows(groups, joined, kind=kind, seed=0)
    return sum(len(members) for members in near if len({int(side[m]) for m in members}) > 1)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("data", type=Path)
    chosen = options.parse_args()
    store = Store(chosen.data)
    rows = store.done_rows()
    position = {int(row): i for i, row in enumerate(rows)}
    catalog = store.catalog()
    groups = {
        kind: [str(catalog[column][int(row)].as_py()) for row in rows] for kind, column in KINDS.items() if column
    }
    lines, shares = [], []
    for bound in BOUNDS:
        start = time.perf_counter()
        near = near_duplicates(store.by_place(rows), store.pattern, bound)
        seconds = time.perf_counter() - start
        near = [[position[row] for row in members] for members in near]
        sizes = [len(members) for members in near]
        lines.append(
            [
                f"{100 * bound:g} %",
                sum(sizes),
                len(sizes),
                max(sizes, default=0),
                *(straddling(groups[kind], [], near, kind) for kind in groups),
                number(seconds),
            ]
        )
        if bound == BOUND:
            for kind, names in groups.items():
                side = split_rows(names, near, kind=kind, seed=0)
                counts = [100 * int((side == i).sum()) / len(side) for i in range(len(SIDES))]
                left = straddling(names, near, near, kind)
                shares.append([kind, " : ".join(f"{c:.1f}" for c in counts), left])
    header = [
        "Z below",
        "crystals with a near duplicate",
        "groups",
        "largest group",
        *(f"parted by {kind}" for kind in groups),
        "s",
    ]
    parts = [
        f"{len(rows)} crystals, {', '.join(f'{len(set(names))} {kind}s' for kind, names in groups.items())}.",
        table(header, lines),
        f"With the bound that is used, Z < {100 * BOUND:g} %, and near duplicates kept together:",
        table(["split by", "train : validation : test, %", "crystals parted from a near duplicate"], shares),
    ]
    publish("Near duplicates", parts, chosen)


if __name__ == "__main__":
    main()
