// What the page knows: the request, the look, what has arrived, and what runs.

export const $ = (id) => document.getElementById(id);

/** What decides the picture; the server is sent all of it. */
export const state = {
  name: "SrTiO3",
  cif: "",
  title: "",
  block: "",
  zone_axis: [0, 0, 1],
  voltage: 200,
  extent: 4,
  b_iso: null,
  absorption: "thomas",
  hkl: [0, 0, 0],
  thickness: 600,
  thickness_max: 2000,
  thickness_step: 20,
  detail: 128,
  tolerance: 1e-3,
  laue_zones: 0,
  factors: "kirkland",
  charges: {},
  foil_normal: null,
  x_direction: null,
};

/** What decides only how it looks. */
export const look = {
  colours: "gray",
  inverted: false,
  logarithmic: false,
  auto: true,
  limits: [0, 1],
  smooth: true,
  lines: false,
  together: false,
  view: "pattern",
  model: "exact",
  code: "python",
  unit: "mrad",
  semi: null,
  compare: "none",
  swipe: 0.5,
};

/**
 * What has arrived. Everything carries `of`, the state that it was asked with, and from it alone its labels are made.
 * `results` are within the tolerance, the newest first: all reflections at one thickness, or one at many thicknesses;
 * `rough` and `learned` are what came before them, `last` is the image that was on the screen last, and `kept` the
 * picture A with which the one that is looked at is compared.
 */
export const shown = {
  results: [], rough: null, learned: null, fit: null, solution: null, files: null, frames: null, facts: null, potential: null, last: null, discs: null, kept: null,
};

/** Where the probe is, in fractions of the picture from its upper left corner. */
export const probe = { x: 0.5, y: 0.5, pinned: false, over: false };

/**
 * What runs: the computation and the last one that was begun, the previews of a drag, a number that grows with every
 * change, and errands on their way; and the zone axis `uvw` that is nearest to the centre of the tilted map `of` facts.
 */
export const run = { job: null, last: null, live: { busy: false, again: false, of: null }, turn: 0, errands: 0, refused: false, aim: null };

/** Begin (1) or end (-1) an errand. The page is at rest, and says so to screen readers and tests, when none is left. */
export function busy(step) {
  run.errands += step;
  $("plate").setAttribute("aria-busy", String(run.errands > 0));
}

/** Put values into controls, or take a tab; set when they are made. */
export const knobs = { thickness: () => {}, thermal: () => {}, view: () => {}, all: () => {} };

/** What choosing a thickness, a reflection or a zone axis in a figure does, opening the reflection, or tilting the map; set by act.js, so that figures need not know it. */
export const chosen = { thickness: () => {}, reflection: () => {}, zone: () => {}, open: () => {}, aim: () => {} };

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Whether two states are of the same crystal. */
export const sameCrystal = (a, b) => ["name", "cif", "block", "b_iso", "charges"].every((key) => same(a[key], b[key]));

/** Whether two states are of the same crystal in the same zone at the same voltage: what the facts depend on. */
export const sameZone = (a, b) => sameCrystal(a, b) && ["zone_axis", "voltage", "x_direction"].every((key) => same(a[key], b[key]));

const PHYSICS = ["extent", "absorption", "detail", "tolerance", "laue_zones", "factors", "foil_normal"];

/** Whether two states differ in no more than reflection and thickness. */
export const samePhysics = (a, b) => sameZone(a, b) && PHYSICS.every((key) => same(a[key], b[key]));

/**
 * What is asked for: the state, but while the map of directions is tilted the zone axis nearest to its centre, with
 * the reflection and the direction of x as far as they lie in that zone.
 */
