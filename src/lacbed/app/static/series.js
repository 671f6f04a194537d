// The series of thicknesses: thumbnails, and the intensity at the probe.

import { drawChart } from "./chart.js";
import { table } from "./colormaps.js";
import { digits, draw, percentiles } from "./picture.js";
import { $, chosen, imageAt, look, plain, probe, shown, state } from "./state.js";
import { element } from "./structure.js";

const THUMBNAILS = 10;

/** Thumbnails and the curve at the probe, for a series of thicknesses. */
export function showSeries() {
  const pattern = look.view === "pattern" ? shown.pattern : null;
  const series = pattern && pattern.thicknesses.length > 1;
  const crystal = `${state.name}\n${state.block}\n${state.cif}`;
  for (const id of ["strip", "curve"]) {
    $(id).hidden = look.view === "discs" || (!series && $(id).hidden);
    $(id).classList.toggle("stale", !series); // of the settings before; it keeps its room, so that nothing jumps
    $(id).classList.toggle("gone", !series && showSeries.crystal !== crystal);
    $(id).inert = !series;
  }
  if (!series) return;
  showSeries.crystal = crystal;
  $("strip").hidden = $("curve").hidden = false;
  showStrip(pattern);
  showCurve();
}

/** The thicknesses of the series; a thickness beyond it that was asked for besides is not one of them. */
const seriesOf = (pattern) => pattern.thicknesses.filter((t) => t <= state.thickness_max * (1 + 1e-9));

function showStrip(pattern) {
  const last = seriesOf(pattern).at(-1);
  const colours = table(look.colours, look.inverted);
  const images = Array.from({ length: THUMBNAILS }, (_, i) => imageAt(pattern, (last * (i + 1)) / THUMBNAILS));
  $("strip").replaceChildren(
    ...images.map((image) => {
      const canvas = element("canvas", {});
      draw(canvas, image.values, pattern.pixels, percentiles(image.values), look.logarithmic, colours);
      const button = element("button", { type: "button" }, canvas, element("small", {}, `${plain(image.thickness)} Å`));
      button.setAttribute("aria-label", `${plain(image.thickness)} Å`);
      button.onclick = () => chosen.thickness(image.thickness, false);
      return button;
    }),
  );
  showStrip.thicknesses = images.map((image) => image.thickness);
  markStrip();
}

/** Mark the thumbnail nearest to the thickness; none if it lies beyond the series. */
export function markStrip() {
  const buttons = [...$("strip").children];
  const away = (showStrip.thicknesses ?? []).map((t) => Math.abs(t - state.thickness));
  const near = state.thickness > state.thickness_max * (1 + 1e-9) ? -1 : away.indexOf(Math.min(...away));
  buttons.forEach((button, i) => (i === near ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current")));
}

export function showCurve() {
  const pattern = shown.pattern;
  if (look.view !== "pattern" || !pattern || pattern.thicknesses.length < 2) return;
  const at = (v) => Math.max(0, Math.min(pattern.pixels - 1, Math.floor(v * pattern.pixels)));
  const place = at(1 - probe.y) * pattern.pixels + at(probe.x);
  const count = pattern.pixels * pattern.pixels;
  const thicknesses = seriesOf(pattern);
  const values = thicknesses.map((_, i) => pattern.data[i * count + place]);
  drawChart($("chart"), thicknesses, values, state.thickness, (t) => chosen.thickness(t, false));
  $("curve-note").textContent = `Intensity at the probe against thickness, up to ${digits(Math.max(...values), 3)}`;
}
