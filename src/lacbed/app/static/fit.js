// Experiment mode: measured patterns at once, then the best fit beside them.

import { drawChart } from "./chart.js";
import { table } from "./colormaps.js";
import { reflectionName, stem } from "./names.js";
import { bounds, digits, draw, percentiles } from "./picture.js";
import { $, look, plain, shown } from "./state.js";
import { element } from "./structure.js";

const ENDING = /\.(json|npz|nc|tiff?)$/i;

/** Whether a file may belong to an experiment. */
export const isMeasured = (file) => ENDING.test(file.name);

/** Files as the server takes them: a message of their endings and sizes, and their contents. */
export async function packFiles(view, files) {
  const listed = files.map((file) => ({ ending: file.name.match(ENDING)[0].toLowerCase(), size: file.size }));
  const header = new TextEncoder().encode(JSON.stringify({ view, files: listed }));
  const payload = files.reduce((sum, file) => sum + file.size, 0);
  const lengths = new DataView(new ArrayBuffer(8));
  lengths.setUint32(0, header.length, true);
  lengths.setUint32(4, payload, true);
  return new Blob([lengths, header, ...files]);
}

/** Show what has arrived of the experiment, or how to bring measured patterns. */
export function showFit() {
  const { fit } = shown;
  $("fit-result").hidden = !fit;
  $("fit-drop").classList.toggle("small", Boolean(shown.files));
  $("fit-files").textContent = (shown.files ?? []).map((file) => file.name).join(", ");
  $("save-fit").disabled = $("use-fit").disabled = !fit?.simulated;
  if (!fit) return;
  $("use-fit").hidden = $("fit-chart").toggleAttribute("hidden", !fit.simulated);
  $("fit-key").textContent = fit.simulated
    ? "Measured, simulated, and their difference, each normalised. Choose one to enlarge it."
    : "As measured. The fit appears beside them. Choose one to enlarge it.";
  const colours = table(look.colours, look.inverted);
  $("fit-pairs").replaceChildren(...fit.hkl.map((_, i) => figureOf(fit, i, colours)));
  $("fit-pairs").classList.toggle("pixels", !look.smooth);
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
    ` fits best: mean Z ${percent(mean(known))} over ${known.length} reflections, ${percent(mean(aligned))} when each image ` +
      `may shift by a few pixels. Half-width ${fit.half_width.toFixed(4)} Å⁻¹ (stated: ${fit.stated_half_width.toFixed(4)}), ` +
      `rotated by ${fit.rotation.toFixed(2).replace("-", "−")}°, blurred by ${fit.blur.toFixed(2)} pixels, ${fit.beams} beams.`,
  );
  $("fit-warnings").replaceChildren(...fit.warnings.map((text) => element("li", {}, text)));
  const [thicknesses, values] = [fit.scan.map(([t]) => t), fit.scan.map(([, z]) => z)];
  if (thicknesses.length > 1) drawChart($("fit-chart"), thicknesses, values, fit.thickness, () => {});
  $("fit-note").textContent = `Mean Z against thickness, from ${percent(Math.min(...values))} to ${percent(Math.max(...values))}; range searched: ${plain(thicknesses[0])} to ${plain(thicknesses.at(-1))} Å`;
}

const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const percent = (value) => `${digits(100 * value, 3)} %`;

/** The images of a reflection: measured, simulated, difference: [{ name, values, signed }]. */
function imagesOf(fit, i) {
  const count = fit.pixels * fit.pixels;
  const measured = fit.measured.subarray(i * count, (i + 1) * count);
  const images = [{ name: "measured", values: measured }];
  if (fit.simulated) {
    const simulated = fit.simulated.subarray((2 * i + 1) * count, (2 * i + 2) * count);
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
  if (!image.signed) return draw(canvas, image.values, size, percentiles(image.values, 0.5), look.logarithmic, colours);
  const most = Math.max(...bounds(image.values.filter(Number.isFinite)).map(Math.abs), 1e-9);
  return draw(canvas, image.values, size, [-most, most], false, table("difference"));
}

const quality = (fit, i) => (!fit.z ? "" : fit.z[i] === null ? "not used" : `Z ${percent(fit.z[i])}`);

/** The images of one reflection; a click enlarges them. */
function figureOf(fit, i, colours) {
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
  $("large-title").textContent = `${fit.name}, reflection ${reflectionName(fit.hkl[i], fit.of)}${fit.z ? `, ${quality(fit, i)}` : ""}`;
  $("large-images").replaceChildren(
    ...imagesOf(fit, i).map((image) => {
      const canvas = element("canvas", {});
      paint(canvas, image, fit.pixels, colours);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", image.name);
      return element("figure", {}, canvas, element("figcaption", {}, image.name));
    }),
  );
  $("large").showModal();
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
