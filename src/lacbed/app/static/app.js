// The page: its controls, and how it begins.

import { setCrystal, setThickness, setZone } from "./act.js";
import { fromHash, keepAddress } from "./address.js";
import { NAMES } from "./colormaps.js";
import { wireCompare } from "./compare.js";
import { choose, pair, tabs } from "./controls.js";
import { wireCrystals } from "./crystals.js";
import { showCode, showSpots, showZone } from "./facts.js";
import { save, wireDrop, wireFiles } from "./files.js";
import { changed, complain, compute, describe, isWhole, moved, say, stop } from "./jobs.js";
import { crystalName, formula, threeOfDirection } from "./names.js";
import { thicknessOf, wireFit } from "./fit.js";
import { wireFigure } from "./figure.js";
import { wireFrames } from "./frames.js";
import { wireHistory } from "./history.js";
import { wireProbe } from "./probe.js";
import { line, showProfile } from "./profile.js";
import { chargeWords, readCharges, readDirection } from "./reading.js";
import { $, chosen, discs, exact, knobs, look, run, samePhysics, series, setSeries, shown, state, wanted } from "./state.js";
import { drawPotential, element } from "./structure.js";
import { showContrast, showPicture } from "./view.js";
import { openSearch } from "./solution.js";
import { wireSolve } from "./solve.js";
import { takeWork, keepWork } from "./tabstore.js";
import { wireTilt } from "./tilt.js";
import { wireZoom } from "./zoom.js";

const ZONES = [[0, 0, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 2]];

/** Connect what decides the picture. */
function wireModel() {
  const setting = (key) => (value, isLive) => {
    state[key] = value;
    changed(isLive, { crystal: !isLive });
  };
  knobs.voltage = pair($("voltage"), $("voltage-number"), setting("voltage"));
  knobs.extent = pair($("extent"), $("extent-number"), setting("extent"));
  knobs.thermal = pair($("thermal"), $("thermal-number"), (value, isLive) => {
    $("thermal-own").checked = false;
    setting("b_iso")(value, isLive);
  });
  $("thermal-own").addEventListener("change", () => {
    state.b_iso = $("thermal-own").checked ? null : Number($("thermal").value);
    changed(false, { crystal: true });
  });
  const absorb = (isLive) => {
    const kind = $("absorption-kind").value;
    $("absorption-row").hidden = kind !== "percent";
    $("absorption-note").textContent = `${$("absorption").value} %`;
    state.absorption = kind === "percent" ? Number($("absorption").value) : kind;
    changed(isLive);
  };
  $("absorption-kind").addEventListener("change", () => absorb(false));
  $("absorption").addEventListener("input", () => absorb(true));
  $("absorption").addEventListener("change", () => absorb(false));
  knobs.thickness = pair($("thickness"), $("thickness-number"), setThickness);
  for (const [id, key] of [["detail", "detail"], ["tolerance", "tolerance"], ["laue", "laue_zones"]]) {
    $(id).addEventListener("change", () => {
      state[key] = Number($(id).value);
      changed(false);
    });
  }
  $("factors").addEventListener("change", () => {
    state.factors = $("factors").value;
    showCharges();
    changed(false);
  });
  $("charges").addEventListener("change", () => {
    const found = readCharges($("charges").value);
    if (!found) {
      const said = $("charges").value;
      showCharges();
      return complain(`Charges are whole numbers by element, such as Mg=2, O=-2; got “${said}”.`);
    }
    state.charges = found;
    return changed(false, { crystal: true });
  });
  $("series").addEventListener("change", () => {
    setSeries(Number($("series").value));
    state.thickness = Math.min(state.thickness, state.thickness_max);
    fitSlider();
    moved(false);
  });
  wireDirections();
}

