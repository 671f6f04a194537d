// What can be taken along, and the CIF that is brought.

import { setCrystal } from "./act.js";
import { isMeasured, saveFit } from "./fit.js";
import { shownDiscs } from "./facts.js";
import { bringFrames, bringVacuum, framesAmong } from "./frames.js";
import { complain, compute, describe, stop } from "./jobs.js";
import { halfWidth, labelOf, stem } from "./names.js";
import { profileTable } from "./profile.js";
import { $, busy, current, discs, exact, knobs, look, plain, run, series, shown, snapshot, sourceOf, state } from "./state.js";
import { isSession, makeSession, openSession } from "./session.js";
import { cancelSearch } from "./solve.js";
import { allMessages, post } from "./stream.js";
import { element } from "./structure.js";
import { keepWork } from "./tabstore.js";
import { tiltParts } from "./tilt.js";
import { toFrame, zoom } from "./zoom.js";

const NAMELESS = /^(crystal|structure|cif|data|download|untitled|unnamed)?$/i;

/** Take a CIF as the crystal, once the server has read it; a broken one changes nothing. */
async function openCif(file) {
  if (!file) return;
  complain("");
  if (file.size > 1e6) {
    complain(`${file.name} is larger than 1 MB; expected the CIF of one crystal.`);
    return;
  }
  busy(1);
  try {
    const text = await file.text();
    if (!text.trim()) {
      complain(`${file.name} is empty; expected a CIF, which starts with data_...`);
      return;
    }
    const named = file.name.replace(/\.(m?cif|txt)$/i, "");
    const blocks = blocksOf(text);
    const own = (blocks.length > 1 ? blocks : [""]).map((block) => {
      const title = NAMELESS.test(named) ? block : block ? `${named} ${block}` : named;
      return { name: "", cif: text, title, block };
    });
    const answer = await post("/api/describe", { ...snapshot(), ...own[0], zone_axis: [0, 0, 1], x_direction: null });
    const [{ header }] = await allMessages(answer);
    if (!own[0].title) own[0].title = header.name;
    knobs.own(own.map((one, i) => ({ key: `cif ${i}`, text: `${one.title} (your CIF)`, ...one })));
    setCrystal(own[0]);
  } catch (error) {
    complain(`${file.name} is not used: ${error.message}`);
  } finally {
    busy(-1);
  }
}

/** Names of the data blocks of a CIF that hold atoms; none if they cannot be told apart by their names. */
function blocksOf(text) {
  const parts = text.split(/^data_(\S+)/im).slice(1); // name, content, name, content ...
  const names = parts.filter((_, i) => i % 2 === 0 && /^\s*_atom_site[._]fract_x\b/im.test(parts[i + 1]));
  return new Set(names.map((name) => name.toLowerCase())).size === names.length ? names : [];
}

/** Files that were dropped: a session, a CIF, measured patterns, or both; what lies beside them in a folder is left alone. */
async function bring(files) {
  const whole = files.find(isSession);
  if (whole) return openSession(whole, knobs.session);
  const series = await framesAmong(files);
  const measured = series.length ? [] : files.filter(isMeasured);
  const others = files.filter((file) => !isMeasured(file) && !series.includes(file));
  const cif = others.find((file) => /\.m?cif$/i.test(file.name)) ?? (measured.length || series.length ? null : others[0]);
  if (measured.length) {
    shown.files = measured;
    shown.frames = null;
    shown.fit = shown.solution = null;
    look.view = "fit";
  }
  if (cif) await openCif(cif);
  if (measured.length || (series.length && bringFrames(series))) {
    stop();
    $("again").hidden = true; // of other files
    keepWork();
    knobs.view("fit");
  }
  return undefined;
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
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 30_000);
}

/** Download the numbers behind the picture. */
async function saveData(format) {
  const now = look.view === "discs" ? null : exact();
  const every = now ? $("all").checked && !$("all-row").hidden && discs() : discs();
  const parts = now && !every && $("whole").checked && !$("whole-row").hidden ? series().parts : null;
  const source = every || (now && sourceOf(now));
  if (!source) return;
  const body = { result: parts ? parts.map((part) => part.result) : source.result, format };
  body.thickness = parts ? null : every ? every.thicknesses[0] : now.thickness;
  body.hkl = every ? null : now.hkl;
  const name = `${stem(source.of, source)}${format}`;
  try {
    save(await (await post("/api/file", body)).blob(), name);
    $("spoken").textContent = `${name} downloaded`;
  } catch (error) {
    complain(error.message);
  }
}

