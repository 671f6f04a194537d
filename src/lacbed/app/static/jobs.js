// Computations: started, watched, given up; and what arrives from them.

import { keepAddress } from "./address.js";
import { showStructure } from "./facts.js";
import { packMessage } from "./fit.js";
import { takeFrames } from "./frames.js";
import { takeSearch } from "./solution.js";
import { $, busy, discs, equal, exact, inSeries, keep, knobs, look, ofNone, placeIn, reduced, run, samePhysics, series, shown, snapshot, state, viewOf, wanted } from "./state.js";
import { allMessages, messages, post } from "./stream.js";
import { keepWork } from "./tabstore.js";
import { offerModels, showPicture } from "./view.js";

const KEEP_MS = 5000; // between two times that a search is kept as it goes on

/** Something that decides the picture has changed. */
export function changed(isLive, { crystal = false } = {}) {
  stop();
  run.turn += 1;
  run.refused = false;
  keepAddress();
  showPicture();
  if (crystal) describe();
  return isLive ? preview() : compute();
}

/** Reflection or thickness has changed: what is there is shown, what is not there is asked for. */
export function moved(isLive) {
  keepAddress();
  showPicture({ everything: !isLive });
  const there = look.view === "discs" ? discs()?.stage === "exact" : exact();
  offerModels();
  if (isLive) return there && !(shown.learned && !viewOf(shown.learned)) ? undefined : preview();
  if (!there) run.refused = false;
  else if (shown.learned && samePhysics(shown.learned.of, wanted()) && !viewOf(shown.learned)) preview(); // the learned one
  if (there && run.job && sameImages(run.job.of, wanted())) return undefined; // the rest is on its way
  return there && isWhole() ? undefined : compute();
}

/** Whether two states differ in thickness at most. */
const sameImages = (a, b) => samePhysics(a, b) && equal(a.hkl, b.hkl);

/** Another zone axis comes nearest to the centre of the map that is tilted; what was begun of the one before is given up. */
export function aimed(aim, isLive) {
  const before = wanted();
  run.aim = aim;
  const other = !samePhysics(before, wanted());
  if (other && run.job && !run.job.task) stop();
  if (!other && !isLive && run.job && sameImages(run.job.of, wanted()) && run.job.of.thickness === wanted().thickness) return; // it is on its way
  if (other || !isLive) moved(isLive || Boolean(run.job?.task)); // minutes of work are not given up for a look elsewhere
}

/** Whether the whole series of the reflection that is looked at is there. */
export function isWhole() {
  if (look.view !== "pattern") return true;
  const have = series();
  return Boolean(have) && have.thicknesses.filter(inSeries).length >= Math.round(state.thickness_max / state.thickness_step);
}

/** While a slider is dragged: one preview after the other, always of the newest state. */
export async function preview() {
  if (look.view === "fit") return; // fits wait for the end of the drag
  run.live.again = run.live.busy;
  if (run.live.busy) return;
  run.live.busy = true;
  busy(1);
  do {
    run.live.again = false;
    const of = snapshot(wanted());
    run.live.of = of;
    try {
      for await (const message of messages(await post("/api/stream/preview", of))) take(message, of);
    } catch (error) {
      if (samePhysics(of, wanted())) complain(error.message);
    }
  } while (run.live.again);
  run.live.busy = false;
  busy(-1);
}

/** The full computation of what is looked at; of an experiment also a `task`, "refine" or "solve", and what it is `asked`. */
export async function compute(task = null, asked = null) {
  if (look.view === "fit" && !shown.files && task !== "extract") {
    if (!run.job) say(shown.frames ? "The frames wait to be extracted." : "Waiting for measured patterns.", undefined);
    return;
  }
  stop();
  complain("");
  const of = { ...snapshot(task ? state : wanted()), have: have() };
  const mine = { controller: new AbortController(), of, view: look.view, task, asked, start: performance.now() };
  run.job = run.last = mine;
  run.refused = false;
  run.live.again = false; // the computation sends a preview of its own
  busy(1);
  $("again").hidden = true;
  $("cancel").hidden = false;
  say("Computing …", null);
  if (task) showPicture();
  try {
    const response = await ask(mine);
    for await (const message of messages(response)) {
      if (run.job !== mine) return;
      take(message, mine.of, mine);
    }
    if (run.job !== mine) return;
    finish();
    if (task) showPicture();
    if (task === "extract" && shown.frames?.found && !run.refused) return await compute(); // the stack is fitted as one that is dropped
    if (["discs", "tilt"].includes(mine.view) && look.view === "pattern") moved(false); // the series was not asked for
  } catch (error) {
    if (run.job !== mine) return;
    finish();
    if (error.name === "AbortError") say("Cancelled.", undefined);
    else refuse(error.message);
  } finally {
    busy(-1);
  }
  return undefined;
}

