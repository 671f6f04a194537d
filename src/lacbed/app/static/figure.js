// The composer of figures: which panels, how wide, and what is on them; the server draws them with their caption.

import { complain } from "./jobs.js";
import { reflectionName, stem } from "./names.js";
import { $, busy, discs, exact, look, plain, series, sourceOf, state } from "./state.js";
import { allMessages, post } from "./stream.js";
import { element } from "./structure.js";

const TYPES = { ".svg": "image/svg+xml", ".pdf": "application/pdf", ".png": "image/png" };
let made = null;

/** All reflections that are there, the nearest to the centre first. */
function nearest(pattern, count) {
  const away = pattern.hkl.map((_, i) => Math.hypot(pattern.gx[i], pattern.gy[i]));
  const order = away.map((_, i) => i).sort((a, b) => away[a] - away[b] || a - b);
  return order.slice(0, count).map((i) => pattern.hkl[i]);
}

/** `count` of the thicknesses of a series, evenly spread; the last is one of them. */
function spread(thicknesses, count) {
  const many = Math.min(count, thicknesses.length);
  return Array.from({ length: many }, (_, i) => thicknesses[Math.round(((i + 1) * thicknesses.length) / many) - 1]);
}

/** The panels that are chosen and the results that hold them: { panels, results, of }, or null if they are not there. */
function chosenPanels() {
  const count = Number($("figure-count").value);
  const kind = $("figure-what").value;
  if (kind === "reflections") {
    const all = discs();
    if (all?.stage !== "exact") return null;
    return { panels: nearest(all, count).map((hkl) => [hkl, all.thicknesses[0]]), results: [all.result], of: all.of };
  }
  if (kind === "thicknesses") {
    const whole = series();
    if (!whole?.parts) return null;
    const wanted = spread(whole.thicknesses.filter((t) => t <= state.thickness_max * (1 + 1e-9)), count);
    const parts = whole.parts.filter((part) => part.thicknesses.some((t) => wanted.includes(t)));
    return { panels: wanted.map((t) => [whole.hkl[0], t]), results: parts.map((part) => part.result), of: whole.of };
  }
  const now = exact();
  return now && { panels: [[now.hkl, now.thickness]], results: [sourceOf(now).result], of: now.of };
}

/** What the figure will show, in words, and whether it can be made. */
function showChoice() {
  const many = $("figure-what").value !== "one";
  $("figure-count-row").hidden = $("figure-columns-row").hidden = $("figure-contrast-row").hidden = !many;
  const found = chosenPanels();
  $("figure-make").disabled = !found;
  made = null;
  $("figure-caption-row").hidden = true;
  if (!found) {
    $("figure-note").textContent = $("figure-what").value === "reflections" ? "All reflections are not computed yet." : "Not computed yet.";
    return;
  }
  const names = [...new Set(found.panels.map(([hkl]) => reflectionName(hkl, found.of)))];
  const thicknesses = [...new Set(found.panels.map(([, t]) => `${plain(t)} Å`))];
  $("figure-note").textContent = `${found.panels.length} panel${found.panels.length > 1 ? "s" : ""}: ${names.join(", ")}; ${thicknesses.join(", ")}`;
}

/** Have the figure drawn, show it with its caption, and offer it for download. */
async function make() {
  const found = chosenPanels();
  if (!found) return showChoice();
  const format = document.querySelector("[name=figure-format]:checked").value;
  const layout = {
    results: found.results, panels: found.panels, format, width: Number($("figure-width").value), columns: Number($("figure-columns").value),
    contrast: $("figure-contrast").checked ? "common" : "each", scale_bar: $("figure-scale").checked, colour_bar: $("figure-bar").checked,
    indices: $("figure-indices").checked, colours: look.colours, inverted: look.inverted, logarithmic: look.logarithmic, smooth: look.smooth, unit: look.unit,
  };
  busy(1);
  $("figure-make").disabled = true;
  try {
    const [{ header, payload }] = await allMessages(await post("/api/figure", layout));
    made = { blob: new Blob([payload], { type: TYPES[format] }), name: `${stem(found.of)}-figure${format}`, caption: header.caption };
    $("figure-caption").textContent = header.caption;
    $("figure-caption-row").hidden = false;
    const picture = $("figure-preview");
    picture.hidden = format === ".pdf";
    if (picture.src) URL.revokeObjectURL(picture.src);
    if (format !== ".pdf") picture.src = URL.createObjectURL(made.blob);
    picture.alt = header.caption;
    $("figure-error").textContent = "";
  } catch (error) {
    $("figure-error").textContent = error.message;
  } finally {
    $("figure-make").disabled = false;
    busy(-1);
  }
  return undefined;
}

/** Connect the dialog; `save(blob, name)` downloads. */
export function wireFigure(save) {
  $("figure-open").addEventListener("click", () => {
    complain("");
    if (look.view === "discs") $("figure-what").value = "reflections";
    $("figure-error").textContent = "";
    showChoice();
    $("figure").showModal();
  });
  for (const id of ["figure-what", "figure-count", "figure-columns", "figure-width"]) $(id).addEventListener("change", showChoice);
  for (const id of ["figure-contrast", "figure-scale", "figure-bar", "figure-indices"]) $(id).addEventListener("change", showChoice);
  for (const radio of document.querySelectorAll("[name=figure-format]")) radio.addEventListener("change", showChoice);
  $("figure-make").addEventListener("click", make);
  $("figure-save").addEventListener("click", () => made && save(made.blob, made.name));
  $("figure-copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("figure-caption").textContent);
      $("figure-copy").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren($("figure-caption"));
      $("figure-copy").textContent = "Selected";
    }
    setTimeout(() => ($("figure-copy").textContent = "Copy caption"), 1500);
  });
  for (const [select, values, unit] of [["figure-count", [2, 3, 4, 5, 6, 8, 9, 12, 16, 20, 25], ""], ["figure-columns", [1, 2, 3, 4, 5, 6, 8], ""]]) {
    $(select).append(...values.map((value) => element("option", { value, textContent: `${value}${unit}` })));
  }
  $("figure-count").value = "4";
  $("figure-columns").value = "4";
}
