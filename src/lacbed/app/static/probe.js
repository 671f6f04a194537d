// The probe: what is read under the pointer, scale bar and Bragg lines over the picture.

import { cbedAt } from "./cbed.js";
import { disc, discAt } from "./discs.js";
import { shownDiscs } from "./facts.js";
import { reflectionName } from "./names.js";
import { digits, roundLength } from "./picture.js";
import { line, showProfile } from "./profile.js";
import { showCurve } from "./series.js";
import { $, chosen, current, equal, look, probe, sameZone, shown, state } from "./state.js";
import { element, svg } from "./structure.js";
import { fromFrame, toFrame, zoom } from "./zoom.js";

/** Facts about the crystal and zone of the picture; null while they are those of another. */
const facts = (now) => (now && shown.facts && sameZone(shown.facts.of, now.of) ? shown.facts : null);

/** Scale bar, Bragg lines, the line of the profile and the probe over the picture. */
export function showOverlay() {
  const over = $("overlay");
  const now = look.view === "pattern" ? current() : null;
  const side = over.clientWidth || 600;
  over.setAttribute("viewBox", `0 0 ${side} ${side}`);
  const plane = look.view === "discs" ? shownDiscs()?.cbed : null;
  if (plane) return over.replaceChildren(...cbedMarks(plane, side));
  if (!now) return over.replaceChildren();
  const { pattern } = now;
  const span = (pattern.pixels * pattern.k_step) / zoom.times; // 1/Å over the width
  const at = (x, y) => toFrame(x, y).map((v) => v * side);
  const parts = [];
  if (look.lines && facts(now)) parts.push(...braggLines(now, side, at));
  parts.push(...scaleMarks(span, pattern.wavelength, side));
  if (now.beside) {
    const x = at(look.swipe, 0)[0];
    parts.push(svg("line", { class: "casing", x1: x, x2: x, y1: 0, y2: side }), svg("line", { class: "across", x1: x, x2: x, y1: 0, y2: side }));
    parts.push(svg("text", { x: x - 8, y: side - 12, "text-anchor": "end" }, "A"), svg("text", { x: x + 8, y: side - 12 }, "B"));
  }
  if (line.on) {
    const [[x1, y1], [x2, y2]] = [at(...line.from), at(...line.to)];
    parts.push(svg("line", { class: "casing", x1, y1, x2, y2 }), svg("line", { class: "across", x1, y1, x2, y2 }));
    parts.push(svg("circle", { class: "end", cx: x1, cy: y1, r: 5 }), svg("circle", { class: "end", cx: x2, cy: y2, r: 5 }));
  }
  if (probe.pinned || probe.over) {
    const [x, y] = at(probe.x, probe.y);
    parts.push(svg("circle", { class: "probe-dark", cx: x, cy: y, r: 6 }), svg("circle", { class: "probe", cx: x, cy: y, r: 6 }));
  }
  return over.replaceChildren(...parts);
}

/** A scale bar. */
function scaleMarks(span, wavelength, side) {
  const { length, text } = scaleOf(span, wavelength);
  return [
    svg("rect", { class: "bar-shape", x: 16, y: side - 20, width: (length / span) * side, height: 4, rx: 1 }),
    svg("text", { x: 16, y: side - 27 }, text),
  ];
}

/** Scale bar, outlines of the chosen disc and its neighbours under the probe, and indices where they have room. */
function cbedMarks({ size, step, radius, pattern }, side) {
  const span = size * step;
  const place = (x, y) => toFrame(0.5 + x / span, 0.5 - y / span).map((v) => v * side);
  const scaled = (radius / span) * side * zoom.times;
  const parts = scaleMarks(span / zoom.times, pattern.wavelength, side);
  const nearest = Math.min(...pattern.gx.map((x, i) => Math.hypot(x, pattern.gy[i])).filter((d) => d > 1e-6));
  const room = (nearest / span) * side * zoom.times;
  pattern.hkl.forEach((hkl, i) => {
    const [cx, cy] = place(pattern.gx[i], pattern.gy[i]);
    if (equal(hkl, state.hkl)) parts.push(svg("circle", { class: "probe-dark", cx, cy, r: scaled }), svg("circle", { class: "probe", cx, cy, r: scaled }));
    if (room > 34) parts.push(svg("text", { x: cx, y: cy + 4, "text-anchor": "middle" }, reflectionName(hkl, pattern.of)));
  });
  return parts;
}

