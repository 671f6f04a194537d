"""lacbed: the whole pattern of 128 x 128 tilts in one call, set-up and all."""

from importlib.metadata import version

from protocol import read_job, serve

import lacbed

job = read_job()
crystal = lacbed.Crystal.named(str(job["crystal"]))
grid = lacbed.TiltGrid(int(job["pixels"]), extent=float(job["extent"]))


def pattern():
    return lacbed.simulate(
        crystal,
        energy=float(job["energy"]),
        thicknesses=job["thicknesses"],
        grid=grid,
        beams=int(job["beams_asked"]),
        refraction=False,
        dtype=str(job["dtype"]),
        device="cpu",
    )


count = pattern().attrs["beams"]
serve(version("lacbed"), count, lambda: pattern().values.reshape(-1)[job["pixel"]])