/** Thicknesses that need not be sent; where the map is tilted, the one of which a first picture is there or on its way. */
function have() {
  if (look.view !== "tilt") return series()?.parts ? series().thicknesses : [];
  const asked = wanted();
  const { of } = run.live;
  const isComing = run.live.busy && sameImages(of, asked) && of.thickness === asked.thickness;
  return isComing || viewOf(shown.rough) ? [asked.thickness] : [];
}

/** Send the request for what is looked at. */
async function ask({ of, view, task: bench, asked, controller: { signal } }) {
  if (bench === "solve") return post("/api/bench/solve", packMessage({ view: of, solve: asked }, shown.files), signal);
  if (bench === "extract") {
    const { files, ...extract } = asked;
    return post("/api/bench/extract", packMessage({ view: of, extract }, files), signal);
  }
  if (bench === "refine") return post("/api/bench/refine", packMessage({ view: of, around: shown.fit.thickness }, shown.files), signal);
  if (view === "fit") return post("/api/bench/fit", packMessage({ view: of }, shown.files), signal);
  const task = view === "discs" ? "montage" : view === "tilt" ? "tilt" : exact() ? "series" : "simulate";
  return post(`/api/stream/${task}`, of, signal);
}

/** Give up the computation that runs. */
export function stop() {
  run.job?.controller.abort();
  finish();
}

/** Give up, and say that it can be taken up again. */
export function cancel() {
  const isSearch = run.job?.task === "solve";
  stop();
  run.refused = true;
  say(isSearch ? "Stopped; the best so far is kept." : "Cancelled.", undefined);
  $("again").hidden = isSearch; // the card has buttons of its own
  showPicture();
}

function finish() {
  run.job = null;
  $("cancel").hidden = true;
  $("progress").hidden = true;
}

/** What is asked for is not computed; the picture before stays, under its own name. */
function refuse(text) {
  complain(text);
  say("Not computed.", undefined);
  run.refused = true;
  $("again").hidden = false;
  showPicture();
}

/** Use one message of a stream. */
function take({ header, payload }, of, job) {
  if (header.kind === "progress") {
    if (!job) return; // a preview has nothing to say when it is done, which would leave this standing
    const phase = `${header.phase[0].toUpperCase()}${header.phase.slice(1)}`;
    if (header.phase !== "searching") say(`${phase} …${remaining(job, header)}`, header.fraction);
    else say(`${phase}, ${Math.round(header.fraction * job.asked.seconds)} of at most ${job.asked.seconds} s`, header.fraction);
  } else if (header.kind === "error") {
    if (job || (samePhysics(of, wanted()) && !run.job && !exact())) refuse(header.message); // what is missing of a preview is on its way
  } else if (header.kind === "measured") {
    shown.fit = { ...header, measured: new Float32Array(payload), of: ofNone(of) };
    lookAlong(header.zone_axis);
    showPicture();
  } else if (header.kind === "fit") {
    shown.fit = { ...shown.fit, ...header, simulated: new Float32Array(payload), of: { ...of, zone_axis: header.zone_axis } };
    say(`Fitted in ${header.seconds.toFixed(0)} s.`, undefined);
    showPicture();
  } else if (header.kind === "series") {
    Object.assign(shown.fit, { series: { thicknesses: header.thicknesses, images: new Float32Array(payload) } });
    showPicture();
  } else if (job?.task === "extract") {
    takeFrames({ header, payload, of });
    if (header.kind === "extracted") keepWork();
    showPicture();
  } else if (job?.task === "solve") {
    takeSearch({ header, payload }, job);
    if (header.kind !== "searching" || performance.now() - (job.kept ?? -Infinity) > KEEP_MS) {
      job.kept = performance.now();
      keepWork();
    }
    if (header.kind === "solved") say(`Searched for ${header.seconds.toFixed(0)} s.`, undefined);
    showPicture();
  } else if (header.kind === "report") {
    shown.fit.report = payload;
    say(`Fitted in ${shown.fit.seconds.toFixed(0)} s.`, undefined);
    showPicture();
  } else if (header.kind === "refined") {
    shown.fit = { ...shown.fit, refined: { ...header, page: payload, of } };
    say(`Refined in ${header.seconds.toFixed(0)} s.`, undefined);
    showPicture();
  } else if (header.kind === "pattern") {
    if (job) {
      window.lacbedTimes ??= {};
      window.lacbedTimes[header.stage] ??= performance.now() - job.start;
    }
    accept({ ...header, data: new Float32Array(payload), of, every: header.hkl.length > 1 || Boolean(header.reach) });
  }
}

