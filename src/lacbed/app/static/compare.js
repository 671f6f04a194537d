// A and B: a picture that is kept beside the one that is looked at, with a swipe line or their difference.

import { labelOf } from "./names.js";
import { digits, draw, zncc } from "./picture.js";
import { $, current, look, shown } from "./state.js";
import { element } from "./structure.js";
import { fromFrame } from "./zoom.js";

/** What is said of the kept picture. */
const keptWords = (kept) => {
  const { title, subtitle } = labelOf(kept);
  return `${title}, ${subtitle}`;
};

/** Keep what is looked at as A. */
function keepPicture() {
  const { beside, against, ...now } = current() ?? { stale: true };
  if (now.stale || against || now.signed) return;
  shown.kept = now;
  if (look.compare === "none") look.compare = "swipe";
}

/** Draw A beside B: its canvas lies over that of the picture, cut at the line. */
export function paintKept(now, colours) {
  const canvas = $("kept");
  const kept = now?.beside;
  canvas.hidden = !kept;
  if (!kept) return;
  // Both on the scale of B: A is drawn as much larger or smaller as its pixels are.
  const ratio = (kept.size * kept.pattern.k_step) / (now.size * now.pattern.k_step);
  const small = new OffscreenCanvas(kept.size, kept.size);
  draw(small, kept.values, kept.size, look.limits, look.logarithmic, colours);
  const side = Math.max(kept.size, now.size);
  const away = ((1 - ratio) * side) / 2;
  canvas.width = canvas.height = side;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#0a0b0d";
  pen.fillRect(0, 0, side, side);
  pen.imageSmoothingEnabled = look.smooth;
  pen.drawImage(small, away, away, ratio * side, ratio * side);
  canvas.style.setProperty("transform-origin", "0 0");
  canvas.style.setProperty("transform", $("picture").style.getPropertyValue("transform"));
  canvas.style.setProperty("clip-path", `inset(0 ${100 * (1 - look.swipe)}% 0 0)`);
}

/** The bar under the picture that says what A is and how it is compared. */
export function showCompare() {
  const { kept } = shown;
  const isOn = look.view === "pattern";
  const now = isOn ? current() : null;
  $("compare").hidden = !isOn || !kept;
  $("keep").hidden = !isOn;
  $("keep").disabled = !now || Boolean(now.stale) || Boolean(now.signed && !now.against);
  $("keep").textContent = kept ? "Keep this as A" : "Compare";
  if (!isOn || !kept) return;
  for (const radio of document.querySelectorAll("[name=compare]")) radio.checked = radio.value === look.compare;
  $("swipe-row").hidden = look.compare !== "swipe";
  $("swipe").value = Math.round(100 * look.swipe);
  $("kept-name").textContent = keptWords(kept);
  const z = now?.against && zOf(now);
  $("kept-note").textContent = z === undefined ? "" : z === null ? "no Z: they have no pixels in common" : `Z = ${digits(100 * z, 3)} %`;
}

function zOf(now) {
  const known = [...now.values.keys()].filter((i) => Number.isFinite(now.values[i]));
  if (known.length < 2) return null;
  return zncc(known.map((i) => now.whole[i]), known.map((i) => now.whole[i] - now.values[i]));
}

/** Connect the bar; `show` draws everything again. */
export function wireCompare(show) {
  $("keep").addEventListener("click", () => { keepPicture(); show(); });
  $("kept-drop").addEventListener("click", () => {
    shown.kept = null;
    look.compare = "none";
    show();
    $("keep").focus();
  });
  for (const radio of document.querySelectorAll("[name=compare]")) {
    radio.addEventListener("change", () => { look.compare = radio.value; show(); });
  }
  $("swipe").addEventListener("input", () => { look.swipe = Number($("swipe").value) / 100; show(); });
  let held = false;
  const frame = $("frame");
  const place = (event) => {
    const box = frame.getBoundingClientRect();
    return fromFrame((event.clientX - box.left) / box.width, 0)[0];
  };
  const isNear = (event) => look.view === "pattern" && current()?.beside && Math.abs(place(event) - look.swipe) < 0.02;
  frame.addEventListener("pointerdown", (event) => {
    if (event.button || event.shiftKey || !isNear(event)) return;
    held = true;
    event.stopPropagation();
    event.preventDefault();
    frame.setPointerCapture(event.pointerId);
  }, true);
  frame.addEventListener("pointermove", (event) => {
    frame.classList.toggle("grip", held || isNear(event));
    if (!held) return;
    event.stopPropagation();
    look.swipe = Math.max(0, Math.min(1, place(event)));
    show();
  }, true);
  for (const kind of ["pointerup", "pointercancel", "click"]) {
    frame.addEventListener(kind, (event) => {
      if (!held) return;
      event.stopPropagation();
      if (kind !== "pointerup") held = false; // the click that follows is of the line too
      else setTimeout(() => { held = false; });
    }, true);
  }
}

/** Two canvases of one size over each other, with a slider that moves the line between them: { A | B }. */
export function swipePair(left, right, names) {
  const range = element("input", { type: "range", min: 0, max: 100, value: 50 });
  range.setAttribute("aria-label", `Line between ${names[0]} and ${names[1]}, per cent`);
  const cut = () => left.style.setProperty("clip-path", `inset(0 ${100 - range.value}% 0 0)`);
  range.addEventListener("input", cut);
  cut();
  const stack = element("div", { className: "stacked" }, right, left);
  return element("figure", {}, stack, range, element("figcaption", {}, element("span", {}, `${names[0]}, left`), element("span", {}, `${names[1]}, right`)));
}

