// The crystal in three dimensions, seen along the beam: spheres, bonds, edges and axes of the cell.

import { sharpness } from "./picture.js";
import { element } from "./structure.js";
import { along, apply } from "./vectors.js";

/** Colours of the elements from H to Cf, as Jmol and many after it have them. */
const COLOURS =
  "ffffffd9ffffcc80ffc2ff00ffb5b59090903050f8ff0d0d90e050b3e3f5ab5cf28aff00bfa6a6f0c8a0ff8000ffff301ff01f80d1e38f40d4" +
  "3dff00e6e6e6bfc2c7a6a6ab8a99c79c7ac7e06633f090a050d050c880337d80b0c28f8f668f8fbd80e3ffa100a629295cb8d1702eb000ff00" +
  "94ffff94e0e073c2c954b5b53b9e9e248f8f0a7d8c006985c0c0c0ffd98fa675736680809e63b5d47a00940094429eb057178f00c90070d4ff" +
  "ffffc7d9ffc7c7ffc7a3ffc78fffc761ffc745ffc730ffc71fffc700ff9c00e67500d45200bf3800ab244dc2ff4da6ff2194d6267dab266696" +
  "175487d0d0e0ffd123b8b8d0a6544d5759619e4fb5ab5c00754f45428296420066007d0070abfa00baff00a1ff008fff0080ff006bff545cf2" +
  "785ce38a4fe3a136d4";
const AXES = [["a", "#ff8a7a"], ["b", "#8fe08f"], ["c", "#8fbaff"]];
/** Spheres are smaller than atoms. A bond is no longer than so much of the sum of the radii, and of the way to the nearest neighbours. */
const [SIZE, BOND, NEAREST, LEVELS, SPRITE, MOST_BONDED] = [0.5, 1.16, 1.25, 5, 96, 900];

const colourOf = (number) => COLOURS.slice(6 * (number - 1), 6 * number).padEnd(6, "9");

let built = {};

/** Atoms, bonds and edges of `cells` cells along each axis about their middle, in Å along x, y and the zone axis. */
function build(facts, cells) {
  const { direct } = facts.stereogram;
  if (built.facts === facts && built.cells === cells) return built;
  const middle = along(direct, [cells / 2, cells / 2, cells / 2]);
  const from = (n) => along(direct, n).map((v, i) => v - middle[i]);
  const atoms = [];
  for (const [kind, u, v, w, share] of facts.drawn) {
    const steps = [u, v, w].map((x) => Array.from({ length: cells + 1 }, (_, i) => x + i).filter((at) => at < cells + 1e-3));
    for (const x of steps[0]) for (const y of steps[1]) for (const z of steps[2]) atoms.push({ kind, share, at: from([x, y, z]) });
  }
  const edges = [];
  for (let axis = 0; axis < 3; axis++) {
    for (let i = 0; i <= cells; i++) {
      for (let j = 0; j <= cells; j++) {
        const ends = [0, cells].map((end) => {
          const n = [];
          [n[axis], n[(axis + 1) % 3], n[(axis + 2) % 3]] = [end, i, j];
          return from(n);
        });
        edges.push({ ends, axis: i || j ? -1 : axis });
      }
    }
  }
  const reach = Math.max(...edges.flatMap(({ ends }) => ends.map((v) => Math.hypot(...v)))) + 0.6;
  built = { facts, cells, atoms, edges, reach, bonds: atoms.length <= MOST_BONDED ? bondsOf(atoms, facts.elements) : [] };
  return built;
}

