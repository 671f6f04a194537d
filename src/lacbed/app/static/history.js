// Undo and redo of settings: what the address was, and the crystal of one's own that is not in it.

import { $, state } from "./state.js";

const MOST = 200;
const SAME_MS = 1000;

let [entries, at, when, restoring] = [[], -1, 0, false];

/** What differs between two addresses. */
const changedKeys = (a, b) => {
  const [first, second] = [a, b].map((hash) => new URLSearchParams(hash.slice(1)));
  const keys = new Set([...first.keys(), ...second.keys()]);
  return [...keys].filter((key) => first.get(key) !== second.get(key)).join();
};

/** Note the settings as they are now; one drag of a slider is one step. */
export function record(hash) {
  const own = state.name ? null : { cif: state.cif, title: state.title, block: state.block };
  const last = entries[at];
  if (restoring || (last?.hash === hash && last.own?.cif === own?.cif)) return;
  const keys = last ? changedKeys(last.hash, hash) : "";
  const now = performance.now();
  const goesOn = at > 0 && at === entries.length - 1 && keys === last.keys && now - when < SAME_MS;
  when = now;
  entries = [...entries.slice(0, goesOn ? at : at + 1), { hash, own, keys }].slice(-MOST);
  at = entries.length - 1;
  showHistory();
}

function showHistory() {
  $("undo").disabled = at <= 0;
  $("redo").disabled = at >= entries.length - 1;
}

/** Connect buttons and keys; `restore(hash, own)` takes settings of before. */
export function wireHistory(restore) {
  const go = (step) => {
    if (!entries[at + step]) return;
    at += step;
    restoring = true;
    try {
      restore(entries[at].hash, entries[at].own);
    } finally {
      restoring = false;
    }
    showHistory();
    $("spoken").textContent = step < 0 ? "Undone" : "Done again";
  };
  $("undo").addEventListener("click", () => go(-1));
  $("redo").addEventListener("click", () => go(1));
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.target.matches?.("input[type=text], textarea")) return;
    const key = event.key.toLowerCase();
    const step = key === "z" ? (event.shiftKey ? 1 : -1) : key === "y" ? 1 : 0;
    if (!step) return;
    event.preventDefault();
    go(step);
  });
  showHistory();
}
