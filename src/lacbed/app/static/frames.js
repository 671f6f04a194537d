// Camera frames: the form of an extraction, the mean frame with its indices, and the stack that goes on as a measured one.

import { table } from "./colormaps.js";
import { crystalName, indices, threeOfDirection } from "./names.js";
import { digits, draw, percentiles, sharpness } from "./picture.js";
import { numbersInto, readDirection } from "./reading.js";
import { $, look, plain, reduced, run, shown, state } from "./state.js";
import { element } from "./structure.js";

const ENDING = /\.(npy|h5|hdf5|nxs|hspy|dm[34]|mib|mrc|blo|zip)$/i;
const TIFF = /\.tiff?$/i;
const NAMED = 60; // discs, at most, that carry their indices

/** What wireFrames was given: `begin(asked)` starts the extraction, `complain(text)` says what is wrong, `most` bytes are taken. */
const own = { begin: null, complain: null, most: 64e6 };

/** Those of dropped files that are camera frames. A TIFF is, unless lacbed wrote it, which then is a stack. */
export async function framesAmong(files) {
  const found = [];
  for (const file of files) if (ENDING.test(file.name) || (TIFF.test(file.name) && !(await isOurs(file)))) found.push(file);
  return found;
}

/** Whether a TIFF carries the metadata of lacbed, which stand near its beginning or its end. */
async function isOurs(file) {
  for (const part of [file.slice(0, 1e6), file.slice(Math.max(0, file.size - 1e6))]) {
    // The text of ImageJ has two bytes a letter.
    if (new TextDecoder("latin1").decode(await part.arrayBuffer()).replaceAll("\0", "").includes('"lacbed"')) return true;
  }
  return false;
}

const megabytes = (size) => `${plain(size / 1e6)} MB`;

/** What is wrong with a file of frames before it is read; nothing if it can be sent. */
function wrongWith(file, expected) {
  const tooLarge = file.size > own.most && `${file.name} is ${megabytes(file.size)}; this page takes up to ${megabytes(own.most)}. ` +
    "Bin the frames, or run lacbed experiment extract in a terminal and drop the stack that it writes.";
  return (!file.size && `${file.name} is empty; expected ${expected}.`) || tooLarge;
}

/** Take the files chosen as the vacuum scan, of which there is one or none; what cannot be one is said, and the one before stays. */
export function bringVacuum(files) {
  const [file] = files;
  if (!file) return;
  const tooMany = files.length > 1 && `${files.length} files were given as the vacuum scan; expected one that holds the whole scan.`;
  const isOther = !ENDING.test(file.name) && !TIFF.test(file.name) && `${file.name} is no series of frames; expected the vacuum scan in one of the formats of the series.`;
  const wrong = tooMany || isOther || wrongWith(file, "the frames of a vacuum scan");
  own.complain(wrong || "");
  if (!wrong) shown.frames.vacuum = file;
  showVacuum();
}

/** Have the field hold the vacuum scan that is taken. */
function showVacuum() {
  const { vacuum } = shown.frames;
  const held = new DataTransfer();
  if (vacuum) held.items.add(vacuum);
  $("frames-vacuum").files = held.files;
  $("frames-vacuum-remove").hidden = !vacuum;
}

/** Take a series that was dropped, if there is one and it is not too large; nothing is sent yet. */
export function bringFrames(files) {
  const [file] = files;
  const tooMany = files.length > 1 && `${files.length} files of frames were dropped; drop one that holds the whole series.`;
  const wrong = tooMany || wrongWith(file, "a series of frames");
  if (wrong) {
    own.complain(wrong);
    return false;
  }
  Object.assign(shown, { frames: { file }, files: null, fit: null, solution: null });
  look.view = "fit";
  $("frames-voltage").value = String(state.voltage);
  $("frames-zone").value = state.zone_axis.join(" ");
  for (const id of ["scan", "gain", "spots"]) $(`frames-${id}`).value = "";
  $("frames-order").value = "auto";
  $("frames-accept").checked = false;
  showVacuum();
  return true;
}

/** What the form asks for; null, once said, if something in it cannot be read. Voltage and zone axis become those of the page. */
function askedFor() {
  const wrong = [];
  const read = numbersInto(wrong);
  const number = (id, name) => read($(id), name);
  const voltage = number("frames-voltage", "Voltage");
  const typed = readDirection($("frames-zone").value);
  const zone = typed?.length === 4 ? threeOfDirection(typed) : typed;
  if (zone?.length !== 3 || zone.every((v) => v === 0)) wrong.push("Zone axis: three whole numbers such as 1 1 0 are needed");
  const size = $("frames-scan").value.trim();
  const scan = size ? (size.match(/^(\d+)\s*[x×,\s]\s*(\d+)$/i)?.slice(1).map(Number) ?? []) : null;
  if (scan && scan.length !== 2) wrong.push("Scan: rows and columns of tilts, such as 60 x 80");
  const gain = $("frames-gain").value.trim() ? number("frames-gain", "Counts per electron") : null;
  const spots = $("frames-spots").value.split(";").filter((text) => text.trim()).map((text) => text.split(/[,=\s]+/).filter(Boolean).map(Number));
  if (spots.some((spot) => spot.length !== 5 || !spot.every(Number.isFinite))) wrong.push("Spots: write X,Y=H,K,L twice, with a semicolon between");
  if (wrong.length) {
    own.complain(`${wrong.join("; ")}.`);
    return null;
  }
  Object.assign(state, { voltage, zone_axis: reduced(zone), hkl: [0, 0, 0] });
  const { file, vacuum } = shown.frames;
  return {
    name: file.name, scan, order: $("frames-order").value, gain, spots, accept: $("frames-accept").checked,
    vacuum: vacuum?.name ?? null, files: vacuum ? [file, vacuum] : [file],
  };
}

