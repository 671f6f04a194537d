// Sliders with fields, tabs, lists.

import { complain } from "./jobs.js";
import { element } from "./structure.js";

/** A slider and a number field for one value; `change(value, live)` is told, live while it is dragged. */
export function pair(slider, field, change) {
  const within = (value) => {
    const [low, high] = [Number(field.min), Number(field.max)];
    return Math.min(high, Math.max(low, value));
  };
  const show = (value) => {
    slider.value = value;
    field.value = Number(Number(value).toFixed(4));
  };
  slider.addEventListener("input", () => {
    field.value = Number(slider.value);
    change(Number(slider.value), true);
  });
  slider.addEventListener("change", () => change(Number(slider.value), false));
  field.addEventListener("change", () => {
    const value = within(Number(field.value));
    if (!field.value || !Number.isFinite(value)) return show(Number(slider.value));
    const asked = Number(field.value);
    show(value);
    change(value, false);
    if (asked !== value) complain(`${field.getAttribute("aria-label")} goes from ${field.min} to ${field.max}; got ${asked}, took ${value}.`);
  });
  return show;
}

/** Tabs that follow the arrow keys; `choose(id)` is told the one that is taken. */
export function tabs(list, choose) {
  const buttons = [...list.querySelectorAll("[role=tab]")];
  const take = (button, focus) => {
    for (const other of buttons) {
      other.setAttribute("aria-selected", other === button);
      other.tabIndex = other === button ? 0 : -1;
    }
    if (focus) button.focus();
    choose(button.id);
  };
  buttons.forEach((button, at) => {
    button.addEventListener("click", () => take(button, false));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) take(buttons[(at + step + buttons.length) % buttons.length], true);
    });
  });
  return (id) => take(buttons.find((button) => button.id === id), false);
}

/** Select a value, added to the list if it is not there. */
export function choose(select, value, text) {
  if (![...select.options].some((option) => Number(option.value) === value)) {
    select.append(element("option", { value, textContent: text }));
  }
  select.value = value;
}
