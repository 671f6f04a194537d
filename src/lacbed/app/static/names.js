// Names as crystallographers write them, and the labels of what is shown.

import { digits } from "./picture.js";
import { plain, reduced, run, sameCrystal, shown, state } from "./state.js";

const LOW = "₀₁₂₃₄₅₆₇₈₉";

/** A formula with its numbers lowered. */
export function formula(text) {
  return [...text].map((c) => (/[0-9]/.test(c) ? LOW[Number(c)] : c)).join("");
}

/** A space group symbol with overbars, lowered screw axes and without setting: "P 63 m c" becomes "P6₃mc". */
export function spaceGroup(symbol) {
  return symbol
    .replace(/:.*$/, "")
    .trim()
    .split(/\s+/)
    .map((part) => part.replace(/-(\d)/g, "$1\u0305").replace(/^([2346])([1-5])(?!\d)/, (_, n, m) => n + LOW[Number(m)]))
    .join("\u200a");
}

/** The setting of a symbol: ":2" is the second choice of origin. */
export function setting(symbol) {
  const mark = symbol.split(":")[1];
  return mark ? (/^\d$/.test(mark) ? `, origin ${mark}` : `, setting ${mark}`) : "";
}

/** Indices with bars: 2,-2,0 becomes 22̅0. */
export function indices(values) {
  const parts = values.map((v) => [...String(Math.abs(v))].map((c) => (v < 0 ? `${c}\u0305` : c)).join(""));
  return parts.join(values.some((v) => Math.abs(v) > 9) ? "\u2009" : "");
}

/** Whether a cell has hexagonal axes. */
export const isHexagonal = ([a, b, , alpha, beta, gamma]) =>
  Math.abs(a - b) < 1e-6 * a && Math.abs(gamma - 120) < 1e-6 && Math.abs(alpha - 90) + Math.abs(beta - 90) < 1e-6;

/** The four indices hkil of a reflection on hexagonal axes. */
const fourOfPlane = ([h, k, l]) => [h, k, -h - k || 0, l];

/** The four indices UVTW of a direction [uvw] on hexagonal axes, without common factors. */
export const fourOfDirection = ([u, v, w]) => reduced([2 * u - v, 2 * v - u, -u - v, 3 * w]);

/** The direction [uvw] of four indices UVTW, which add up to U + V + T = 0; null if they do not. */
export function threeOfDirection([u, v, t, w]) {
  return u + v + t === 0 ? [u - t, v - t, w] : null;
}

/** Whether the crystal of a state is known to have hexagonal axes. */
const hexagonal = (of) => Boolean(shown.facts && sameCrystal(shown.facts.of, of) && isHexagonal(shown.facts.cell));

/** A reflection of the crystal of a state, with four indices on hexagonal axes. */
export const reflectionName = (hkl, of) => indices(hexagonal(of) ? fourOfPlane(hkl) : hkl);

/** A zone axis of the crystal of a state; on hexagonal axes with four indices besides. */
export function zoneName(uvw, of) {
  return `[${indices(uvw)}]${hexagonal(of) ? ` = [${indices(fourOfDirection(uvw))}]` : ""}`;
}

/** The name of a crystal: a built-in formula, or what a CIF is called, letter by letter. */
export const crystalName = (of, header) => (of.name ? formula(of.name) : (header?.crystal ?? header?.name ?? of.title) || "crystal");

/** A name for files of a state. */
export function stem(of, header) {
  const name = of.name || of.title || header?.crystal || header?.name || "";
  return name.replace(/[^A-Za-z0-9_-]+/g, "_").replace(/^_+|_+$/g, "").slice(0, 60) || "crystal";
}

const ABSORPTION = { none: "no absorption", thomas: "absorption of Thomas et al." };

