// The crystal, the titles and the commands on the page.

import { cbed } from "./cbed.js";
import { crystalName, fourOfDirection, indices, isHexagonal, labelOf, reflectionName, spaceGroup, stem, zoneName } from "./names.js";
import { digits } from "./picture.js";
import { $, chosen, current, discs, exact, equal, knobs, look, plain, sameZone, series, shown, sourceOf, state } from "./state.js";
import { tiltLabel } from "./tilt.js";
import { drawPotential, drawSpots, showFacts, showSites } from "./structure.js";

export function showStructure() {
  const { facts } = shown;
  showFacts($("facts"), facts);
  showSites($("sites"), $("notes"), facts);
  drawPotential($("potential"), shown.potential, facts.potential);
  $("potential").setAttribute("aria-label", `Projected potential of ${facts.name} along [${facts.zone_axis.join(" ")}]`);
  $("potential-note").textContent =
    `${crystalName(facts.of, facts)} along ${zoneName(facts.zone_axis, facts.of)}, period ${facts.period.toFixed(3)} Å, ` +
    `${digits(facts.potential.low, 3)} to ${digits(facts.potential.high, 3)}\u00a0V\u00a0Å`;
  $("save-cif").disabled = false;
  if (state.b_iso === null) knobs.thermal(Number(meanThermal(facts).toFixed(2)));
  showSpots();
  showZone(state.zone_axis, true);
}

/** Mean B of the listed sites in Å², where the slider rests while the crystal's own are taken. */
function meanThermal({ sites }) {
  const known = sites.map((site) => site.b_iso).filter((b) => b !== null);
  return known.length ? known.reduce((sum, b) => sum + b, 0) / known.length : 0.5;
}

export function showSpots() {
  const { facts } = shown;
  if (!facts) return;
  const fresh = sameZone(facts.of, state);
  $("spots").classList.toggle("stale", !fresh);
  drawSpots($("spots"), facts, state.hkl, fresh ? state.extent : facts.of.extent, chosen.reflection);
  const spot = fresh && facts.spots.find((s) => equal(s.hkl, state.hkl));
  const name = reflectionName(state.hkl, state);
  if (state.hkl.every((v) => v === 0)) $("spot-note").textContent = `${name}: the direct beam`;
  else if (!spot) $("spot-note").textContent = fresh ? `${name}: beyond the map` : name;
  else {
    const reach = spot.extinction ? `extinction distance ${digits(spot.extinction, 3)} Å` : "kinematically forbidden";
    $("spot-note").textContent = `${name}: d = ${spot.spacing.toFixed(4)} Å, ${reach}`;
  }
  const group = facts.space_group ? `, ${spaceGroup(facts.space_group)}` : "";
  $("spots").setAttribute("aria-label", `Reflections of ${facts.name}${group}; arrow keys choose`);
}

/** Title and subtitle of what is on the screen, from that alone. */
export function showTitles() {
  const { facts } = shown;
  const fresh = facts && sameZone(facts.of, state);
  const mrad = fresh && 1e3 * Math.asin(Math.min(1, state.extent * facts.shortest * facts.wavelength));
  $("extent-note").textContent = fresh ? `${digits(mrad, 3)} mrad, ${digits(state.extent * facts.shortest, 3)} Å⁻¹` : "…";
  if (look.view === "fit") return showFitTitle();
  if (look.view === "tilt") {
    const named = tiltLabel();
    if ($("title").textContent !== named.title) $("title").textContent = named.title; // at every frame of a motion
    if ($("subtitle").textContent !== named.subtitle) $("subtitle").textContent = named.subtitle;
    document.title = named.tab;
    return undefined;
  }
  const isDiscs = look.view === "discs";
  const now = isDiscs ? shownDiscs() : current();
  const label = now ? labelOf(now, isDiscs) : { title: "\u00a0", subtitle: "\u00a0", tab: "lacbed" };
  $("title").textContent = label.title;
  $("subtitle").textContent = label.subtitle;
  document.title = label.tab;
  return undefined;
}

/** Discs as they are on the screen, with whether they are out of date. */
export function shownDiscs() {
  const found = discs();
  if (found) shownDiscs.last = found;
  const pattern = found ?? shownDiscs.last;
  const now = pattern && { pattern, of: pattern.of, stale: !found };
  return now && { ...now, cbed: cbed(now) };
}

