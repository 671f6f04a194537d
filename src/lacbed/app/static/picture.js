// Intensities to colours, and what is read off them.

import { table } from "./colormaps.js";

/** Points of a canvas to a pixel of the style sheet: those of the screen, which has more of them where the page is enlarged. */
export const sharpness = (canvas) => Math.min(2, (devicePixelRatio || 1) * (canvas.currentCSSZoom ?? 1));

/** Intensities below this are rounding. */
export const NOTHING = 1e-12;

/** Grey limits: the range of the values without `clip` percent at each end. */
export function percentiles(values, clip = 0.1) {
  const sorted = Float32Array.from(values.filter(Number.isFinite)).sort();
  if (!sorted.length) return [0, 1];
  const at = (percent) => sorted[Math.round((percent / 100) * (sorted.length - 1))];
  let [low, high] = [at(clip), at(100 - clip)];
  if (Math.max(Math.abs(sorted[0]), Math.abs(sorted.at(-1))) < NOTHING) return [0, NOTHING]; // not rounding, stretched
  if (!(high - low > 1e-9 * Math.abs(high))) [low, high] = [sorted[0], sorted[sorted.length - 1]];
  if (!(high - low > 1e-9 * Math.abs(high))) high = low + (Math.abs(low) || 1);
  return [low, high];
}

/** Least and largest value. */
export function bounds(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** A function from intensity to the colour's place, 0 to 255. */
export function scale([low, high], logarithmic) {
  if (!logarithmic) {
    const factor = 255 / (high - low);
    return (value) => Math.max(0, Math.min(255, Math.round((value - low) * factor)));
  }
  const floor = Math.max(low, high * 1e-5, 1e-12);
  const bottom = Math.log(floor);
  const factor = 255 / (Math.log(Math.max(high, floor * 1.0001)) - bottom);
  return (value) => Math.max(0, Math.min(255, Math.round((Math.log(Math.max(value, floor)) - bottom) * factor)));
}

/** Colour an image (ky ascending with the row, so that the last row is on top) into ImageData. */
export function paint(values, size, limits, logarithmic, colours) {
  const image = new ImageData(size, size);
  const place = scale(limits, logarithmic);
  for (let row = 0; row < size; row++) {
    let out = 4 * size * (size - 1 - row);
    for (let column = 0; column < size; column++, out += 4) {
      const value = values[row * size + column];
      if (!Number.isFinite(value)) continue;
      const at = 3 * place(value);
      image.data[out] = colours[at];
      image.data[out + 1] = colours[at + 1];
      image.data[out + 2] = colours[at + 2];
      image.data[out + 3] = 255;
    }
  }
  return image;
}

/** Draw an image on a canvas of its own size; the style sheet scales it. */
export function draw(canvas, values, size, limits, logarithmic, colours) {
  if (canvas.width !== size) canvas.width = canvas.height = size;
  canvas.getContext("2d").putImageData(paint(values, size, limits, logarithmic, colours), 0, 0);
}

/** Draw a difference, zero in the middle of the colours; returns its limits. */
export function drawDifference(canvas, values, size) {
  const most = Math.max(...bounds(values.filter(Number.isFinite)).map(Math.abs)) || 1;
  draw(canvas, values, size, [-most, most], false, table("difference"));
  return [-most, most];
}

/** Counts of the values in `bins` equal steps of a range. */
export function histogram(values, [low, high], bins = 64) {
  const counts = new Float64Array(bins);
  const factor = bins / (high - low || 1);
  for (const value of values) {
    const bin = Math.floor((value - low) * factor);
    if (bin >= 0 && bin <= bins) counts[Math.min(bin, bins - 1)] += 1;
  }
  return counts;
}

/** Z = 1 - zero-mean normalised cross-correlation, as lacbed.zncc_loss. */
export function zncc(a, b) {
  const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [aa, bb, ab] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [da, db] = [a[i] - ma, b[i] - mb];
    aa += da * da;
    bb += db * db;
    ab += da * db;
  }
  return aa && bb ? 1 - ab / Math.sqrt(aa * bb) : aa || bb ? 1 : 0;
}

/** A number with four significant digits, for reading. */
export function digits(value, count = 4) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e7) {
    const [base, power] = value.toExponential(Math.max(0, count - 2)).split("e");
    const raised = [...String(Number(power))].map((c) => ({ "-": "⁻" })[c] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]).join("");
    return `${base.replace("-", "−")} × 10${raised}`;
  }
  const text = size >= 10 ** count ? String(Math.round(value)) : String(value.toPrecision(count));
  return text.replace("-", "−");
}

/** The largest of 1, 2, 5 times a power of ten that is no larger than the limit. */
export function roundLength(limit) {
  const power = 10 ** Math.floor(Math.log10(limit));
  return [5, 2, 1].map((s) => s * power).find((s) => s <= limit * 1.0000001);
}
