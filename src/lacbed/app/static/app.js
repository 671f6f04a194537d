// The page: what happens when something is chosen, and how it is shown.

import { NAMES, stops, table } from "./colormaps.js";
import { drawChart } from "./chart.js";
import { $, fromHash, look, pair, setSeries, state, tabs, toHash } from "./controls.js";
import { disc, discAt, drawDiscs } from "./discs.js";
import { digits, draw, histogram, indices, percentiles, roundLength, zncc } from "./picture.js";
import { allMessages, messages, post } from "./stream.js";
import { drawPotential, drawSpots, element, formula, showFacts, showSites, spaceGroup, svg } from "./structure.js";

const THUMBNAILS = 10;
const shown = { pattern: null, learned: null, discs: null, facts: null, potential: null };
const probe = { x: 0.5, y: 0.5, pinned: false, index: 0 };
let job = null; // the computation that runs: { controller, view }
let live = { busy: false, again: false };
let turn = 0; // grows with every change, so that late answers are known as such
let about = { crystals: [] };

// -- computing ------------------------------------------------------------------------------------

/** Something that decides the picture has changed. */
function changed(isLive, { crystal = false } = {}) {
  turn += 1;
  $("frame").classList.add("wait");
  history.replaceState(null, "", toHash() || location.pathname);
  showPicture();
  if (crystal) describe();
  if (isLive) return previewLive();
  return compute();
}

/** While a slider is dragged: one preview after the other, always of the newest state. */
async function previewLive() {
  stop();
  if (live.busy) {
    live.again = true;
    return;
  }
  live.busy = true;
  do {
    live.again = false;
    const mine = turn;
    try {
      const view = look.view === "discs" ? "montage" : "preview";
      if (view === "montage") break;
      const response = await post("/api/stream/preview", state);
      for await (const message of messages(response)) if (mine === turn || live.again) take(message, mine);
    } catch (error) {
      if (mine === turn) complain(error.message);
    }
  } while (live.again);
  live.busy = false;
}

/** The full computation of what is looked at. */
async function compute() {
  stop();
  complain("");
  const task = look.view === "discs" ? "montage" : "simulate";
  const mine = { controller: new AbortController(), turn, start: performance.now() };
  job = mine;
  $("cancel").hidden = false;
  say("Computing …", null);
  try {
    const response = await post(`/api/stream/${task}`, state, mine.controller.signal);
    for await (const message of messages(response)) {
      if (job !== mine) return;
      take(message, mine.turn, mine.start);
    }
    if (job === mine) finish();
  } catch (error) {
    if (job !== mine) return;
    finish();
    if (error.name === "AbortError") say("Cancelled.", undefined);
    else complain(error.message);
  }
}

/** Give up the computation that runs. */
function stop() {
  job?.controller.abort();
  job = null;
  $("cancel").hidden = true;
}

function finish() {
  job = null;
  $("cancel").hidden = true;
  $("progress").hidden = true;
}

/** Use one message of a stream. */
function take({ header, payload }, mine, start) {
  if (header.kind === "progress") {
    say(`${header.phase[0].toUpperCase()}${header.phase.slice(1)} …`, header.fraction);
  } else if (header.kind === "error") {
    complain(header.message);
    say("Not computed.", undefined);
  } else if (header.kind === "pattern") {
    const pattern = { ...header, data: new Float32Array(payload), turn: mine };
    if (mine !== turn && !live.again && !live.busy) return;
    if (start !== undefined) {
      window.lacbedTimes ??= {};
      window.lacbedTimes[header.stage] = performance.now() - start;
    }
    accept(pattern);
  }
}

