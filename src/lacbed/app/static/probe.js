// The probe: what is read under the pointer, scale bar and Bragg lines over the picture.

import { disc, discAt } from "./discs.js";
import { digits, indices, roundLength } from "./picture.js";
import { showCurve } from "./series.js";
import { $, chosen, current, look, probe, shown, state } from "./state.js";
import { element, svg } from "./structure.js";

/** Scale bar, Bragg lines and probe over the picture. */
export function showOverlay() {
  const over = $("overlay");
  if (look.view === "discs" || !current()) return over.replaceChildren();
  const { pattern } = current();
  const side = over.clientWidth || 600;
  over.setAttribute("viewBox", `0 0 ${side} ${side}`);
  const span = pattern.pixels * pattern.k_step; // 1/Å over the width
  const parts = [];
  if (look.lines && shown.facts) parts.push(...braggLines(side, span));
  const perPixel = span / side;
  const mrad = roundLength(0.24 * span * pattern.wavelength * 1e3);
  const long = mrad / 1e3 / pattern.wavelength / perPixel;
  parts.push(
    svg("rect", { class: "bar-shape", x: 16, y: side - 20, width: long, height: 4, rx: 1 }),
    svg("text", { x: 16, y: side - 27 }, `${mrad} mrad = ${digits(mrad / 1e3 / pattern.wavelength, 3)} Å⁻¹`),
  );
  if (probe.pinned || probe.over) {
    const [x, y] = [probe.x * side, probe.y * side];
    parts.push(svg("circle", { class: "probe-dark", cx: x, cy: y, r: 6 }), svg("circle", { class: "probe", cx: x, cy: y, r: 6 }));
  }
  return over.replaceChildren(...parts);
}

/** The lines 2 k·g + g² = 0 on which g is excited. */
function braggLines(side, span) {
  const strong = shown.facts.spots.filter((s) => s.strength > 0.02).slice(0, 80);
  const near = nearestLine();
  return strong.flatMap((spot) => {
    const size = Math.hypot(spot.x, spot.y);
    const [nx, ny] = [spot.x / size, spot.y / size];
    const away = -size / 2;
    if (Math.abs(away) > span) return [];
    const place = (along) => [
      side * (0.5 + (away * nx - along * ny) / span),
      side * (0.5 - (away * ny + along * nx) / span),
    ];
    const [[x1, y1], [x2, y2]] = [place(-2 * span), place(2 * span)];
    return [svg("line", { x1, y1, x2, y2, class: `bragg${near === spot ? " near" : ""}` })];
  });
}

/** The strong reflection whose Bragg condition is nearest to the probe, if it is near. */
function nearestLine() {
  const pattern = current()?.pattern;
  if (!pattern || !shown.facts) return null;
  const span = pattern.pixels * pattern.k_step;
  const [kx, ky] = [(probe.x - 0.5) * span, (0.5 - probe.y) * span];
  let [best, least] = [null, span * 0.012];
  for (const spot of shown.facts.spots) {
    if (spot.strength < 0.02) continue;
    const size = Math.hypot(spot.x, spot.y);
    const distance = Math.abs((kx * spot.x + ky * spot.y) / size + size / 2);
    if (distance < least - 1e-9) [best, least] = [spot, distance];
  }
  return best;
}

/** What is at the probe: { hkl, kx, ky, value }. */
function readProbe() {
  if (look.view === "discs") {
    const pattern = shown.discs;
    const hit = pattern && discAt(pattern, probe.x, probe.y);
    if (!hit) return null;
    const value = disc(pattern, hit.index)[hit.row * pattern.pixels + hit.column];
    const k = (i) => pattern.k_first + i * pattern.k_step;
    return { hkl: pattern.hkl[hit.index], kx: k(hit.column), ky: k(hit.row), value, wavelength: pattern.wavelength };
  }
  const now = current();
  if (!now) return null;
  const at = (v) => Math.max(0, Math.min(now.size - 1, Math.floor(v * now.size)));
  const [column, row] = [at(probe.x), at(1 - probe.y)];
  const k = (i) => now.pattern.k_first + i * now.pattern.k_step;
  const value = now.values[row * now.size + column];
  return { hkl: state.hkl, kx: k(column), ky: k(row), value, row, column, wavelength: now.pattern.wavelength, signed: now.signed };
}

export function showReadout() {
  const found = readProbe();
  if (!found) {
    $("readout").textContent = look.view === "discs" && shown.discs ? "Point at a disc" : "";
    return;
  }
  const { kx, ky, wavelength } = found;
  const mrad = (k) => 1e3 * Math.asin(Math.max(-1, Math.min(1, k * wavelength)));
  const fixed = (v, n) => v.toFixed(n).replace("-", "−");
  const line = look.view === "pattern" ? nearestLine() : null;
  const parts = [
    [indices(found.hkl), ""],
    [`${fixed(mrad(kx), 2)}, ${fixed(mrad(ky), 2)}`, " mrad"],
    [`${fixed(kx, 4)}, ${fixed(ky, 4)}`, " Å⁻¹"],
    [`${found.signed ? "ΔI" : "I"} = ${digits(found.value, found.signed ? 2 : 4)}`, ""],
  ];
  if (line) parts.push([`at Bragg of ${indices(line.hkl)}`, ""]);
  $("readout").replaceChildren(
    ...parts.map(([strong, unit], i) => element("span", {}, i === 0 || i === 3 ? element("b", {}, strong) : strong, unit)),
  );
}

export function wireProbe() {
  const canvas = $("picture");
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    probe.x = Math.max(0, Math.min(0.9999, (event.clientX - box.left) / box.width));
    probe.y = Math.max(0, Math.min(0.9999, (event.clientY - box.top) / box.height));
  };
  const show = () => { showReadout(); showOverlay(); showCurve(); };
  canvas.addEventListener("pointermove", (event) => {
    if (probe.pinned && event.pointerType === "mouse" && !event.buttons) return;
    place(event);
    probe.over = true;
    requestAnimationFrame(show);
  });
  canvas.addEventListener("pointerleave", () => { probe.over = probe.pinned; showOverlay(); });
  canvas.addEventListener("click", (event) => {
    place(event);
    if (look.view === "discs") {
      const hit = shown.discs && discAt(shown.discs, probe.x, probe.y);
      if (hit) chosen.reflection(shown.discs.hkl[hit.index]);
      return;
    }
    probe.pinned = !probe.pinned || event.pointerType !== "mouse";
    show();
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const size = (look.view === "discs" ? shown.discs : shown.pattern)?.pixels;
    if (!step || !size) return;
    event.preventDefault();
    const far = (event.shiftKey ? 8 : 1) / size;
    probe.x = Math.max(0, Math.min(0.9999, probe.x + far * step[0]));
    probe.y = Math.max(0, Math.min(0.9999, probe.y + far * step[1]));
    probe.pinned = true;
    show();
    $("spoken").textContent = $("readout").textContent;
  });
}
