// The form of the search for an unknown crystal: beginning, ending and going on.

import { cancel, complain, compute } from "./jobs.js";
import { numbersInto } from "./reading.js";
import { CELL, own, showSolution } from "./solution.js";
import { $, run, shown } from "./state.js";

const EDGES = { a: "a", b: "b", c: "c", alpha: "α", beta: "β", gamma: "γ" };

/** What the form asks for, as the server takes it; null, once said, if a field holds no number. */
function askedFor() {
  const wrong = [];
  const read = numbersInto(wrong);
  const number = (id, name) => read($(id), name);
  const cell = CELL.filter((key) => $(`solve-${key}`).value.trim()).map((key) => number(`solve-${key}`, `Cell ${EDGES[key]}`));
  const asked = {
    cell,
    columns: [number("solve-few", "Columns from"), number("solve-many", "Columns to")],
    thickness: [number("solve-thin", "Thickness from"), number("solve-thick", "Thickness to")],
    elements: $("solve-elements").value.split(/[\s,;]+/).filter(Boolean),
    space_group: $("solve-group").value.trim() ? number("solve-group", "Space group") : null,
    seconds: Number($("solve-time").value),
  };
  if (!wrong.length) return asked;
  complain(`${wrong.join("; ")}.`);
  return null;
}

/** Search from the start, or go on, or end with the best so far. */
function search({ resumed = false, ending = false } = {}) {
  const { solution } = shown;
  const asked = resumed ? { ...solution.asked, state: solution.best.state, ending } : askedFor();
  if (!asked) return;
  if (!resumed) shown.solution = null;
  compute("solve", asked);
}

/** Cancel; of a search the best so far becomes the answer, and a second time ends that too. */
export function cancelSearch() {
  const { job } = run;
  cancel();
  if (job?.task !== "solve" || job.asked.ending || !shown.solution?.best) return;
  search({ resumed: true, ending: true });
}

/** Connect the form; `use` is told the candidate that is to become the crystal, `save` bytes and their name. */
export function wireSolve(use, save, longest) {
  own.use = use;
  $("solve-open").addEventListener("click", () => {
    const isOpen = $("solve").toggleAttribute("hidden") === false;
    $("solve-open").setAttribute("aria-expanded", String(isOpen));
    showSolution();
    if (isOpen) $("solve-a").focus();
  });
  for (const key of CELL) {
    $(`solve-${key}`).addEventListener("input", () => {
      own.typed = true;
      $("solve-cell-note").textContent = "a alone is enough for a cubic cell.";
    });
  }
  for (const option of $("solve-time").options) option.disabled = Number(option.value) > longest;
  const offered = [...$("solve-time").options].filter((option) => !option.disabled);
  if ($("solve-time").selectedOptions[0]?.disabled) $("solve-time").value = offered.at(-1)?.value ?? "";
  $("solve-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  $("solve-go-on").addEventListener("click", () => search({ resumed: true }));
  $("solve-end").addEventListener("click", () => search({ resumed: true, ending: true }));
  const stem = () => shown.solution.answer.name.replace(/[^A-Za-z0-9_-]+/g, "_") || "experiment";
  $("solve-report").addEventListener("click", () => save(new Blob([shown.solution.report], { type: "text/html" }), `${stem()}-solve-report.html`));
  $("solve-folder").addEventListener("click", () => save(new Blob([shown.solution.folder], { type: "application/zip" }), `${stem()}-solved.zip`));
}
