// The picture: pattern, difference or discs, with legend, histogram and badge.

import { stops, table } from "./colormaps.js";
import { largestAngle } from "./cbed.js";
import { paintKept, showCompare } from "./compare.js";
import { drawDiscs } from "./discs.js";
import { showCode, showTitles, shownDiscs } from "./facts.js";
import { showFit } from "./fit.js";
import { showFrames } from "./frames.js";
import { badgeOf, labelOf, lateWords } from "./names.js";
import { NOTHING, bounds, digits, draw, drawDifference, histogram, percentiles, sharpness, zncc } from "./picture.js";
import { showOverlay, showReadout } from "./probe.js";
import { showProfile } from "./profile.js";
import { showSeries } from "./series.js";
import { showSolution } from "./solution.js";
import { $, busy, current, equal, exact, look, shown, state, viewOf } from "./state.js";
import { element, svg } from "./structure.js";
import { showTilt } from "./tilt.js";
import { showZoom } from "./zoom.js";

/** Choice between learned, exact and their difference, as far as they are there. */
export function offerModels() {
  const [guess, result] = [viewOf(shown.learned), exact()];
  const both = shown.learned && result && look.view === "pattern" && equal(shown.learned.of.hkl, state.hkl);
  $("models").hidden = !both;
  if (!both) return;
  const same = guess && guess.size === result.size;
  const names = { exact: "Computed", learned: "Learned" };
  const z = same && 100 * zncc(guess.values, result.values);
  if (shown.learned.pixels === result.size) names.difference = same ? `Difference, Z = ${digits(z, 2)} %` : "Difference";
  else if (look.model === "difference") look.model = "exact";
  $("models").replaceChildren(
    ...Object.entries(names).map(([key, text]) =>
      element("button", {
        type: "button", textContent: text, role: "radio", "aria-checked": String(look.model === key), disabled: key !== "exact" && !guess,
        onclick: () => { look.model = key; offerModels(); showPicture(); },
      }),
    ),
  );
}

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
  const isTilt = look.view === "tilt";
  $("fit").hidden = !isFit;
  $("tilt").hidden = !isTilt;
  for (const id of ["plate", "readout", "data-files", "tools"]) $(id).hidden = isFit || isTilt;
  $("thickness-card").hidden = isFit;
  $("play").hidden = isTilt;
  $("tilt-help").hidden = !isTilt;
  $("microscope").hidden = isFit;
  for (const id of ["take", "display"]) $(id).hidden = isTilt;
  const isCbed = isDiscs && look.semi !== null;
  $("contrast").hidden = isFit || (isDiscs && !isCbed); // each image has a contrast of its own
  $("lines-row").hidden = isFit || isDiscs;
  $("cbed-row").hidden = !isDiscs;
  $("together-row").hidden = !isDiscs || isCbed;
  if (!isFit) showCompare();
  for (const id of ["save-fit", "save-report"]) $(id).hidden = !isFit;
  $("figure-open").hidden = isFit;
  showTitles();
  showCode();
  if (isFit || isTilt) $("profile-card").hidden = true;
  if (isFit) {
    showFit();
    if (shown.fit) showSolution();
    showFrames();
    $("badge").hidden = $("old").hidden = true;
    window.lacbedShown = { of: shown.fit?.of, view: "fit" };
    return;
  }
  if (isTilt) {
    showTilt();
    $("badge").hidden = $("old").hidden = true;
    window.lacbedShown = { of: shown.facts?.of, view: "tilt" };
    return;
  }
  $("frame").classList.toggle("bare", isDiscs && !isCbed);
  $("frame").classList.toggle("pixels", !look.smooth && (!isDiscs || isCbed));
  const colours = table(look.colours, look.inverted);
  const now = isDiscs ? shownDiscs() : current();
  if (isDiscs) paintDiscs(now, colours);
  else paintPattern(now, colours);
  showZoom();
  paintKept(isDiscs ? null : now, colours);
  showReadout();
  showOverlay();
  showProfile();
  showBadge(now, isDiscs);
}

