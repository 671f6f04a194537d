// CBED: the discs at their true size in the diffraction plane, where they overlap.

import { look } from "./state.js";

/** The largest convergence semi-angle in mrad that a pattern covers. */
export const largestAngle = (pattern) => 1e3 * Math.asin(Math.min(1, (pattern.pixels * pattern.k_step * pattern.wavelength) / 2));

let last = null;

/**
 * The CBED pattern of all reflections, as `lacbed.assemble_cbed` makes it: I(p) = Σ_g I_g(p - g) within the discs.
 *
 * `finer` divides the pixels of the pattern, so that edges are round on the screen.
 *
 * Returns { values, size, step, radius, angle, pattern }, the first row at the bottom, lengths in 1/Å.
 */
export function cbedOf(pattern, wanted, finer = 1) {
  const angle = Math.min(wanted, largestAngle(pattern));
  if (last?.pattern === pattern && last.angle === angle && last.finer === finer) return last;
  const radius = Math.sin(angle * 1e-3) / pattern.wavelength;
  const step = pattern.k_step / finer;
  const far = Math.max(...pattern.gx.map(Math.abs), ...pattern.gy.map(Math.abs));
  let size = 2 * Math.ceil((1.04 * (far + radius)) / pattern.k_step);
  if ((pattern.pixels - size) % 2) size += 1; // its pixels lie where the pattern has them
  size *= finer;
  const values = new Float32Array(size * size);
  const at = (i) => (i - size / 2 + 0.5) * step;
  const first = (g) => Math.max(0, Math.ceil((g - radius) / step + size / 2 - 0.5 - 1e-9));
  const count = pattern.pixels;
  for (let g = 0; g < pattern.hkl.length; g++) {
    const image = pattern.data.subarray(g * count * count, (g + 1) * count * count);
    const [gx, gy] = [pattern.gx[g], pattern.gy[g]];
    for (let row = first(gy); row < size && at(row) - gy <= radius; row++) {
      const y = at(row) - gy;
      const down = Math.max(0, Math.min(count - 1, (y - pattern.k_first) / pattern.k_step));
      const r = Math.min(Math.floor(down), count - 2);
      for (let column = first(gx); column < size && at(column) - gx <= radius; column++) {
        const x = at(column) - gx;
        if (x * x + y * y > radius * radius * (1 + 1e-12)) continue;
        const along = Math.max(0, Math.min(count - 1, (x - pattern.k_first) / pattern.k_step));
        const c = Math.min(Math.floor(along), count - 2);
        const [u, v] = [along - c, down - r];
        const i = r * count + c;
        values[row * size + column] +=
          (1 - v) * ((1 - u) * image[i] + u * image[i + 1]) + v * ((1 - u) * image[i + count] + u * image[i + count + 1]);
      }
    }
  }
  last = { values, size, step, radius, angle, pattern, finer };
  return last;
}

/** The CBED pattern of all reflections as it is on the screen, or null while the discs are drawn apart. */
export function cbed(discs) {
  if (!discs || look.semi === null || discs.pattern.hkl.length < 2) return null;
  return cbedOf(discs.pattern, look.semi, Math.ceil(128 / discs.pattern.pixels));
}

/** What lies at a place of a CBED pattern, in fractions from the top left: { index (of the nearest disc or -1), over, qx, qy, value }. */
export function cbedAt(found, fx, fy) {
  const { size, step, radius, pattern, values } = found;
  const at = (v) => Math.max(0, Math.min(size - 1, Math.floor(v * size)));
  const [column, row] = [at(fx), at(1 - fy)];
  const [qx, qy] = [(column - size / 2 + 0.5) * step, (row - size / 2 + 0.5) * step];
  const away = pattern.hkl.map((_, i) => Math.hypot(qx - pattern.gx[i], qy - pattern.gy[i]));
  const over = away.flatMap((d, i) => (d <= radius ? [i] : [])).sort((a, b) => away[a] - away[b]);
  return { index: over[0] ?? -1, over, qx, qy, value: values[row * size + column] };
}
