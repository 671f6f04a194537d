// Experiment mode: measured patterns with the best fit beside them.

import { drawChart } from "./chart.js";
import { table } from "./colormaps.js";
import { digits, draw, indices, percentiles } from "./picture.js";
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

/** Show the fit that has arrived, or how to bring measured patterns. */
export function showFit() {
  const { fit } = shown;
  $("fit-result").hidden = !fit;
  $("fit-drop").classList.toggle("small", Boolean(shown.files));
  $("fit-files").textContent = (shown.files ?? []).map((file) => file.name).join(", ");
  if (!fit) return;
  const [known, aligned] = [fit.z, fit.z_aligned].map((all) => all.filter((z) => z !== null));
  $("fit-summary").replaceChildren(
    element("b", {}, `${plain(fit.thickness)} Å`),
    ` fits best: mean Z ${percent(mean(known))} over ${known.length} reflections, ${percent(mean(aligned))} when each image ` +
      `may shift by a few pixels. Half-width ${fit.half_width.toFixed(4)} Å⁻¹ (stated: ${fit.stated_half_width.toFixed(4)}), ` +
      `rotated by ${fit.rotation.toFixed(2).replace("-", "−")}°, blurred by ${fit.blur.toFixed(2)} pixels, ${fit.beams} beams.`,
  );
  $("fit-warnings").replaceChildren(...fit.warnings.map((text) => element("li", {}, text)));
  const colours = table(look.colours, look.inverted);
  $("fit-pairs").replaceChildren(...fit.hkl.map((hkl, i) => pairOf(fit, hkl, i, colours)));
  $("fit-pairs").classList.toggle("pixels", !look.smooth);
  const [thicknesses, values] = [fit.scan.map(([t]) => t), fit.scan.map(([, z]) => z)];
  if (thicknesses.length > 1) drawChart($("fit-chart"), thicknesses, values, fit.thickness, () => {});
  $("fit-note").textContent = `Mean Z against thickness, from ${percent(Math.min(...values))} to ${percent(Math.max(...values))}; range searched: ${plain(thicknesses[0])} to ${plain(thicknesses.at(-1))} Å`;
}

const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
const percent = (value) => `${digits(100 * value, 3)} %`;

/** Measured and simulated image of one reflection. */
function pairOf(fit, hkl, i, colours) {
  const count = fit.pixels * fit.pixels;
  const images = [0, 1].map((which) => {
    const values = fit.data.subarray((2 * i + which) * count, (2 * i + which + 1) * count);
    const canvas = element("canvas", { role: "img" });
    canvas.setAttribute("aria-label", `${which ? "fit" : "measured"} ${hkl.join(" ")}`);
    draw(canvas, values, fit.pixels, percentiles(values, 0.5), look.logarithmic, colours);
    return canvas;
  });
  const quality = fit.z[i] === null ? "not used" : `Z ${percent(fit.z[i])}`;
  return element(
    "figure",
    {},
    element("div", {}, ...images),
    element("figcaption", {}, element("b", {}, indices(hkl)), element("span", {}, quality)),
  );
}