/** What is left of the work, judged by what is done, once that says something. */
function remaining(job, { phase, fraction }) {
  const now = performance.now();
  if (job.phase !== phase) Object.assign(job, { phase, since: now, from: fraction ?? 0 });
  const done = (fraction ?? 0) - job.from;
  const seconds = (now - job.since) / 1000;
  if (done < 0.04 || seconds < 1) return "";
  const left = (seconds * (1 - fraction)) / done;
  return left < 90 ? ` about ${Math.ceil(left)} s left` : ` about ${Math.round(left / 60)} min left`;
}

/** Potential and reflections along the zone axis of an experiment. */
function lookAlong(zone) {
  const wanted = reduced(zone);
  if (equal(wanted, state.zone_axis)) return;
  Object.assign(state, { zone_axis: wanted, hkl: [0, 0, 0] });
  knobs.all();
  keepAddress();
  describe();
}

/** Whether a coarse picture shows what a preview would. */
function isSharper(rough, preview) {
  if (rough?.stage !== "coarse" || !samePhysics(rough.of, preview.of)) return false;
  return look.view === "discs" ? Boolean(rough.every) : Boolean(placeIn(rough, preview.of));
}

/** Keep a pattern that has arrived, whatever has been asked for since; it is shown if it is what is asked for now. */
function accept(pattern) {
  if (pattern.stage === "learned") shown.learned = pattern;
  else if (pattern.stage === "exact") keep(pattern);
  else if (!(pattern.stage === "preview" && isSharper(shown.rough, pattern))) shown.rough = pattern;
  if (pattern.stage === "exact" && samePhysics(pattern.of, wanted())) {
    const seconds = pattern.seconds < 10 ? pattern.seconds.toFixed(1) : pattern.seconds.toFixed(0);
    const doubt = pattern.converged === false ? " Not converged." : "";
    const series = pattern.part ? "series, " : "";
    say(`Computed: ${series}${pattern.beams} beams, ${pattern.pixels} × ${pattern.pixels} pixels, ${seconds} s.${doubt}`, undefined);
  }
  offerModels();
  showPicture({ everything: true });
}

/** The crystal's facts, potential and reflections. */
export async function describe() {
  const of = snapshot();
  const mine = (describe.latest += 1);
  busy(1);
  try {
    const [{ header, payload }] = await allMessages(await post("/api/describe", of));
    if (mine === describe.latest) takeFacts(header, payload, of);
  } catch (error) {
    if (mine === describe.latest) refuse(error.message);
  } finally {
    busy(-1);
  }
}

describe.latest = 0;

/** Show the facts about the crystal of a state. */
function takeFacts(header, payload, of) {
  shown.facts = { ...header, of };
  shown.potential = new Float32Array(payload);
  showStructure();
  showPicture(); // with the titles, which must not be ahead of it
}

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