/** A round length for a scale bar: { length in 1/Å, text }. */
function scaleOf(span, wavelength) {
  const units = {
    mrad: [wavelength * 1e3, "mrad"],
    degree: [(wavelength * 180) / Math.PI, "°"],
    inverse: [1, "Å⁻¹"],
    nanometre: [10, "nm⁻¹"],
  };
  const [factor, unit] = units[look.unit] ?? units.mrad;
  const round = roundLength(0.24 * span * factor);
  return { length: round / factor, text: `${Number(round.toPrecision(3))} ${unit}` };
}

/** The lines 2 k·g + g² = 0 on which g is excited, with a dark edge so that they are seen on every colour. */
function braggLines(now, side, at) {
  const span = now.pattern.pixels * now.pattern.k_step;
  const strong = facts(now).spots.filter((s) => s.strength > 0.02).slice(0, 80);
  const near = nearestLine();
  const lines = strong.flatMap((spot) => {
    const size = Math.hypot(spot.x, spot.y);
    const [nx, ny] = [spot.x / size, spot.y / size];
    const away = -size / 2;
    if (Math.abs(away) > span) return [];
    const place = (along) => at(0.5 + (away * nx - along * ny) / span, 0.5 - (away * ny + along * nx) / span);
    const [[x1, y1], [x2, y2]] = [place(-2 * span), place(2 * span)];
    return [{ x1, y1, x2, y2, near: near === spot }];
  });
  const drawn = (name) => lines.map(({ near: isNear, ...ends }) => svg("line", { ...ends, class: `${name}${isNear ? " near" : ""}` }));
  return [...drawn("casing"), ...drawn("bragg")];
}

/** The strong reflection whose Bragg condition is nearest to the probe, if it is near. */
function nearestLine() {
  const now = look.view === "pattern" ? current() : null;
  if (!facts(now)) return null;
  const { pattern } = now;
  const span = pattern.pixels * pattern.k_step;
  const [kx, ky] = [(probe.x - 0.5) * span, (0.5 - probe.y) * span];
  let [best, least] = [null, span * 0.012];
  for (const spot of facts(now).spots) {
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
    const there = shownDiscs();
    const pattern = there?.pattern;
    if (there?.cbed) {
      const { over, qx, qy, value } = cbedAt(there.cbed, probe.x, probe.y);
      return { of: pattern.of, hkl: over.map((i) => pattern.hkl[i]), kx: qx, ky: qy, value, wavelength: pattern.wavelength, isPlane: true };
    }
    const hit = pattern && discAt(pattern, probe.x, probe.y);
    if (!hit) return null;
    const value = disc(pattern, hit.index)[hit.row * pattern.pixels + hit.column];
    const k = (i) => pattern.k_first + i * pattern.k_step;
    return { of: pattern.of, hkl: pattern.hkl[hit.index], kx: k(hit.column), ky: k(hit.row), value, wavelength: pattern.wavelength };
  }
  const now = current();
  if (!now) return null;
  const at = (v) => Math.max(0, Math.min(now.size - 1, Math.floor(v * now.size)));
  const [column, row] = [at(probe.x), at(1 - probe.y)];
  const k = (i) => now.pattern.k_first + i * now.pattern.k_step;
  const value = now.values[row * now.size + column];
  return { of: now.of, hkl: now.hkl, kx: k(column), ky: k(row), value, row, column, wavelength: now.pattern.wavelength, signed: now.signed, other: now.beside && valueAt(now.beside, k(column), k(row)) };
}

/** The value of a picture at a direction in 1/Å; NaN beyond it. */
function valueAt({ pattern, values, size }, kx, ky) {
  const [column, row] = [kx, ky].map((k) => Math.round((k - pattern.k_first) / pattern.k_step));
  return Math.min(column, row) < 0 || Math.max(column, row) >= size ? NaN : values[row * size + column];
}

