// Experiment mode: measured patterns at once, then the best fit beside them.

import { drawChart } from "./chart.js";
import { table } from "./colormaps.js";
import { swipePair } from "./compare.js";
import { crystalName, reflectionName, stem } from "./names.js";
import { digits, draw, drawDifference, percentiles, zncc } from "./picture.js";
import { $, look, plain, shown } from "./state.js";
import { element } from "./structure.js";

const ENDING = /\.(json|npz|nc|tiff?)$/i;

const endingOf = ({ name }) => name.match(/\.[^.]+$/)[0].toLowerCase();

/** Whether a file may belong to an experiment. */
export const isMeasured = (file) => ENDING.test(file.name);

/** A message and files as the server takes them: the message with their endings and sizes, and their contents; then more. */
export function packMessage(message, files, more = []) {
  const listed = files.map((file) => ({ ending: endingOf(file), size: file.size }));
  const header = new TextEncoder().encode(JSON.stringify({ ...message, files: listed }));
  const payload = [...files, ...more].reduce((sum, part) => sum + (part.size ?? part.byteLength), 0);
  const lengths = new DataView(new ArrayBuffer(8));
  lengths.setUint32(0, header.length, true);
  lengths.setUint32(4, payload, true);
  return new Blob([lengths, header, ...files, ...more]);
}

/** Show what has arrived of the experiment, or how to bring measured patterns. */
export function showFit() {
  const { fit } = shown;
  $("fit-result").hidden = !fit;
  $("fit-drop").classList.toggle("small", Boolean(shown.files || shown.frames));
  $("fit-files").textContent = (shown.files ?? []).map((file) => file.name).join(", ");
  $("save-fit").disabled = $("use-fit").disabled = $("refine").disabled = !fit?.simulated;
  $("save-report").disabled = !fit?.report;
  if (!fit) return;
  $("use-fit").hidden = $("refine").hidden = $("fit-chart").toggleAttribute("hidden", !fit.simulated);
  $("fit-at-row").hidden = !fit.series;
  showRefined(fit);
  $("fit-key").textContent = fit.simulated
    ? `Measured, simulated at ${plain(thicknessOf(fit))} Å, and their difference, each normalised. Choose one to enlarge it.`
    : "As measured. The fit appears beside them. Choose one to enlarge it.";
  const colours = table(look.colours, look.inverted);
  $("fit-pairs").replaceChildren(...fit.hkl.map((_, i) => figureOf(fit, i, colours)));
  for (const id of ["fit-pairs", "solve-pairs"]) $(id).classList.toggle("pixels", !look.smooth);
  $("fit-pairs").classList.toggle("three", Boolean(fit.simulated));
  if (!fit.simulated) {
    $("fit-summary").textContent = `${fit.hkl.length} reflections, ${fit.pixels} × ${fit.pixels} pixels, half-width ${fit.half_width.toFixed(4)} Å⁻¹, as the files state.`;
    $("fit-warnings").replaceChildren();
    $("fit-note").textContent = "";
    return;
  }
  const [known, aligned] = [fit.z, fit.z_aligned].map((all) => all.filter((z) => z !== null));
  $("fit-summary").replaceChildren(
    element("b", {}, `${plain(fit.thickness)} Å`),
    ` fits best${fit.thickness_uncertainty ? ` (s.u. ${digits(fit.thickness_uncertainty, 2)} Å)` : ""}: mean Z ${percent(mean(known))} over ${known.length} reflections, ${percent(mean(aligned))} when each image ` +
      `may shift by a few pixels. Half-width ${fit.half_width.toFixed(4)} Å⁻¹ (stated: ${fit.stated_half_width.toFixed(4)}), ` +
      `rotated by ${fit.rotation.toFixed(2).replace("-", "−")}°, blurred by ${fit.blur.toFixed(2)} pixels, ${fit.beams} beams.`,
  );
  $("fit-warnings").replaceChildren(...fit.warnings.map((text) => element("li", {}, text)));
  const curve = fit.series ? zOfSeries(fit) : fit.scan;
  const [thicknesses, values] = [curve.map(([t]) => t), curve.map(([, z]) => z)];
  if (thicknesses.length > 1) drawChart($("fit-chart"), thicknesses, values, thicknessOf(fit), lookAtThickness);
  const which = fit.series ? "Mean Z against thickness at the fitted geometry" : "Mean Z against thickness";
  $("fit-note").textContent = `${which}, from ${percent(Math.min(...values))} to ${percent(Math.max(...values))}; range searched: ${plain(thicknesses[0])} to ${plain(thicknesses.at(-1))} Å`;
  $("use-fit").textContent = `Use ${plain(thicknessOf(fit))} Å`;
  if (!fit.series) return;
  $("fit-at").max = thicknesses.length - 1;
  $("fit-at").value = fit.at ?? nearestTo(thicknesses, fit.thickness);
  $("fit-at").setAttribute("aria-valuetext", `${plain(thicknessOf(fit))} Å`);
  $("fit-best").disabled = fit.at === undefined;
  const here = fit.at === undefined ? mean(known) : values[fit.at];
  $("fit-at-note").textContent = `${plain(thicknessOf(fit))} Å: mean Z ${percent(here)}${fit.at === undefined ? ", the best fit" : ""}`;
}

