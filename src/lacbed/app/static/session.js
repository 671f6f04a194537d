// One file with everything: settings, look, crystal, measured patterns, commands and data.

import { packMessage } from "./fit.js";
import { complain } from "./jobs.js";
import { stem } from "./names.js";
import { keptSearch } from "./solution.js";
import { $, busy, discs, exact, look, shown, snapshot, sourceOf } from "./state.js";
import { allMessages, post } from "./stream.js";

/** Whether a file is a session. */
export const isSession = (file) => /\.lacbed$/i.test(file.name);

/** The session as a file: { blob, name }. */
export async function makeSession() {
  const view = snapshot();
  const files = shown.files ?? [];
  const now = look.view === "pattern" ? exact() : null;
  const source = look.view === "discs" ? discs() : now && sourceOf(now);
  const search = keptSearch();
  const header = { view, look: { ...look }, result: source?.result ?? null, commands: {}, search: search?.told ?? null };
  if (!$("copy").disabled) header.commands[look.code === "shell" ? "sh" : "py"] = $("code").textContent;
  const answer = await post("/api/session/save", packMessage(header, files, search?.parts));
  return { blob: await answer.blob(), name: `${stem(view, shown.facts)}.lacbed` };
}

/** Read a session; `take({ view, look, files, search, content })` is told what is in it, once the server has found it sound. */
export async function openSession(file, take) {
  complain("");
  if (file.size > 68e6) return complain(`${file.name} is larger than 68 MB; no session of this page is.`);
  busy(1);
  try {
    const answer = await post("/api/session/open", file);
    const [{ header, payload }] = await allMessages(answer);
    let place = 0;
    const files = header.files.map(({ ending, size }) => {
      const name = header.files.length === 2 ? { ".json": "experiment.json", ".npz": "images.npz" }[ending] : `measured${ending}`;
      place += size;
      return new File([payload.slice(place - size, place)], name);
    });
    take({ view: header.view, look: header.look, files, search: header.search, content: payload.slice(place) });
  } catch (error) {
    complain(`${file.name} is not opened: ${error.message}`);
  } finally {
    busy(-1);
  }
  return undefined;
}