/** Show a pattern that has arrived, unless a better one of the same request is there. */
function accept(pattern) {
  const rank = { learned: 0, preview: 1, coarse: 2, exact: 3 };
  if (pattern.hkl.length > 1 || look.view === "discs") {
    shown.discs = pattern;
  } else if (pattern.stage === "learned") {
    shown.learned = pattern;
    if (shown.pattern?.turn !== pattern.turn) shown.pattern = null;
  } else {
    const keepsLearned = shown.learned?.turn === pattern.turn;
    if (!keepsLearned) shown.learned = null;
    if (pattern.stage === "preview" && keepsLearned) return;
    const old = shown.pattern;
    if (old && old.turn === pattern.turn && rank[old.stage] > rank[pattern.stage]) return;
    shown.pattern = pattern;
  }
  $("frame").classList.remove("wait");
  if (pattern.stage === "exact") {
    const seconds = pattern.seconds < 10 ? pattern.seconds.toFixed(1) : pattern.seconds.toFixed(0);
    const doubt = pattern.converged ? "" : " Convergence was not reached.";
    say(`Exact: ${pattern.beams} beams, ${pattern.pixels} × ${pattern.pixels} pixels, ${seconds} s.${doubt}`, undefined);
  }
  offerModels();
  showPicture({ everything: true });
}

/** The crystal's facts, potential and reflections. */
async function describe() {
  const mine = turn;
  try {
    const [{ header, payload }] = await allMessages(await post("/api/describe", state));
    if (mine !== turn && describe.latest > mine) return;
    describe.latest = mine;
    shown.facts = header;
    shown.potential = new Float32Array(payload);
    showStructure();
  } catch (error) {
    if (mine === turn) complain(error.message);
  }
}
describe.latest = 0;

// -- showing --------------------------------------------------------------------------------------

/** The status line; a fraction of null is a bar that only moves, undefined is none. */
function say(text, fraction) {
  $("status").textContent = text;
  $("progress").hidden = fraction === undefined;
  if (fraction === null) $("progress").removeAttribute("value");
  else if (fraction !== undefined) $("progress").value = fraction;
}

function complain(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}

function showStructure() {
  const { facts } = shown;
  showFacts($("facts"), facts);
  showSites($("sites"), $("notes"), facts);
  drawPotential($("potential"), shown.potential, facts.potential);
  const zone = indices(facts.zone_axis);
  $("potential").setAttribute("aria-label", `Projected potential of ${facts.name} along [${facts.zone_axis.join(" ")}]`);
  $("potential-note").textContent =
    `Along [${zone}], period ${facts.period.toFixed(3)} Å, ${digits(facts.potential.low, 3)} to ${digits(facts.potential.high, 3)} V Å`;
  $("save-cif").disabled = false;
  if (state.b_iso === null) showThermal(Number(meanThermal(facts).toFixed(2)));
  showSpots();
  showTitles();
}

/** Mean B of the listed sites in Å², where the slider rests while the crystal's own are taken. */
function meanThermal({ sites }) {
  const known = sites.map((site) => site.b_iso).filter((b) => b !== null);
  return known.length ? known.reduce((sum, b) => sum + b, 0) / known.length : 0.5;
}

function showSpots() {
  const { facts } = shown;
  if (!facts) return;
  drawSpots($("spots"), facts, state.hkl, state.extent, chooseReflection);
  const spot = facts.spots.find((s) => s.hkl.every((v, i) => v === state.hkl[i]));
  const name = indices(state.hkl);
  if (!spot || !spot.spacing) $("spot-note").textContent = `${name}: the direct beam`;
  else {
    const reach = spot.extinction ? `extinction distance ${digits(spot.extinction, 3)} Å` : "kinematically forbidden";
    $("spot-note").textContent = `${name}: d = ${spot.spacing.toFixed(4)} Å, ${reach}`;
  }
}

function showTitles() {
  const { facts } = shown;
  if (!facts) return;
  const zone = indices(state.zone_axis);
  const title = `${formula(facts.name)}  [${zone}]`;
  $("title").textContent = title;
  const what = look.view === "discs" ? "all reflections" : `reflection ${indices(state.hkl)}`;
  const absorption = { none: "no absorption", thomas: "absorption of Thomas et al." }[state.absorption];
  $("subtitle").textContent = `${what}, ${state.voltage} kV, ${digitsPlain(state.thickness)} Å, ${absorption ?? `${state.absorption} % absorption`}`;
  document.title = `${facts.name} [${state.zone_axis.join("")}] – lacbed`;
  const mrad = 1e3 * Math.asin(Math.min(1, state.extent * facts.shortest * facts.wavelength));
  $("extent-note").textContent = `${digits(mrad, 3)} mrad, ${digits(state.extent * facts.shortest, 3)} Å⁻¹`;
  showSpotTitle(facts);
}

