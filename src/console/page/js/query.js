// What is asked of a table: from the state of a page to parameters of the API, and to a command line.

const quoted = (text) => `"${String(text).replace(/[\\"]/g, "\\$&")}"`;

/** The filter "the field has this value". */
export const is = (field, value) => `${field}:${quoted(value)}`;

/** The filter for one of several values of a field. */
export const isOneOf = (field, values) => values.map((v) => is(field, v)).join(" OR ");

/** What the state of a search asks for: `{ q, filters, picked: Map(field → values), sort }`. */
export function parameters(state, { without, limit, cursor, facets, highlight, more } = {}) {
  const p = new URLSearchParams();
  if (state.q.trim()) p.append("q", state.q);
  for (const filter of state.filters) p.append("filter", filter);
  for (const [field, values] of state.picked) if (field !== without && values.length) p.append("filter", isOneOf(field, values));
  if (state.sort) p.append("sort", state.sort);
  if (highlight?.length && state.q.trim()) p.append("highlight", highlight.join(","));
  if (facets?.length) p.append("facets", facets.join(","));
  if (limit) p.append("limit", limit);
  if (cursor) p.append("cursor", cursor);
  for (const [name, value] of Object.entries(more ?? {})) p.append(name, value);
  p.append("stale", "allow");
  return p;
}

/** The same state in the address of the page. */
export function toAddress(state) {
  const p = new URLSearchParams();
  if (state.q) p.append("q", state.q);
  for (const filter of state.filters) p.append("filter", filter);
  for (const [field, values] of state.picked) for (const value of values) p.append(`in.${field}`, value);
  if (state.sort) p.append("sort", state.sort);
  if (state.view === "table") p.append("view", "table");
  return p;
}

/** And out of it. */
export function fromAddress(p) {
  const picked = new Map();
  for (const [name, value] of p) {
    if (name.startsWith("in.")) picked.set(name.slice(3), [...(picked.get(name.slice(3)) ?? []), value]);
  }
  return {
    q: p.get("q") ?? "", filters: p.getAll("filter").filter((f) => f.trim() !== ""), picked, sort: p.get("sort") ?? "",
    view: p.get("view") === "table" ? "table" : "cards",
  };
}

const shell = (text) => (/^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** The command line that asks the same. */
export function curl(path, params, body) {
  const url = `${location.origin}${path}`;
  if (body !== undefined) return `curl -s ${shell(url)} -H 'content-type: application/json' \\\n  -d ${shell(body)}`;
  const parts = [...(params ?? [])].map(([name, value]) => ` \\\n  --data-urlencode ${shell(`${name}=${value}`)}`);
  return parts.length ? `curl -s -G ${shell(url)}${parts.join("")}` : `curl -s ${shell(url)}`;
}

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": '"', "&#x27;": "'", "&#39;": "'" };
const plain = (text) => text.replace(/&(?:lt|gt|amp|quot|#x27|#39);/g, (e) => ENTITIES[e]);

/** A highlighted piece as `[text, whether it is a word of the search]`. */
export function pieces(highlighted) {
  return highlighted.split(/(<em>.*?<\/em>)/s).filter(Boolean)
    .map((part) => (part.startsWith("<em>") ? [plain(part.slice(4, -5)), true] : [plain(part), false]));
}
