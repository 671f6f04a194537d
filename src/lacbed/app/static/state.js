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
};

/** What has arrived: patterns, and the facts of the crystal. */
export const shown = { pattern: null, learned: null, discs: null, fit: null, files: null, facts: null, potential: null };

/** Where the probe is, in fractions of the picture from its upper left corner. */
export const probe = { x: 0.5, y: 0.5, pinned: false, over: false };

/** What runs: the computation, the previews of a drag, a number that grows with every change, and errands on their way. */
export const run = { job: null, live: { busy: false, again: false }, turn: 0, errands: 0 };

/** Begin (1) or end (-1) an errand. The page is at rest, and says so to screen readers and tests, when none is left. */
export function busy(step) {
  run.errands += step;
  $("plate").setAttribute("aria-busy", String(run.errands > 0));
}

/** Put a value into a slider and its field, or take a tab; set when they are made. */
export const knobs = { thickness: () => {}, thermal: () => {}, view: () => {} };

/** What choosing a thickness or a reflection in a figure does; set by act.js, so that figures need not know it. */
export const chosen = { thickness: () => {}, reflection: () => {} };

/** The image at the thickness that is looked at, from a series. */
export function imageAt(pattern, thickness = state.thickness) {
  let near = 0;
  pattern.thicknesses.forEach((t, i) => {
    if (Math.abs(t - thickness) < Math.abs(pattern.thicknesses[near] - thickness)) near = i;
  });
  const count = pattern.pixels * pattern.pixels;
  return { values: pattern.data.subarray(near * count, (near + 1) * count), thickness: pattern.thicknesses[near] };
}

/** Whether a series has the thickness that is looked at. */
export const holds = (pattern) => pattern?.thicknesses.some((t) => Math.abs(t - state.thickness) < 1e-6);

/** What is looked at now: { values, size, pattern, signed }. */
export function current() {
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

/** Whether a pattern is of the reflection that is looked at. */
export const sameReflection = (pattern) => pattern.hkl[0].every((v, i) => v === state.hkl[i]);

/** A number without needless decimals. */
export const plain = (value) => String(Number(value.toFixed(2)));

/** A name for files. */
export const stem = () => (state.name || state.title).replace(/[^A-Za-z0-9_-]+/g, "_").replace(/^_+|_+$/g, "") || "crystal";

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

/** The state as a link, for a built-in crystal. */
export function toHash() {
  if (!state.name) return "";
  const parts = { crystal: state.name, zone: state.zone_axis.join(","), kv: state.voltage, g: state.extent };
  parts.t = state.thickness;
  parts.hkl = state.hkl.join(",");
  if (state.detail !== 128) parts.n = state.detail;
  if (state.thickness_max !== 2000) parts.tmax = state.thickness_max;
  if (state.b_iso !== null) parts.b = state.b_iso;
  if (state.absorption !== "none") parts.abs = state.absorption;
  return "#" + Object.entries(parts).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
}

/** Take what a link says; whatever is not a number or a name is left out. */
export function fromHash(hash, names) {
  if (hash.length < 2) return;
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (key, low, high) => {
    const value = Number(found.get(key));
    return found.has(key) && value >= low && value <= high ? value : null;
  };
  const three = (key) => {
    const values = (found.get(key) ?? "").split(",").map(Number);
    return values.length === 3 && values.every(Number.isInteger) ? values : null;
  };
  if (names.includes(found.get("crystal"))) state.name = found.get("crystal");
  state.zone_axis = three("zone") ?? state.zone_axis;
  state.hkl = three("hkl") ?? state.hkl;
  state.voltage = number("kv", 10, 3000) ?? state.voltage;
  state.extent = number("g", 0.25, 16) ?? state.extent;
  state.thickness = number("t", 1, 20000) ?? state.thickness;
  state.detail = Math.round(number("n", 16, 512) ?? state.detail);
  setSeries(number("tmax", 20, 20000) ?? state.thickness_max);
  state.b_iso = number("b", 0, 20);
  state.absorption = found.get("abs") === "thomas" ? "thomas" : number("abs", 0, 100) ?? "none";
}
