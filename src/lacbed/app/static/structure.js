// The crystal: facts, projected potential, map of reflections.

import { table } from "./colormaps.js";
import { formula, reflectionName, setting, spaceGroup } from "./names.js";
import { digits, paint, percentiles, roundLength, sharpness } from "./picture.js";
import { equal } from "./state.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element with properties and children. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** An SVG element with attributes. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Fill the list of facts. */
export function showFacts(list, facts) {
  const [a, b, c, alpha, beta, gamma] = facts.cell;
  const right = [alpha, beta, gamma].every((angle) => Math.abs(angle - 90) < 1e-6);
  const edges = a === b && b === c && right ? `a = ${length(a)}\u00a0Å` : `${[a, b, c].map(length).join(", ")}\u00a0Å`;
  const angles = right ? "" : `${[alpha, beta, gamma].map((v) => Number(v.toFixed(3))).join(", ")}°`;
  const rows = [
    ["Formula", formula(facts.formula)],
    ["Space group", facts.space_group ? spaceGroup(facts.space_group) + setting(facts.space_group) : "not given"],
    ["Cell", angles ? `${edges}; ${angles}` : edges],
    ["Volume", `${digits(facts.volume)} Å³, ${facts.atoms} atom${facts.atoms === 1 ? "" : "s"}`],
    ["Inner potential", `${facts.mean_inner_potential.toFixed(2)} V`],
    ["Wavelength", `${(100 * facts.wavelength).toFixed(4)} pm`],
  ];
  list.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

const length = (value) => String(Number(value.toFixed(4)));

/** Fill the table of sites and the notes under it. */
export function showSites(body, notes, facts) {
  body.replaceChildren(
    ...facts.sites.map((site) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, site.label),
        ...site.xyz.map((v) => element("td", {}, v.toFixed(4).replace(/^-/, "−"))),
        element("td", {}, site.b_iso === null ? "–" : site.b_iso.toFixed(2)),
        element("td", {}, String(Number(site.occupancy.toFixed(3)))),
      ),
    ),
  );
  const remarks = [...facts.notes];
  if (facts.more_sites) remarks.unshift(`${facts.more_sites} more sites are not listed.`);
  if (facts.source) remarks.push(`Source: ${facts.source}`);
  notes.replaceChildren(...remarks.map((note) => element("li", {}, note)));
}

/** Draw the projected potential in the true shape of its cell, repeated, one cell outlined with its columns numbered. */
export function drawPotential(canvas, values, potential, columns = []) {
  const ratio = sharpness(canvas);
  const width = (canvas.width = Math.round(canvas.clientWidth * ratio));
  const height = (canvas.height = Math.round(canvas.clientHeight * ratio));
  if (!width || !height) return; // not on the screen
  const size = potential.pixels;
  const tile = new OffscreenCanvas(size, size);
  const limits = [percentiles(values, 0)[0], percentiles(values, 0.2)[1]];
  const image = paint(values, size, limits, false, table("inferno"));
  tile.getContext("2d").putImageData(image, 0, 0);
  const [a, b, c, d] = potential.cell; // columns are the edges (a, c) and (b, d) in Å
  const pen = canvas.getContext("2d");
  const diagonal = Math.max(Math.hypot(a, c), Math.hypot(b, d));
  const across = Math.max(2.2 * diagonal, 6); // Å over the height
  const zoom = height / across;
  // Fractional (u, v) to pixels; the tile has v upwards.
  const middle = [width / 2 - (zoom * (a + b)) / 2, height / 2 + (zoom * (c + d)) / 2];
  pen.imageSmoothingQuality = "high";
  const reach = Math.ceil(((width + height) / zoom / Math.abs(a * d - b * c)) * diagonal) + 1;
  const turns = Math.min(reach, 12);
  for (let u = -turns; u <= turns; u++) {
    for (let v = -turns; v <= turns; v++) {
      const x = middle[0] + zoom * (u * a + v * b);
      const y = middle[1] - zoom * (u * c + v * d);
      // Tile pixel (i, j from the top) lies at fraction (i / n, 1 - j / n); half a pixel puts centres in place.
      pen.setTransform((zoom * a) / size, (-zoom * c) / size, (-zoom * b) / size, (zoom * d) / size, x + zoom * b, y - zoom * d);
      pen.drawImage(tile, -0.5, 0.5, size + 0.6, size + 0.6);
    }
  }
  pen.setTransform(1, 0, 0, 1, ...middle);
  pen.beginPath();
  for (const [x, y] of [[0, 0], [a, c], [a + b, c + d], [b, d]]) pen.lineTo(zoom * x, -zoom * y);
  pen.closePath();
  for (const [style, wide] of [["rgb(0 0 0 / 60%)", 3], ["rgb(255 255 255 / 85%)", 1.2]]) {
    pen.strokeStyle = style;
    pen.lineWidth = wide * ratio;
    pen.setLineDash(wide < 2 ? [5 * ratio, 4 * ratio] : []);
    pen.stroke();
  }
  pen.setLineDash([]);
  columns.forEach(({ u, v }, i) => numbered(pen, zoom * (u * a + v * b), -zoom * (u * c + v * d), i + 1, ratio));
  pen.setTransform(1, 0, 0, 1, 0, 0);
  scaleBar(pen, 10 * ratio, height - 10 * ratio, zoom, roundLength((0.3 * width) / zoom), "Å", ratio);
}

