// Where the reader is: `#/page/segment…?parameters`. Every place can be linked to, and the back button leads to the one before.

/** `{ page, path, params }` of the address. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const segments = path.split("/").filter((s) => s !== "").map(decode);
  return { page: segments[0] ?? "search", path: segments.slice(1), params: new URLSearchParams(query) };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a place: `params` is an object (arrays repeat) or URLSearchParams. */
export function link(page, path = [], params = {}) {
  const query = params instanceof URLSearchParams ? params : new URLSearchParams();
  if (!(params instanceof URLSearchParams)) {
    for (const [name, value] of Object.entries(params)) {
      for (const each of [value].flat()) if (each !== null && each !== undefined && each !== "") query.append(name, each);
    }
  }
  const text = query.toString();
  return `#/${[page, ...path].map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Goes to a place; `back` returns to where we are. */
export function go(address) {
  if (location.hash !== address) location.hash = address;
}

/** Puts a place into the address without a step of its own in the history, and without showing it anew. */
export function settle(address) {
  if (location.hash !== address) history.replaceState(history.state, "", address);
}

let steps = 0;
addEventListener("hashchange", () => { steps++; });

/** Whether the reader has come from another place of this page. */
export const walked = () => steps > 0;