/** Directions are typed whole, and taken when the field is left or Enter is pressed. */
function wireDirections() {
  const direction = (id, name, take) => {
    const refuse = (words) => {
      showAll();
      complain(words);
    };
    $(id).addEventListener("change", () => {
      const text = $(id).value;
      if (id !== "zone" && !text.trim()) return take(null);
      const numbers = readDirection(text);
      if (!numbers) return refuse(`${name} consists of three whole numbers, such as 1 -1 0, or four on hexagonal axes; got “${text}”.`);
      const isPlane = id === "x-direction";
      if (numbers.length === 4 && numbers[0] + numbers[1] + numbers[2] !== 0) {
        return refuse(`${name}: of four indices the first three add up to zero; got “${text}”.`);
      }
      const three = numbers.length === 3 ? numbers : isPlane ? [numbers[0], numbers[1], numbers[3]] : threeOfDirection(numbers);
      if (three.every((v) => v === 0)) return refuse(`${name} [000] has no direction; choose, for example, [001].`);
      return take(three);
    });
  };
  direction("zone", "A zone axis", setZone);
  direction("foil", "A foil normal", (value) => { state.foil_normal = value; changed(false); });
  direction("x-direction", "The reflection along x", (value) => { state.x_direction = value; changed(false, { crystal: true }); });
  for (const wanted of ZONES) {
    const chip = element("button", { type: "button", textContent: `[${wanted.join("")}]`, onclick: () => setZone(wanted) });
    chip.dataset.zone = wanted.join(",");
    $("zones").append(chip);
  }
}

/** The charges are asked for where the factors need them, and stay to be seen where there are some. */
function showCharges() {
  $("charges-row").hidden = state.factors !== "ionic" && !Object.keys(state.charges).length;
  $("charges").value = chargeWords(state.charges).join(", ");
}

/** Put the whole state into the controls. */
function showAll() {
  knobs.voltage(state.voltage);
  knobs.extent(state.extent);
  knobs.thermal(state.b_iso ?? 0.5);
  $("thermal-own").checked = state.b_iso === null;
  choose($("detail"), state.detail, `${state.detail} × ${state.detail}`);
  choose($("series"), state.thickness_max, `to ${state.thickness_max} Å`);
  choose($("tolerance"), state.tolerance, String(state.tolerance));
  choose($("laue"), state.laue_zones, `0 to ${state.laue_zones}`);
  $("factors").value = state.factors;
  showCharges();
  $("foil").value = state.foil_normal?.join(" ") ?? "";
  $("x-direction").value = state.x_direction?.join(" ") ?? "";
  fitSlider();
  showZone(state.zone_axis);
  const percent = typeof state.absorption === "number";
  $("absorption-kind").value = percent ? "percent" : state.absorption;
  if (percent) $("absorption").value = state.absorption;
  $("absorption-row").hidden = !percent;
  $("absorption-note").textContent = `${$("absorption").value} %`;
  crystals?.show(state.name || `cif ${Math.max(0, owned.findIndex((one) => one.block === state.block))}`);
}

const LOOK = structuredClone(look);
let crystals = null;
let owned = [];

/** Offer the crystals of a CIF that was brought. */
function own(entries) {
  owned = entries;
  crystals.own(entries);
}

/** Offer the crystal of the state, if it is one of one's own that is not on offer yet. */
function offerOwn() {
  const { name, cif, title, block } = state;
  if (name || owned.some((one) => one.cif === cif && one.block === block)) return;
  own([{ key: "cif 0", text: `${title || "crystal"} (your CIF)`, name: "", cif, title, block }]);
}

/** Take everything that a session holds. */
function takeSession({ view, look: seen, files, search, content }) {
  Object.assign(state, view, { absorption: view.absorption ?? "none" });
  delete state.have;
  Object.assign(look, LOOK, seen, { view: seen.view === "fit" && !files.length ? "pattern" : (seen.view ?? "pattern") });
  Object.assign(shown, { files: files.length ? files : null, fit: null, solution: null, frames: null, kept: null });
  if (search) openSearch(search, content);
  keepWork();
  stop();
  offerOwn();
  showAll();
  showLook();
  showSpots();
  knobs.view(look.view, true);
  changed(false, { crystal: true });
}

/** The thickness slider runs along the series. */
function fitSlider() {
  const slider = $("thickness");
  [slider.min, slider.max, slider.step] = [state.thickness_step, state.thickness_max, state.thickness_step];
  knobs.thickness(state.thickness);
}

