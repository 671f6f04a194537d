// Measured files and the search in them stay with the tab, in the browser, when the page is loaded again.

import { openSearch, keptSearch } from "./solution.js";
import { shown } from "./state.js";

const [STORE, ID, LONGEST_MS, HELD_MS] = ["tabs", "lacbed-tab", 86_400_000, 400];

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

let mine = null;

/**
 * The name of this tab, which it has for as long as it is open, also when the page is loaded again; and what its work
 * was kept under before: a tab that is duplicated begins with the name of the other, and then takes one of its own.
 */
function tab() {
  mine ??= claim();
  return mine;
}

async function claim() {
  const before = sessionStorage.getItem(ID);
  const name = before && (await hold(before)) ? before : String(Math.random()).slice(2);
  if (name !== before) await hold(name);
  sessionStorage.setItem(ID, name);
  return { name, before: before ?? name };
}

/** Hold a name while this page is open; whether no other page does, which a page that is being left may for a moment. */
function hold(name) {
  if (!navigator.locks) return ask(name);
  return new Promise((done) => {
    const forever = () => {
      done(true);
      return new Promise(() => {});
    };
    navigator.locks.request(`${ID} ${name}`, { signal: AbortSignal.timeout(HELD_MS) }, forever).catch(() => done(false));
  });
}

/** The same by asking the other pages, where the browser has no locks: on another machine without encryption. */
function ask(name) {
  const [channel, me] = [new BroadcastChannel(ID), Math.random()];
  return new Promise((done) => {
    let isMine = false;
    channel.onmessage = ({ data }) => {
      if (data.to === me) done(false);
      else if (isMine && data.name === name) channel.postMessage({ to: data.from });
    };
    channel.postMessage({ name, from: me });
    setTimeout(() => done((isMine = true)), HELD_MS);
  }).then((isFree) => {
    if (!isFree) channel.close();
    return isFree;
  });
}

/** Keep what there is now. */
export async function keepWork() {
  const search = keptSearch();
  const { files } = shown;
  const name = await tab().then((own) => own.name, () => null);
  if (name) await withStore((store, done) => done(files ? store.put({ when: Date.now(), files, search }, name) : store.delete(name)));
}

/** Take again what this tab has kept, or the one that it was duplicated from; what other tabs left a day ago goes. */
export async function takeWork() {
  const own = await tab().catch(() => null);
  const kept = own && await withStore(async (store, done) => {
    const [keys, all] = [await done(store.getAllKeys()), await done(store.getAll())];
    for (const [i, { when }] of all.entries()) if (keys[i] !== own.name && Date.now() - when > LONGEST_MS) store.delete(keys[i]);
    const found = all[keys.indexOf(own.before)];
    if (found && own.before !== own.name) store.put(found, own.name);
    own.before = own.name;
    return found;
  });
  if (!kept) return;
  shown.files = kept.files;
  try {
    if (kept.search) openSearch(kept.search.told, await new Blob(kept.search.parts).arrayBuffer());
  } catch {
    shown.solution = null; // kept by another version of the page
  }
}
