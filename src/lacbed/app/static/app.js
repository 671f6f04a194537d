// The page: its controls, and how it begins.

import { setThickness, setZone } from "./act.js";
import { NAMES } from "./colormaps.js";
import { choose, pair, tabs } from "./controls.js";
import { showCode, showZone } from "./facts.js";
import { wireDrop, wireFiles } from "./files.js";
import { changed, complain, compute, say } from "./jobs.js";
import { wireProbe } from "./probe.js";
import { $, fromHash, holds, knobs, look, run, sameReflection, setSeries, shown, state } from "./state.js";
import { drawPotential, element, formula, spaceGroup } from "./structure.js";
import { showContrast, showPicture } from "./view.js";

function wireModel() {
  const voltage = pair($("voltage"), $("voltage-number"), (value, isLive) => {
    state.voltage = value;
    changed(isLive, { crystal: !isLive });
  });
  const extent = pair($("extent"), $("extent-number"), (value, isLive) => {
    state.extent = value;
    changed(isLive, { crystal: !isLive });
  });
  knobs.thermal = pair($("thermal"), $("thermal-number"), (value, isLive) => {
    state.b_iso = value;
    $("thermal-own").checked = false;
    changed(isLive, { crystal: !isLive });
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
  $("detail").addEventListener("change", () => {
    state.detail = Number($("detail").value);
    changed(false);
  });
  $("series").addEventListener("change", () => {
    setSeries(Number($("series").value));
    state.thickness = Math.min(state.thickness, state.thickness_max);
    fitSlider();
    changed(false);
  });
  choose($("detail"), state.detail, `${state.detail} × ${state.detail}`);
  choose($("series"), state.thickness_max, `to ${state.thickness_max} Å`);
  fitSlider();
  const zone = () => ["u", "v", "w"].map((name) => Number($(`zone-${name}`).value));
  for (const name of ["u", "v", "w"]) {
    $(`zone-${name}`).addEventListener("change", () => {
      const wanted = zone();
      if (wanted.some((v) => !Number.isInteger(v))) complain("A zone axis consists of three whole numbers.");
      else if (wanted.every((v) => v === 0)) complain("The zone axis [000] has no direction; choose, for example, [001].");
      else setZone(wanted);
    });
  }
  for (const wanted of [[0, 0, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 2]]) {
    const chip = element("button", { type: "button", textContent: `[${wanted.join("")}]`, onclick: () => setZone(wanted) });
    chip.dataset.zone = wanted.join(",");
    $("zones").append(chip);
  }
  voltage(state.voltage);
  extent(state.extent);
  knobs.thermal(state.b_iso ?? 0.5);
  $("thermal-own").checked = state.b_iso === null;
  knobs.thickness(state.thickness);
  showZone(state.zone_axis);
  const percent = typeof state.absorption === "number";
  $("absorption-kind").value = percent ? "percent" : state.absorption;
  if (percent) $("absorption").value = state.absorption;
  $("absorption-row").hidden = !percent;
  $("absorption-note").textContent = `${$("absorption").value} %`;
}

/** The thickness slider runs along the series. */
function fitSlider() {
  const slider = $("thickness");
  [slider.min, slider.max, slider.step] = [state.thickness_step, state.thickness_max, state.thickness_step];
  knobs.thickness(state.thickness);
}

function wireLook() {
  $("colours").append(...Object.entries(NAMES).map(([value, text]) => element("option", { value, textContent: text })));
  const again = () => showPicture({ everything: true });
  $("colours").addEventListener("change", () => { look.colours = $("colours").value; again(); });
  for (const key of ["inverted", "smooth", "lines", "together"]) {
    $(key).addEventListener("change", () => { look[key] = $(key).checked; again(); });
  }
  for (const radio of document.querySelectorAll("[name=scale]")) {
    radio.addEventListener("change", () => { look.logarithmic = radio.value === "log" && radio.checked; again(); });
  }
  $("auto").addEventListener("change", () => { look.auto = $("auto").checked; again(); });
  for (const key of ["low", "high"]) {
    $(key).addEventListener("input", () => {
      look.auto = $("auto").checked = false;
      const [low, high] = [Number($("low").value), Number($("high").value)];
      const top = showContrast.top ?? 1;
      look.limits = [(Math.min(low, high - 2) * top) / 1000, (Math.max(high, low + 2) * top) / 1000];
      showPicture();
    });
  }
  knobs.view = tabs($("tab-pattern").parentElement, (id) => {
    look.view = { "tab-discs": "discs", "tab-fit": "fit" }[id] ?? "pattern";
    $("together-row").hidden = look.view !== "discs";
    if (look.view !== "fit") $("plate").setAttribute("aria-labelledby", id);
    const there = { discs: shown.discs, fit: shown.fit, pattern: shown.pattern }[look.view];
    const fits = look.view !== "pattern" || (holds(there) && sameReflection(there));
    const fresh = there && there.turn === run.turn && fits;
    showPicture({ everything: true });
    const coming = run.job?.turn === run.turn && run.job.view === look.view;
    if (!fresh && !coming) compute();
  });
  tabs($("tab-python").parentElement, (id) => {
    look.code = id === "tab-shell" ? "shell" : "python";
    $("code").setAttribute("aria-labelledby", id);
    showCode();
  });
  $("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).getPropertyValue("color-scheme").trim();
    const isDark = dark === "dark" || (dark !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = isDark ? "light" : "dark";
    try { localStorage.setItem("lacbed-theme", isDark ? "light" : "dark"); } catch { /* private window */ }
    showPicture();
  });
  $("help-open").addEventListener("click", () => $("help").showModal());
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
      const series = look.view === "pattern" && shown.pattern?.turn === run.turn ? shown.pattern.thicknesses : [];
      if (series.length < 2) return;
      const next = series.find((t) => t > state.thickness + 1e-6) ?? series[0];
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
  fromHash(location.hash, about.crystals.map((c) => c.name));
  $("crystal").append(
    ...about.crystals.map((c) =>
      element("option", { value: c.name, textContent: `${formula(c.name)}${c.formula === c.name ? "" : ` (${formula(c.formula)})`}, ${spaceGroup(c.space_group)}` }),
    ),
  );
  $("crystal").value = state.name;
  wireModel();
  wireLook();
  wireProbe();
  wireFiles();
  wirePlay();
  addEventListener("resize", () => {
    if (shown.facts) drawPotential($("potential"), shown.potential, shown.facts.potential);
    showPicture({ everything: true });
  });
  changed(false, { crystal: true });
  return true;
}

wireDrop(begin()); // what is dropped while the first worker starts must not be lost, or opened by the browser
