// The address of the page: all settings and the look of the picture.

import { record } from "./history.js";
import { chargeWords, readCharges } from "./reading.js";
import { look, reduced, setSeries, state } from "./state.js";

const LOOKS = { inverted: "inv", smooth: "smooth", lines: "lines", together: "same" };
const START = { ...structuredClone(state), ...look };

/** State and look as a link. A crystal of one's own cannot be in it; the page keeps that while the tab is open. */
function toHash() {
  const parts = state.name ? { crystal: state.name } : { cif: state.title || "crystal" };
  Object.assign(parts, { zone: state.zone_axis.join(","), kv: state.voltage, g: state.extent, t: state.thickness });
  parts.hkl = state.hkl.join(",");
  if (state.detail !== START.detail) parts.n = state.detail;
  if (state.thickness_max !== START.thickness_max) parts.tmax = state.thickness_max;
  if (state.b_iso !== null) parts.b = state.b_iso;
  if (state.absorption !== "none") parts.abs = state.absorption;
  if (state.tolerance !== START.tolerance) parts.tol = state.tolerance;
  if (state.laue_zones) parts.laue = state.laue_zones;
  if (state.factors !== START.factors) parts.factors = state.factors;
  const charges = chargeWords(state.charges);
  if (charges.length) parts.ions = charges.join(",");
  if (state.foil_normal) parts.foil = state.foil_normal.join(",");
  if (state.x_direction) parts.x = state.x_direction.join(",");
  if (look.view !== "pattern") parts.view = look.view;
  if (look.colours !== START.colours) parts.map = look.colours;
  if (look.logarithmic) parts.scale = "log";
  if (look.unit !== START.unit) parts.unit = look.unit;
  if (look.semi !== null) parts.semi = Number(look.semi.toFixed(3));
  for (const [key, short] of Object.entries(LOOKS)) if (look[key] !== START[key]) parts[short] = Number(look[key]);
  if (!look.auto) parts.limits = look.limits.map((v) => Number(v.toPrecision(4))).join(",");
  return "#" + Object.entries(parts).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
}

/** Write state and look into the address. */
export function keepAddress() {
  const wanted = toHash();
  if (wanted !== location.hash) history.replaceState(null, "", wanted);
  keepCif();
  record(wanted);
}

const KEPT = "lacbed-cif";

/** A CIF of one's own stays with the tab, so that loading the page again does not lose it. */
function keepCif() {
  try {
    if (state.name) return;
    const { cif, title, block } = state;
    sessionStorage.setItem(KEPT, JSON.stringify({ cif, title, block }));
  } catch { /* no room, or a private window */ }
}

/** The CIF that was kept, or null. */
function keptCif() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT));
    return typeof kept?.cif === "string" && kept.cif ? kept : null;
  } catch {
    return null;
  }
}

/**
 * Take what a link says; what it leaves out is as on a fresh page. A crystal of one's own is given besides, or was kept.
 *
 * Returns what of it cannot be taken, in words, or "".
 */
export function fromHash(hash, names, colours, own = null) {
  if (hash.length < 2) return "";
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  const wrong = [];
  const take = (key, value) => {
    if (found.has(key) && value === null) wrong.push(`${key}=${found.get(key)}`);
    return value;
  };
  const number = (key, low, high) => {
    const value = Number(found.get(key) || NaN);
    return take(key, value >= low && value <= high ? value : null);
  };
  const three = (key) => {
    const values = (found.get(key) ?? "").split(",").map((text) => (text ? Number(text) : NaN));
    const good = values.length === 3 && values.every((v) => Number.isInteger(v) && Math.abs(v) <= 1000);
    return take(key, good ? values : null);
  };
  const one = (key, list) => take(key, list.includes(found.get(key)) ? found.get(key) : null);
  const direction = (key) => {
    const values = three(key);
    return take(key, values?.some((v) => v) ? values : null);
  };
  const crystal = found.has("cif") ? (own ?? keptCif()) : null;
  if (found.has("cif") && !crystal) wrong.push(`the CIF “${found.get("cif")}”, which a link cannot hold; drop it again`);
  const name = one("crystal", names) ?? START.name;
  Object.assign(state, crystal ? { name: "", ...crystal } : { name, cif: "", title: "", block: "" });
  state.zone_axis = reduced(direction("zone") ?? START.zone_axis);
  state.hkl = three("hkl") ?? START.hkl;
  state.voltage = number("kv", 10, 3000) ?? START.voltage;
  state.extent = number("g", 0.25, 16) ?? START.extent;
  state.thickness = number("t", 1, 20000) ?? START.thickness;
  state.detail = Math.round(number("n", 16, 512) ?? START.detail);
  setSeries(number("tmax", 20, 20000) ?? START.thickness_max);
  state.b_iso = found.get("b") === "0" ? 0 : number("b", 0, 20);
  const absorption = found.get("abs");
  if (["thomas", "none"].includes(absorption)) state.absorption = absorption;
  else state.absorption = absorption === "0" ? 0 : (number("abs", 0, 100) ?? "none");
  state.tolerance = number("tol", 1e-6, 0.1) ?? START.tolerance;
  state.laue_zones = Math.round(number("laue", 1, 2) ?? 0);
  state.factors = one("factors", ["kirkland", "lobato", "peng", "doyle-turner", "ionic"]) ?? START.factors;
  state.charges = take("ions", readCharges(found.get("ions") ?? "")) ?? {};
  state.foil_normal = direction("foil");
  state.x_direction = direction("x");
  look.view = one("view", ["pattern", "discs", "tilt", "fit"]) ?? "pattern";
  look.colours = one("map", colours) ?? START.colours;
  look.unit = one("unit", ["mrad", "degree", "inverse", "nanometre"]) ?? START.unit;
  look.semi = number("semi", 0.01, 1500);
  look.logarithmic = one("scale", ["linear", "log"]) === "log";
  for (const [key, short] of Object.entries(LOOKS)) look[key] = found.has(short) ? found.get(short) === "1" : START[key];
  const limits = (found.get("limits") ?? "").split(",").map(Number);
  look.auto = !(limits.length === 2 && limits[1] > limits[0]);
  if (!look.auto) look.limits = limits;
  return wrong.length ? `The address has what this page cannot take: ${wrong.join("; ")}.` : "";
}
