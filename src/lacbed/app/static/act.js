// What choosing does.

import { showSpots, showZone } from "./facts.js";
import { changed, preview } from "./jobs.js";
import { markStrip, showCurve } from "./series.js";
import { $, chosen, holds, inSeries, knobs, look, run, shown, state, toHash } from "./state.js";
import { offerModels, showPicture } from "./view.js";

/** Look at another thickness; a series that is there answers at once. */
export function setThickness(value, isLive) {
  state.thickness = value;
  knobs.thickness(value);
  if (look.view === "discs") return changed(isLive);
  if (shown.pattern && shown.pattern.turn === run.turn && holds(shown.pattern)) {
    history.replaceState(null, "", toHash() || location.pathname);
    showPicture();
    markStrip();
    showCurve();
    offerModels();
    return shown.learned && !holds(shown.learned) ? preview() : undefined; // the learned picture of this thickness
  }
  if (run.job?.view === "pattern" && inSeries(value)) { // the series is on its way and will hold it
    showPicture();
    return preview();
  }
  return changed(isLive);
}

/** Look at another reflection. */
export function chooseReflection(hkl) {
  state.hkl = hkl;
  showSpots();
  if (look.view === "discs") {
    $("spoken").textContent = `Reflection ${hkl.join(" ")} chosen`;
    const stays = shown.discs?.turn === run.turn;
    run.turn += 1; // the discs stay as they are; other views have to follow
    if (stays) shown.discs.turn = run.turn;
    if (run.job?.view === "discs") run.job.turn = run.turn;
    showPicture();
    return;
  }
  changed(false);
}

/** Look along another zone axis. */
export function setZone(zone) {
  state.zone_axis = zone;
  state.hkl = [0, 0, 0];
  showZone(zone);
  changed(false, { crystal: true });
}

/** Look at another crystal: built in, or from a CIF. */
export function setCrystal({ name = "", cif = "", title = "", block = "" }) {
  Object.assign(state, { name, cif, title, block, hkl: [0, 0, 0] });
  shown.pattern = shown.learned = shown.discs = shown.fit = null;
  changed(false, { crystal: true });
}

Object.assign(chosen, { thickness: setThickness, reflection: chooseReflection });