const digitsPlain = (value) => String(Number(value.toFixed(2)));

function showSpotTitle(facts) {
  const group = facts.space_group ? `, ${spaceGroup(facts.space_group)}` : "";
  $("spots").setAttribute("aria-label", `Reflections of ${facts.name}${group}; arrow keys choose`);
}

/** The image at the thickness that is looked at, from a series. */
function imageAt(pattern, thickness = state.thickness) {
  let near = 0;
  pattern.thicknesses.forEach((t, i) => {
    if (Math.abs(t - thickness) < Math.abs(pattern.thicknesses[near] - thickness)) near = i;
  });
  const count = pattern.pixels * pattern.pixels;
  return { values: pattern.data.subarray(near * count, (near + 1) * count), thickness: pattern.thicknesses[near] };
}

const holds = (pattern) => pattern?.thicknesses.some((t) => Math.abs(t - state.thickness) < 1e-6);

/** What is looked at now: { values, size, pattern, signed }. */
function current() {
  const { pattern } = shown;
  const learned = holds(shown.learned) ? shown.learned : null;
  const exact = pattern && imageAt(pattern).values;
  if (learned && (look.model !== "exact" || !pattern)) {
    const guess = imageAt(learned).values;
    if (look.model === "difference" && exact && exact.length === guess.length) {
      return { values: guess.map((v, i) => v - exact[i]), size: learned.pixels, pattern: learned, signed: true };
    }
    return { values: guess, size: learned.pixels, pattern: learned };
  }
  return pattern ? { values: exact, size: pattern.pixels, pattern } : null;
}

/** Choice between learned, exact and their difference, as far as they are there. */
function offerModels() {
  const { learned, pattern } = shown;
  const both = holds(learned) && pattern?.stage === "exact" && look.view === "pattern";
  $("models").hidden = !both;
  if (!both) return;
  const same = learned.pixels === pattern.pixels;
  const z = same && zncc(imageAt(learned).values, imageAt(pattern).values);
  const names = { exact: "Exact", learned: "Learned" };
  if (same) names.difference = `Difference, Z = ${(100 * z).toFixed(2)} %`;
  else if (look.model === "difference") look.model = "exact";
  $("models").replaceChildren(
    ...Object.entries(names).map(([key, text]) =>
      element("button", {
        type: "button", textContent: text, role: "radio", "aria-checked": look.model === key,
        onclick: () => { look.model = key; offerModels(); showPicture(); },
      }),
    ),
  );
}

const BADGES = { preview: "Preview", coarse: "Exact, half the pixels", exact: "Exact", learned: "Learned" };
let pending = false;

/** Draw the picture at the next frame; `everything` also what depends on the whole series. */
function showPicture({ everything = false } = {}) {
  showPicture.everything ||= everything;
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    paintPicture();
    if (showPicture.everything) showSeries();
    showPicture.everything = false;
  });
}

function paintPicture() {
  const isDiscs = look.view === "discs";
  $("frame").classList.toggle("bare", isDiscs);
  $("frame").classList.toggle("pixels", !look.smooth && !isDiscs);
  const colours = table(look.colours, look.inverted);
  showTitles();
  if (isDiscs) paintDiscs(colours);
  else paintPattern(colours);
  showReadout();
  showOverlay();
  showCode();
  const pattern = isDiscs ? shown.discs : current()?.pattern;
  $("badge").hidden = !pattern || (pattern.turn !== turn && !live.busy);
  if (pattern) {
    const beams = pattern.stage === "preview" && pattern.beams ? `, ${pattern.beams} beams` : "";
    $("badge").textContent = isDiscs || !current().signed ? `${BADGES[pattern.stage]}${beams}${trust(pattern)}` : "Learned − exact";
    $("badge").dataset.stage = pattern.stage;
    $("badge").title = pattern.notes.join("\n");
  }
  window.lacbedShown = { thickness: state.thickness, stage: pattern?.stage, turn: pattern?.turn };
}

