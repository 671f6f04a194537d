// Computations: started, watched, given up; and what arrives from them.

import { showStructure, showZone } from "./facts.js";
import { packFiles } from "./fit.js";
import { $, busy, look, run, shown, state, toHash } from "./state.js";
import { allMessages, messages, post } from "./stream.js";
import { offerModels, showPicture } from "./view.js";

/** Something that decides the picture has changed. */
export function changed(isLive, { crystal = false } = {}) {
  stop();
  run.turn += 1;
  $("frame").classList.add("wait");
  history.replaceState(null, "", toHash() || location.pathname);
  showPicture();
  if (crystal) describe();
  return isLive ? preview() : compute();
}

/** While a slider is dragged: one preview after the other, always of the newest state. */
export async function preview() {
  if (look.view !== "pattern") return; // discs and fits wait for the end of the drag
  run.live.again = run.live.busy;
  if (run.live.busy) return;
  run.live.busy = true;
  busy(1);
  do {
    run.live.again = false;
    const mine = run.turn;
    try {
      const response = await post("/api/stream/preview", state);
      for await (const message of messages(response)) if (mine === run.turn || run.live.again) take(message, mine);
    } catch (error) {
      if (mine === run.turn) complain(error.message);
    }
  } while (run.live.again);
  run.live.busy = false;
  busy(-1);
}

/** The full computation of what is looked at. */
export async function compute() {
  if (look.view === "fit" && !shown.files) {
    if (!run.job) say("Waiting for measured patterns.", undefined);
    return;
  }
  stop();
  complain("");
  const mine = { controller: new AbortController(), turn: run.turn, view: look.view, start: performance.now() };
  run.job = mine;
  run.live.again = false; // the computation sends a preview of its own
  busy(1);
  $("cancel").hidden = false;
  say("Computing …", null);
  try {
    const response = await ask(mine.controller.signal);
    for await (const message of messages(response)) {
      if (run.job !== mine) return;
      take(message, mine.turn, mine);
    }
    if (run.job === mine) finish();
  } catch (error) {
    if (run.job !== mine) return;
    finish();
    if (error.name === "AbortError") say("Cancelled.", undefined);
    else complain(error.message);
  } finally {
    busy(-1);
  }
}

/** Send the request for what is looked at. */
async function ask(signal) {
  if (look.view === "fit") return post("/api/fit", await packFiles(state, shown.files), signal);
  return post(`/api/stream/${look.view === "discs" ? "montage" : "simulate"}`, state, signal);
}

/** Give up the computation that runs. */
export function stop() {
  run.job?.controller.abort();
  finish();
}

function finish() {
  run.job = null;
  $("cancel").hidden = true;
  $("progress").hidden = true;
}

/** Use one message of a stream. */
function take({ header, payload }, mine, job) {
  if (header.kind === "progress") {
    if (!job) return; // a preview has nothing to say when it is done, which would leave this standing
    say(`${header.phase[0].toUpperCase()}${header.phase.slice(1)} …`, header.fraction);
  } else if (header.kind === "error") {
    complain(header.message);
    say("Not computed.", undefined);
  } else if (header.kind === "fit") {
    shown.fit = { ...header, data: new Float32Array(payload), turn: mine };
    lookAlong(header.zone_axis);
    say(`Fitted in ${header.seconds.toFixed(0)} s.`, undefined);
    showPicture();
  } else if (header.kind === "pattern") {
    const pattern = { ...header, data: new Float32Array(payload), turn: mine };
    if (job) {
      window.lacbedTimes ??= {};
      window.lacbedTimes[header.stage] = performance.now() - job.start;
    }
    accept(pattern, job?.view ?? "pattern");
  }
}

/** Potential and reflections along the zone axis of an experiment; patterns along another one are out of date. */
function lookAlong(zone) {
  if (zone.every((v, i) => v === state.zone_axis[i])) return;
  Object.assign(state, { zone_axis: zone, hkl: [0, 0, 0] });
  run.turn += 1;
  shown.fit.turn = run.turn;
  showZone(zone);
  describe();
}

/** Show a pattern that has arrived, unless a newer one is there, or a better one of the same request. */
function accept(pattern, view) {
  const newest = view === "discs" ? shown.discs?.turn : Math.max(shown.learned?.turn ?? 0, shown.pattern?.turn ?? 0);
  if (pattern.turn < newest) return;
  const rank = { learned: 0, preview: 1, coarse: 2, exact: 3 };
  if (view === "discs") {
    shown.discs = pattern;
  } else if (pattern.stage === "learned") {
    shown.learned = pattern;
    if (shown.pattern?.turn !== pattern.turn) shown.pattern = null;
  } else {
    const keepsLearned = shown.learned?.turn === pattern.turn;
    if (!keepsLearned) shown.learned = null;
    if (pattern.stage === "preview" && keepsLearned) return;
    const old = shown.pattern;
    if (old && old.turn === pattern.turn && rank[old.stage] > rank[pattern.stage]) return;
    shown.pattern = pattern;
  }
  $("frame").classList.remove("wait");
  if (pattern.stage === "exact") {
    const seconds = pattern.seconds < 10 ? pattern.seconds.toFixed(1) : pattern.seconds.toFixed(0);
    const doubt = pattern.converged ? "" : " Not converged.";
    say(`Exact: ${pattern.beams} beams, ${pattern.pixels} × ${pattern.pixels} pixels, ${seconds} s.${doubt}`, undefined);
  }
  offerModels();
  showPicture({ everything: true });
}

/** The crystal's facts, potential and reflections. */
async function describe() {
  const mine = run.turn;
  busy(1);
  try {
    const [{ header, payload }] = await allMessages(await post("/api/describe", state));
    if (mine !== run.turn && describe.latest > mine) return;
    describe.latest = mine;
    shown.facts = header;
    shown.potential = new Float32Array(payload);
    showStructure();
  } catch (error) {
    if (mine === run.turn) complain(error.message);
  } finally {
    busy(-1);
  }
}

describe.latest = 0;

/** The status line; a fraction of null is a bar that only moves, undefined is none. */
export function say(text, fraction) {
  $("status").textContent = text;
  $("progress").hidden = fraction === undefined;
  if (fraction === null) $("progress").removeAttribute("value");
  else if (fraction !== undefined) $("progress").value = fraction;
}

/** Say what is wrong; "" if nothing is. */
export function complain(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
}
