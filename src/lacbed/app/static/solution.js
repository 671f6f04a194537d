// What has arrived of the search for an unknown crystal: the best so far, and the answer with its candidates.

import { table as colourTable } from "./colormaps.js";
import { figureOf } from "./fit.js";
import { crystalName, formula, indices, spaceGroup } from "./names.js";
import { digits } from "./picture.js";
import { $, look, ofNone, plain, run, sameCrystal, shown, snapshot, state } from "./state.js";
import { drawPotential, element } from "./structure.js";

export const CELL = ["a", "b", "c", "alpha", "beta", "gamma"];

/** Whether the cell in the form is somebody's own and no longer that of the crystal, and what takes a candidate over. */
export const own = { typed: false, use: null };

/** The cell of the crystal that is chosen is offered until somebody types another. */
function offerCell() {
  const { facts } = shown;
  if (own.typed || !facts || !sameCrystal(facts.of, state)) return;
  CELL.forEach((key, i) => ($(`solve-${key}`).value = String(Number(facts.cell[i].toFixed(5)))));
  $("solve-cell-note").textContent = `The cell is that of ${crystalName(facts.of, facts)}; type another, or a alone for a cubic one.`;
}

/** Take a message of a search; the last one of each kind is kept too, for a session. */
export function takeSearch({ header, payload }, job) {
  readSearch({ header, payload }, job);
  shown.solution.messages = { ...shown.solution.messages, [header.kind]: { header, payload } };
}

/** A search as a session keeps it: { told, parts }, or null if there is none. */
export function keptSearch() {
  const { solution } = shown;
  if (!solution?.best) return null;
  const messages = Object.values(solution.messages);
  const { state, ending, ...asked } = solution.asked;
  return {
    told: { asked, messages: messages.map(({ header, payload }) => ({ ...header, size: payload.byteLength })) },
    parts: messages.map(({ payload }) => payload),
  };
}

/** Take a search that was kept; `content` holds its parts, one after the other. */
export function openSearch({ asked, messages }, content) {
  let place = 0;
  for (const { size, ...header } of messages) {
    takeSearch({ header, payload: content.slice(place, place + size) }, { of: snapshot(), asked });
    place += size;
  }
}

function readSearch({ header, payload }, job) {
  const [{ asked }, { kind }] = [job, header];
  const of = ofNone(job.of);
  if (kind === "searching") {
    const from = asked.state ? shown.solution : null;
    shown.solution = { ...from, of, asked, best: { ...header, values: new Float32Array(payload) } };
  } else if (kind === "solved") {
    const count = header.map.pixels ** 2;
    const pairs = new Float32Array(payload, 4 * count);
    const images = {
      of, name: header.name, hkl: header.hkl, pixels: header.pixels, z: header.z, thickness: header.thickness_of_columns,
      measured: every(pairs, header, 0), simulated: pairs,
    };
    shown.solution = { ...shown.solution, answer: { ...header, values: new Float32Array(payload, 0, count), images } };
  } else if (kind === "report") shown.solution = { ...shown.solution, report: payload };
  else shown.solution = { ...shown.solution, folder: payload };
}

/** The measured (0) or simulated (1) images of pairs, one after the other. */
function every(pairs, { hkl, pixels }, which) {
  const count = pixels * pixels;
  const found = new Float32Array(hkl.length * count);
  hkl.forEach((_, i) => found.set(pairs.subarray((2 * i + which) * count, (2 * i + which + 1) * count), i * count));
  return found;
}

