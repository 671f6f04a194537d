// All directions of the crystal: a stereogram of its zone axes and Bragg lines, to be turned and chosen from.

import { crystalName, indices, reflectionName, stem, zoneName } from "./names.js";
import { digits } from "./picture.js";
import { $, chosen, equal, plain, reduced, sameZone, shown, state } from "./state.js";
import { element } from "./structure.js";

/** How the sphere is turned (rows of a rotation), and the angle in degrees from its centre to its edge. */
const view = { turn: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], field: 90, of: null };
const [WIDEST, NARROWEST] = [90, 0.5];

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const apply = (matrix, v) => matrix.map((row) => dot(row, v));
const length = (v) => Math.hypot(...v);
/** Coordinates times the rows of a basis. */
const along = (basis, n) => [0, 1, 2].map((i) => n[0] * basis[0][i] + n[1] * basis[1][i] + n[2] * basis[2][i]);

/** Turn about an axis in the plane of the screen, (x, y), by an angle in radians. */
function turnBy(x, y, angle) {
  const size = Math.hypot(x, y) || 1;
  const [a, b, c, s] = [x / size, y / size, Math.cos(angle), Math.sin(angle)];
  const step = [
    [c + a * a * (1 - c), a * b * (1 - c), b * s],
    [a * b * (1 - c), c + b * b * (1 - c), -a * s],
    [-b * s, a * s, c],
  ];
  const columns = [0, 1, 2].map((j) => view.turn.map((row) => row[j]));
  const product = step.map((row) => columns.map((column) => dot(row, column)));
  // Rounding of many small turns must not shear the sphere.
  const first = product[0].map((v) => v / length(product[0]));
  const mixed = product[1].map((v, i) => v - dot(product[1], first) * first[i]);
  const second = mixed.map((v) => v / length(mixed));
  const third = [first[1] * second[2] - first[2] * second[1], first[2] * second[0] - first[0] * second[2], first[0] * second[1] - first[1] * second[0]];
  view.turn = [first, second, third];
}

let poles = { key: "", list: [] };

/** Zone axes with indices up to `most`, the shortest first: { uvw, at (unit vector), size in Å }. */
function polesOf(facts, most) {
  const key = `${most} ${JSON.stringify(facts.stereogram.direct)}`;
  if (poles.key === key) return poles.list;
  const list = [];
  for (let u = -most; u <= most; u++) {
    for (let v = -most; v <= most; v++) {
      for (let w = -most; w <= most; w++) {
        if (!(u || v || w) || !equal(reduced([u, v, w]), [u, v, w])) continue;
        const vector = along(facts.stereogram.direct, [u, v, w]);
        const size = length(vector);
        list.push({ uvw: [u, v, w], at: vector.map((x) => x / size), size });
      }
    }
  }
  list.sort((a, b) => a.size - b.size);
  poles = { key, list };
  return list;
}

/** Where poles lie on the picture of half-side `half`: those on this side of the sphere and within the frame. */
function placed(facts, half) {
  const scale = half / Math.tan((view.field * Math.PI) / 360);
  const found = [];
  for (const pole of polesOf(facts, view.field > 60 ? 3 : view.field > 15 ? 5 : 8)) {
    const [x, y, z] = apply(view.turn, pole.at);
    if (z < -1e-9) continue;
    const [px, py] = [(scale * x) / (1 + z), (scale * y) / (1 + z)];
    if (Math.hypot(px, py) <= half * 1.001) found.push({ ...pole, px, py, away: Math.acos(Math.min(1, z)) });
  }
  return found;
}

/** Draw the stereogram; the time in ms that it took. */
export function drawTilt(canvas, facts) {
  const begun = performance.now();
  const ratio = Math.min(2, devicePixelRatio || 1);
  const side = Math.max(240, Math.round(canvas.clientWidth * ratio));
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const half = side / 2 - 2;
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.fillStyle = "#0a0b0d";
  pen.fillRect(0, 0, side, side);
  pen.setTransform(1, 0, 0, -1, side / 2, side / 2); // x to the right, y up
  pen.save();
  pen.beginPath();
  pen.arc(0, 0, half, 0, 2 * Math.PI);
  pen.clip();
  pen.fillStyle = "#15181c";
  pen.fillRect(-half, -half, side, side);
  const labels = drawLines(pen, facts, half, ratio);
  drawField(pen, facts, half, ratio);
  const there = placed(facts, half);
  drawPoles(pen, there, facts.zone_axis, ratio);
  pen.restore();
  pen.strokeStyle = "#6b7078";
  pen.lineWidth = ratio;
  pen.beginPath();
  pen.arc(0, 0, half, 0, 2 * Math.PI);
  pen.stroke();
  drawNames(pen, there, labels, facts, half, ratio);
  return performance.now() - begun;
}

