"""What the presets leave out: the effect of the first higher Laue zone on the pattern.

The same crystal with the zero-order Laue zone alone and with one more (`laue_zones=1`), all else as in the preset
"seed" but for fewer pixels: Z and the largest change of intensity. Both patterns are computed with as many beams
as each needs by itself to converge.
"""

from __future__ import annotations

import lacbed
from common import measure, number, parser, publish, table
from lacbed.datasets.config import SEED


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--crystals", nargs="+", default=["Cu", "Al", "Si", "NaCl", "CsCl", "GaAs", "SrTiO3"])
    options.add_argument("--pixels", type=int, default=32)
    chosen = options.parse_args()
    chosen.repeats = 1
    settings = SEED.settings(float(SEED.energy), SEED.thicknesses)  # type: ignore[arg-type]
    settings |= {"grid": lacbed.TiltGrid(chosen.pixels, extent=SEED.extent)}
    settings |= {"solver": "auto", "dtype": "float64", "tolerance": 0}
    rows = []
    for name in chosen.crystals:
        crystal = lacbed.Crystal.named(name)
        patterns = []
        for zones in (0, 1):
            arguments = settings | {"laue_zones": zones}
            timing, pattern = measure(lambda a=arguments, c=crystal: lacbed.simulate(c, **a), 1, warm=False)
            patterns.append((timing, pattern))
        (flat_time, flat), (high_time, high) = patterns
        rows.append(
            [
                name,
                number(crystal.cell[0]),
                flat.attrs["beams"],
                high.attrs["beams"],
                number(100 * float(lacbed.zncc_loss(flat[0, 0], high[0, 0]))),
                number(float(abs(flat - high).max())),
                number(flat_time.cpu),
                number(high_time.cpu),
            ]
        )
    header = ["crystal", "a, Å", "beams", "beams with HOLZ", "Z, %", "max |ΔI|", "CPU s", "CPU s with HOLZ"]
    explained = (
        f"[001], 200 kV, 600 Å, ±{SEED.extent:g} a*, {chosen.pixels} x {chosen.pixels} pixels, 000, absorption."
    )
    publish("The first higher Laue zone", [explained, table(header, rows)], chosen)


if __name__ == "__main__":
    main()
