// The list of crystals: a field that is searched while one types.

import { formula, spaceGroup } from "./names.js";
import { $ } from "./state.js";
import { element } from "./structure.js";

/** Letters and digits alone, so that "α-quartz", "Fm-3m" and "sio2" are found as they are typed. */
const bare = (text) => text.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "");

/**
 * Connect the field; `choose(entry)` is told what is taken.
 *
 * Entries are { key, text, words }, text being shown and words searched. Returns { show, own }: show(key) puts an
 * entry into the field, own(entries) puts the crystals of a dropped CIF before the others.
 */
export function wireCrystals(rows, choose) {
  const [field, list] = [$("crystal"), $("crystal-list")];
  const built = rows.map((row) => ({
    key: row.name,
    name: row.name,
    text: `${formula(row.name)}${row.formula === row.name ? "" : ` (${formula(row.formula)})`}, ${spaceGroup(row.space_group)}`,
    words: [row.name, row.formula, row.space_group, ...row.aliases].map(bare),
  }));
  let [own, found, at, taken] = [[], [], -1, null];

  const entries = () => [...own, ...built];
  const close = () => {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
    field.value = taken?.text ?? "";
  };
  const mark = () => {
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    const option = list.children[at];
    if (!option?.id) return field.removeAttribute("aria-activedescendant");
    field.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
    return undefined;
  };
  const open = (text) => {
    const wanted = bare(text);
    const rank = ({ words }) => Math.min(...words.map((w) => (w === wanted ? 0 : w.startsWith(wanted) ? 1 : w.includes(wanted) ? 2 : 3)));
    found = wanted ? entries().filter((e) => rank(e) < 3).sort((a, b) => rank(a) - rank(b)) : entries();
    list.replaceChildren(
      ...found.map((entry, i) => {
        const option = element("li", { id: `crystal-${i}` }, entry.text);
        option.setAttribute("role", "option");
        option.addEventListener("pointerdown", (event) => { event.preventDefault(); take(entry); });
        return option;
      }),
    );
    if (!found.length) {
      const nothing = element("li", {}, "No crystal of this name is built in; drop its CIF.");
      nothing.setAttribute("role", "option");
      nothing.setAttribute("aria-disabled", "true");
      list.replaceChildren(nothing);
    }
    at = wanted ? (found.length ? 0 : -1) : found.indexOf(taken);
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    mark();
  };
  const take = (entry) => {
    const isNew = entry !== taken;
    taken = entry;
    close();
    if (isNew) choose(entry);
  };

  field.addEventListener("focus", () => field.select());
  field.addEventListener("pointerdown", () => { if (list.hidden) open(""); });
  field.addEventListener("input", () => open(field.value));
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (list.hidden) open("");
      else if (found.length) at = (at + step + found.length) % found.length;
      mark();
    } else if (event.key === "Enter" && !list.hidden) {
      event.preventDefault();
      if (found[at]) take(found[at]);
    } else if (event.key === "Escape") close();
  });

  return {
    show: (key) => {
      taken = entries().find((entry) => entry.key === key) ?? null;
      if (list.hidden) field.value = taken?.text ?? "";
    },
    own: (given) => { own = given.map((entry) => ({ ...entry, words: [bare(entry.text)] })); },
  };
}