/** Voltage, half-width and zone axis are those of the experiment. */
function showFitTitle() {
  const { fit, frames } = shown;
  if (!fit) {
    $("title").textContent = frames?.file.name ?? "Experiment";
    $("subtitle").textContent = frames ? "camera frames" : "drop measured patterns or camera frames";
    document.title = `${frames?.file.name ?? "Experiment"} – lacbed`;
    return;
  }
  const name = fit.simulated ? crystalName(fit.of, fit) : fit.name; // before the fit the images are of no crystal that is known
  $("title").textContent = `${name}  ${zoneName(fit.zone_axis, fit.of)}`;
  const what = fit.simulated ? `compared with ${fit.name}` : "measured";
  $("subtitle").textContent = `${what}, ${plain(fit.voltage)} kV`;
  document.title = `${fit.name} – lacbed`;
}

/** Put a zone axis into its field and chips. */
export function showZone(zone, isLate = false) {
  // What somebody types meanwhile is not overwritten by facts that come late.
  if (!isLate || document.activeElement !== $("zone")) $("zone").value = zone.join(" ");
  const { facts } = shown;
  const four = facts && sameZone(facts.of, state) && isHexagonal(facts.cell);
  $("zone-note").textContent = four ? `[${indices(fourOfDirection(zone))}] in four indices` : "";
  for (const chip of $("zones").children) chip.setAttribute("aria-pressed", String(chip.dataset.zone === zone.join(",")));
}

/** What the files and commands hold where that is not the picture. */
function filesNote(isDiscs) {
  if (isDiscs) return look.semi === null ? "" : "The files hold the discs; the commands make the CBED pattern of them.";
  if (look.view !== "pattern") return "";
  if (shown.kept && look.compare !== "none") return "Numbers and commands are those of B.";
  return look.model !== "exact" && shown.learned ? "Numbers and commands are those of the computed pattern." : "";
}

/** Commands and files belong to a result that is there. */
export function showCode() {
  const isFit = look.view === "fit";
  const isDiscs = look.view === "discs";
  const now = look.view === "pattern" ? exact() : null;
  const source = isFit ? shown.fit : isDiscs ? discs() : now && sourceOf(now);
  const ready = Boolean(source?.recipe) && Boolean(isFit ? source.simulated : source.stage === "exact");
  for (const button of document.querySelectorAll("[data-format], #copy")) button.disabled = !ready;
  $("save-picture").disabled = isFit || !(isDiscs ? shownDiscs() : current());
  $("whole-row").hidden = !now || (series()?.thicknesses.length ?? 0) < 2;
  $("all-row").hidden = !now || discs()?.stage !== "exact";
  $("code-note").textContent = (ready && look.code === "shell" && source.recipe.note) || "";
  $("needs").hidden = !ready || !source.recipe.needs;
  $("files-note").textContent = ready ? filesNote(isDiscs) : "";
  const code = $("code").firstElementChild;
  if (!ready) {
    code.textContent = isFit ? "The commands appear with the fit." : "The commands appear with the computed pattern.";
    return;
  }
  const label = state.hkl.join(",");
  const fill = { "@thickness": String(state.thickness), "@label": label, "@hkl": look.code === "python" ? state.hkl.join(", ") : label };
  let text = source.recipe[look.code];
  if (isDiscs) text = text.replace(/^.*@label.*\n/m, ""); // all of them are saved
  const file = `${stem(source.of, source)}.nc`;
  const angle = isDiscs && shownDiscs()?.cbed?.angle.toFixed(4).replace(/\.?0+$/, "");
  if (angle) text += look.code === "python" ? `cbed = lacbed.assemble_cbed(pattern, semi_angle=${angle})  # mrad\n` : `lacbed cbed ${file} --semi-angle ${angle} -o ${file.replace(".nc", "-cbed.png")}\n`;
  code.textContent = text.replace(/@thickness|@label|@hkl/g, (mark) => fill[mark]);
  $("needs").textContent = `Save ${source.recipe.needs} in the same folder (Crystal .cif).`;
}
