// The controls and the state that they hold.

export const $ = (id) => document.getElementById(id);

/** What decides the picture; the server is sent all of it. */
export const state = {
  name: "SrTiO3",
  cif: "",
  title: "",
  zone_axis: [0, 0, 1],
  voltage: 200,
  extent: 4,
  b_iso: null,
  absorption: "none",
  hkl: [0, 0, 0],
  thickness: 600,
  thickness_max: 2000,
  thickness_step: 20,
  detail: 128,
};

/** What decides only how it looks. */
export const look = {
  colours: "gray",
  inverted: false,
  logarithmic: false,
  auto: true,
  limits: [0, 1],
  smooth: true,
  lines: false,
  together: false,
  view: "pattern",
  model: "exact",
  code: "python",
};

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
    show(value);
    change(value, false);
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

/** The length of the series in Å; it has a hundred steps. */
export function setSeries(last) {
  state.thickness_max = last;
  state.thickness_step = last / 100;
}

/** The state as a link, for a built-in crystal. */
export function toHash() {
  if (!state.name) return "";
  const parts = { crystal: state.name, zone: state.zone_axis.join(","), kv: state.voltage, g: state.extent };
  parts.t = state.thickness;
  parts.hkl = state.hkl.join(",");
  if (state.detail !== 128) parts.n = state.detail;
  if (state.thickness_max !== 2000) parts.tmax = state.thickness_max;
  if (state.b_iso !== null) parts.b = state.b_iso;
  if (state.absorption !== "none") parts.abs = state.absorption;
  return "#" + Object.entries(parts).map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
}

/** Take what a link says; whatever is not a number or a name is left out. */
export function fromHash(hash, names) {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (key, low, high) => {
    const value = Number(found.get(key));
    return found.has(key) && value >= low && value <= high ? value : null;
  };
  const three = (key) => {
    const values = (found.get(key) ?? "").split(",").map(Number);
    return values.length === 3 && values.every(Number.isInteger) ? values : null;
  };
  if (names.includes(found.get("crystal"))) state.name = found.get("crystal");
  state.zone_axis = three("zone") ?? state.zone_axis;
  state.hkl = three("hkl") ?? state.hkl;
  state.voltage = number("kv", 10, 3000) ?? state.voltage;
  state.extent = number("g", 0.25, 16) ?? state.extent;
  state.thickness = number("t", 1, 20000) ?? state.thickness;
  state.detail = Math.round(number("n", 16, 512) ?? state.detail);
  setSeries(number("tmax", 20, 20000) ?? state.thickness_max);
  state.b_iso = number("b", 0, 20);
  state.absorption = found.get("abs") === "thomas" ? "thomas" : number("abs", 0, 100) ?? "none";
}