/** Put the look into its controls. */
function showLook() {
  $("colours").value = look.colours;
  for (const key of ["inverted", "smooth", "lines", "together"]) $(key).checked = look[key];
  for (const radio of document.querySelectorAll("[name=scale]")) radio.checked = (radio.value === "log") === look.logarithmic;
  $("auto").checked = look.auto;
  $("unit").value = look.unit;
  $("true-size").checked = look.semi !== null;
  $("semi-row").hidden = look.semi === null;
  if (look.semi !== null) knobs.semi(look.semi);
}

function wireLook() {
  $("colours").append(...Object.entries(NAMES).map(([value, text]) => element("option", { value, textContent: text })));
  const again = () => {
    keepAddress();
    showPicture({ everything: true });
  };
  $("colours").addEventListener("change", () => { look.colours = $("colours").value; again(); });
  for (const key of ["inverted", "smooth", "lines", "together"]) {
    $(key).addEventListener("change", () => { look[key] = $(key).checked; again(); });
  }
  for (const radio of document.querySelectorAll("[name=scale]")) {
    radio.addEventListener("change", () => { look.logarithmic = radio.value === "log" && radio.checked; again(); });
  }
  $("unit").addEventListener("change", () => { look.unit = $("unit").value; again(); });
  knobs.semi = pair($("semi"), $("semi-number"), (value, isLive) => {
    look.semi = value;
    if (isLive) showPicture();
    else again();
  });
  $("true-size").addEventListener("change", () => {
    look.semi = $("true-size").checked ? Number($("semi").value) : null;
    showLook();
    again();
  });
  $("auto").addEventListener("change", () => { look.auto = $("auto").checked; again(); });
  for (const key of ["low", "high"]) {
    $(key).addEventListener("input", () => {
      look.auto = $("auto").checked = false;
      const [low, high] = [Number($("low").value), Number($("high").value)];
      const top = showContrast.top ?? 1;
      look.limits = [(Math.min(low, high - 2) * top) / 1000, (Math.max(high, low + 2) * top) / 1000];
      showPicture();
    });
    $(key).addEventListener("change", keepAddress);
  }
  const take = tabs($("tab-pattern").parentElement, (id) => lookAt(id.replace("tab-", "")));
  knobs.view = (view, silent) => take(`tab-${view}`, silent);
  chosen.open = () => knobs.view("pattern");
  tabs($("tab-python").parentElement, (id) => {
    look.code = id === "tab-shell" ? "shell" : "python";
    $("code").setAttribute("aria-labelledby", id);
    showCode();
  });
  $("profile").addEventListener("click", () => {
    line.on = !line.on;
    showPicture();
    showProfile();
  });
  wireZoom(() => showPicture());
  wireCompare(() => showPicture());
  $("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue("color-scheme").trim();
    const isDark = dark === "dark" || (dark !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("lacbed-theme", isDark ? "light" : "dark"); } catch { /* private window */ }
    showPicture();
  });
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("use-fit").addEventListener("click", useFit);
  $("use-refined").addEventListener("click", useRefined);
  $("refine").addEventListener("click", () => compute("refine"));
  wireFit();
}

/** Look at one reflection, at all of them, or at an experiment. */
function lookAt(view) {
  look.view = view;
  showLook();
  if (view === "pattern" || view === "discs") $("plate").setAttribute("aria-labelledby", `tab-${view}`);
  keepAddress();
  showPicture({ everything: true });
  if (run.job && (run.job.view === "fit") === (view === "fit") && (view === "fit" || samePhysics(run.job.of, wanted()))) return;
  const there = { discs: discs()?.stage === "exact", fit: shown.fit?.simulated, tilt: run.job?.task || exact(), pattern: exact() && isWhole() }[view];
  if (run.job?.task && there) return; // minutes of work are not given up for a look elsewhere
  if (!there) compute();
}

/** Look at the pattern of the thickness that is shown of a fit, at the voltage and along the zone axis of the experiment. */
function useFit() {
  const { fit } = shown;
  if (!fit?.simulated) return;
  Object.assign(state, { thickness: Math.round(thicknessOf(fit) * 10) / 10, voltage: fit.voltage });
  while (state.thickness > state.thickness_max) setSeries(2 * state.thickness_max);
  look.view = "pattern";
  showAll();
  showLook();
  knobs.view("pattern", true);
  changed(false, { crystal: true });
}

