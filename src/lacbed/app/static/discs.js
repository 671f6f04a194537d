// All reflections as discs in their places.

import { reflectionName } from "./names.js";
import { paint, percentiles } from "./picture.js";
import { equal } from "./state.js";

/** Where the discs go on a canvas of `side` pixels: { zoom, radius } such that neighbours do not overlap. */
export function layout(pattern, side) {
  const reach = Math.max(...pattern.gx.map((x, i) => Math.max(Math.abs(x), Math.abs(pattern.gy[i]))), 1e-9);
  let nearest = Infinity;
  for (let i = 1; i < pattern.gx.length; i++) {
    nearest = Math.min(nearest, Math.hypot(pattern.gx[i], pattern.gy[i]));
  }
  if (!Number.isFinite(nearest)) return { zoom: 1, radius: 0.46 * side };
  const zoom = (side * 0.985) / 2 / (reach + 0.47 * nearest);
  return { zoom, radius: 0.465 * nearest * zoom };
}

/** The image of reflection i. */
export function disc(pattern, i) {
  const count = pattern.pixels * pattern.pixels;
  return pattern.data.subarray(i * count, (i + 1) * count);
}

/** Draw every reflection at its place. */
export function drawDiscs(canvas, pattern, { logarithmic, colours, together, chosen, smooth, ink }) {
  const side = canvas.width;
  const { zoom, radius } = layout(pattern, side);
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, side, side);
  pen.imageSmoothingEnabled = smooth;
  pen.imageSmoothingQuality = "high";
  const common = together ? percentiles(pattern.data, 0.1) : null;
  const small = new OffscreenCanvas(pattern.pixels, pattern.pixels);
  for (let i = 0; i < pattern.hkl.length; i++) {
    const values = disc(pattern, i);
    const image = paint(values, pattern.pixels, common ?? percentiles(values, 0.1), logarithmic, colours);
    small.getContext("2d").putImageData(image, 0, 0);
    const [x, y] = [side / 2 + pattern.gx[i] * zoom, side / 2 - pattern.gy[i] * zoom];
    pen.save();
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.clip();
    pen.drawImage(small, x - radius, y - radius, 2 * radius, 2 * radius);
    pen.restore();
    if (equal(pattern.hkl[i], chosen)) {
      pen.strokeStyle = ink;
      pen.lineWidth = Math.max(2, side / 450);
      pen.beginPath();
      pen.arc(x, y, radius + pen.lineWidth, 0, 2 * Math.PI);
      pen.stroke();
    }
  }
  if (radius > side / 34) label(pen, pattern, side, zoom, radius);
}

function label(pen, pattern, side, zoom, radius) {
  pen.font = `${Math.round(radius * 0.26)}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "bottom";
  pen.lineJoin = "round";
  for (let i = 0; i < pattern.hkl.length; i++) {
    const [x, y] = [side / 2 + pattern.gx[i] * zoom, side / 2 - pattern.gy[i] * zoom + radius * 0.93];
    pen.strokeStyle = "rgb(0 0 0 / 70%)";
    pen.lineWidth = radius * 0.09;
    pen.strokeText(reflectionName(pattern.hkl[i], pattern.of), x, y);
    pen.fillStyle = "#fff";
    pen.fillText(reflectionName(pattern.hkl[i], pattern.of), x, y);
  }
}

/** What lies at a place of the canvas (fractions from the top left): { index, row, column } or null. */
export function discAt(pattern, fx, fy) {
  const { zoom, radius } = layout(pattern, 1);
  for (let i = 0; i < pattern.hkl.length; i++) {
    const [x, y] = [0.5 + pattern.gx[i] * zoom, 0.5 - pattern.gy[i] * zoom];
    if (Math.hypot(fx - x, fy - y) > radius) continue;
    const at = (v) => Math.max(0, Math.min(pattern.pixels - 1, Math.floor(v * pattern.pixels)));
    const column = at((fx - x) / (2 * radius) + 0.5);
    const row = at(0.5 - (fy - y) / (2 * radius));
    return { index: i, row, column };
  }
  return null;
}