/** The picture as it is shown, large, with a caption made of what it shows, which is in the file as text too. */
async function savePicture() {
  const isDiscs = look.view === "discs";
  const now = isDiscs ? shownDiscs() : current();
  if (!now) return;
  const label = labelOf(now, isDiscs);
  const caption = [label.title, now.cbed ? label.subtitle : `${label.subtitle}, ±${halfWidth(now.pattern)} mrad`];
  const text = { caption: caption.join("; "), settings: settingsOf(now), stage: now.signed && !now.against ? "learned - exact" : now.pattern.stage };
  const other = now.against ?? now.beside;
  if (other) Object.assign(text, { comparison: now.against ? "B - A" : "A left, B right", A: settingsOf(other), stage_of_A: other.pattern.stage });
  if (now.cbed) text.semi_angle_mrad = now.cbed.angle;
  if (zoom.times > 1) {
    caption[1] += `; a part, enlarged ${plain(zoom.times)} times`;
    Object.assign(text, { caption: caption.join("; "), part: { ...zoom } });
  }
  const drawAll = (pen, side) => {
    pen.save(); // the part that is seen
    pen.transform(zoom.times, 0, 0, zoom.times, ...toFrame(0, 0).map((v) => v * side));
    pen.drawImage($("picture"), 0, 0, side, side);
    const kept = $("kept");
    const cut = now.beside ? look.swipe * kept.width : 0;
    if (cut >= 1) pen.drawImage(kept, 0, 0, cut, kept.height, 0, 0, look.swipe * side, side);
    pen.restore();
    drawMarks(pen, side);
  };
  save(await captioned($("picture"), caption, text, drawAll), `${label.file}.png`);
}

/** Scale bar, lines and names over the picture, as the style sheet has them; without the probe, which goes with the pointer. */
function drawMarks(pen, side) {
  const over = $("overlay");
  pen.scale(side / (over.clientWidth || side), side / (over.clientWidth || side));
  for (const mark of over.children) {
    if (look.view === "pattern" && /^probe/.test(mark.getAttribute("class") ?? "")) continue;
    const style = getComputedStyle(mark);
    const [x, y, x1, y1, x2, y2, cx, cy, r, width, height] = ["x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "width", "height"].map((name) => Number(mark.getAttribute(name)));
    const paint = (value) => (value === "none" ? "transparent" : value);
    Object.assign(pen, { globalAlpha: Number(style.opacity), strokeStyle: paint(style.stroke), fillStyle: paint(style.fill), lineWidth: parseFloat(style.strokeWidth), lineJoin: "round" });
    if (mark.tagName === "text") {
      Object.assign(pen, { font: `${style.fontSize} ${style.fontFamily}`, textBaseline: "alphabetic", textAlign: { middle: "center", end: "right" }[mark.getAttribute("text-anchor")] ?? "left" });
      pen.strokeText(mark.textContent, x, y);
      pen.fillText(mark.textContent, x, y);
      continue;
    }
    pen.beginPath();
    if (mark.tagName === "line") { pen.moveTo(x1, y1); pen.lineTo(x2, y2); }
    if (mark.tagName === "rect") pen.rect(x, y, width, height);
    if (mark.tagName === "circle") pen.arc(cx, cy, r, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  }
}

/** Map, pattern and crystal as they are shown, each with its caption, which is in the file as text too. */
async function saveTilt() {
  const parts = tiltParts();
  if (!parts) return;
  const { map, pattern, crystal, file } = parts;
  const caption = [map, pattern, crystal].filter(Boolean).map((part) => part.caption.join("; "));
  const told = { caption: caption.join(" | "), ...map.told, ...(pattern ? { pattern: pattern.told } : {}) };
  const [side, small, gap] = [1200, 592, 16];
  const both = new OffscreenCanvas(side + gap + small, side);
  const pen = both.getContext("2d");
  pen.fillStyle = getComputedStyle(document.body).backgroundColor;
  pen.fillRect(0, 0, both.width, side);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(map.canvas, 0, 0, side, side);
  pen.imageSmoothingEnabled = look.smooth;
  if (pattern) pen.drawImage(pattern.canvas, side + gap, 0, small, small);
  pen.imageSmoothingEnabled = true;
  if (crystal) pen.drawImage(crystal.canvas, side + gap, side - small, small, small);
  save(await captioned(both, caption, told), `${file}.png`);
}

/** A canvas scaled to a height of 1200 points, with lines of caption under it as a PNG, and what it tells as text in the file. */
async function captioned(picture, caption, told, drawAll = (pen, side, wide) => pen.drawImage(picture, 0, 0, wide, side)) {
  const side = 1200;
  const wide = Math.round((side * picture.width) / picture.height);
  const foot = 20 + 34 * caption.length;
  const canvas = new OffscreenCanvas(wide, side + foot);
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.body);
  pen.fillStyle = style.backgroundColor;
  pen.fillRect(0, 0, wide, side + foot);
  pen.imageSmoothingEnabled = look.smooth;
  pen.imageSmoothingQuality = "high";
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, wide, side);
  pen.clip();
  drawAll(pen, side, wide);
  pen.restore();
  pen.textAlign = "left";
  pen.fillStyle = style.color;
  pen.textBaseline = "middle";
  caption.forEach((text, i) => {
    pen.font = i ? "22px system-ui, sans-serif" : "600 28px system-ui, sans-serif";
    pen.fillText(text, 14, side + 28 + 34 * i, wide - 28);
  });
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
  return new Blob([withText(bytes, "Description", JSON.stringify(told))], { type: "image/png" });
}