function bondsOf(atoms, elements) {
  const [close, nearest] = [[], new Map(atoms.map((atom) => [atom, Infinity]))];
  atoms.forEach((a, i) => {
    for (let j = i + 1; j < atoms.length; j++) {
      const b = atoms[j];
      const long = Math.hypot(a.at[0] - b.at[0], a.at[1] - b.at[1], a.at[2] - b.at[2]);
      if (long < 0.5 || long > BOND * (elements[a.kind].radius + elements[b.kind].radius)) continue;
      close.push([a, b, long]);
      for (const one of [a, b]) nearest.set(one, Math.min(nearest.get(one), long));
    }
  });
  return close.filter(([a, b, long]) => long < NEAREST * Math.max(nearest.get(a), nearest.get(b)));
}

/** A colour of a table, darkened. */
const shade = (colour, part) => `rgb(${[0, 2, 4].map((i) => Math.round(parseInt(colour.slice(i, i + 2), 16) * part)).join(" ")})`;

const sprites = new Map();

/** A shaded sphere, darker the farther it is: drawn once for each colour and level. */
function sphere(colour, level) {
  const key = colour + level;
  if (sprites.has(key)) return sprites.get(key);
  const canvas = new OffscreenCanvas(SPRITE, SPRITE);
  const pen = canvas.getContext("2d");
  const half = SPRITE / 2;
  const light = pen.createRadialGradient(0.68 * half, 0.62 * half, 0, half, half, half);
  const dim = 0.45 + (0.55 * level) / (LEVELS - 1);
  light.addColorStop(0, `rgb(255 255 255 / ${0.9 * dim})`);
  for (const [where, part] of [[0.16, 1], [0.7, 0.78], [1, 0.38]]) light.addColorStop(where, shade(colour, part * dim));
  pen.arc(half, half, half - 1, 0, 2 * Math.PI);
  pen.fillStyle = shade(colour, dim);
  pen.fill();
  pen.fillStyle = light;
  pen.fill();
  sprites.set(key, canvas);
  return canvas;
}

/** Draw the crystal turned by `turn`, as the stereogram beside it is. */
export function drawSolid(canvas, facts, turn, cells, ratio = sharpness(canvas), wide = canvas.clientWidth) {
  const side = Math.max(200, Math.round(wide * ratio));
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const { atoms, bonds, edges, reach } = build(facts, cells);
  const zoom = (0.97 * side) / 2 / reach;
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.fillStyle = "#0a0b0d";
  pen.fillRect(0, 0, side, side);
  pen.setTransform(1, 0, 0, -1, side / 2, side / 2); // x to the right, y up
  const turned = new Map(atoms.map((atom) => [atom, apply(turn, atom.at).map((v) => v * zoom)]));
  const far = reach * zoom;
  const items = [];
  for (const [atom, [x, y, z]] of turned) items.push({ z, draw: () => drawAtom(pen, facts.elements[atom.kind], atom.share, [x, y, z], zoom, far) });
  for (const [a, b] of bonds) items.push(bondOf(pen, facts.elements, [a, b], [turned.get(a), turned.get(b)], zoom, far));
  for (const { ends, axis } of edges) {
    const [from, to] = ends.map((v) => apply(turn, v).map((x) => x * zoom));
    const count = 4; // pieces, each at its own depth
    for (let i = 0; i < count; i++) {
      const [p, q] = [i / count, (i + 1) / count].map((f) => from.map((v, n) => v + f * (to[n] - v)));
      items.push({ z: (p[2] + q[2]) / 2, draw: () => drawLine(pen, p, q, axis < 0 ? "rgb(255 255 255 / 45%)" : AXES[axis][1], (axis < 0 ? 1 : 2) * ratio) });
    }
  }
  items.sort((a, b) => a.z - b.z).forEach(({ draw }) => draw());
  drawAxes(pen, facts.stereogram.direct, turn, side, ratio);
}