/** What the learned simulator expects of itself, at this thickness. */
function trust(pattern) {
  if (pattern.stage !== "learned") return "";
  const near = pattern.thicknesses.findIndex((t) => Math.abs(t - state.thickness) < 1e-6);
  const expected = pattern.expected_z[near];
  const unsure = pattern.remarks.some((text) => text.startsWith(`${state.thickness} Å:`));
  const said = expected === undefined ? "" : `, expects Z ≈ ${(100 * expected).toPrecision(2)} %`;
  return `${said}${unsure ? ", unlike what it learned" : ""}`;
}

function paintPattern(colours) {
  const now = current();
  const canvas = $("picture");
  if (!now) return;
  if (now.signed) {
    const size = Math.max(...now.values.map(Math.abs)) || 1;
    draw(canvas, now.values, now.size, [-size, size], false, table("difference"));
    showLegend([-size, size], "difference", false);
    return;
  }
  if (look.auto) look.limits = percentiles(now.values);
  draw(canvas, now.values, now.size, look.limits, look.logarithmic, colours);
  showLegend(look.limits, look.colours, look.inverted);
  showContrast(now);
  canvas.setAttribute("aria-label", describePicture(now));
}

function describePicture(now) {
  const [low, high] = [Math.min(...now.values), Math.max(...now.values)];
  const name = shown.facts?.name ?? "crystal";
  return `LACBED pattern of ${name}, reflection ${state.hkl.join(" ")}, ${digitsPlain(state.thickness)} Å; intensities ${digits(low, 3)} to ${digits(high, 3)}`;
}

function paintDiscs(colours) {
  const canvas = $("picture");
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const side = Math.round(Math.max(300, canvas.clientWidth) * ratio);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  if (!shown.discs) {
    canvas.getContext("2d").clearRect(0, 0, side, side);
    return;
  }
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  drawDiscs(canvas, shown.discs, { ...look, colours, chosen: state.hkl, ink: resolve(ink) });
  canvas.setAttribute("aria-label", `${shown.discs.hkl.length} reflections as discs in their places`);
  const all = look.together ? percentiles(shown.discs.data) : [0, 1];
  showLegend(all, look.colours, look.inverted, look.together ? null : ["bright", "dark"]);
}

/** A colour of the style sheet as the canvas understands it. */
function resolve(colour) {
  const trial = element("i", {});
  trial.style.color = colour;
  document.body.append(trial);
  const found = getComputedStyle(trial).color;
  trial.remove();
  return found;
}

function showLegend([low, high], name, inverted, words) {
  $("legend-bar").style.setProperty("--stops", stops(name, inverted));
  const bottom = look.logarithmic && name !== "difference" ? Math.max(low, high * 1e-5) : low;
  $("legend-high").textContent = words?.[0] ?? digits(high, 3);
  $("legend-low").textContent = words?.[1] ?? digits(bottom, 3);
}

/** The histogram and the two limits on it. */
function showContrast(now) {
  const top = Math.max(...now.values, 1e-12);
  showContrast.top = top;
  const counts = histogram(now.values, [0, top]);
  const most = Math.max(...counts.map(Math.sqrt)) || 1;
  const path = [...counts].map((c, i) => `L${4 * i} ${48 - (44 * Math.sqrt(c)) / most}H${4 * i + 4}`).join("");
  const [low, high] = look.limits.map((v) => Math.max(0, Math.min(256, (256 * v) / top)));
  $("histogram").replaceChildren(
    svg("rect", { x: low, width: Math.max(1, high - low), y: 0, height: 48 }),
    svg("path", { d: `M0 48${path}V48Z` }),
  );
  if (look.auto) {
    $("low").value = (1000 * look.limits[0]) / top;
    $("high").value = (1000 * look.limits[1]) / top;
  }
  $("low").setAttribute("aria-valuetext", digits(look.limits[0], 3));
  $("high").setAttribute("aria-valuetext", digits(look.limits[1], 3));
}

/** Scale bar, Bragg lines and probe over the picture. */
function showOverlay() {
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
  return { hkl: state.hkl, kx: k(column), ky: k(row), value, row, column, wavelength: now.pattern.wavelength };
}

function showReadout() {
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
    [`I = ${digits(found.value)}`, ""],
  ];
  if (line) parts.push([`at Bragg of ${indices(line.hkl)}`, ""]);
  $("readout").replaceChildren(
    ...parts.map(([strong, unit], i) => element("span", {}, i === 0 || i === 3 ? element("b", {}, strong) : strong, unit)),
  );
}

