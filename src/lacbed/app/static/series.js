// The series of thicknesses: thumbnails, and the intensity at the probe.

import { drawChart } from "./chart.js";
import { table } from "./colormaps.js";
import { digits, draw, percentiles } from "./picture.js";
import { $, chosen, imageIn, look, plain, probe, series, state } from "./state.js";
import { element } from "./structure.js";

const THUMBNAILS = 10;

/** Thumbnails and the curve at the probe, for what is there of the series of thicknesses. */
export function showSeries() {
  const pattern = look.view === "pattern" ? series() : null;
  const there = Boolean(pattern) && pattern.thicknesses.length > 1;
  for (const id of ["strip", "curve"]) {
    $(id).hidden = look.view !== "pattern";
    $(id).classList.toggle("gone", !there); // it keeps its room, so that nothing jumps
    $(id).inert = !there;
  }
  if (!there) return;
  showStrip(pattern);
  showCurve();
}

/** The thicknesses of the series; a thickness beyond it that was asked for besides is not one of them. */
const listed = (pattern) => pattern.thicknesses.filter((t) => t <= state.thickness_max * (1 + 1e-9));

function showStrip(pattern) {
  const there = listed(pattern);
  const colours = table(look.colours, look.inverted);
  const wanted = Array.from({ length: THUMBNAILS }, (_, i) => (state.thickness_max * (i + 1)) / THUMBNAILS);
  $("strip").replaceChildren(
    ...wanted.map((goal) => {
      const canvas = element("canvas", {});
      const thickness = there.find((t) => Math.abs(t - goal) <= 0.51 * state.thickness_step);
      const text = `${plain(thickness ?? goal)} Å`;
      const button = element("button", { type: "button" }, canvas, element("small", {}, text));
      button.setAttribute("aria-label", thickness === undefined ? `${text}, on its way` : text);
      if (thickness !== undefined) {
        const values = imageIn(pattern, { t: pattern.thicknesses.indexOf(thickness), g: 0 });
        draw(canvas, values, pattern.pixels, percentiles(values), look.logarithmic, colours);
      }
      button.onclick = () => chosen.thickness(thickness ?? goal, false);
      return button;
    }),
  );
  showStrip.thicknesses = wanted;
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
  const pattern = look.view === "pattern" ? series() : null;
  if (!pattern || pattern.thicknesses.length < 2) return;
  const at = (v) => Math.max(0, Math.min(pattern.pixels - 1, Math.floor(v * pattern.pixels)));
  const place = at(1 - probe.y) * pattern.pixels + at(probe.x);
  const count = pattern.pixels * pattern.pixels;
  const thicknesses = listed(pattern);
  if (!thicknesses.length) return;
  const values = thicknesses.map((_, i) => pattern.data[i * count + place]);
  drawChart($("chart"), thicknesses, values, state.thickness, (t) => chosen.thickness(t, false), state.thickness_max);
  $("curve-note").textContent = `Intensity at the probe against thickness, up to ${digits(Math.max(...values), 3)}`;
}