function drawAtom(pen, { number, radius }, share, [x, y, z], zoom, far) {
  const size = SIZE * radius * zoom;
  const level = Math.max(0, Math.min(LEVELS - 1, Math.round(((z / far + 1) / 2) * (LEVELS - 1))));
  pen.globalAlpha = share < 0.999 ? 0.3 + 0.5 * share : 1;
  pen.setTransform(1, 0, 0, 1, pen.canvas.width / 2, pen.canvas.width / 2); // the light comes from above
  pen.drawImage(sphere(colourOf(number), level), x - size, -y - size, 2 * size, 2 * size);
  pen.setTransform(1, 0, 0, -1, pen.canvas.width / 2, pen.canvas.width / 2);
  pen.globalAlpha = 1;
}

/** A bond between the surfaces of two spheres. */
function bondOf(pen, elements, pair, [from, to], zoom, far) {
  const length = Math.hypot(...from.map((v, i) => to[i] - v)) || 1;
  const hidden = pair.map(({ kind }) => Math.min(0.5, (0.85 * SIZE * elements[kind].radius * zoom) / length));
  const [p, q] = [hidden[0], 1 - hidden[1]].map((f) => from.map((v, i) => v + f * (to[i] - v)));
  const z = (p[2] + q[2]) / 2;
  return { z, draw: () => drawLine(pen, p, q, shade("b8bcc4", 0.45 + 0.45 * ((z / far + 1) / 2)), 0.14 * zoom) };
}

function drawLine(pen, [x, y], [u, v], style, width) {
  [pen.strokeStyle, pen.lineWidth, pen.lineCap] = [style, width, "round"];
  pen.beginPath();
  pen.moveTo(x, y);
  pen.lineTo(u, v);
  pen.stroke();
}

/** The axes of the cell in the lower left corner, the one that points away first. */
function drawAxes(pen, direct, turn, side, ratio) {
  const long = 34 * ratio;
  const at = [-side / 2 + 1.5 * long, -side / 2 + 1.5 * long];
  const ends = direct.map((v) => apply(turn, v.map((x) => (x * long) / Math.hypot(...v))));
  [pen.font, pen.textAlign, pen.textBaseline] = [`600 ${13 * ratio}px system-ui, sans-serif`, "center", "middle"];
  for (const i of [0, 1, 2].sort((p, q) => ends[p][2] - ends[q][2])) {
    const [x, y] = ends[i];
    const [name, colour] = AXES[i];
    drawLine(pen, at, [at[0] + x, at[1] + y], colour, 2.5 * ratio);
    const away = 1 + (11 * ratio) / Math.max(Math.hypot(x, y), 11 * ratio);
    pen.save();
    pen.scale(1, -1);
    [pen.fillStyle, pen.strokeStyle, pen.lineWidth] = [colour, "#0a0b0d", 3 * ratio];
    pen.strokeText(name, at[0] + away * x, -at[1] - away * y);
    pen.fillText(name, at[0] + away * x, -at[1] - away * y);
    pen.restore();
  }
}

const SIDES = [["right", "left"], ["up", "down"], ["towards you", "away from you"]];

/** What the drawing shows, in words. */
export function solidWords(facts, turn, name) {
  const counts = facts.elements.map(({ symbol }, i) => `${facts.drawn.filter(([kind]) => kind === i).length} ${symbol}`);
  const axes = facts.stereogram.direct.map((v, i) => {
    const at = apply(turn, v);
    const most = [0, 1, 2].sort((p, q) => Math.abs(at[q]) - Math.abs(at[p]))[0];
    return `${AXES[i][0]} points ${SIDES[most][at[most] < 0 ? 1 : 0]}`;
  });
  const held = counts.length ? `a cell with ${counts.join(", ")}` : `an empty cell; its ${facts.atoms} atoms are too many to draw`;
  return `Crystal of ${name} in three dimensions: ${held}; ${axes.join(", ")}`;
}

/** The elements with their colours. */
export function showElements(list, facts) {
  const key = JSON.stringify(facts.elements);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...facts.elements.map(({ symbol, number }) => {
    const spot = element("i", {});
    spot.style.setProperty("--of", `#${colourOf(number)}`);
    return element("li", {}, spot, symbol);
  }));
}