/** Thumbnails and the curve at the probe, for a series of thicknesses. */
function showSeries() {
  const pattern = look.view === "pattern" ? shown.pattern : null;
  const series = pattern && pattern.thicknesses.length > 1;
  if (!series) {
    if (look.view === "discs") $("strip").hidden = $("curve").hidden = true;
    return;
  }
  $("strip").hidden = $("curve").hidden = false;
  showStrip(pattern);
  showCurve();
}

function showStrip(pattern) {
  const last = pattern.thicknesses[pattern.thicknesses.length - 1];
  const colours = table(look.colours, look.inverted);
  const chosen = Array.from({ length: THUMBNAILS }, (_, i) => imageAt(pattern, (last * (i + 1)) / THUMBNAILS));
  const nearest = chosen.reduce((a, b) => (Math.abs(b.thickness - state.thickness) < Math.abs(a.thickness - state.thickness) ? b : a));
  $("strip").replaceChildren(
    ...chosen.map((image) => {
      const canvas = element("canvas", {});
      draw(canvas, image.values, pattern.pixels, percentiles(image.values), look.logarithmic, colours);
      const button = element("button", { type: "button" }, canvas, element("small", {}, `${digitsPlain(image.thickness)} Å`));
      button.setAttribute("aria-label", `${digitsPlain(image.thickness)} Å`);
      if (image === nearest) button.setAttribute("aria-current", "true");
      button.onclick = () => setThickness(image.thickness, false);
      return button;
    }),
  );
  showStrip.thicknesses = chosen.map((image) => image.thickness);
}

