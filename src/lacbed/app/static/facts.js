// The crystal, the titles and the commands on the page.

import { digits, indices } from "./picture.js";
import { $, chosen, holds, knobs, look, plain, run, shown, state } from "./state.js";
import { drawPotential, drawSpots, formula, showFacts, showSites, spaceGroup } from "./structure.js";

export function showStructure() {
  const { facts } = shown;
  showFacts($("facts"), facts);
  showSites($("sites"), $("notes"), facts);
  drawPotential($("potential"), shown.potential, facts.potential);
  const zone = indices(facts.zone_axis);
  $("potential").setAttribute("aria-label", `Projected potential of ${facts.name} along [${facts.zone_axis.join(" ")}]`);
  $("potential-note").textContent =
    `Along [${zone}], period ${facts.period.toFixed(3)} Å, ${digits(facts.potential.low, 3)} to ${digits(facts.potential.high, 3)}\u00a0V\u00a0Å`;
  $("save-cif").disabled = false;
  if (state.b_iso === null) knobs.thermal(Number(meanThermal(facts).toFixed(2)));
  showSpots();
  showTitles();
}

/** Mean B of the listed sites in Å², where the slider rests while the crystal's own are taken. */
function meanThermal({ sites }) {
  const known = sites.map((site) => site.b_iso).filter((b) => b !== null);
  return known.length ? known.reduce((sum, b) => sum + b, 0) / known.length : 0.5;
}

export function showSpots() {
  const { facts } = shown;
  if (!facts) return;
  drawSpots($("spots"), facts, state.hkl, state.extent, chosen.reflection);
  const spot = facts.spots.find((s) => s.hkl.every((v, i) => v === state.hkl[i]));
  const name = indices(state.hkl);
  if (!spot || !spot.spacing) $("spot-note").textContent = `${name}: the direct beam`;
  else {
    const reach = spot.extinction ? `extinction distance ${digits(spot.extinction, 3)} Å` : "kinematically forbidden";
    $("spot-note").textContent = `${name}: d = ${spot.spacing.toFixed(4)} Å, ${reach}`;
  }
}

export function showTitles() {
  const { facts } = shown;
  if (!facts) return;
  const isFit = look.view === "fit"; // voltage, half-width and zone axis are those of the experiment
  const zone = indices(isFit && shown.fit ? shown.fit.zone_axis : state.zone_axis);
  $("title").textContent = isFit && !shown.fit ? formula(facts.name) : `${formula(facts.name)}  [${zone}]`;
  const mrad = 1e3 * Math.asin(Math.min(1, state.extent * facts.shortest * facts.wavelength));
  $("extent-note").textContent = `${digits(mrad, 3)} mrad, ${digits(state.extent * facts.shortest, 3)} Å⁻¹`;
  if (isFit) {
    const { fit } = shown;
    $("subtitle").textContent = fit ? `compared with ${fit.name}, ${fit.voltage} kV` : "compared with an experiment";
    return;
  }
  const what = look.view === "discs" ? "all reflections" : `reflection ${indices(state.hkl)}`;
  const absorption = { none: "no absorption", thomas: "absorption of Thomas et al." }[state.absorption];
  $("subtitle").textContent = `${what}, ${state.voltage} kV, ${plain(state.thickness)} Å, ${absorption ?? `${state.absorption} % absorption`}`;
  document.title = `${facts.name} [${state.zone_axis.join("")}] – lacbed`;
  showSpotTitle(facts);
}

/** Put a zone axis into its fields and chips. */
export function showZone(zone) {
  ["u", "v", "w"].forEach((name, i) => ($(`zone-${name}`).value = zone[i]));
  for (const chip of $("zones").children) chip.setAttribute("aria-pressed", chip.dataset.zone === zone.join(","));
}

function showSpotTitle(facts) {
  const group = facts.space_group ? `, ${spaceGroup(facts.space_group)}` : "";
  $("spots").setAttribute("aria-label", `Reflections of ${facts.name}${group}; arrow keys choose`);
}

/** Commands and files belong to an exact result. */
export function showCode() {
  const result = { discs: shown.discs, fit: shown.fit, pattern: shown.pattern }[look.view];
  const isWhole = look.view === "pattern" ? result?.stage === "exact" && holds(result) : look.view === "fit" || result?.stage === "exact";
  const ready = Boolean(result) && isWhole && result.turn === run.turn;
  for (const button of document.querySelectorAll("[data-format], #save-picture, #copy")) button.disabled = !ready;
  $("whole-row").hidden = look.view !== "pattern";
  $("needs").hidden = !ready || !result.recipe.needs;
  const code = $("code").firstElementChild;
  if (!ready) {
    code.textContent = look.view === "fit" ? "The commands appear with the fit." : "The commands appear with the exact pattern.";
    return;
  }
  code.textContent = result.recipe[look.code].replaceAll("@thickness", String(state.thickness));
  $("needs").textContent = `Save ${result.recipe.needs} in the same folder (Crystal .cif).`;
}
