// Zoom and pan of the picture: the wheel or + and - about the pointer, dragging with Shift, 0 for all of it.

import { $, look, probe } from "./state.js";

/** Which part is shown: its centre in fractions of the picture, and how many times it is enlarged. */
export const zoom = { x: 0.5, y: 0.5, times: 1 };

const within = () => {
  const half = 0.5 / zoom.times;
  zoom.x = Math.max(half, Math.min(1 - half, zoom.x));
  zoom.y = Math.max(half, Math.min(1 - half, zoom.y));
};

/** Fractions of the whole picture of a place in the frame. */
export const fromFrame = (x, y) => [zoom.x + (x - 0.5) / zoom.times, zoom.y + (y - 0.5) / zoom.times];

/** The place in the frame of fractions of the whole picture. */
export const toFrame = (x, y) => [0.5 + (x - zoom.x) * zoom.times, 0.5 + (y - zoom.y) * zoom.times];

/** Put the canvas where the zoom has it. */
export function showZoom() {
  within();
  const style = $("picture").style;
  style.setProperty("transform-origin", "0 0");
  const [x, y] = toFrame(0, 0);
  style.setProperty("transform", zoom.times > 1 ? `translate(${100 * x}%, ${100 * y}%) scale(${zoom.times})` : "none");
  $("zoom-level").textContent = `${Number(zoom.times.toFixed(1))} ×`;
  for (const [id, off] of [["zoom-out", zoom.times <= 1], ["zoom-in", zoom.times >= 32]]) $(id).disabled = off;
}

/** Enlarge by a factor about a place, in fractions of the whole picture. */
function zoomBy(factor, x = zoom.x, y = zoom.y) {
  const times = Math.max(1, Math.min(32, zoom.times * factor));
  const ratio = zoom.times / times;
  Object.assign(zoom, { x: x + (zoom.x - x) * ratio, y: y + (zoom.y - y) * ratio, times: times < 1.05 ? 1 : times });
}

/** Connect the wheel, the buttons and dragging; `show` draws everything again. */
export function wireZoom(show) {
  const frame = $("frame");
  const at = (event) => {
    const box = frame.getBoundingClientRect();
    return fromFrame((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  const apply = (factor, x, y) => { zoomBy(factor, x, y); show(); };
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && zoom.times === 1 && event.deltaY > 0) return; // the page scrolls
    if (!event.ctrlKey && !event.altKey && zoom.times === 1) return;
    event.preventDefault();
    apply(Math.exp(-event.deltaY / 300), ...at(event));
  }, { passive: false });
  frame.addEventListener("dblclick", (event) => {
    if (look.view === "pattern") apply(event.shiftKey ? 0.5 : 2, ...at(event));
  });
  let held = null;
  frame.addEventListener("pointerdown", (event) => {
    if (zoom.times === 1 || !(event.shiftKey || event.button === 1)) return;
    event.preventDefault();
    held = [event.clientX, event.clientY];
    frame.setPointerCapture(event.pointerId);
  });
  frame.addEventListener("pointermove", (event) => {
    if (!held) return;
    const { width, height } = frame.getBoundingClientRect();
    zoom.x -= (event.clientX - held[0]) / width / zoom.times;
    zoom.y -= (event.clientY - held[1]) / height / zoom.times;
    held = [event.clientX, event.clientY];
    show();
  });
  frame.addEventListener("pointerup", () => { held = null; });
  $("zoom-in").addEventListener("click", () => apply(2, ...(probe.pinned ? [probe.x, probe.y] : [zoom.x, zoom.y])));
  $("zoom-out").addEventListener("click", () => apply(0.5));
  $("zoom-all").addEventListener("click", () => apply(0));
  $("picture").addEventListener("keydown", (event) => {
    const factor = { "+": 2, "=": 2, "-": 0.5, 0: 0 }[event.key];
    if (factor === undefined || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    apply(factor, ...(probe.pinned ? [probe.x, probe.y] : [zoom.x, zoom.y]));
  });
}