/** The pairs of Bragg lines n·g = ± g² λ / 2: circles on the map too. Returns where the strong ones can be named. */
function drawLines(pen, facts, half, ratio) {
  const scale = half / Math.tan((view.field * Math.PI) / 360);
  const names = [];
  for (const [h, k, l, strength] of facts.stereogram.lines) {
    const vector = along(facts.stereogram.reciprocal, [h, k, l]);
    const size = length(vector);
    const [x, y, z] = apply(view.turn, vector.map((v) => v / size));
    const sine = (size * facts.wavelength) / 2;
    pen.strokeStyle = `rgb(255 217 160 / ${(0.12 + 0.6 * Math.sqrt(strength)).toFixed(3)})`;
    pen.lineWidth = ratio * (0.5 + 0.8 * strength);
    const flat = Math.hypot(x, y);
    const [ux, uy] = flat > 1e-9 ? [x / flat, y / flat] : [1, 0];
    for (const s of [sine, -sine]) {
      // On the meridian through g: flat sin t + z cos t = s, and the map has tan(t / 2). There the line is nearest to the middle.
      const nearest = scale * Math.tan((Math.asin(Math.max(-1, Math.min(1, s))) - Math.atan2(z, flat)) / 2);
      if (Math.abs(nearest) > half) continue;
      const radius = (scale * Math.sqrt(Math.max(0, 1 - s * s))) / Math.abs(z + s);
      pen.beginPath();
      if (half * half > 0.3 * radius) {
        pen.arc((scale * x) / (z + s), (scale * y) / (z + s), radius, 0, 2 * Math.PI);
      } else { // so flat that a chord is as good
        pen.moveTo(nearest * ux - 2 * half * uy, nearest * uy + 2 * half * ux);
        pen.lineTo(nearest * ux + 2 * half * uy, nearest * uy - 2 * half * ux);
      }
      pen.stroke();
      if (s < 0) names.push({ // a beam from there excites g, as the Bragg lines over the pattern have it
        hkl: [h, k, l], strength, x: nearest * ux, y: nearest * uy,
      });
    }
  }
  return names;
}

/** The half-width of the pattern that is computed, about its zone axis. */
function drawField(pen, facts, half, ratio) {
  const scale = half / Math.tan((view.field * Math.PI) / 360);
  const { extent } = sameZone(facts.of, state) ? state : facts.of;
  const wide = Math.asin(Math.min(1, extent * facts.shortest * facts.wavelength));
  const corners = [[1, 1], [-1, 1], [-1, -1], [1, -1]].map(([a, b]) => {
    const [x, y, z] = apply(view.turn, [a * Math.sin(wide), b * Math.sin(wide), Math.sqrt(Math.max(0, 1 - 2 * Math.sin(wide) ** 2))]);
    return z < 0 ? null : [(scale * x) / (1 + z), (scale * y) / (1 + z)];
  });
  if (corners.includes(null)) return;
  pen.strokeStyle = "#ffb454";
  pen.lineWidth = 1.4 * ratio;
  pen.beginPath();
  for (const corner of corners) pen.lineTo(...corner);
  pen.closePath();
  pen.stroke();
}

function drawPoles(pen, there, own, ratio) {
  const shortest = there[0]?.size ?? 1;
  for (const { uvw, px, py, size } of there) {
    const isOwn = equal(uvw, own);
    pen.fillStyle = isOwn ? "#ffb454" : "#e8e6e1";
    pen.beginPath();
    pen.arc(px, py, ratio * Math.max(1.6, Math.min(6, (5.5 * shortest) / size + 0.8)), 0, 2 * Math.PI);
    pen.fill();
  }
}