export function showReadout() {
  const found = readProbe();
  if (!found) {
    $("readout").textContent = look.view === "discs" && shownDiscs() ? "Point at a disc" : "";
    return;
  }
  const { kx, ky, wavelength } = found;
  const angle = (k) => Math.asin(Math.max(-1, Math.min(1, k * wavelength)));
  const fixed = (v, n) => v.toFixed(n).replace("-", "−");
  const pair = (f, n) => `${fixed(f(kx), n)}, ${fixed(f(ky), n)}`;
  const units = {
    mrad: [pair((k) => 1e3 * angle(k), 2), " mrad"],
    degree: [pair((k) => (180 / Math.PI) * angle(k), 3), "°"],
    inverse: [pair((k) => k, 4), " Å⁻¹"],
    nanometre: [pair((k) => 10 * k, 3), " nm⁻¹"],
  };
  const first = units[look.unit] ?? units.mrad;
  const second = look.unit === "inverse" || look.unit === "nanometre" ? units.mrad : units.inverse;
  const near = look.view === "pattern" ? nearestLine() : null;
  const parts = [
    [found.isPlane ? overlapWords(found) : reflectionName(found.hkl, found.of), ""],
    first,
    second,
    [`${found.signed ? "ΔI" : "I"} = ${digits(found.value, found.signed ? 2 : 4)}${found.other === undefined ? "" : `, A: ${digits(found.other, 4)}`}`, ""],
  ];
  if (near) parts.push([`at Bragg of ${reflectionName(near.hkl, found.of)}`, ""]);
  $("readout").replaceChildren(
    ...parts.flatMap(([strong, unit], i) => [
      ...(i ? [element("i", { className: "sr" }, ", ")] : []),
      element("span", {}, i === 0 || i === 3 ? element("b", {}, strong) : strong, unit),
    ]),
  );
}

/** Which discs lie over each other at a place. */
function overlapWords({ hkl, of }) {
  if (!hkl.length) return "no disc";
  const names = hkl.slice(0, 4).map((one) => reflectionName(one, of)).join(" + ");
  return hkl.length > 4 ? `${names} + ${hkl.length - 4} more` : names;
}

export function wireProbe() {
  const canvas = $("picture");
  const place = (event) => {
    const [x, y] = where(event);
    Object.assign(probe, { x, y });
  };
  /** Fractions of the picture of a pointer. */
  const where = (event) => {
    const box = $("frame").getBoundingClientRect();
    const found = fromFrame((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
    return found.map((v) => Math.max(0, Math.min(0.9999, v)));
  };
  const show = () => { showReadout(); showOverlay(); showCurve(); };
  let drawing = false;
  canvas.addEventListener("pointerdown", (event) => {
    if (!line.on || look.view !== "pattern" || event.shiftKey || event.button) return;
    drawing = true;
    line.from = line.to = where(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", () => {
    if (!drawing) return;
    drawing = false;
    if (Math.hypot(line.to[0] - line.from[0], line.to[1] - line.from[1]) < 0.01) Object.assign(line, { from: [0.1, 0.5], to: [0.9, 0.5] });
    showOverlay();
    showProfile();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drawing) {
      line.to = where(event);
      requestAnimationFrame(() => { showOverlay(); showProfile(); });
      return;
    }
    if (probe.pinned && event.pointerType === "mouse" && !event.buttons) return;
    place(event);
    probe.over = true;
    requestAnimationFrame(show);
  });
  canvas.addEventListener("pointerleave", () => { probe.over = probe.pinned; showOverlay(); });
  canvas.addEventListener("click", (event) => {
    place(event);
    if (look.view === "discs") {
      const there = shownDiscs();
      const hit = there && (there.cbed ? cbedAt(there.cbed, probe.x, probe.y) : discAt(there.pattern, probe.x, probe.y));
      if (hit && hit.index >= 0) chosen.reflection(there.pattern.hkl[hit.index]);
      return;
    }
    if (line.on) return;
    probe.pinned = !probe.pinned || event.pointerType !== "mouse";
    show();
  });
  canvas.addEventListener("dblclick", (event) => {
    if (look.view !== "discs") return;
    event.stopPropagation(); // the picture that opens is not enlarged by the same click
    chosen.open();
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && look.view === "discs") return chosen.open();
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const size = (look.view === "discs" ? shownDiscs() : current())?.pattern.pixels;
    if (!step || !size) return undefined;
    event.preventDefault();
    const far = (event.shiftKey ? 8 : 1) / size;
    probe.x = Math.max(0, Math.min(0.9999, probe.x + far * step[0]));
    probe.y = Math.max(0, Math.min(0.9999, probe.y + far * step[1]));
    probe.pinned = true;
    show();
    $("spoken").textContent = $("readout").textContent;
    return undefined;
  });
}
