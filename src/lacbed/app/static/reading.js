// Numbers, directions and charges as people type them.

/**
 * A number as people type it: 2.5, 2,5, −3 or 1e3.
 *
 * Returns { value } or { problem } in words; a comma that may be of thousands is not guessed at.
 */
export function readNumber(text) {
  const plain = text.trim().replace("−", "-").replace(/[\s\u00a0\u202f']/g, "");
  if (!/^[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?$/i.test(plain)) return { problem: `“${text.trim()}” is not a number` };
  if (/^[+-]?[1-9]\d{0,2},\d{3}$/.test(plain)) {
    return { problem: `“${text.trim()}” may mean ${plain.replace(",", "")} or ${Number(plain.replace(",", "."))}; write it without the comma` };
  }
  return { value: Number(plain.replace(",", ".")) };
}

/** What reads fields as numbers; the name of a field that holds none, and why, is added to `wrong`. */
export const numbersInto = (wrong) => (field, name) => {
  const { value, problem } = readNumber(field.value);
  if (problem) wrong.push(`${name}: ${problem}`);
  return value;
};

/**
 * Three whole numbers as people type a direction: "1 -1 0", "1-10", "[11̅0]", or four for hexagonal axes.
 *
 * Returns a list of three or four numbers, or null.
 */
export function readDirection(text) {
  const plain = text.trim().replace(/^[[(<{]|[\])>}]$/g, "").replace(/−/g, "-").replace(/(\d)\u0305/g, "-$1");
  const apart = plain.split(/[\s,;]+/).filter(Boolean);
  const parts = apart.length > 1 ? apart : (plain.match(/^([+-]?\d){3,4}$/) ? plain.match(/[+-]?\d/g) : null);
  if (!parts || ![3, 4].includes(parts.length) || !parts.every((part) => /^[+-]?\d{1,3}$/.test(part))) return null;
  return parts.map(Number);
}

/** Charges by element as `readCharges` reads them: "Mg=2", "O=-2". */
export const chargeWords = (charges) => Object.entries(charges).map(([element, charge]) => `${element}=${charge}`);

/** Charges as people type them: "Mg=2, O=-2" or "Mg2+ O2-", by element; null if they are none. */
export function readCharges(text) {
  const found = {};
  for (const word of text.replace(/−/g, "-").split(/[\s,;]+/).filter(Boolean)) {
    const [, element, first, digit, last] = word.match(/^([A-Z][a-z]?)=?([+-]?)([0-9]?)([+-]?)$/) ?? [];
    if (!element || (first && last) || !(digit || first || last) || element in found) return null;
    found[element] = Number(digit || 1) * (first === "-" || last === "-" ? -1 : 1) || 0;
  }
  return found;
}