/** Names of poles and lines where they have room. */
function drawNames(pen, there, lines, facts, half, ratio) {
  pen.setTransform(1, 0, 0, 1, half + 2, half + 2);
  pen.font = `${Math.round(12 * ratio)}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "bottom";
  pen.lineJoin = "round";
  pen.lineWidth = 3 * ratio;
  pen.strokeStyle = "rgb(0 0 0 / 75%)";
  const taken = [];
  const put = (text, x, y, fill) => {
    const wide = (pen.measureText(text).width + 8 * ratio) / 2;
    const box = [x - wide, y - 15 * ratio, x + wide, y + 2 * ratio];
    if (Math.hypot(x, y) > half * 0.97 || taken.some((b) => box[0] < b[2] && box[2] > b[0] && box[1] < b[3] && box[3] > b[1])) return;
    taken.push(box);
    pen.strokeText(text, x, y);
    pen.fillStyle = fill;
    pen.fillText(text, x, y);
  };
  for (const { uvw, px, py } of there.slice(0, 160)) put(`[${indices(uvw)}]`, px, -py - 7 * ratio, equal(uvw, facts.zone_axis) ? "#ffb454" : "#f2efe9");
  for (const { hkl, x, y } of lines) if (view.field < 40) put(reflectionName(hkl, facts.of), x, -y - 2 * ratio, "#ffd9a0");
}

/** The facts that belong to what is asked for, or null. */
const facts = () => (shown.facts?.stereogram && sameZone(shown.facts.of, state) ? shown.facts : null);

/** The label of the stereogram: from what is drawn alone. */
export function tiltLabel() {
  const of = shown.facts?.of;
  if (!of || !shown.facts.stereogram) return { title: "Stereogram", subtitle: "on its way", tab: "lacbed", file: "stereogram" };
  return {
    title: `${crystalName(of, shown.facts)}  ${zoneName(shown.facts.zone_axis, of)}`,
    subtitle: `stereogram of zone axes and Bragg lines, ${plain(of.voltage)} kV, ${digits(view.field, 3)}° from centre to edge`,
    tab: `${shown.facts.name} stereogram – lacbed`,
    file: `${stem(of, shown.facts)}-stereogram`,
  };
}

/** Draw what there is, and name the poles near its centre. */
export function showTilt() {
  const found = facts();
  const of = found && JSON.stringify(found.stereogram.direct);
  if (of && view.of !== of) Object.assign(view, { turn: [[1, 0, 0], [0, 1, 0], [0, 0, 1]], of }); // another crystal or zone
  $("tilt-note").textContent = found ? "" : "Not yet what is asked for";
  if (!shown.facts?.stereogram) return;
  showTilt.took = drawTilt($("stereogram"), shown.facts);
  const label = tiltLabel();
  $("tilt-field").textContent = `${digits(view.field, 3)}°`;
  const near = placed(shown.facts, 1).sort((a, b) => a.away - b.away).slice(0, 6);
  $("stereogram").setAttribute("aria-label", `${label.title}, ${label.subtitle}; in the centre ${near[0] ? nameOf(near[0]) : "no zone axis"}`);
  const known = near.map(({ uvw }) => uvw.join()).join(" ");
  if ($("tilt-poles").dataset.known !== known + near.map((p) => digits(p.away, 2)).join()) {
    $("tilt-poles").dataset.known = known + near.map((p) => digits(p.away, 2)).join();
    $("tilt-poles").replaceChildren(...near.map((pole) => element("button", { type: "button", disabled: !found, onclick: () => chosen.zone(pole.uvw) }, nameOf(pole))));
  }
}

const nameOf = ({ uvw, away }) => `[${indices(uvw)}] ${((away * 180) / Math.PI).toFixed(1)}°`;

/** Connect dragging, the wheel, keys and clicks; `show` draws everything at the next frame. */
export function wireTilt(show) {
  const canvas = $("stereogram");
  const turn = (dx, dy) => { // by fractions of half the side: the point under the pointer stays under it near the centre
    const angle = 2 * Math.tan((view.field * Math.PI) / 360) * Math.hypot(dx, dy);
    if (angle) turnBy(dy, dx, angle);
    show();
  };
  const zoom = (factor) => { view.field = Math.max(NARROWEST, Math.min(WIDEST, view.field * factor)); show(); };
  const where = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(2 * (event.clientX - box.left)) / box.width - 1, 1 - (2 * (event.clientY - box.top)) / box.height];
  };
  const nearest = ([x, y], reach) => {
    const found = facts() && placed(shown.facts, 1).map((pole) => ({ ...pole, d: Math.hypot(pole.px - x, pole.py - y) })).sort((a, b) => a.d - b.d)[0];
    return found && found.d < reach ? found : null;
  };
  let [held, moved] = [null, 0];
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    [held, moved] = [where(event), 0];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = where(event);
    if (held) {
      const [dx, dy] = [at[0] - held[0], at[1] - held[1]];
      moved += Math.hypot(dx, dy);
      held = at;
      return turn(dx, -dy);
    }
    const pole = nearest(at, 0.03);
    canvas.classList.toggle("over", Boolean(pole));
    $("tilt-note").textContent = pole ? `${nameOf(pole)} from the centre; click to look along it` : facts() ? "" : "Not yet what is asked for";
    return undefined;
  });
  canvas.addEventListener("pointerup", (event) => {
    const isClick = held && moved < 0.01;
    held = null;
    const pole = isClick && nearest(where(event), 0.04);
    if (pole) chosen.zone(pole.uvw);
  });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(event.deltaY / 400));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 0.2 : 0.03;
    const step = { ArrowRight: [far, 0], ArrowLeft: [-far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
    const factor = { "+": 0.7, "=": 0.7, "-": 1 / 0.7 }[event.key];
    if (event.ctrlKey || event.metaKey || (!step && !factor && event.key !== "0" && event.key !== "Enter")) return;
    event.preventDefault();
    if (step) turn(...step);
    else if (factor) zoom(factor);
    else if (event.key === "0") reset();
    else {
      const pole = nearest([0, 0], 3);
      if (pole) chosen.zone(pole.uvw);
    }
    const near = facts() && nearest([0, 0], 3);
    if (near) $("spoken").textContent = `Nearest to the centre: ${near.uvw.join(" ")}, ${((near.away * 180) / Math.PI).toFixed(1)} degrees`;
  });
  const reset = () => { Object.assign(view, { field: WIDEST, of: null }); show(); };
  $("tilt-out").addEventListener("click", () => zoom(1 / 0.7));
  $("tilt-in").addEventListener("click", () => zoom(0.7));
  $("tilt-reset").addEventListener("click", reset);
}