/** Mark the thumbnail nearest to the thickness. */
function markStrip() {
  const buttons = [...$("strip").children];
  const away = (showStrip.thicknesses ?? []).map((t) => Math.abs(t - state.thickness));
  const near = away.indexOf(Math.min(...away));
  buttons.forEach((button, i) => (i === near ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current")));
}

function showCurve() {
  const pattern = shown.pattern;
  if (look.view !== "pattern" || !pattern || pattern.thicknesses.length < 2) return;
  const at = (v) => Math.max(0, Math.min(pattern.pixels - 1, Math.floor(v * pattern.pixels)));
  const place = at(1 - probe.y) * pattern.pixels + at(probe.x);
  const count = pattern.pixels * pattern.pixels;
  const values = pattern.thicknesses.map((_, i) => pattern.data[i * count + place]);
  drawChart($("chart"), pattern.thicknesses, values, state.thickness, (t) => setThickness(t, false));
  $("curve-note").textContent = `Intensity at the probe against thickness, up to ${digits(Math.max(...values), 3)}`;
}

/** Commands and files belong to an exact result. */
function showCode() {
  const result = look.view === "discs" ? shown.discs : shown.pattern;
  const ready = result?.stage === "exact" && result.turn === turn && (look.view === "discs" || holds(result));
  for (const button of document.querySelectorAll("[data-format], #save-picture, #copy")) button.disabled = !ready;
  $("whole-row").hidden = look.view === "discs";
  $("needs").hidden = !ready || !result.recipe.needs;
  const code = $("code").firstElementChild;
  if (!ready) {
    code.textContent = "The commands appear with the exact pattern.";
    return;
  }
  code.textContent = result.recipe[look.code].replaceAll("@thickness", digitsPlain(state.thickness));
  $("needs").textContent = `Download ${result.recipe.needs} next to it (Crystal .cif).`;
}

// -- acting ---------------------------------------------------------------------------------------

let showThickness = () => {};
let showThermal = () => {};

/** Look at another thickness; a series that is there answers at once. */
function setThickness(value, isLive) {
  state.thickness = value;
  showThickness(value);
  if (look.view === "discs") return changed(isLive);
  if (shown.pattern && shown.pattern.turn === turn && holds(shown.pattern)) {
    history.replaceState(null, "", toHash() || location.pathname);
    showPicture();
    markStrip();
    showCurve();
    if (shown.learned) offerModels();
    return undefined;
  }
  if (job && !isLive) return undefined; // the series is on its way and will hold it
  return changed(isLive && !job);
}

function chooseReflection(hkl) {
  state.hkl = hkl;
  showSpots();
  if (look.view === "discs") {
    $("spoken").textContent = `Reflection ${hkl.join(" ")} chosen`;
    showPicture();
    turn += 1;
    if (shown.discs) shown.discs.turn = turn;
    return;
  }
  changed(false);
}

function setZone(zone) {
  state.zone_axis = zone;
  state.hkl = [0, 0, 0];
  ["u", "v", "w"].forEach((name, i) => ($(`zone-${name}`).value = zone[i]));
  for (const chip of $("zones").children) chip.setAttribute("aria-pressed", chip.dataset.zone === zone.join(","));
  changed(false, { crystal: true });
}

function setCrystal({ name = "", cif = "", title = "" }) {
  Object.assign(state, { name, cif, title, hkl: [0, 0, 0] });
  shown.pattern = shown.learned = shown.discs = null;
  changed(false, { crystal: true });
}

async function openCif(file) {
  if (!file) return;
  if (file.size > 1e6) {
    complain(`${file.name} is larger than 1 MB; that is not one crystal's CIF.`);
    return;
  }
  const text = await file.text();
  const title = file.name.replace(/\.(m?cif|txt)$/i, "");
  const select = $("crystal");
  select.querySelector("[data-own]")?.remove();
  select.prepend(element("option", { value: "", textContent: `${title} (your CIF)` }));
  select.firstElementChild.dataset.own = "1";
  select.selectedIndex = 0;
  openCif.text = text;
  openCif.title = title;
  if (!text.trim()) {
    complain(`${file.name} is empty; expected a CIF, which starts with data_...`);
    return;
  }
  setCrystal({ cif: text, title });
}

/** Download bytes under a name. */
function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}

const stem = () => (state.name || state.title).replace(/[^A-Za-z0-9_-]+/g, "_").replace(/^_+|_+$/g, "") || "crystal";

async function saveData(format) {
  const result = look.view === "discs" ? shown.discs : shown.pattern;
  const whole = look.view === "discs" || $("whole").checked;
  try {
    const body = { result: result.result, format, thickness: whole ? null : state.thickness };
    const response = await post("/api/file", body);
    save(await response.blob(), `${stem()}${format}`);
    $("spoken").textContent = `${stem()}${format} downloaded`;
  } catch (error) {
    complain(error.message);
  }
}

/** The picture as it is shown, large, with a caption. */
function savePicture() {
  const side = 1200;
  const foot = 56;
  const canvas = new OffscreenCanvas(side, side + foot);
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.body);
  pen.fillStyle = style.backgroundColor;
  pen.fillRect(0, 0, side, side + foot);
  pen.imageSmoothingEnabled = look.smooth;
  pen.imageSmoothingQuality = "high";
  pen.drawImage($("picture"), 0, 0, side, side);
  pen.fillStyle = style.color;
  pen.font = "26px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const { pattern } = look.view === "discs" ? { pattern: shown.discs } : current();
  const half = (1e3 * Math.asin((pattern.pixels * pattern.k_step * pattern.wavelength) / 2)).toFixed(1);
  pen.fillText(`${$("title").textContent}   ${$("subtitle").textContent}, ±${half} mrad`, 14, side + foot / 2, side - 28);
  canvas.convertToBlob({ type: "image/png" }).then((blob) => save(blob, `${stem()}.png`));
}

// -- wiring ---------------------------------------------------------------------------------------