/** Show the form, the best so far and the answer. */
export function showSolution() {
  offerCell();
  const { solution } = shown;
  const isRunning = run.job?.task === "solve";
  $("solve-begin").disabled = isRunning;
  $("solve-result").hidden = !solution?.best;
  if (!solution?.best) return;
  $("solve").hidden = false;
  $("solve-open").setAttribute("aria-expanded", "true");
  const { best, answer } = solution;
  const now = answer ?? best;
  $("solve-title").textContent = `${answer ? "Answer" : "Best so far"} from the images of ${now.name} along [${indices(now.zone_axis)}]`;
  $("solve-words").textContent = answer ? answer.words
    : `After ${best.round} round${best.round === 1 ? "" : "s"}: ${best.columns.length} columns, ${best.thickness.toFixed(0)} Å, R ${best.R.toFixed(3)}, met from ${best.met} start${best.met === 1 ? "" : "s"}. Not judged yet.`;
  $("solve-words").className = answer ? (answer.solved ? "good" : "wrong") : "";
  drawPotential($("solve-map"), now.values, now.map, now.columns);
  const text = `Projected potential of ${now.columns.length} columns at ${digits(now.map.low, 3)} to ${digits(now.map.high, 3)} V, R ${now.R.toFixed(3)}`;
  $("solve-map").setAttribute("aria-label", text);
  $("solve-map-note").textContent = `${text}, from the images of ${now.name}.`;
  $("solve-go-on").hidden = $("solve-end").hidden = isRunning || Boolean(answer && !answer.ended);
  $("solve-end").hidden ||= Boolean(answer);
  showAnswer(solution);
}

/** Columns, candidates, images and files of an answer. */
function showAnswer({ answer, report, folder }) {
  $("solve-answer").hidden = $("solve-images").hidden = !answer;
  if (!answer) return;
  $("solve-facts").textContent = `Thickness ${answer.thickness.toFixed(0)} Å (of the columns ${answer.thickness_of_columns.toFixed(0)} ± ${answer.thickness_uncertainty.toFixed(0)} Å), ` +
    `absorption ${answer.absorption.toFixed(3)}, half-width ${answer.half_width.toFixed(4)} Å⁻¹, plane group ${answer.plane_group}; ${answer.seconds.toFixed(0)} s.`;
  $("solve-columns").replaceChildren(...answer.columns.map((row, i) => element("tr", {}, element("th", { scope: "row" }, String(i + 1)), ...[
    `${row.x.toFixed(2)}, ${row.y.toFixed(2)}`, `${row.strength.toFixed(3)}${row.strength_uncertainty === null ? "" : ` ± ${row.strength_uncertainty.toFixed(3)}`}`, row.odds,
  ].map((text) => element("td", {}, text)))));
  $("solve-none").hidden = answer.candidates.length > 0;
  $("solve-candidate-table").hidden = !answer.candidates.length;
  $("solve-candidates").replaceChildren(...answer.candidates.map((one, i) => element("tr", {}, element("th", { scope: "row" }, formula(one.formula)), ...[
    one.space_group ? spaceGroup(one.space_group) : "–",
    one.Z_held_out === null ? "not refined" : `${digits(100 * one.Z_held_out, 3)} %`,
    one.thickness === null ? "–" : `${one.thickness.toFixed(0)} Å`,
  ].map((text) => element("td", {}, text)), element("td", {}, useButton(one, i)))));
  $("solve-notes").replaceChildren(...answer.notes.map((text) => element("li", {}, text)));
  $("solve-report").disabled = !report;
  $("solve-folder").disabled = !folder;
  $("solve-command").textContent = answer.command;
  const colours = colourTable(look.colours, look.inverted);
  $("solve-key").textContent = `Measured, simulated by the columns at ${plain(answer.images.thickness)} Å, and their difference, at the same tilts (each pixel shows the nearest). Choose one to enlarge it.`;
  $("solve-pairs").replaceChildren(...answer.images.hkl.map((_, i) => figureOf(answer.images, i, colours)));
}

function useButton(candidate, i) {
  const button = element("button", { type: "button", textContent: "Use", onclick: () => own.use(candidate, i) });
  button.setAttribute("aria-label", `Use candidate ${i + 1}, ${candidate.formula}, as the crystal`);
  return button;
}