/** Take a message of an extraction; the stack becomes the measured patterns. */
export function takeFrames({ header, payload, of }) {
  const { frames } = shown;
  if (!frames) return;
  if (header.kind === "looked") Object.assign(frames, { seen: header, mean: new Float32Array(payload), found: null, report: null });
  else if (header.kind === "report") frames.report = payload;
  else if (header.kind === "extracted") {
    const stack = new File([payload], `${frames.file.name.replace(/\..*$/, "")}.nc`);
    Object.assign(frames, { found: { ...header, of }, stack });
    Object.assign(shown, { files: [stack], fit: null, solution: null });
  }
}

/** Show the form, and what has been found. */
export function showFrames() {
  const { frames } = shown;
  $("frames").hidden = !frames;
  if (!frames) return;
  const { file, seen, found } = frames;
  const isRunning = run.job?.task === "extract";
  $("frames-what").textContent = `${file.name}, ${megabytes(file.size)}. The crystal is the one that is chosen above, ` +
    `${crystalName(state)}; say at which voltage and along which zone axis it was measured. The rest is found.`;
  $("frames-begin").disabled = isRunning;
  $("frames-result").hidden = !seen;
  if (!seen) return;
  paintMean(frames);
  $("frames-facts").textContent = `${seen.frames} frames of ${seen.camera.join(" × ")} pixels, ${seen.scan.join(" × ")} tilts${seen.serpentine ? ", to and fro" : ""}. ` +
    (found ? foundWords(found) : `${seen.discs} discs; the indices are not found yet.`);
  $("frames-notes").replaceChildren(...(found ?? seen).notes.map((note) => element("li", {}, note)));
  $("frames-stack").disabled = !found;
  $("frames-report").disabled = !frames.report;
  $("frames-command").textContent = found?.command ?? "";
  $("frames-click").textContent = found ? "Mean frame with indices." : "Mean frame. Click a disc to put its place under Spots.";
}

function foundWords(found) {
  const su = (value) => (value === null ? "" : ` ± ${digits(value, 2)}`);
  return `${crystalName(found.of, found)} [${indices(found.zone_axis)}], ${plain(found.voltage)} kV: ${found.hkl.length} reflections of ${found.pixels} × ${found.pixels} pixels, ` +
    `half-width ${found.half_width.toFixed(4)}${su(found.half_width_uncertainty)} Å⁻¹, turned by ${digits(found.rotation, 3)}${su(found.rotation_uncertainty)}°, ` +
    `centre (${found.center.map((v) => digits(v, 2)).join(", ")}) Å⁻¹. ${found.ways} ways to index were possible; ${found.decided}.`;
}

function paintMean({ mean, seen, found }) {
  const [canvas, size] = [$("frames-mean"), seen.pixels];
  const small = new OffscreenCanvas(size, size);
  const known = mean.filter(Number.isFinite).map((v) => Math.sqrt(Math.max(0, v))); // the discs beside the direct beam are to be seen
  draw(small, mean.map((v) => Math.sqrt(Math.max(0, v))), size, percentiles(known, 0.2), false, table(look.colours, look.inverted));
  const side = Math.round(Math.max(300, canvas.clientWidth) * sharpness(canvas));
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, side, side);
  pen.imageSmoothingEnabled = look.smooth;
  pen.drawImage(small, 0, 0, side, side);
  const zoom = side / size;
  Object.assign(pen, { font: `${Math.round(side / 38)}px system-ui, sans-serif`, textAlign: "center", textBaseline: "bottom", lineJoin: "round", lineWidth: 3, strokeStyle: "rgb(0 0 0 / 75%)" });
  for (const { hkl, x, y } of found?.spots.slice(0, NAMED) ?? []) {
    const [px, py] = [(x + 0.5) * zoom, (y + 0.5 - seen.radius) * zoom];
    pen.strokeText(indices(hkl), px, py);
    pen.fillStyle = hkl.every((v) => v === 0) ? "#ffb454" : "#f2efe9";
    pen.fillText(indices(hkl), px, py);
  }
  canvas.setAttribute("aria-label", `Mean frame of ${seen.camera.join(" × ")} pixels with ${found ? `${found.spots.length} indexed discs: ${found.spots.slice(0, 12).map(({ hkl }) => hkl.join(" ")).join(", ")}` : `${seen.discs} discs`}`);
}

/** Connect form and buttons. */
export function wireFrames({ save, begin, complain, most }) {
  Object.assign(own, { begin, complain, most: most - 2e6 }); // a CIF may go with the frames
  $("frames-most").textContent = `up to ${megabytes(own.most)}`;
  $("frames-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = askedFor();
    if (asked) own.begin(asked);
  });
  $("frames-vacuum").addEventListener("change", () => bringVacuum([...$("frames-vacuum").files]));
  $("frames-vacuum-remove").addEventListener("click", () => {
    shown.frames.vacuum = null;
    showVacuum();
    $("frames-vacuum").focus();
  });
  $("frames-mean").addEventListener("click", (event) => {
    const { frames } = shown;
    if (frames.found) return;
    const box = event.target.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((part) => (part * frames.seen.pixels - 0.5).toFixed(1));
    const field = $("frames-spots");
    field.value += `${field.value.trim() ? "; " : ""}${x},${y}=`;
    field.focus();
  });
  $("frames-stack").addEventListener("click", () => save(shown.frames.stack, shown.frames.stack.name));
  $("frames-report").addEventListener("click", () => save(new Blob([shown.frames.report], { type: "text/html" }), `${shown.frames.stack.name.replace(/\.nc$/, "")}-extract-report.html`));
}