function wireModel() {
  const voltage = pair($("voltage"), $("voltage-number"), (value, isLive) => {
    state.voltage = value;
    changed(isLive, { crystal: !isLive });
  });
  const extent = pair($("extent"), $("extent-number"), (value, isLive) => {
    state.extent = value;
    changed(isLive, { crystal: !isLive });
  });
  showThermal = pair($("thermal"), $("thermal-number"), (value, isLive) => {
    state.b_iso = value;
    $("thermal-own").checked = false;
    changed(isLive, { crystal: !isLive });
  });
  $("thermal-own").addEventListener("change", () => {
    state.b_iso = $("thermal-own").checked ? null : Number($("thermal").value);
    changed(false, { crystal: true });
  });
  const absorb = (isLive) => {
    const kind = $("absorption-kind").value;
    $("absorption-row").hidden = kind !== "percent";
    $("absorption-note").textContent = `${$("absorption").value} %`;
    state.absorption = kind === "percent" ? Number($("absorption").value) : kind;
    changed(isLive);
  };
  $("absorption-kind").addEventListener("change", () => absorb(false));
  $("absorption").addEventListener("input", () => absorb(true));
  $("absorption").addEventListener("change", () => absorb(false));
  showThickness = pair($("thickness"), $("thickness-number"), setThickness);
  $("detail").addEventListener("change", () => {
    state.detail = Number($("detail").value);
    changed(false);
  });
  $("series").addEventListener("change", () => {
    setSeries(Number($("series").value));
    state.thickness = Math.min(state.thickness, state.thickness_max);
    fitSlider();
    changed(false);
  });
  choose($("detail"), state.detail, `${state.detail} × ${state.detail}`);
  choose($("series"), state.thickness_max, `to ${state.thickness_max} Å`);
  fitSlider();
  const zone = () => ["u", "v", "w"].map((name) => Number($(`zone-${name}`).value));
  for (const name of ["u", "v", "w"]) {
    $(`zone-${name}`).addEventListener("change", () => {
      const wanted = zone();
      if (wanted.some((v) => !Number.isInteger(v))) complain("A zone axis is three whole numbers.");
      else if (wanted.every((v) => v === 0)) complain("The zone axis [000] has no direction; choose for example [001].");
      else setZone(wanted);
    });
  }
  for (const wanted of [[0, 0, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 2]]) {
    const chip = element("button", { type: "button", textContent: `[${wanted.join("")}]`, onclick: () => setZone(wanted) });
    chip.dataset.zone = wanted.join(",");
    $("zones").append(chip);
  }
  voltage(state.voltage);
  extent(state.extent);
  showThermal(state.b_iso ?? 0.5);
  $("thermal-own").checked = state.b_iso === null;
  showThickness(state.thickness);
  ["u", "v", "w"].forEach((name, i) => ($(`zone-${name}`).value = state.zone_axis[i]));
  for (const chip of $("zones").children) chip.setAttribute("aria-pressed", chip.dataset.zone === state.zone_axis.join(","));
  const percent = typeof state.absorption === "number";
  $("absorption-kind").value = percent ? "percent" : state.absorption;
  if (percent) $("absorption").value = state.absorption;
  $("absorption-row").hidden = !percent;
  $("absorption-note").textContent = `${$("absorption").value} %`;
}

/** Select a value, added to the list if it is not there. */
function choose(select, value, text) {
  if (![...select.options].some((option) => Number(option.value) === value)) {
    select.append(element("option", { value, textContent: text }));
  }
  select.value = value;
}

/** The thickness slider runs along the series. */
function fitSlider() {
  const slider = $("thickness");
  [slider.min, slider.max, slider.step] = [state.thickness_step, state.thickness_max, state.thickness_step];
  showThickness(state.thickness);
}

function wireLook() {
  $("colours").append(...Object.entries(NAMES).map(([value, text]) => element("option", { value, textContent: text })));
  const again = () => showPicture({ everything: true });
  $("colours").addEventListener("change", () => { look.colours = $("colours").value; again(); });
  for (const key of ["inverted", "smooth", "lines", "together"]) {
    $(key).addEventListener("change", () => { look[key] = $(key).checked; again(); });
  }
  for (const radio of document.querySelectorAll("[name=scale]")) {
    radio.addEventListener("change", () => { look.logarithmic = radio.value === "log" && radio.checked; again(); });
  }
  $("auto").addEventListener("change", () => { look.auto = $("auto").checked; again(); });
  for (const key of ["low", "high"]) {
    $(key).addEventListener("input", () => {
      look.auto = $("auto").checked = false;
      const [low, high] = [Number($("low").value), Number($("high").value)];
      const top = showContrast.top ?? 1;
      look.limits = [(Math.min(low, high - 2) * top) / 1000, (Math.max(high, low + 2) * top) / 1000];
      showPicture();
    });
  }
  tabs($("tab-pattern").parentElement, (id) => {
    look.view = id === "tab-discs" ? "discs" : "pattern";
    $("together-row").hidden = look.view !== "discs";
    $("picture").setAttribute("aria-describedby", "keys");
    const there = look.view === "discs" ? shown.discs : shown.pattern;
    const fresh = there && there.turn === turn && (look.view === "discs" || (holds(there) && sameReflection(there)));
    showPicture({ everything: true });
    if (!fresh) compute();
  });
  tabs($("tab-python").parentElement, (id) => {
    look.code = id === "tab-shell" ? "shell" : "python";
    $("code").setAttribute("aria-labelledby", id);
    showCode();
  });
  $("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue("color-scheme").trim();
    const isDark = dark === "dark" || (dark !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("lacbed-theme", isDark ? "light" : "dark"); } catch { /* private window */ }
    showPicture();
  });
  $("help-open").addEventListener("click", () => $("help").showModal());
}

