// Measured files and the search in them stay with the tab, in the browser, when the page is loaded again.

import { openSearch, keptSearch } from "./solution.js";
import { shown } from "./state.js";

const [STORE, ID, LONGEST_MS] = ["tabs", "lacbed-tab", 86_400_000];

/** Do something with the store; undefined where the browser keeps nothing, as in a private window. */
async function withStore(use) {
  const done = (request) => new Promise((take, fail) => {
    request.onsuccess = () => take(request.result);
    request.onerror = () => fail(request.error);
  });
  try {
    const opening = indexedDB.open("lacbed", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    const base = await done(opening);
    try {
      return await use(base.transaction(STORE, "readwrite").objectStore(STORE), done);
    } finally {
      base.close();
    }
  } catch {
    return undefined;
  }
}

/** The name of this tab, which it has for as long as it is open. */
function tab() {
  const made = sessionStorage.getItem(ID) ?? String(Math.random()).slice(2);
  sessionStorage.setItem(ID, made);
  return made;
}

/** Keep what there is now. */
export function keepWork() {
  const search = keptSearch();
  return withStore((store, done) => done(shown.files ? store.put({ when: Date.now(), files: shown.files, search }, tab()) : store.delete(tab())));
}

/** Take again what this tab has kept; what other tabs left a day ago goes. */
export async function takeWork() {
  const kept = await withStore(async (store, done) => {
    const [keys, all] = [await done(store.getAllKeys()), await done(store.getAll())];
    for (const [i, { when }] of all.entries()) if (keys[i] !== tab() && Date.now() - when > LONGEST_MS) store.delete(keys[i]);
    return all[keys.indexOf(tab())];
  });
  if (!kept) return;
  shown.files = kept.files;
  try {
    if (kept.search) openSearch(kept.search.told, await new Blob(kept.search.parts).arrayBuffer());
  } catch {
    shown.solution = null; // kept by another version of the page
  }
}
