// Sliders with fields, tabs, lists.

import { complain } from "./jobs.js";
import { readNumber } from "./reading.js";
import { element } from "./structure.js";

/** A slider and a field for one value; `change(value, live)` is told, live while it is dragged. */
export function pair(slider, field, change) {
  const limits = () => [Number(field.dataset.min), Number(field.dataset.max)]; // the end may move with the picture
  const name = field.getAttribute("aria-label");
  let now = Number(slider.value);
  const show = (value) => {
    now = Number(value);
    slider.value = now;
    field.value = String(Number(now.toFixed(4)));
    field.removeAttribute("aria-invalid");
  };
  const take = (value, isLive) => { show(value); change(value, isLive); };
  slider.addEventListener("input", () => take(Number(slider.value), true));
  slider.addEventListener("change", () => take(Number(slider.value), false));
  const refuse = (words) => {
    show(now);
    complain(words);
  };
  field.addEventListener("change", () => {
    const { value, problem } = readNumber(field.value);
    if (problem) return refuse(`${name}: ${problem}. It stays ${now}.`);
    const [low, high] = limits();
    const taken = Math.min(high, Math.max(low, value));
    take(taken, false);
    if (taken !== value) complain(`${name} goes from ${low} to ${high}; got ${value}, took ${taken}.`);
    return undefined;
  });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const [low, high] = limits();
    take(Math.min(high, Math.max(low, now + step * Number(slider.step))), true);
  });
  field.addEventListener("keyup", (event) => {
    if (event.key === "ArrowUp" || event.key === "ArrowDown") change(now, false);
  });
  return show;
}

/** Tabs that follow the arrow keys; `choose(id)` is told the one that is taken. Returns what takes one, silently if asked. */
export function tabs(list, choose) {
  const buttons = [...list.querySelectorAll("[role=tab]")];
  const take = (button, focus, silent = false) => {
    for (const other of buttons) {
      other.setAttribute("aria-selected", other === button);
      other.tabIndex = other === button ? 0 : -1;
    }
    if (focus) button.focus();
    if (!silent) choose(button.id);
  };
  buttons.forEach((button, at) => {
    button.addEventListener("click", () => take(button, false));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) take(buttons[(at + step + buttons.length) % buttons.length], true);
    });
  });
  return (id, silent) => take(buttons.find((button) => button.id === id), false, silent);
}

/** Select a value, added to the list if it is not there. */
export function choose(select, value, text) {
  if (![...select.options].some((option) => Number(option.value) === value)) {
    select.append(element("option", { value, textContent: text }));
  }
  select.value = value;
}