/** What was left out or put in that is not usual. */
function modelWords(of) {
  const words = [ABSORPTION[of.absorption] ?? `${of.absorption} % absorption`];
  if (of.b_iso !== null) words.push(`B = ${plain(of.b_iso)} Å²`);
  const ions = Object.entries(of.charges).map(([element, charge]) => ` ${element}${Math.abs(charge)}${charge < 0 ? "−" : "+"}`);
  if (of.factors !== "kirkland") words.push(`factors ${of.factors}${of.factors === "ionic" ? ions.join("") : ""}`);
  if (of.laue_zones) words.push(`Laue zones 0 to ${of.laue_zones}`);
  if (of.foil_normal) words.push(`foil normal [${indices(of.foil_normal)}]`);
  return words;
}

/** What a pattern is before it is within the tolerance that is asked for. */
function kindOf({ stage, error }) {
  if (stage === "coarse") return `half the pixels${error ? `, error ≈ ${digits(error, 2)}` : ""}`;
  return { learned: "learned prediction", preview: "preview" }[stage];
}

/** Title, subtitle and file name of what is looked at: an image of `current`, or all reflections of a pattern. */
export function labelOf(now, isDiscs = false) {
  const { of, pattern } = now;
  const thickness = isDiscs ? pattern.thicknesses[0] : now.thickness;
  const zone = pattern.zone_axis ?? of.zone_axis;
  const one = now.cbed
    ? `CBED, semi-angle ${digits(now.cbed.angle, 3)} mrad, ${pattern.hkl.length} reflections`
    : `all reflections`;
  const what = isDiscs ? one : `reflection ${reflectionName(now.hkl, of)}`;
  const kind = now.signed && !now.against ? "learned − exact" : kindOf(pattern);
  const words = [what, `${plain(of.voltage)} kV`, `${plain(thickness)} Å`, ...modelWords(pattern.stage === "preview" ? { ...of, laue_zones: 0, foil_normal: null } : of)]; // which previews leave out
  if (kind) words.push(kind);
  const other = now.against ?? now.beside;
  if (other) words.push(`${now.against ? "minus" : "right of the line; on its left"} A: ${labelOf(other).title}, ${labelOf(other).subtitle}`);
  const ending = now.against ? "-minus-A" : now.beside ? "-beside-A" : now.cbed ? "-cbed" : now.signed ? "-learned-minus-exact" : { learned: "-learned", preview: "-preview", coarse: "-coarse" }[pattern.stage] ?? "";
  return {
    title: `${crystalName(of, pattern)}  ${zoneName(zone, of)}`,
    subtitle: words.join(", "),
    tab: `${crystalName(of, pattern)} [${zone.join("")}] – lacbed`,
    file: stem(of, pattern) + ending,
  };
}

/** What is said of a picture that is not what is asked for. */
export const lateWords = () => (run.refused ? "Not what is asked for: that was not computed" : "Not yet what is asked for");

/** How far a pattern is right. */
export function badgeOf(pattern) {
  if (pattern.stage === "learned") return `Learned${trust(pattern)}`;
  if (pattern.stage === "preview") return `Preview${pattern.beams ? `, ${pattern.beams} beams` : ""}`;
  const laue = pattern.of.laue_zones ? `Laue zones 0–${pattern.of.laue_zones}` : "Laue zone 0";
  if (pattern.stage === "coarse") return `Half the pixels, ${laue}${pattern.error ? `, error ≈ ${digits(pattern.error, 2)}` : ""}`;
  const error = pattern.error ? `error ≈ ${digits(pattern.error, 2)}` : "converged";
  return `Computed, ${laue}, ${pattern.converged === false ? "not converged" : error}`;
}

/** What the learned simulator expects of itself, at this thickness. */
function trust(pattern) {
  const near = pattern.thicknesses.findIndex((t) => Math.abs(t - state.thickness) < 1e-6);
  const expected = pattern.expected_z[near];
  const unsure = pattern.remarks.some((text) => text.startsWith(`${state.thickness} Å:`));
  const said = expected === undefined ? "" : `, expects Z ≈ ${(100 * expected).toPrecision(2)} %`;
  return `${said}${unsure ? ", outside its training range" : ""}`;
}

/** Half-width of a pattern in mrad. */
export const halfWidth = (pattern) => digits(1e3 * Math.asin(Math.min(1, (pattern.pixels * pattern.k_step * pattern.wavelength) / 2)), 3);
