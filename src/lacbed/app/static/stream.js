// Talking to the server: JSON goes out, messages of a JSON header and raw numbers come back.

const GUARD = { "x-lacbed": "1", "content-type": "application/json" };

/** Send an object as JSON, or bytes as they are; throws an Error with the server's words if it refuses. */
export async function post(path, body, signal) {
  let response;
  try {
    const content = body instanceof Blob ? body : JSON.stringify(body);
    response = await fetch(path, { method: "POST", headers: GUARD, body: content, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is “lacbed app” still running?");
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Error(answer.error || `The server answered ${response.status}.`);
  }
  return response;
}

/** The messages of an answer as they arrive: { header, payload: ArrayBuffer }. */
export async function* messages(response) {
  const reader = response.body.getReader();
  let kept = new Uint8Array(0);
  let place = 0;
  const need = async (count) => {
    if (kept.length - place >= count) return true;
    const parts = [kept.subarray(place)];
    let have = parts[0].length;
    while (have < count) {
      const { value, done } = await reader.read();
      if (done) return false;
      parts.push(value);
      have += value.length;
    }
    kept = new Uint8Array(have);
    place = 0;
    for (const part of parts) {
      kept.set(part, place);
      place += part.length;
    }
    place = 0;
    return true;
  };
  try {
    while (await need(8)) {
      const lengths = new DataView(kept.buffer, kept.byteOffset + place, 8);
      const [header, payload] = [lengths.getUint32(0, true), lengths.getUint32(4, true)];
      place += 8;
      if (!(await need(header + payload))) return;
      const text = new TextDecoder().decode(kept.subarray(place, place + header));
      const bytes = kept.slice(place + header, place + header + payload);
      place += header + payload;
      yield { header: JSON.parse(text), payload: bytes.buffer };
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** All messages of a short answer. */
export async function allMessages(response) {
  const found = [];
  for await (const message of messages(response)) found.push(message);
  return found;
}