const sameReflection = (pattern) => pattern.hkl[0].every((v, i) => v === state.hkl[i]);

function wireProbe() {
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
      if (hit) chooseReflection(shown.discs.hkl[hit.index]);
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

function wireFiles() {
  $("crystal").addEventListener("change", () => {
    const option = $("crystal").selectedOptions[0];
    if (option.dataset.own) setCrystal({ cif: openCif.text, title: openCif.title });
    else setCrystal({ name: option.value });
  });
  $("cif").addEventListener("change", () => { openCif($("cif").files[0]); $("cif").value = ""; });
  const drop = $("drop");
  let inside = 0;
  addEventListener("dragenter", (event) => { event.preventDefault(); inside += 1; drop.classList.add("over"); });
  addEventListener("dragleave", () => { inside -= 1; if (inside <= 0) drop.classList.remove("over"); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    drop.classList.remove("over");
    openCif(event.dataTransfer.files[0]);
  });
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => saveData(button.dataset.format));
  }
  $("save-picture").addEventListener("click", savePicture);
  $("save-cif").addEventListener("click", () => save(new Blob([shown.facts.cif], { type: "chemical/x-cif" }), `${stem()}.cif`));
  $("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText($("code").textContent);
    $("copy").textContent = "Copied";
    setTimeout(() => ($("copy").textContent = "Copy"), 1500);
  });
  $("cancel").addEventListener("click", () => { stop(); finish(); say("Cancelled.", undefined); });
}

function wirePlay() {
  let timer = null;
  $("play").addEventListener("click", () => {
    const isPlaying = timer !== null;
    $("play").setAttribute("aria-pressed", !isPlaying);
    $("play").textContent = isPlaying ? "▶" : "❚❚";
    $("play").setAttribute("aria-label", isPlaying ? "Play the thickness series" : "Stop playing");
    clearInterval(timer);
    timer = null;
    if (isPlaying) return;
    timer = setInterval(() => {
      const series = look.view === "pattern" && shown.pattern?.turn === turn ? shown.pattern.thicknesses : [];
      if (series.length < 2) return;
      const next = series.find((t) => t > state.thickness + 1e-6) ?? series[0];
      setThickness(next, true);
    }, 90);
  });
}

async function begin() {
  try {
    const stored = localStorage.getItem("lacbed-theme");
    if (stored) document.documentElement.dataset.theme = stored;
  } catch { /* private window */ }
  say("Waiting for the first worker …", null);
  try {
    const answer = await fetch("/api/about");
    about = await answer.json();
    if (!answer.ok) throw new Error(about.error);
  } catch (error) {
    complain(error.message);
    return;
  }
  fromHash(location.hash, about.crystals.map((c) => c.name));
  $("crystal").append(
    ...about.crystals.map((c) =>
      element("option", { value: c.name, textContent: `${formula(c.name)}${c.formula === c.name ? "" : ` (${formula(c.formula)})`}, ${spaceGroup(c.space_group)}` }),
    ),
  );
  $("crystal").value = state.name;
  wireModel();
  wireLook();
  wireProbe();
  wireFiles();
  wirePlay();
  addEventListener("resize", () => {
    if (shown.facts) drawPotential($("potential"), shown.potential, shown.facts.potential);
    showPicture({ everything: true });
  });
  changed(false, { crystal: true });
}

begin();
