// All directions of the crystal: a stereogram of its zone axes and Bragg lines, to be turned and chosen from, and the crystal that turns with it.

import { crystalName, indices, reflectionName, stem, zoneName } from "./names.js";
import { digits, sharpness } from "./picture.js";
import { drawSolid, showElements, solidWords } from "./solid.js";
import { $, busy, chosen, equal, look, plain, reduced, run, sameCrystal, sameZone, shown, state, wanted } from "./state.js";
import { element } from "./structure.js";
import { drawUnder, outline, showUnder, underLabel, underTold } from "./under.js";
import { STRAIGHT, along, apply, dot, length, orthonormal, product, rotation, transposed } from "./vectors.js";

/** How the sphere and the crystal are turned (rows of a rotation) against which facts, and the angle in degrees from the centre of the map to its edge. */
const view = { turn: STRAIGHT, facts: null, field: 90 };
const [WIDEST, NARROWEST, SETTLE_MS, WORDS_MS, REST_MS, MOST_ATOMS, AIMED] = [90, 0.5, 450, 150, 250, 1500, 3];

/** Turn about an axis in the plane of the screen, (x, y), by an angle in radians. */
function turnBy(x, y, angle) {
  const size = Math.hypot(x, y) || 1;
  view.turn = orthonormal(product(rotation([x / size, y / size, 0], angle), view.turn));
}

let [redraw, settling] = [() => {}, 0];

/** The facts are of another zone axis, or crystal: of the same crystal the picture stays, and turns to the new axis. */
function follow(next) {
  rest();
  run.aim = null;
  const before = view.facts;
  view.facts = next;
  const [old, now] = [before, next].map((one) => one && one.stereogram.direct);
  if (before && JSON.stringify(old) === JSON.stringify(now)) return;
  settling += 1;
  if (!before || !sameCrystal(before.of, next.of)) view.turn = STRAIGHT;
  else {
    view.turn = orthonormal(product(view.turn, product(transposed(old), next.stereogram.reciprocal))); // the same directions along the new axes
    settle();
  }
}

/** Turn back to the zone axis, at once for whoever wants no motion. */
function settle() {
  const mine = (settling += 1);
  const [x, y, z] = view.turn;
  const angle = Math.acos(Math.max(-1, Math.min(1, (x[0] + y[1] + z[2] - 1) / 2)));
  const axis = [z[1] - y[2], x[2] - z[0], y[0] - x[1]];
  const size = length(axis);
  if (size < 1e-6 || matchMedia("(prefers-reduced-motion: reduce)").matches || document.hidden) {
    view.turn = STRAIGHT;
    return redraw();
  }
  const begun = performance.now();
  busy(1);
  const step = (now) => {
    const part = Math.max(0, Math.min(1, (now - begun) / SETTLE_MS));
    const isMine = mine === settling;
    if (isMine) {
      const left = part < 1 ? angle * (1 - part) ** 2 * (1 + 2 * part) : 0;
      view.turn = left ? rotation(axis.map((v) => v / size), left) : STRAIGHT;
      redraw();
    }
    if (isMine && part < 1) return requestAnimationFrame(step);
    return busy(-1);
  };
  return requestAnimationFrame(step);
}

let poles = { of: null, lists: new Map() };

/** Zone axes with indices up to `most`, the shortest first: { uvw, at (unit vector), size in Å }. */
function polesOf(facts, most) {
  if (poles.of !== facts) poles = { of: facts, lists: new Map() };
  if (poles.lists.has(most)) return poles.lists.get(most);
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
  poles.lists.set(most, list);
  return list;
}

/** The zone axis nearest to the centre, of those with small indices and the one that is chosen. */
function nearestAxis(of) {
  const own = { uvw: of.zone_axis, at: along(of.stereogram.direct, of.zone_axis).map((v, _, all) => v / length(all)) };
  const ahead = ({ at }) => dot(view.turn[2], at);
  return polesOf(of, AIMED).reduce((best, pole) => (ahead(pole) > ahead(best) + 1e-9 ? pole : best), own).uvw;
}