/** Take the refined crystal as the crystal, and look at its pattern at the refined thickness. */
function useRefined() {
  const { fit } = shown;
  const { refined } = fit;
  Object.assign(state, { thickness: Math.round(refined.thickness * 10) / 10, voltage: fit.voltage, b_iso: null });
  while (state.thickness > state.thickness_max) setSeries(2 * state.thickness_max);
  look.view = "pattern";
  own([{ key: "cif 0", text: `${crystalName(refined.of, refined)} refined (your CIF)`, name: "", cif: refined.cif, title: `${refined.crystal} refined`, block: "" }]);
  showLook();
  knobs.view("pattern", true);
  setCrystal(owned[0]);
}

/** Take a crystal that a search has found as the crystal, and fit it. */
function useCandidate(candidate, i) {
  const { answer } = shown.solution;
  const title = `${answer.name} candidate ${i + 1}`;
  state.b_iso = null;
  own([{ key: "cif 0", text: `${title}, ${formula(candidate.formula)} (your CIF)`, name: "", cif: candidate.cif, title, block: "" }]);
  setCrystal(owned[0]);
}

function wirePlay() {
  let timer = null;
  $("play").addEventListener("click", () => {
    const isPlaying = timer !== null;
    $("play").setAttribute("aria-pressed", !isPlaying);
    $("play").textContent = isPlaying ? "▶" : "❚❚";
    $("play").setAttribute("aria-label", isPlaying ? "Play the thickness series" : "Stop playing");
    clearInterval(timer);
    timer = null;
    if (isPlaying) return;
    timer = setInterval(() => {
      const there = (look.view === "pattern" && series()?.thicknesses) || [];
      if (there.length < 2) return;
      const next = there.find((t) => t > state.thickness + 1e-6) ?? there[0];
      setThickness(next, true);
    }, 90);
  });
}

/** Fill and connect the page; whether it can be used. */
async function begin() {
  try {
    const stored = localStorage.getItem("lacbed-theme");
    if (stored) document.documentElement.dataset.theme = stored;
  } catch { /* private window */ }
  say("Waiting for the first worker …", null);
  let about;
  try {
    const answer = await fetch("/api/about");
    about = await answer.json();
    if (!answer.ok) throw new Error(about.error);
  } catch (error) {
    complain(error.message);
    return false;
  }
  $("tab-fit").hidden = !about.fit;
  const names = about.crystals.map((c) => c.name);
  const read = () => fromHash(location.hash, names, Object.keys(NAMES));
  const problem = read();
  crystals = wireCrystals(about.crystals, (entry) => (entry.cif ? setCrystal(entry) : setCrystal({ name: entry.name })));
  Object.assign(knobs, { all: showAll, own });
  wireModel();
  wireLook();
  offerOwn();
  showAll();
  showLook();
  wireProbe();
  wireTilt(showPicture);
  wireFiles();
  wirePlay();
  addEventListener("resize", () => {
    if (shown.facts) drawPotential($("potential"), shown.potential, shown.facts.potential);
    showPicture({ everything: true });
  });
  const start = (said) => {
    knobs.view(look.view, true);
    changed(false, { crystal: true });
    if (said) complain(said);
  };
  const again = (hash, mine = null) => {
    const said = fromHash(hash, names, Object.keys(NAMES), mine);
    offerOwn();
    showAll();
    showLook();
    showSpots();
    start(said);
  };
  addEventListener("hashchange", () => again(location.hash)); // a link that is pasted into the open tab
  wireHistory((hash, mine) => {
    if (hash !== location.hash) history.replaceState(null, "", hash);
    again(hash, mine);
  });
  wireFigure(save);
  wireSolve(useCandidate, save, about.search_seconds);
  wireFrames({ save, begin: (asked) => { showAll(); describe(); compute("extract", asked); }, complain, most: about.upload_bytes });
  knobs.session = takeSession;
  await takeWork();
  start(problem);
  return true;
}

wireDrop(begin()); // what is dropped while the first worker starts must not be lost, or opened by the browser