/** What the picture is, and whether it is what is asked for. */
function showBadge(now, isDiscs) {
  $("badge").hidden = !now || Boolean(now.stale);
  $("old").hidden = !now?.stale;
  $("frame").classList.toggle("wait", Boolean(now?.stale));
  window.lacbedShown = now && { of: now.of, stage: now.pattern.stage, stale: Boolean(now.stale), thickness: now.thickness ?? now.pattern.thicknesses[0], hkl: now.hkl, ...comparisonOf(now) };
  if (!now) return;
  if (now.stale) {
    $("old").textContent = lateWords();
    return;
  }
  const { pattern } = now;
  const dark = !isDiscs && !now.signed && bounds(now.values)[1] < NOTHING ? ", zero to rounding" : "";
  $("badge").textContent = `${now.against ? differenceBadge(now) : now.signed ? "Learned − computed" : badgeOf(pattern)}${dark}`;
  $("badge").dataset.stage = pattern.stage;
  $("badge").title = ["Bloch waves; refraction by the mean inner potential; paraxial", ...pattern.notes].join("\n");
}

/** What is compared with what is shown, for whoever checks the labels. */
function comparisonOf({ against, beside }) {
  const told = (kept) => kept && { of: kept.of, stage: kept.pattern.stage, thickness: kept.thickness, hkl: kept.hkl };
  return { against: told(against), beside: told(beside) };
}

/** Of what a difference of two pictures is, and how far it can be trusted. */
function differenceBadge({ pattern, against }) {
  const both = [pattern, against.pattern];
  if (both.some((one) => one.stage !== "exact")) return `B − A: ${badgeOf(pattern)} − ${badgeOf(against.pattern)}`;
  if (both.some((one) => one.converged === false)) return "B − A, both computed, not converged";
  const error = both.reduce((sum, one) => sum + (one.error || 0), 0);
  return `B − A, both computed${error ? `, error ≈ ${digits(error, 2)}` : ""}`;
}

function paintPattern(now, colours) {
  const canvas = $("picture");
  if (!now) {
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    canvas.setAttribute("aria-label", "No pattern yet");
    return;
  }
  const label = labelOf(now);
  const [low, high] = bounds(now.signed ? now.values.filter(Number.isFinite) : now.values);
  canvas.setAttribute("aria-label", `LACBED pattern: ${label.title}, ${label.subtitle}; intensities ${digits(low, 3)} to ${digits(high, 3)}`);
  if (now.signed) {
    showLegend(drawDifference(canvas, now.values, now.size), "difference", false);
    return;
  }
  if (look.auto) look.limits = commonLimits([now, now.beside].filter(Boolean));
  draw(canvas, now.values, now.size, look.limits, look.logarithmic, colours);
  showLegend(look.limits, look.colours, look.inverted);
  showContrast(now);
}

function paintDiscs(now, colours) {
  const canvas = $("picture");
  const ratio = sharpness(canvas);
  const side = Math.round(Math.max(300, canvas.clientWidth) * ratio);
  if (canvas.width !== side) canvas.width = canvas.height = side;
  if (!now) {
    canvas.getContext("2d").clearRect(0, 0, side, side);
    canvas.setAttribute("aria-label", "No reflections yet");
    return;
  }
  $("semi").max = $("semi-number").dataset.max = largestAngle(now.pattern).toFixed(3);
  if (now.cbed) return paintCbed(now, colours);
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  drawDiscs(canvas, now.pattern, { ...look, colours, chosen: state.hkl, ink: resolve(ink) });
  canvas.setAttribute("aria-label", `${labelOf(now, true).title}: ${now.pattern.hkl.length} reflections as discs in their positions`);
  const all = look.together ? percentiles(now.pattern.data) : [0, 1];
  showLegend(all, look.colours, look.inverted, look.together ? null : ["bright", "dark"]);
  return undefined;
}

/** The grey scale of one picture, or of A and B together, so that one legend is true of both. */
function commonLimits(pictures) {
  const limits = pictures.map(({ values }) => percentiles(values));
  return [Math.min(...limits.map(([low]) => low)), Math.max(...limits.map(([, high]) => high))];
}

function paintCbed(now, colours) {
  const { cbed } = now;
  if (look.auto) look.limits = percentiles(cbed.values, 0.5);
  draw($("picture"), cbed.values, cbed.size, look.limits, look.logarithmic, colours);
  $("picture").setAttribute("aria-label", `CBED pattern: ${labelOf(now, true).title}, ${labelOf(now, true).subtitle}`);
  showLegend(look.limits, look.colours, look.inverted);
  showContrast(cbed);
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
