// The profile along a line across the pattern: the rocking curve, drawn and taken along as a table.

import { labelOf } from "./names.js";
import { bounds, digits, roundLength } from "./picture.js";
import { $, current, look } from "./state.js";
import { svg } from "./structure.js";

/** The line in fractions of the picture from the upper left corner, and whether it is on. */
export const line = { on: false, from: [0.1, 0.5], to: [0.9, 0.5] };

/** Intensities along the line, linear between pixels: { k, x, y, values } in 1/Å from its middle, or null. */
function profileOf(now) {
  if (!now || !line.on) return null;
  const { size, values, pattern } = now;
  const [dx, dy] = [line.to[0] - line.from[0], line.to[1] - line.from[1]];
  const count = Math.max(2, Math.ceil(Math.hypot(dx, dy) * size * 2));
  const found = { k: [], x: [], y: [], values: [] };
  const span = size * pattern.k_step;
  for (let i = 0; i <= count; i++) {
    const [x, y] = [line.from[0] + (dx * i) / count, line.from[1] + (dy * i) / count];
    const [column, row] = [x * size - 0.5, (1 - y) * size - 0.5].map((v) => Math.max(0, Math.min(size - 1, v)));
    const [c, r] = [Math.min(size - 2, Math.floor(column)), Math.min(size - 2, Math.floor(row))];
    const [u, v] = [column - c, row - r];
    const at = (j, n) => values[(r + j) * size + c + n];
    found.values.push((1 - v) * ((1 - u) * at(0, 0) + u * at(0, 1)) + v * ((1 - u) * at(1, 0) + u * at(1, 1)));
    found.x.push((x - 0.5) * span);
    found.y.push((0.5 - y) * span);
    found.k.push((i / count - 0.5) * Math.hypot(dx, dy) * span);
  }
  return found;
}

const HEIGHT = 120;

/** Draw the profile under the picture. */
export function showProfile() {
  const now = look.view === "pattern" ? current() : null;
  const found = profileOf(now);
  $("profile-card").hidden = !found;
  $("profile").setAttribute("aria-pressed", String(line.on));
  if (!found) return;
  const host = $("profile-chart");
  const width = Math.max(200, host.clientWidth);
  host.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const [low, high] = bounds(found.values.filter(Number.isFinite)); // a difference has none beyond the edge of A
  const bottom = now.signed ? low : Math.min(0, low);
  const top = high > bottom ? high : bottom + 1;
  const half = found.k.at(-1) || 1;
  const x = (k) => ((k + half) / (2 * half)) * (width - 2) + 1;
  const y = (v) => 8 + (1 - (v - bottom) / (top - bottom)) * (HEIGHT - 28);
  const isKnown = (i) => Number.isFinite(found.values[i]);
  const path = found.values.map((v, i) => (isKnown(i) ? `${isKnown(i - 1) ? "L" : "M"}${x(found.k[i]).toFixed(1)} ${y(v).toFixed(1)}` : "")).join("");
  const angle = (k) => 1e3 * Math.asin(Math.max(-1, Math.min(1, k * now.pattern.wavelength)));
  const step = roundLength(Math.max(1e-9, angle(half) / 2));
  const parts = [svg("path", { class: "curve", d: path })];
  for (let n = -2; n <= 2; n++) {
    const k = (n * step) / 1e3 / now.pattern.wavelength;
    if (Math.abs(k) > half) continue;
    const anchor = Math.abs(k) > 0.9 * half ? (k < 0 ? "start" : "end") : "middle";
    parts.push(svg("text", { x: x(k), y: HEIGHT - 5, "text-anchor": anchor }, `${digits(n * step, 2)} mrad`));
  }
  host.replaceChildren(...parts);
  host.setAttribute("aria-label", `Intensity along the line, ${digits(low, 3)} to ${digits(high, 3)}`);
  $("profile-note").textContent =
    `${digits(2 * half, 3)} Å⁻¹ long, ${now.signed ? "ΔI" : "I"} from ${digits(low, 3)} to ${digits(high, 3)}${now.stale ? "; not yet what is asked for" : ""}`;
}

/** The profile as a table with its label, for a spreadsheet: { name, text }. */
export function profileTable() {
  const now = current();
  const found = profileOf(now);
  if (!found) return null;
  const label = labelOf(now);
  const head = [`# ${label.title}, ${label.subtitle}`, "along (1/Å),kx (1/Å),ky (1/Å),along (mrad),intensity"];
  const angle = (k) => 1e3 * Math.asin(k * now.pattern.wavelength);
  const rows = found.k.map((k, i) => [k, found.x[i], found.y[i], angle(k), found.values[i]].map((v) => (Number.isFinite(v) ? v.toPrecision(7) : "")).join(","));
  return { name: `${label.file}-profile.csv`, text: [...head, ...rows].join("\n") + "\n" };
}