export function wanted() {
  const { aim } = run;
  if (look.view !== "tilt" || !aim || !sameZone(aim.of, state) || equal(aim.uvw, state.zone_axis)) return state;
  const inZone = (hkl) => hkl && hkl.reduce((sum, h, i) => sum + h * aim.uvw[i], 0) === 0;
  return { ...state, zone_axis: aim.uvw, hkl: inZone(state.hkl) ? state.hkl : [0, 0, 0], x_direction: inZone(state.x_direction) ? state.x_direction : null };
}

/** A copy of the state, or of what is asked for, for what is asked with it. */
export const snapshot = (of = state) => structuredClone(of);

/** The same state, but of no crystal that is known: what measured images and the search in them are of. */
export const ofNone = (of) => ({ ...of, name: "", cif: "", title: "", block: "" });

/** Whether two lists of numbers, such as indices, are equal. */
export const equal = (a, b) => a.length === b.length && a.every((v, i) => v === b[i]);

const near = (a, b) => Math.abs(a - b) < 1e-6;

/** Place of a thickness and a reflection in a pattern, or null if it lacks them. */
export function placeIn(pattern, { hkl, thickness } = wanted()) {
  const t = pattern.thicknesses.findIndex((value) => near(value, thickness));
  const g = pattern.hkl.findIndex((one) => equal(one, hkl));
  return t < 0 || g < 0 ? null : { t, g };
}

/** The values of one image of a pattern. */
export function imageIn(pattern, { t, g }) {
  const count = pattern.pixels * pattern.pixels;
  const at = (t * pattern.hkl.length + g) * count;
  return pattern.data.subarray(at, at + count);
}

/** What a pattern shows of what is asked for: { values, size, pattern, hkl, thickness, of }, or null. */
export function viewOf(pattern) {
  const asked = wanted();
  if (!pattern || !samePhysics(pattern.of, asked)) return null;
  const place = placeIn(pattern, asked);
  if (!place) return null;
  const [hkl, thickness] = [pattern.hkl[place.g], pattern.thicknesses[place.t]];
  return { values: imageIn(pattern, place), size: pattern.pixels, pattern, hkl, thickness, of: pattern.of };
}

/** The image within the tolerance of what is asked for; null while it is on its way. */
export function exact() {
  for (const pattern of shown.results) {
    const found = viewOf(pattern);
    if (found) return found;
  }
  return null;
}

/** The header of the answer that an image of a series came with. */
export const sourceOf = ({ pattern, thickness }) =>
  pattern.parts?.find((part) => part.thicknesses.some((t) => near(t, thickness))) ?? pattern;

/** The longest series of the reflection that is asked for, as far as it is there. */
export function series() {
  const asked = wanted();
  const good = shown.results.filter((p) => p.hkl.length === 1 && samePhysics(p.of, asked) && equal(p.hkl[0], asked.hkl));
  return good.reduce((best, p) => (best && best.thicknesses.length >= p.thicknesses.length ? best : p), null);
}

/** All reflections at the thickness that is asked for. */
export function discs() {
  const good = (p) => p?.every && samePhysics(p.of, state) && p.thicknesses.some((t) => near(t, state.thickness));
  return shown.results.find(good) ?? (good(shown.rough) ? shown.rough : null);
}

const KEPT = 12;

/** Keep a result; a piece joins the series that it belongs to. */
export function keep(pattern) {
  const old = pattern.part && shown.results.find(
    (p) => p.part && samePhysics(p.of, pattern.of) && equal(p.hkl[0], pattern.hkl[0]),
  );
  const joined = old ? join(old, pattern) : { ...pattern, parts: [pattern] };
  shown.results = [joined, ...shown.results.filter((p) => p !== old)].slice(0, KEPT);
}

/** Two pieces of a series as one; of a thickness that both have the first stays, which `sourceOf` and the server take too. */
function join(old, piece) {
  const count = piece.pixels * piece.pixels;
  const images = new Map();
  for (const one of [piece, old]) one.thicknesses.forEach((t, i) => images.set(t, one.data.subarray(i * count, (i + 1) * count)));
  const thicknesses = [...images.keys()].sort((a, b) => a - b);
  const data = new Float32Array(thicknesses.length * count);
  thicknesses.forEach((t, i) => data.set(images.get(t), i * count));
  const error = Math.max(old.error ?? 0, piece.error ?? 0);
  return { ...piece, of: old.of, thicknesses, data, error, parts: [...old.parts, piece] };
}

