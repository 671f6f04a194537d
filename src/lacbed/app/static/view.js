// The picture: pattern, difference or discs, with legend, histogram and badge.

import { stops, table } from "./colormaps.js";
import { drawDiscs } from "./discs.js";
import { showCode, showTitles } from "./facts.js";
import { showFit } from "./fit.js";
import { NOTHING, bounds, digits, draw, histogram, percentiles, zncc } from "./picture.js";
import { showOverlay, showReadout } from "./probe.js";
import { showSeries } from "./series.js";
import { $, busy, current, holds, imageAt, look, plain, run, shown, state } from "./state.js";
import { element, svg } from "./structure.js";

/** Choice between learned, exact and their difference, as far as they are there. */
export function offerModels() {
  const { learned, pattern } = shown;
  const both = learned && pattern?.stage === "exact" && look.view === "pattern";
  $("models").hidden = !both;
  if (!both) return;
  const here = holds(learned); // while the thickness moves, the learned picture is a step behind
  const same = learned.pixels === pattern.pixels;
  const z = here && same && 100 * zncc(imageAt(learned).values, imageAt(pattern).values);
  const names = { exact: "Exact", learned: "Learned" };
  if (same) names.difference = here ? `Difference, Z = ${digits(z, 2)} %` : "Difference";
  else if (look.model === "difference") look.model = "exact";
  $("models").replaceChildren(
    ...Object.entries(names).map(([key, text]) =>
      element("button", {
        type: "button", textContent: text, role: "radio", "aria-checked": look.model === key, disabled: key !== "exact" && !here,
        onclick: () => { look.model = key; offerModels(); showPicture(); },
      }),
    ),
  );
}

const BADGES = { preview: "Preview", coarse: "Exact, half the pixels", exact: "Exact", learned: "Learned" };

let pending = false;

/** Draw the picture at the next frame; `everything` also what depends on the whole series. */
export function showPicture({ everything = false } = {}) {
  showPicture.everything ||= everything;
  if (pending) return;
  pending = true;
  busy(1);
  requestAnimationFrame(() => {
    pending = false;
    try {
      paintPicture();
      if (showPicture.everything) showSeries();
      showPicture.everything = false;
    } finally {
      busy(-1);
    }
  });
}

function paintPicture() {
  const isDiscs = look.view === "discs";
  const isFit = look.view === "fit";
  $("fit").hidden = !isFit;
  for (const id of ["plate", "readout", "thickness-card", "downloads", "microscope"]) $(id).hidden = isFit;
  for (const id of ["contrast", "lines-row"]) $(id).hidden = isFit || isDiscs; // each image has a contrast of its own
  if (isFit) {
    showTitles();
    showCode();
    showFit();
    $("badge").hidden = true;
    return;
  }
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
  const isDragged = run.live.busy && !run.job && pattern?.stage !== "exact"; // previews follow the drag a step behind
  $("badge").hidden = !pattern || (pattern.turn !== run.turn && !isDragged);
  if (pattern) {
    const beams = pattern.stage === "preview" && pattern.beams ? `, ${pattern.beams} beams` : "";
    const dark = !isDiscs && !current().signed && bounds(current().values)[1] < NOTHING ? ", zero to rounding" : "";
    $("badge").textContent = isDiscs || !current().signed ? `${BADGES[pattern.stage]}${beams}${trust(pattern)}${dark}` : "Learned − exact";
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
  return `${said}${unsure ? ", outside its training range" : ""}`;
}

function paintPattern(colours) {
  const now = current();
  const canvas = $("picture");
  if (!now) return;
  if (now.signed) {
    const size = Math.max(...bounds(now.values).map(Math.abs)) || 1;
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
  const [low, high] = bounds(now.values);
  const name = shown.facts?.name ?? "crystal";
  return `LACBED pattern of ${name}, reflection ${state.hkl.join(" ")}, ${plain(state.thickness)} Å; intensities ${digits(low, 3)} to ${digits(high, 3)}`;
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
  canvas.setAttribute("aria-label", `${shown.discs.hkl.length} reflections as discs in their positions`);
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
export function showContrast(now) {
  const top = Math.max(bounds(now.values)[1], 1e-12);
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
