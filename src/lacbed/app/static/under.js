// The pattern under the tilted map: of the zone axis nearest to its centre, beside the map and in its place on it.

import { table } from "./colormaps.js";
import { badgeOf, halfWidth, labelOf, lateWords } from "./names.js";
import { draw, drawDifference, percentiles } from "./picture.js";
import { $, current, isDrawn, look, sameCrystal } from "./state.js";
import { along, apply, dot } from "./vectors.js";

let drawn = { now: null, key: "" };

const unit = (v) => v.map((x) => x / Math.hypot(...v));

/** What is shown now and how far its zone axis is from the centre in degrees (NaN if the map is of another crystal), or null. */
function seen(facts, turn) {
  const now = current();
  if (!now) return null;
  const isOf = sameCrystal(now.of, facts.of);
  const z = isOf ? dot(turn[2], unit(along(facts.stereogram.direct, now.pattern.zone_axis))) : NaN;
  return { now, away: (Math.acos(Math.max(-1, Math.min(1, z))) * 180) / Math.PI };
}

/** Title, subtitle and badge of the pattern: from what is drawn alone. */
export function underLabel(facts, turn) {
  const found = seen(facts, turn);
  if (!found) return null;
  const { now, away } = found;
  const label = labelOf(now);
  const place = away >= 0.05 ? `, ${away.toFixed(1)}° from the centre` : "";
  return { now, title: `${label.title}${place}`, subtitle: label.subtitle, badge: now.stale ? lateWords() : now.signed ? "Learned − computed" : badgeOf(now.pattern) };
}

/** Draw the pattern beside the map, with what it is. */
export function showUnder(facts, turn) {
  const label = underLabel(facts, turn);
  const badge = $("under-badge");
  badge.hidden = !label;
  $("under-frame").classList.toggle("wait", Boolean(label?.now.stale));
  window.lacbedUnder = label && { of: label.now.of, stage: label.now.pattern.stage, stale: Boolean(label.now.stale), thickness: label.now.thickness, hkl: label.now.hkl };
  const canvas = $("under");
  if (!label) {
    canvas.setAttribute("aria-label", "No pattern yet");
    for (const id of ["under-title", "under-note"]) $(id).textContent = "";
    drawn = { now: null, key: "" };
    return;
  }
  const { now } = label;
  const key = JSON.stringify([look.colours, look.inverted, look.logarithmic, look.auto, look.auto ? 0 : look.limits]);
  if (!isDrawn(drawn.now, now) || drawn.key !== key) paintUnder(canvas, now);
  drawn = { now, key };
  for (const [id, text] of [["under-badge", label.badge], ["under-title", label.title], ["under-note", label.subtitle]]) {
    if ($(id).textContent !== text) $(id).textContent = text;
  }
  badge.dataset.stage = now.stale ? "" : now.pattern.stage;
  badge.classList.toggle("old", Boolean(now.stale));
  $("under-frame").classList.toggle("pixels", !look.smooth);
  canvas.setAttribute("aria-label", `LACBED pattern: ${label.title}, ${label.subtitle}`);
}

function paintUnder(canvas, now) {
  if (now.signed) drawDifference(canvas, now.values, now.size);
  else draw(canvas, now.values, now.size, look.auto ? percentiles(now.values) : look.limits, look.logarithmic, table(look.colours, look.inverted));
}

/** The corners of the pattern that is drawn, as directions from the crystal (x, y, z = zone axis of the facts), or null. */
function corners(facts) {
  const { now } = drawn;
  if (!now || now.stale || !sameCrystal(now.of, facts.of) || now.of.voltage !== facts.of.voltage) return null;
  const { pixels, k_step, wavelength, zone_axis, x_direction } = now.pattern;
  const half = (pixels * k_step * wavelength) / 2;
  if (!(half < 0.7) || !x_direction) return null;
  const z = unit(along(facts.stereogram.direct, zone_axis));
  const toward = along(facts.stereogram.reciprocal, x_direction);
  const x = unit(toward.map((v, i) => v - dot(toward, z) * z[i]));
  const y = [z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]];
  const rest = Math.sqrt(1 - 2 * half * half);
  return [[-half, half], [half, half], [half, -half], [-half, -half]].map(([p, q]) => x.map((_, i) => p * x[i] + q * y[i] + rest * z[i]));
}

/** Draw the pattern on the map where its directions lie, as far as it can be made out, with its outline; `pen` has y up. */
export function drawUnder(pen, facts, turn, scale, ratio) {
  const places = corners(facts)?.map((corner) => apply(turn, corner));
  if (!places || places.some(([, , z]) => z < 0)) return;
  const [a, b, c, d] = places.map(([x, y, z]) => [(scale * x) / (1 + z), (scale * y) / (1 + z)]);
  const { size } = drawn.now;
  if (Math.hypot(b[0] - a[0], b[1] - a[1]) > 8 * ratio) {
    pen.save(); // its first row is on top
    pen.transform((b[0] - a[0]) / size, (b[1] - a[1]) / size, (d[0] - a[0]) / size, (d[1] - a[1]) / size, ...a);
    pen.imageSmoothingEnabled = look.smooth;
    pen.drawImage($("under"), 0, 0);
    pen.restore();
  }
  outline(pen, [a, b, c, d], ratio);
}

/** Draw a square of the map, `dashes` long and apart where the pattern is not in it. */
export function outline(pen, corners, ratio, dashes = []) {
  pen.strokeStyle = "#ffb454";
  pen.lineWidth = 1.4 * ratio;
  pen.setLineDash(dashes.map((one) => one * ratio));
  pen.beginPath();
  for (const corner of corners) pen.lineTo(...corner);
  pen.closePath();
  pen.stroke();
  pen.setLineDash([]);
}

/** What a file says of the pattern in it: its own settings, and how far it is right. */
export const underTold = ({ now, badge }) => ({
  settings: { ...now.of, hkl: now.hkl, thickness: now.thickness }, stage: now.signed ? "learned - exact" : now.pattern.stage, badge,
  half_width_mrad: halfWidth(now.pattern),
});
