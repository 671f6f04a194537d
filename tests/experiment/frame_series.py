"""Tilt series of camera frames, made for tests. Nothing of the extraction is used; patterns come from `simulate`.

Every frame is one incident direction: a disc for each reflection at its place on the camera, over a diffuse
background that follows the zone axis, seen through the faults of a microscope and a camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

import lacbed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Microscope:
    """What is done to a series; lengths in pixels of the camera unless said otherwise.

    Attributes:
        tilts: along each side of the scan.
        half_width: of the scan in 1/Å.
        tilt_turn: of the axes of the scan against x of the crystal in degrees.
        tilt_flip: whether the fast axis of the scan runs the other way.
        tilt_center: (x, y) of the middle of the scan in 1/Å.
        tilt_bend: quadratic distortion of the scan, a fraction of the half-width at its edge.
        tilt_barrel: cubic distortion of the scan, the same; positive for pincushion, negative for barrel.
        camera: along each side.
        spacing: of the shortest reciprocal vector.
        turn: of the camera against x of the crystal in degrees.
        flip: whether the camera shows the pattern mirrored.
        stretch: of the camera along its rows.
        offset: of the direct beam from the middle.
        radius: of the discs.
        flat: whether discs are uniform, so that their pixels are no directions.
        psf: standard deviation of the point spread.
        descan: of the direct beam at the edge of the scan, (rows, columns), linear and cubic.
        descan_cubic: the same, growing with the third power.
        descan_waves: height of two waves of descan error over the scan along its columns, (rows, columns).
        drift: of the direct beam over the whole series.
        dose: electrons in the incident beam per frame.
        diffuse: part of the electrons scattered diffusely.
        diffuse_width: of the diffuse background in units of the spacing.
        gain: counts per electron.
        readout: noise in counts.
        pedestal: counts of a dark pixel.
        hot: number of hot pixels.
        saturation: counts at which a pixel is full; None for none.
        stop: whether a beam stop covers a bar from the border to past the direct beam.
        serpentine: whether every second row of the scan runs backwards.
        dropped: numbers of frames that are missing.
        doubled: numbers of frames that come twice.
        fine: points of the simulation per tilt along each axis.
        seed: of the noise.
    """

    tilts: int = 32
    half_width: float = 0.5
    tilt_turn: float = 0.0
    tilt_flip: bool = False
    tilt_center: tuple[float, float] = (0.0, 0.0)
    tilt_bend: float = 0.0
    tilt_barrel: float = 0.0
    camera: int = 96
    spacing: float = 14.0
    turn: float = 20.0
    flip: bool = False
    stretch: float = 1.0
    offset: tuple[float, float] = (1.3, -2.4)
    radius: float = 2.6
    flat: bool = False
    psf: float = 0.7
    descan: tuple[float, float] = (3.0, -2.0)
    descan_cubic: tuple[float, float] = (1.0, 1.5)
    descan_waves: tuple[float, float] = (0.0, 0.0)
    drift: tuple[float, float] = (1.5, 1.0)
    dose: float = 2e4
    diffuse: float = 0.2
    diffuse_width: float = 2.0
    gain: float = 4.0
    readout: float = 1.5
    pedestal: float = 10.0
    hot: int = 6
    saturation: float | None = None
    stop: bool = False
    serpentine: bool = True
    dropped: tuple[int, ...] = ()
    doubled: tuple[int, ...] = ()
    fine: int = 2
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Series:
    """A series and what is true of it.

    Attributes:
        frames: counts in the order of time: (frame, row, column).
        scan: (rows, columns) of the scan.
        truth: electrons in each disc: (reflection, scan row, scan column).
        hkl: the reflections.
        k: incident direction of each place of the scan in the frame of the crystal in 1/Å: (row, column, 2).
        centres: places of the discs in the first frame of the scan, (row, column): (reflection, 2).
        beam: place of the direct beam in each frame of the scan: (row, column, 2).
        vectors: of the reflections in 1/Å: (reflection, 2).
        x_direction: along x of k.
        matrix: from 1/Å to (row, column) of the camera: (2, 2).
    """

    frames: NDArray[np.uint16]
    scan: tuple[int, int]
    truth: Floats
    hkl: NDArray[np.int64]
    k: Floats
    beam: Floats
    vectors: Floats
    x_direction: tuple[float, ...]
    matrix: Floats
    hot: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))


def _turn(degrees: float, flip: bool) -> Floats:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s], [s, c]]) @ np.diag([1.0, -1.0 if flip else 1.0])


def _directions(m: Microscope) -> Floats:
    """k of every place of the scan: columns run along x turned by `tilt_turn`, rows along y."""
    steps = (np.arange(m.tilts) - m.tilts / 2 + 0.5) * (2 / m.tilts)
    rows, columns = np.meshgrid(steps, steps, indexing="ij")
    u = np.stack([columns + m.tilt_bend * columns * rows, rows + m.tilt_bend * columns**2], axis=-1)
    u += m.tilt_barrel * (rows**2 + columns**2)[..., None] * np.stack([columns, rows], axis=-1)
    return m.half_width * u @ _turn(m.tilt_turn, m.tilt_flip).T + np.array(m.tilt_center)


def make_series(
    crystal: lacbed.Crystal,
    zone: tuple[int, int, int],
    m: Microscope,
    thickness: float = 600.0,
    energy: float = 200e3,
    *,
    reach: float | None = None,
    **simulation: object,
) -> Series:
    """A series of frames of a crystal.

    Args:
        crystal: what is in the microscope.
        zone: the zone axis.
        m: the microscope.
        thickness: in Å.
        energy: in eV.
        reach: reflections |g| up to this many 1/Å; default what the camera holds.
        simulation: further settings of `lacbed.simulate`.
    """
    k = _directions(m)
    shortest, x_direction = _shortest(crystal, zone, energy)
    scale = m.spacing / shortest
    matrix = np.array([[0.0, -1.0], [1.0, 0.0]]) @ _turn(m.turn, m.flip) * scale  # (row, column) of (x, y)
    matrix = np.diag([m.stretch, 1.0]) @ matrix
    cone = m.radius / scale
    pitch = 2 * m.half_width / m.tilts / m.fine
    wide = float(np.abs(k).max()) + cone + 2 * pitch
    points = 2 * math.ceil(wide / pitch)
    pattern = lacbed.simulate(
        crystal,
        zone,
        energy,
        (thickness,),
        lacbed.TiltGrid(points, k_max=points * pitch / 2),
        ("all", reach or 0.75 * m.camera / scale),
        **{"solver": "fast", "beams": 60, "dtype": "float32", "absorption": "thomas", **simulation},  # type: ignore[arg-type]
    )
    vectors = np.stack([pattern["gx"].values, pattern["gy"].values], axis=1)
    hkl = np.stack([pattern[n].values for n in "hkl"], axis=1)
    images = np.clip(pattern.values[0].astype(float), 0, None)
    rng = np.random.default_rng(m.seed)
    beam = _beam(m, rng)
    ring = _ring(m.radius)
    offsets = ring @ np.linalg.inv(matrix).T  # 1/Å
    frames = np.zeros((m.tilts**2, m.camera, m.camera), dtype=np.uint16)
    truth = np.zeros((len(hkl), m.tilts, m.tilts))
    faults = _faults(m, rng)
    for number in range(m.tilts**2):
        row, column = divmod(number, m.tilts)
        electrons = np.zeros((m.camera, m.camera))
        at = (k[row, column] + offsets) / pitch + points / 2 - 0.5  # (point, xy)
        inside = _read(images, at)
        if m.flat:
            inside = np.broadcast_to(inside.mean(axis=1, keepdims=True), inside.shape)
        truth[:, row, column] = m.dose * (1 - m.diffuse) * inside.mean(axis=1)
        places = beam[row, column] + vectors @ matrix.T
        _draw(electrons, places, ring, m.dose * (1 - m.diffuse) * inside / len(ring))
        electrons = gaussian_filter(electrons, m.psf) if m.psf else electrons
        electrons += _diffuse(m, beam[row, column] - matrix @ k[row, column])
        frames[number] = _record(m, electrons, faults, rng)
    order = _order(m)
    return Series(frames[order], (m.tilts, m.tilts), truth, hkl, k, beam, vectors, x_direction, matrix, faults[0])


def make_vacuum(m: Microscope) -> NDArray[np.uint16]:
    """The frames of the same scan without the sample, in the order of time: (frame, row, column).

    It has the descan error of `make_series`, and the drift and noise of m.
    """
    rng = np.random.default_rng(m.seed)
    beam, faults, ring = _beam(m, rng), _faults(m, rng), _ring(m.radius)
    frames = np.zeros((m.tilts**2, m.camera, m.camera), dtype=np.uint16)
    for frame, place in zip(frames, beam.reshape(-1, 2), strict=True):
        electrons = np.zeros((m.camera, m.camera))
        _draw(electrons, place[None], ring, np.full((1, len(ring)), m.dose / len(ring)))
        frame[...] = _record(m, gaussian_filter(electrons, m.psf), faults, rng)
    return frames[_order(m)]


def _shortest(
    crystal: lacbed.Crystal, zone: tuple[int, int, int], energy: float
) -> tuple[float, tuple[float, ...]]:
    grid = lacbed.TiltGrid(2, k_max=0.01)
    one = lacbed.simulate(crystal, zone, energy, (10.0,), grid, ("all", 2.0), beams=9, solver="tilted")
    lengths = np.hypot(one["gx"].values, one["gy"].values)
    return float(lengths[lengths > 1e-6].min()), tuple(float(v) for v in one.attrs["x_direction"])


def _beam(m: Microscope, rng: np.random.Generator) -> Floats:
    steps = (np.arange(m.tilts) - m.tilts / 2 + 0.5) * (2 / m.tilts)
    v, u = np.meshgrid(steps, steps, indexing="ij")
    time = np.empty((m.tilts, m.tilts))
    time.flat[_times(m)] = np.linspace(0, 1, m.tilts**2)
    out = np.empty((m.tilts, m.tilts, 2))
    for axis, (along, across) in enumerate([(v, u), (u, v)]):
        error = m.descan[axis] * (along + 0.3 * across) + m.descan_cubic[axis] * along * (u**2 + v**2)
        error = error + m.descan_waves[axis] * np.sin(2 * math.pi * u)
        wander = 0.15 * np.cumsum(rng.normal(size=m.tilts**2)) / m.tilts
        out[..., axis] = m.camera / 2 - 0.5 + m.offset[axis] + error + m.drift[axis] * time
        out.reshape(-1, 2)[_times(m), axis] += wander
    return out


def _times(m: Microscope) -> NDArray[np.int64]:
    """The place in the scan of each frame in the order of time."""
    places = np.arange(m.tilts**2).reshape(m.tilts, m.tilts)
    if m.serpentine:
        places[1::2] = places[1::2, ::-1].copy()
    return places.ravel()


def _order(m: Microscope) -> list[int]:
    out = []
    for time, place in enumerate(_times(m).tolist()):
        if time not in m.dropped:
            out += [place] * (2 if time in m.doubled else 1)
    return out


def _ring(radius: float) -> Floats:
    """Points that fill a disc evenly: (point, row and column)."""
    steps = np.arange(-math.ceil(radius * 3), math.ceil(radius * 3) + 1) / 3
    points = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    return points[np.hypot(*points.T) <= radius]


def _read(images: Floats, at: Floats) -> Floats:
    """Images at places (x, y) between their pixels: (image, point)."""
    low = np.floor(at).astype(int)
    x, y = (at - low).T
    i, j = low[:, 1], low[:, 0]
    upper = (1 - x) * images[:, i, j] + x * images[:, i, j + 1]
    lower = (1 - x) * images[:, i + 1, j] + x * images[:, i + 1, j + 1]
    return (1 - y) * upper + y * lower


def _draw(image: Floats, places: Floats, ring: Floats, values: Floats) -> None:
    """Add points of light, each shared by the four pixels around it."""
    at = places[:, None] + ring[None]
    low = np.floor(at).astype(int)
    part = at - low
    rows, columns = image.shape
    for i in (0, 1):
        for j in (0, 1):
            weight = np.abs(1 - i - part[..., 0]) * np.abs(1 - j - part[..., 1])
            row, column = low[..., 0] + i, low[..., 1] + j
            good = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            light = np.bincount(row[good] * columns + column[good], (weight * values)[good], rows * columns)
            image += light.reshape(rows, columns)


def _diffuse(m: Microscope, zone: Floats) -> Floats:
    """Thermal diffuse background around the zone axis: a broad and a broader hump, and faint bands."""
    rows, columns = np.mgrid[: m.camera, : m.camera]
    distance = np.hypot(rows - zone[0], columns - zone[1]) / m.spacing / m.diffuse_width
    shape = np.exp(-(distance**2) / 2) + 0.5 / (1 + distance**2) ** 1.5
    total = 2 * math.pi * (m.spacing * m.diffuse_width) ** 2 * 1.5
    return m.dose * m.diffuse * shape / total


def _faults(m: Microscope, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats, NDArray[np.bool_]]:
    hot = rng.integers(0, m.camera, (m.hot, 2))
    level = rng.uniform(300, 3000, m.hot)
    stopped = np.zeros((m.camera, m.camera), dtype=bool)
    if m.stop:
        middle = m.camera // 2
        stopped[middle - 5 : middle + 6, : middle + 5] = True
    return hot, level, stopped


def _record(
    m: Microscope,
    electrons: Floats,
    faults: tuple[NDArray[np.int64], Floats, NDArray[np.bool_]],
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    hot, level, stopped = faults
    seen = np.where(stopped, 0.01 * electrons, electrons)
    counts = m.gain * rng.poisson(seen) + rng.normal(0, m.readout, seen.shape) + m.pedestal
    counts[hot[:, 0], hot[:, 1]] += level
    top = 65535 if m.saturation is None else m.saturation
    return np.clip(np.round(counts), 0, top).astype(np.uint16)
