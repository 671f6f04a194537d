// Intensity at the probe against thickness, on the axis of the thickness slider.

import { roundLength } from "./picture.js";
import { svg } from "./structure.js";

const HEIGHT = 58;
const [TOP, BOTTOM] = [6, 16];

/** Draw the curve; `choose` is told the thickness of a click. */
export function drawChart(host, thicknesses, values, now, choose, last = thicknesses.at(-1)) {
  const width = Math.max(120, host.clientWidth);
  host.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  const high = Math.max(...values, 1e-12) * 1.05;
  const x = (t) => (t / last) * (width - 2) + 1;
  const y = (v) => TOP + (1 - v / high) * (HEIGHT - TOP - BOTTOM);
  const line = thicknesses.map((t, i) => `${i ? "L" : "M"}${x(t).toFixed(1)} ${y(values[i]).toFixed(1)}`).join("");
  const base = HEIGHT - BOTTOM;
  const parts = [
    svg("path", { class: "area", d: `${line}L${x(thicknesses.at(-1))} ${base}L${x(thicknesses[0])} ${base}Z` }),
    svg("path", { class: "curve", d: line }),
  ];
  if (now <= last) parts.push(svg("line", { class: "now", x1: x(now), x2: x(now), y1: 0, y2: base }));
  const step = roundLength(last / 3);
  for (let t = step; t <= last * 1.0001; t += step) {
    const anchor = x(t) > width - 40 ? "end" : "middle";
    parts.push(svg("text", { x: x(t), y: HEIGHT - 4, "text-anchor": anchor }, `${Number(t.toPrecision(6))} Å`));
  }
  host.replaceChildren(...parts);
  host.onclick = (event) => {
    const box = host.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * last;
    choose(thicknesses.reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a)));
  };
}
