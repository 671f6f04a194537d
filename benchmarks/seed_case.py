"""The seed's case: 500 beams, ±4 a*, 128 x 128, ten thicknesses from 150 to 1500 Å, 200 kV.

Three crystals, without absorption and with the absorptive factors of Thomas et al. (2024), in both precisions.
The time is that of the whole call of `simulate`. One small pattern is computed beforehand to load the libraries.
"""

from __future__ import annotations

import lacbed
from common import FELIX_CPU_SECONDS, measure, number, parser, publish, simulate, table, verdict

THICKNESSES = tuple(range(150, 1501, 150))
TARGETS = {("SrTiO3", None): 3.0}
OTHER_TARGET = 10.0


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--crystals", nargs="+", default=["SrTiO3", "GaAs", "spinel"])
    options.add_argument("--beams", type=int, default=500)
    chosen = options.parse_args()
    rows = []
    lacbed.simulate(lacbed.Crystal.named("SrTiO3"), grid=lacbed.TiltGrid(8), beams=60, absorption="thomas")
    for name in chosen.crystals:
        crystal = lacbed.Crystal.named(name)
        for absorption in (None, "thomas"):
            for dtype in ("float64", "float32"):
                call = simulate(
                    crystal,
                    thicknesses=THICKNESSES,
                    beams=chosen.beams,
                    absorption=absorption,
                    dtype=dtype,
                    device="cpu",
                )
                timing, pattern = measure(call, chosen.repeats, warm=False)
                limit = TARGETS.get((name, absorption), OTHER_TARGET)
                felix = number(FELIX_CPU_SECONDS[500] / timing.cpu) if absorption is None else ""
                rows.append(
                    [
                        name,
                        absorption or "none",
                        dtype,
                        pattern.attrs["beams"],
                        pattern.attrs["solver"],
                        pattern.attrs["tilts_solved"],
                        number(timing.cpu),
                        f"{number(timing.low)} to {number(timing.high)}",
                        number(timing.wall),
                        verdict(timing.cpu, limit) if dtype == "float64" else "",
                        felix,
                    ]
                )
    header = [
        "crystal",
        "absorption",
        "precision",
        "beams",
        "solver",
        "tilts",
        "CPU s",
        "range",
        "wall s",
        "goal",
        "Felix / lacbed",
    ]
    explained = (
        f"{chosen.beams} beams, ±4 a*, 128 x 128 pixels, {len(THICKNESSES)} thicknesses ({THICKNESSES[0]} to "
        f"{THICKNESSES[-1]} Å), 200 kV, 000. Medians of {chosen.repeats} calls. Felix needs 7 CPU-hours for one "
        "pattern of 128 x 128 pixels with 500 beams (quoted for SrTiO3, not measured here)."
    )
    publish("The seed's case", [explained, table(header, rows)], chosen)


if __name__ == "__main__":
    main()