/** The settings of an image: those it was asked with, but its own reflection and thickness, which may be read off a series. */
const settingsOf = ({ of, pattern, hkl, thickness }) => ({ ...of, hkl: hkl ?? of.hkl, thickness: thickness ?? pattern.thicknesses[0] });

/** A PNG with a text in it, put before its end. */
function withText(png, key, text) {
  const code = new TextEncoder();
  const body = new Uint8Array([...code.encode("iTXt"), ...code.encode(key), 0, 0, 0, 0, 0, ...code.encode(text)]);
  const chunk = new DataView(new ArrayBuffer(body.length + 8));
  chunk.setUint32(0, body.length - 4);
  new Uint8Array(chunk.buffer).set(body, 4);
  chunk.setUint32(body.length + 4, crc32(body));
  const end = png.length - 12;
  return new Blob([png.subarray(0, end), chunk.buffer, png.subarray(end)]);
}

/** The check sum of a PNG's chunk. */
function crc32(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

/** Take files that are dropped, at once, and use them when the page is ready. */
export function wireDrop(ready) {
  const drops = [$("drop"), $("fit-drop")];
  const light = (isOn) => drops.forEach((drop, i) => drop.classList.toggle("over", isOn && (look.view === "fit") === (i === 1)));
  let inside = 0;
  addEventListener("dragenter", (event) => { event.preventDefault(); inside += 1; light(true); });
  addEventListener("dragleave", () => { inside -= 1; if (inside <= 0) light(false); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    light(false);
    if (event.target.closest?.("#frames-vacuum-field")) return bringVacuum([...event.dataTransfer.files]);
    busy(1);
    Promise.all([dropped(event.dataTransfer), ready])
      .then(([files, isReady]) => isReady && bring(files))
      .catch(() => complain("The dropped files cannot be read."))
      .finally(() => busy(-1));
    return undefined;
  });
}

/** Connect the buttons. */
export function wireFiles() {
  $("cif").addEventListener("change", () => { openCif($("cif").files[0]); $("cif").value = ""; });
  $("measured").addEventListener("change", () => { bring([...$("measured").files]); $("measured").value = ""; });
  for (const button of document.querySelectorAll("[data-format]")) {
    button.addEventListener("click", () => saveData(button.dataset.format));
  }
  $("save-picture").addEventListener("click", savePicture);
  $("save-cif").addEventListener("click", () => {
    save(new Blob([shown.facts.cif], { type: "chemical/x-cif" }), `${stem(shown.facts.of, shown.facts)}.cif`);
  });
  $("tilt-save").addEventListener("click", saveTilt);
  $("save-session").addEventListener("click", async () => {
    try {
      const { blob, name } = await makeSession();
      save(blob, name);
    } catch (error) {
      complain(error.message);
    }
  });
  $("session").addEventListener("change", () => { bring([...$("session").files]); $("session").value = ""; });
  $("link").addEventListener("click", async () => {
    if (!state.name) complain("A link cannot hold a CIF of your own; whoever opens it has to drop the CIF. “Session” saves both in one file.");
    try {
      await navigator.clipboard.writeText(location.href);
      $("spoken").textContent = "Link copied";
      $("link").textContent = "Copied";
      setTimeout(() => ($("link").textContent = "Copy link"), 1500);
    } catch { // only pages on this machine may write to the clipboard
      complain("The browser does not let this page copy; the link is the address of the page.");
    }
  });
  $("save-report").addEventListener("click", () => {
    const { fit } = shown;
    save(new Blob([fit.report], { type: "text/html" }), `${stem(fit.of, fit)}-fit-report.html`);
  });
  $("save-refined").addEventListener("click", () => {
    const { refined } = shown.fit;
    save(new Blob([refined.page], { type: "text/html" }), `${stem(refined.of, refined)}-refine-report.html`);
  });
  $("save-fit").addEventListener("click", () => save(...saveFit()));
  $("profile-save").addEventListener("click", () => {
    const table = profileTable();
    if (table) save(new Blob([table.text], { type: "text/csv" }), table.name);
  });
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
  $("cancel").addEventListener("click", cancelSearch);
  $("again").addEventListener("click", () => { describe(); compute(run.last?.view === look.view ? run.last.task : null, run.last?.asked); });
}
