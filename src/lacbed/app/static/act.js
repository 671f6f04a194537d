// What choosing does.

import { showSpots, showZone } from "./facts.js";
import { aimed, changed, moved } from "./jobs.js";
import { markStrip, showCurve } from "./series.js";
import { $, chosen, knobs, look, reduced, state } from "./state.js";

/** Look at another thickness; a series that is there answers at once. */
export function setThickness(value, isLive) {
  state.thickness = value;
  knobs.thickness(value);
  moved(isLive);
  markStrip();
  showCurve();
}

/** Look at another reflection. */
function chooseReflection(hkl) {
  state.hkl = hkl;
  showSpots();
  if (look.view === "discs") $("spoken").textContent = `Reflection ${hkl.join(" ")} chosen`;
  moved(false);
}

/** Look along another zone axis. */
export function setZone(zone) {
  state.zone_axis = reduced(zone);
  state.hkl = [0, 0, 0];
  showZone(state.zone_axis);
  changed(false, { crystal: true });
}

/** Look at another crystal: built in, or from a CIF. */
export function setCrystal({ name = "", cif = "", title = "", block = "" }) {
  Object.assign(state, { name, cif, title, block, hkl: [0, 0, 0], charges: {} });
  knobs.all();
  changed(false, { crystal: true });
}

Object.assign(chosen, { thickness: setThickness, reflection: chooseReflection, zone: setZone, aim: aimed });