/**
 * What is looked at now: what is asked for, or while it is not there what was there before (`stale`), under its own
 * name. A difference, of learned and exact image or of two pictures, is `signed`.
 */
export function current() {
  const [result, guess] = [exact() ?? viewOf(shown.rough), viewOf(shown.learned)];
  let found = result;
  if (guess && (look.model !== "exact" || !result)) {
    found = guess;
    if (look.model === "difference" && exact() && result.size === guess.size) {
      found = { ...guess, values: guess.values.map((v, i) => v - result.values[i]), signed: true };
    }
  }
  if (found) shown.last = found;
  const now = found ?? (shown.last ? { ...shown.last, stale: true } : null);
  return now && shown.kept && !now.signed && look.view === "pattern" ? compared(now, shown.kept) : now;
}

/** Whether two images that are looked at are one; a difference is made anew each time. */
export const isDrawn = (a, b) => Boolean(a) && !a.signed && ["pattern", "hkl", "thickness", "signed"].every((key) => a[key] === b[key]);

/** What is looked at, B, with the picture A that was kept `beside` it or taken from it (`against`). */
function compared(now, kept) {
  if (look.compare === "swipe") return { ...now, beside: kept };
  if (look.compare !== "difference") return now;
  if (!isDrawn(compared.now, now) || compared.kept !== kept.values) {
    const other = onGridOf(now, kept);
    Object.assign(compared, { now, kept: kept.values, values: now.values.map((v, i) => v - other[i]) });
  }
  return { ...now, whole: now.values, values: compared.values, signed: true, against: kept };
}

/** The values of a picture at the pixels of another, linear between its own; NaN beyond them. */
function onGridOf({ size, pattern }, kept) {
  const { k_first, k_step } = kept.pattern;
  if (size === kept.size && near(pattern.k_step / k_step, 1)) return kept.values;
  const found = new Float32Array(size * size).fill(NaN);
  const place = Array.from({ length: size }, (_, i) => (pattern.k_first + i * pattern.k_step - k_first) / k_step);
  const last = kept.size - 1;
  for (let row = 0; row < size; row++) {
    if (place[row] < -0.5 || place[row] > last + 0.5) continue;
    const y = Math.max(0, Math.min(last, place[row]));
    const r = Math.min(Math.floor(y), last - 1);
    for (let column = 0; column < size; column++) {
      if (place[column] < -0.5 || place[column] > last + 0.5) continue;
      const x = Math.max(0, Math.min(last, place[column]));
      const c = Math.min(Math.floor(x), last - 1);
      const [u, v, i] = [x - c, y - r, r * kept.size + c];
      const values = kept.values;
      found[row * size + column] =
        (1 - v) * ((1 - u) * values[i] + u * values[i + 1]) + v * ((1 - u) * values[i + kept.size] + u * values[i + kept.size + 1]);
    }
  }
  return found;
}

/** A number without needless decimals. */
export const plain = (value) => String(Number(value.toFixed(2)));

/** Whether the series that is asked for will have a thickness. */
export function inSeries(thickness) {
  const steps = thickness / state.thickness_step;
  return thickness <= state.thickness_max && Math.abs(steps - Math.round(steps)) < 1e-6;
}

/** The length of the series in Å; it has a hundred steps. */
export function setSeries(last) {
  state.thickness_max = last;
  state.thickness_step = last / 100;
}

/** A zone axis or reflection without common factors. */
export function reduced(values) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : Math.abs(a));
  const common = values.reduce(divisor, 0) || 1;
  return values.map((v) => v / common || 0);
}