/** A number in a ring. */
function numbered(pen, x, y, number, ratio) {
  pen.font = `600 ${11 * ratio}px system-ui, sans-serif`;
  [pen.textAlign, pen.textBaseline] = ["center", "middle"];
  pen.beginPath();
  pen.arc(x, y, 9 * ratio, 0, 2 * Math.PI);
  pen.fillStyle = "rgb(0 0 0 / 55%)";
  pen.fill();
  [pen.strokeStyle, pen.lineWidth, pen.fillStyle] = ["#fff", 1.4 * ratio, "#fff"];
  pen.stroke();
  pen.fillText(String(number), x, y + 0.5 * ratio);
  pen.textAlign = "start";
}

/** A bar of a round length with its label, on a canvas. */
function scaleBar(pen, left, bottom, zoom, long, unit, ratio) {
  pen.font = `${11 * ratio}px system-ui, sans-serif`;
  pen.textBaseline = "bottom";
  const text = `${Number(long.toPrecision(3))} ${unit}`;
  pen.lineJoin = "round";
  pen.strokeStyle = "rgb(0 0 0 / 65%)";
  pen.lineWidth = 3 * ratio;
  pen.strokeRect(left, bottom - 3 * ratio, long * zoom, 2.5 * ratio);
  pen.strokeText(text, left, bottom - 6 * ratio);
  pen.fillStyle = "#fff";
  pen.fillRect(left, bottom - 3 * ratio, long * zoom, 2.5 * ratio);
  pen.fillText(text, left, bottom - 6 * ratio);
}

/** Draw the map of reflections; `choose` is told the one that is picked. */
export function drawSpots(host, facts, chosen, extent, choose) {
  const keep = host.contains(document.activeElement);
  const reach = Math.max(...facts.spots.map((s) => Math.hypot(s.x, s.y))) * 1.07 || 1;
  const side = 300;
  const zoom = side / 2 / reach;
  const nearest = facts.shortest * zoom;
  const half = extent * facts.shortest * zoom;
  const map = svg("svg", { viewBox: `${-side / 2} ${-side / 2} ${side} ${side}`, class: "spots" });
  map.append(svg("rect", { x: -half, y: -half, width: 2 * half, height: 2 * half, class: "reach" }));
  const isChosen = (spot) => equal(spot.hkl, chosen);
  const pick = (spot) => choose(spot.hkl);
  const marks = facts.spots.map((spot) => {
    const central = spot.hkl.every((v) => v === 0);
    const radius = central ? 5.5 : 1.4 + 5 * Math.sqrt(spot.strength);
    const name = `${reflectionName(spot.hkl, facts.of)}${spot.extinction || central ? "" : ", kinematically forbidden"}`;
    const group = svg("g", {
      transform: `translate(${spot.x * zoom} ${-spot.y * zoom})`,
      role: "option",
      id: `spot-${spot.hkl.join("_")}`,
      "aria-selected": isChosen(spot),
      "aria-label": spot.hkl.join(" ") + (spot.extinction || central ? "" : " forbidden"),
      class: `spot${isChosen(spot) ? " chosen" : ""}${spot.strength || central ? "" : " forbidden"}`,
    });
    group.append(
      svg("circle", { r: Math.max(4, nearest * 0.48), class: "target" }),
      svg("circle", { r: radius, class: "mark" }),
      svg("title", {}, document.createTextNode(name)),
    );
    if (isChosen(spot)) group.append(svg("circle", { r: radius + 4, class: "ring" }));
    group.addEventListener("click", () => pick(spot));
    return group;
  });
  map.append(...marks);
  host.replaceChildren(map);
  const at = facts.spots.findIndex(isChosen);
  host.setAttribute("aria-activedescendant", at >= 0 ? marks[at].id : "");
  host.onkeydown = (event) => {
    const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step || at < 0) return;
    event.preventDefault();
    const next = neighbour(facts.spots, facts.spots[at], step);
    if (next) pick(next);
  };
  if (keep) host.focus();
}

/** The nearest spot in a direction. */
function neighbour(spots, from, [dx, dy]) {
  let [best, least] = [null, Infinity];
  for (const spot of spots) {
    const [x, y] = [spot.x - from.x, spot.y - from.y];
    const along = x * dx + y * dy;
    const aside = Math.abs(x * dy - y * dx);
    if (along <= 1e-6 || aside > along + 1e-9) continue;
    const cost = along + 2 * aside;
    if (cost < least) [best, least] = [spot, cost];
  }
  return best;
}