let resting = null;

/** Nothing is waited for any more. */
function rest() {
  if (resting === null) return;
  clearTimeout(resting);
  resting = null;
  busy(-1);
}

/** The map has been turned: a first picture of what is in the centre now, and when it rests the rest. */
function aim() {
  if (resting === null) busy(1);
  clearTimeout(resting);
  const say = (isLive) => look.view === "tilt" && facts() && chosen.aim({ uvw: nearestAxis(shown.facts), of: shown.facts.of }, isLive);
  say(true);
  resting = setTimeout(() => {
    say(false);
    rest();
  }, REST_MS);
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

/** Draw the stereogram, `ratio` points to one of the screen. */
export function drawTilt(canvas, facts, ratio = sharpness(canvas), wide = canvas.clientWidth) {
  const side = Math.max(240, Math.round(wide * ratio));
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const half = side / 2 - 2;
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.fillStyle = "#0a0b0d";
  pen.fillRect(0, 0, side, side);
  pen.setTransform(1, 0, 0, -1, side / 2, side / 2); // x to the right, y up
  pen.fillStyle = "#15181c";
  pen.strokeStyle = "#6b7078";
  pen.lineWidth = ratio;
  pen.beginPath();
  pen.arc(0, 0, half, 0, 2 * Math.PI);
  pen.fill();
  pen.stroke();
  pen.save();
  pen.clip();
  drawUnder(pen, facts, view.turn, half / Math.tan((view.field * Math.PI) / 360), ratio);
  pen.restore();
  const labels = drawLines(pen, facts, half, ratio);
  const there = placed(facts, half);
  pen.save();
  pen.beginPath();
  pen.arc(0, 0, half, 0, 2 * Math.PI);
  pen.clip(); // dots and one square only: many lines under a clip are slow to draw
  drawField(pen, facts, half, ratio);
  drawPoles(pen, there, facts.zone_axis, ratio);
  pen.restore();
  drawNames(pen, there, labels, facts, half, ratio);
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
      const [cx, cy] = [(scale * x) / (z + s), (scale * y) / (z + s)];
      pen.beginPath();
      if (half * half > 0.3 * radius) { // only what lies in the frame: much quicker than to clip
        const away = Math.hypot(cx, cy);
        const wide = Math.acos(Math.max(-1, Math.min(1, (away * away + radius * radius - half * half) / (2 * away * radius || 1))));
        const inward = Math.atan2(-cy, -cx);
        pen.arc(cx, cy, radius, inward - wide, inward + wide);
      } else { // so flat that a chord is as good
        const long = Math.sqrt(Math.max(0, half * half - nearest * nearest));
        pen.moveTo(nearest * ux - long * uy, nearest * uy + long * ux);
        pen.lineTo(nearest * ux + long * uy, nearest * uy - long * ux);
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
  outline(pen, corners, ratio, equal(wanted().zone_axis, facts.zone_axis) ? [] : [5, 4]);
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

const written = new Map();

/** A name with a dark rim, written once and then copied, which is much quicker. */
function nameImage(text, fill, ratio) {
  const key = `${ratio} ${fill} ${text}`;
  if (written.has(key)) return written.get(key);
  if (written.size > 3000) written.clear();
  const canvas = new OffscreenCanvas(1, 1);
  const pen = canvas.getContext("2d");
  const font = `${Math.round(12 * ratio)}px system-ui, sans-serif`;
  pen.font = font;
  canvas.width = Math.ceil(pen.measureText(text).width + 8 * ratio);
  canvas.height = Math.ceil(19 * ratio);
  Object.assign(pen, { font, textAlign: "center", textBaseline: "bottom", lineJoin: "round", lineWidth: 3 * ratio, strokeStyle: "rgb(0 0 0 / 75%)", fillStyle: fill });
  for (const write of [pen.strokeText, pen.fillText]) write.call(pen, text, canvas.width / 2, 17 * ratio);
  written.set(key, canvas);
  return canvas;
}

/** Names of poles and lines where they have room. */
function drawNames(pen, there, lines, facts, half, ratio) {
  pen.setTransform(1, 0, 0, 1, half + 2, half + 2);
  const taken = [];
  const put = (text, x, y, fill) => {
    if (Math.hypot(x, y) > half * 0.97) return;
    const image = nameImage(text, fill, ratio);
    const wide = image.width / 2;
    const box = [x - wide, y - 15 * ratio, x + wide, y + 2 * ratio];
    if (taken.some((b) => box[0] < b[2] && box[2] > b[0] && box[1] < b[3] && box[3] > b[1])) return;
    taken.push(box);
    pen.drawImage(image, Math.round(x - wide), Math.round(y - 17 * ratio));
  };
  for (const { uvw, px, py } of there.slice(0, 160)) put(`[${indices(uvw)}]`, px, -py - 7 * ratio, equal(uvw, facts.zone_axis) ? "#ffb454" : "#f2efe9");
  for (const { hkl, x, y } of lines) if (view.field < 40) put(reflectionName(hkl, facts.of), x, -y - 2 * ratio, "#ffd9a0");
}

/** The facts that belong to what is asked for, or null. */
const facts = () => (shown.facts?.stereogram && sameZone(shown.facts.of, state) ? shown.facts : null);

/** The label of the stereogram: from what is drawn alone. */
export function tiltLabel(facts = shown.facts) {
  const of = facts?.of;
  if (!of || !facts.stereogram) return { title: "Stereogram", subtitle: "on its way", tab: "lacbed", file: "stereogram" };
  return {
    title: `${crystalName(of, facts)}  ${zoneName(facts.zone_axis, of)}`,
    subtitle: `stereogram of zone axes and Bragg lines, ${plain(of.voltage)} kV, ${digits(view.field, 3)}° from centre to edge`,
    tab: `${crystalName(of, facts)} stereogram – lacbed`,
    file: `${stem(of, facts)}-stereogram`,
  };
}

/** What is seen in this view, for a picture of it: canvases with their captions, and what is to be told of each; null while there is nothing. */
export function tiltParts() {
  if (!shown.facts?.stereogram || !view.facts) return null;
  const [label, under] = [tiltLabel(view.facts), underLabel(view.facts, view.turn)];
  const cells = $("cells").disabled ? "1" : $("cells").value;
  const large = (id, size, drawOn) => { // drawn anew, as sharp as the file is
    const wide = $(id).clientWidth;
    const canvas = new OffscreenCanvas(size, size);
    drawOn(canvas, size / wide, wide);
    return canvas;
  };
  const solid = `${crystalName(view.facts.of, view.facts)}, ${cells === "1" ? "one cell" : "2 × 2 × 2 cells"} seen along the centre of the map`;
  return {
    file: label.file,
    map: { canvas: large("stereogram", 1200, (canvas, ...size) => drawTilt(canvas, view.facts, ...size)), caption: [label.title, label.subtitle], told: { settings: view.facts.of, stage: "stereogram", turn: view.turn, field_degrees: view.field } },
    pattern: under && { canvas: $("under"), caption: [under.title, `${under.subtitle} (${under.badge})`], told: underTold(under) },
    crystal: view.facts.drawn.length ? { canvas: large("solid", 592, (canvas, ...size) => drawSolid(canvas, view.facts, view.turn, Number(cells), ...size)), caption: [solid] } : null,
  };
}

/** Draw what there is, and name the poles near its centre. */
export function showTilt() {
  const found = facts();
  $("tilt-note").textContent = found ? "" : "Not yet what is asked for";
  if (!shown.facts?.stereogram) return;
  if (view.facts !== shown.facts) follow(shown.facts);
  showUnder(shown.facts, view.turn);
  drawTilt($("stereogram"), shown.facts);
  const label = tiltLabel();
  showSolid();
  const field = `${digits(view.field, 3)}°`;
  if ($("tilt-field").textContent !== field) $("tilt-field").textContent = field;
  clearTimeout(late);
  if (performance.now() - told > WORDS_MS) tellNear(label);
  else {
    if (!late) busy(1);
    late = setTimeout(() => tellNear(label), WORDS_MS);
  }
}

let [late, told] = [null, -Infinity];

/** Name the poles near the centre, and say what is seen: not at every frame of a motion, which would make it slow. */
function tellNear(label) {
  if (late) busy(-1);
  [late, told] = [null, performance.now()];
  const found = facts();
  const near = placed(shown.facts, 1).sort((a, b) => a.away - b.away).slice(0, 6);
  $("stereogram").setAttribute("aria-label", `${label.title}, ${label.subtitle}; in the centre ${near[0] ? nameOf(near[0]) : "no zone axis"}`);
  $("solid").setAttribute("aria-label", solidWords(shown.facts, view.turn, shown.facts.name));
  const buttons = $("tilt-poles").children;
  while (buttons.length > near.length) buttons[near.length].remove();
  while (buttons.length < near.length) $("tilt-poles").append(element("button", { type: "button" }));
  near.forEach((pole, i) => Object.assign(buttons[i], { disabled: !found, textContent: nameOf(pole), onclick: () => chosen.zone(pole.uvw) }));
}

/** The crystal beside the map, turned as it is. */
function showSolid() {
  const { facts: of, turn } = view;
  const many = 8 * of.drawn.length > MOST_ATOMS;
  $("cells").disabled = many;
  drawSolid($("solid"), of, turn, many ? 1 : Number($("cells").value));
  $("solid-note").textContent = of.drawn.length ? "" : `${of.atoms} atoms are too many to draw.`;
  showElements($("elements"), of);
}

const nameOf = ({ uvw, away }) => `[${indices(uvw)}] ${((away * 180) / Math.PI).toFixed(1)}°`;

/** Connect dragging, the wheel, keys and clicks; `show` draws everything at the next frame. */
export function wireTilt(show) {
  const canvas = $("stereogram");
  redraw = show;
  const turn = (dx, dy, most = 2 * Math.tan((view.field * Math.PI) / 360)) => { // by fractions of half the side: the point under the pointer stays under it near the centre
    settling += 1;
    const angle = most * Math.hypot(dx, dy);
    if (angle) turnBy(dy, dx, angle);
    aim();
    show();
  };
  const zoom = (factor) => { view.field = Math.max(NARROWEST, Math.min(WIDEST, view.field * factor)); show(); };
  const where = (event) => {
    const box = event.target.getBoundingClientRect();
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
  const solid = $("solid");
  let grip = null;
  solid.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    grip = event;
    solid.setPointerCapture(event.pointerId);
  });
  solid.addEventListener("pointermove", (event) => {
    if (!grip) return;
    // The way of the pointer on the screen: what is written above may grow meanwhile and move the crystal.
    const half = solid.getBoundingClientRect().width / 2;
    const [dx, dy] = [(event.clientX - grip.clientX) / half, (event.clientY - grip.clientY) / half];
    grip = event;
    turn(dx, dy, Math.PI / 2);
  });
  for (const kind of ["pointerup", "pointercancel"]) solid.addEventListener(kind, () => { grip = null; });
  $("cells").addEventListener("change", show);
  const onKey = (event) => {
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
  };
  for (const one of [canvas, solid]) one.addEventListener("keydown", onKey);
  const reset = () => {
    rest();
    view.field = WIDEST;
    settle();
    if (facts()) chosen.aim({ uvw: shown.facts.zone_axis, of: shown.facts.of }, false);
  };
  $("tilt-out").addEventListener("click", () => zoom(1 / 0.7));
  $("tilt-in").addEventListener("click", () => zoom(0.7));
  $("tilt-reset").addEventListener("click", reset);
}
