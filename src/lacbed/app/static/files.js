// What can be taken along, and the CIF that is brought.

import { setCrystal } from "./act.js";
import { isMeasured } from "./fit.js";
import { complain, say, stop } from "./jobs.js";
import { $, busy, current, knobs, look, shown, state, stem } from "./state.js";
import { post } from "./stream.js";
import { element } from "./structure.js";

/** Take a CIF as the crystal. */
async function openCif(file) {
  if (!file) return;
  if (file.size > 1e6) {
    complain(`${file.name} is larger than 1 MB; expected the CIF of one crystal.`);
    return;
  }
  busy(1);
  const text = await file.text().finally(() => busy(-1));
  if (!text.trim()) {
    complain(`${file.name} is empty; expected a CIF, which starts with data_...`);
    return;
  }
  const title = file.name.replace(/\.(m?cif|txt)$/i, "");
  const select = $("crystal");
  for (const option of select.querySelectorAll("[data-own]")) option.remove();
  const blocks = blocksOf(text);
  const own = (blocks.length > 1 ? blocks : [""]).map((block) => {
    const name = block ? `${title} ${block}` : title;
    const option = element("option", { value: "", textContent: `${name} (your CIF)` });
    Object.assign(option.dataset, { own: "1", block, title: name });
    return option;
  });
  select.prepend(...own);
  select.selectedIndex = 0;
  openCif.text = text;
  setCrystal({ cif: text, title: own[0].dataset.title, block: own[0].dataset.block });
}

/** Names of the data blocks of a CIF that hold atoms; none if they cannot be told apart by their names. */
function blocksOf(text) {
  const parts = text.split(/^data_(\S+)/im).slice(1); // name, content, name, content ...
  const names = parts.filter((_, i) => i % 2 === 0 && /^\s*_atom_site[._]fract_x\b/im.test(parts[i + 1]));
  return new Set(names.map((name) => name.toLowerCase())).size === names.length ? names : [];
}

/** Files that were dropped: a CIF, measured patterns, or both; what lies beside them in a folder is left alone. */
async function bring(files) {
  const measured = files.filter(isMeasured);
  const others = files.filter((file) => !isMeasured(file));
  const cif = others.find((file) => /\.m?cif$/i.test(file.name)) ?? (measured.length ? null : others[0]);
  if (measured.length) {
    shown.files = measured;
    shown.fit = null;
    look.view = "fit";
  }
  if (cif) await openCif(cif);
  if (measured.length) knobs.view("tab-fit");
}

/** The files of a drop, those directly inside a folder too. */
async function dropped(transfer) {
  const loose = [...transfer.files]; // the list is empty as soon as anything has been waited for
  const folders = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
  if (!folders.length) return loose;
  const isFolder = new Set(folders.map((folder) => folder.name));
  const inside = await Promise.all(folders.map(filesOf));
  return [...loose.filter((file) => !isFolder.has(file.name)), ...inside.flat()];
}

/** The files directly inside a folder; the reader hands them out in batches. */
async function filesOf(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const batch = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!batch.length) break;
    found.push(...batch.filter((entry) => entry.isFile));
  }
  return Promise.all(found.map((entry) => new Promise((done, fail) => entry.file(done, fail))));
}

/** Download bytes under a name. */
function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}

/** Download the numbers behind the picture. */
async function saveData(format) {
  const result = look.view === "discs" ? shown.discs : shown.pattern;
  const whole = look.view === "discs" || $("whole").checked;
  try {
    const body = { result: result.result, format, thickness: whole ? null : state.thickness };
    const response = await post("/api/file", body);
    save(await response.blob(), `${stem()}${format}`);
    $("spoken").textContent = `${stem()}${format} downloaded`;
  } catch (error) {
    complain(error.message);
  }
}

/** The picture as it is shown, large, with a caption. */
function savePicture() {
  const side = 1200;
  const foot = 56;
  const canvas = new OffscreenCanvas(side, side + foot);
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.body);
  pen.fillStyle = style.backgroundColor;
  pen.fillRect(0, 0, side, side + foot);
  pen.imageSmoothingEnabled = look.smooth;
  pen.imageSmoothingQuality = "high";
  pen.drawImage($("picture"), 0, 0, side, side);
  pen.fillStyle = style.color;
  pen.font = "26px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const { pattern } = look.view === "discs" ? { pattern: shown.discs } : current();
  const half = (1e3 * Math.asin((pattern.pixels * pattern.k_step * pattern.wavelength) / 2)).toFixed(1);
  pen.fillText(`${$("title").textContent}   ${$("subtitle").textContent}, ±${half} mrad`, 14, side + foot / 2, side - 28);
  canvas.convertToBlob({ type: "image/png" }).then((blob) => save(blob, `${stem()}.png`));
}

/** Take files that are dropped, at once, and use them when the page is ready. */
export function wireDrop(ready) {
  const drop = $("drop");
  let inside = 0;
  addEventListener("dragenter", (event) => { event.preventDefault(); inside += 1; drop.classList.add("over"); });
  addEventListener("dragleave", () => { inside -= 1; if (inside <= 0) drop.classList.remove("over"); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    drop.classList.remove("over");
    busy(1);
    Promise.all([dropped(event.dataTransfer), ready])
      .then(([files, isReady]) => isReady && bring(files))
      .catch(() => complain("The dropped files cannot be read."))
      .finally(() => busy(-1));
  });
}

/** Connect the buttons and the list of crystals. */
export function wireFiles() {
  $("crystal").addEventListener("change", () => {
    const option = $("crystal").selectedOptions[0];
    if (option.dataset.own) setCrystal({ cif: openCif.text, title: option.dataset.title, block: option.dataset.block });
    else setCrystal({ name: option.value });
  });
  $("cif").addEventListener("change", () => { openCif($("cif").files[0]); $("cif").value = ""; });
  $("measured").addEventListener("change", () => { bring([...$("measured").files]); $("measured").value = ""; });
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => saveData(button.dataset.format));
  }
  $("save-picture").addEventListener("click", savePicture);
  $("save-cif").addEventListener("click", () => save(new Blob([shown.facts.cif], { type: "chemical/x-cif" }), `${stem()}.cif`));
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("code").textContent);
      $("copy").textContent = "Copied";
    } catch { // only pages on this machine may write to the clipboard
      getSelection().selectAllChildren($("code"));
      $("copy").textContent = "Selected";
    }
    setTimeout(() => ($("copy").textContent = "Copy"), 1500);
  });
  $("cancel").addEventListener("click", () => { stop(); say("Cancelled.", undefined); });
}