/** The thickness whose simulation is shown: that of the fit, or another that was chosen. */
export const thicknessOf = (fit) => (fit.at === undefined ? fit.thickness : fit.series.thicknesses[fit.at]);

const nearestTo = (values, wanted) => values.reduce((best, v, i) => (Math.abs(v - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);

/** Show the simulation nearest to a thickness. */
function lookAtThickness(thickness) {
  const { fit } = shown;
  if (!fit?.series) return;
  fit.at = nearestTo(fit.series.thicknesses, thickness);
  showFit();
}

/** One simulated image at one of the thicknesses. */
function imageAt(fit, t, i) {
  const count = fit.pixels * fit.pixels;
  const at = (t * fit.hkl.length + i) * count;
  return fit.series.images.subarray(at, at + count);
}

/** Z of two images over the pixels that both have. */
function zOfPair(a, b) {
  const known = [];
  for (let i = 0; i < a.length; i++) if (Number.isFinite(a[i]) && Number.isFinite(b[i])) known.push(i);
  return zncc(known.map((i) => a[i]), known.map((i) => b[i]));
}

/** Mean Z at every thickness, over the reflections that the fit used: [[thickness, Z]]. */
function zOfSeries(fit) {
  if (fit.series.z) return fit.series.z;
  const used = fit.hkl.map((_, i) => i).filter((i) => fit.z[i] !== null);
  const count = fit.pixels * fit.pixels;
  fit.series.z = fit.series.thicknesses.map((thickness, t) => [
    thickness, mean(used.map((i) => zOfPair(fit.measured.subarray(i * count, (i + 1) * count), imageAt(fit, t, i)))),
  ]);
  return fit.series.z;
}

/** What a refinement has found. */
function showRefined({ refined }) {
  $("refined").hidden = !refined;
  if (!refined) return;
  $("refined-summary").textContent = `${refined.name} refined from ${crystalName(refined.of, refined)}: mean Z ${percent(refined.mean_Z_aligned)} when each image may shift, ${percent(refined.mean_Z)} when not; ${refined.beams} beams, ${refined.seconds.toFixed(0)} s.`;
  $("refined-rows").replaceChildren(
    ...refined.free.map((row) => element("tr", {}, element("th", { scope: "row" }, row.name), ...[row.start, row.text, row.unit].map((text) => element("td", {}, text)))),
  );
  $("refined-notes").replaceChildren(...refined.notes.map((text) => element("li", {}, text)));
}

/** Connect what chooses another thickness of the fit. */
export function wireFit() {
  $("fit-at").addEventListener("input", () => lookAtThickness(shown.fit.series.thicknesses[$("fit-at").value]));
  $("fit-best").addEventListener("click", () => {
    delete shown.fit.at;
    showFit();
  });
}

const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const percent = (value) => `${digits(100 * value, 3)} %`;

/** The images of a reflection: measured, simulated, difference: [{ name, values, signed }]. */
function imagesOf(fit, i) {
  const count = fit.pixels * fit.pixels;
  const measured = fit.measured.subarray(i * count, (i + 1) * count);
  const images = [{ name: "measured", values: measured }];
  if (fit.simulated) {
    const simulated = fit.at === undefined ? fit.simulated.subarray((2 * i + 1) * count, (2 * i + 2) * count) : imageAt(fit, fit.at, i);
    images.push({ name: "simulated", values: simulated });
    const [a, b] = [normalised(measured), normalised(simulated)];
    images.push({ name: "difference", values: a.map((v, n) => v - b[n]), signed: true });
  }
  return images;
}

/** Zero mean and unit deviation over the pixels that are known, as Z compares images. */
function normalised(values) {
  const known = values.filter(Number.isFinite);
  const middle = mean(known);
  const width = Math.sqrt(mean(known.map((v) => (v - middle) ** 2))) || 1;
  return values.map((v) => (v - middle) / width);
}

function paint(canvas, image, size, colours) {
  if (image.signed) drawDifference(canvas, image.values, size);
  else draw(canvas, image.values, size, percentiles(image.values, 0.5), look.logarithmic, colours);
}

function quality(fit, i) {
  if (!fit.z) return "";
  if (fit.z[i] === null) return "not used";
  const [measured, simulated] = imagesOf(fit, i);
  return `Z ${percent(fit.at === undefined ? fit.z[i] : zOfPair(measured.values, simulated.values))}`;
}

/** The images of one reflection; a click enlarges them. */
export function figureOf(fit, i, colours) {
  const name = reflectionName(fit.hkl[i], fit.of);
  const canvases = imagesOf(fit, i).map((image) => {
    const canvas = element("canvas", {});
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${image.name} ${fit.hkl[i].join(" ")}`);
    paint(canvas, image, fit.pixels, colours);
    return canvas;
  });
  const button = element("button", { type: "button", onclick: () => enlarge(fit, i, colours) }, ...canvases);
  button.setAttribute("aria-label", `Enlarge ${fit.hkl[i].join(" ")}`);
  return element("figure", {}, button, element("figcaption", {}, element("b", {}, name), element("span", {}, quality(fit, i))));
}

/** The images of one reflection, large, in a window of their own. */
function enlarge(fit, i, colours) {
  $("large-title").textContent = `${fit.name}, reflection ${reflectionName(fit.hkl[i], fit.of)}${fit.simulated ? `, simulated at ${plain(thicknessOf(fit))} Å` : ""}${fit.z ? `, ${quality(fit, i)}` : ""}`;
  $("large-images").replaceChildren(
    ...imagesOf(fit, i).map((image) => {
      const canvas = element("canvas", {});
      paint(canvas, image, fit.pixels, colours);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", image.name);
      return element("figure", {}, canvas, element("figcaption", {}, image.name));
    }),
    ...swipe(fit, i, colours),
  );
  $("large").showModal();
}

/** Measured and simulated image over each other with a line between them, once both are there. */
function swipe(fit, i, colours) {
  if (!fit.simulated) return [];
  const [left, right] = imagesOf(fit, i).map((image) => {
    const canvas = element("canvas", {});
    paint(canvas, image, fit.pixels, colours);
    return canvas;
  });
  return [swipePair(left, right, ["measured", "simulated"])];
}

/** The fit as a table, for a spreadsheet: what `save` takes. */
export function saveFit() {
  const { fit } = shown;
  const head = [
    `# ${fit.name} compared with ${fit.crystal}, zone axis [${fit.zone_axis.join(" ")}], ${fit.voltage} kV`,
    `# thickness ${fit.thickness} Å, half-width ${fit.half_width} 1/Å, rotation ${fit.rotation}°, blur ${fit.blur} pixels, ${fit.beams} beams`,
    "h,k,l,Z,Z shifted",
  ];
  const rows = fit.hkl.map((hkl, i) => [...hkl, fit.z[i] ?? "", fit.z_aligned[i] ?? ""].join(","));
  return [new Blob([[...head, ...rows].join("\n") + "\n"], { type: "text/csv" }), `${stem(fit.of, fit)}-fit.csv`];
}
