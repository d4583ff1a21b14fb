// What tables there are and how they are defined; asked for once.

import { ask } from "./ask.js";
import { keep, kept } from "./dom.js";

let names = null;
const details = new Map();

/** Names of the tables, in order. */
export async function tableNames(signal) {
  names ??= (await ask("/v1/tables", { signal })).tables.map((t) => t.name);
  return names;
}

/** The definition of a table, with `kinds`: the type of every field by name. */
export async function definition(name, signal) {
  if (!details.has(name)) {
    const table = await ask(`/v1/tables/${encodeURIComponent(name)}`, { signal });
    const all = [...table.fields, ...table.derived];
    details.set(name, { ...table, all, kinds: new Map(all.map((f) => [f.name, f.type])), computed: new Set(table.derived.map((f) => f.name)) });
  }
  return details.get(name);
}

/** The table that an address names, else the one that was looked at last, else the first; undefined where there is none. */
export async function chosen(wanted, signal) {
  const all = await tableNames(signal);
  if (wanted !== undefined) return wanted;
  const last = kept("table", null);
  return all.includes(last) ? last : all[0];
}

/** Remembers the table that is looked at. */
export const remember = (name) => keep("table", name);

/** Text fields in which words of a search may stand. */
export const textFields = (table) => table.all.filter((f) => f.type === "text" && f.index).map((f) => f.name);

/** Fields that can be counted by value. */
export const facetFields = (table) => table.all.filter((f) => f.facet).map((f) => f.name);

/** The field that says what a record is about, if a text does. */
export const titleField = (table) => table.all.find((f) => f.type === "text")?.name;

/** What of a record a list shows unless the reader chooses: what it can be counted by, then sorted by, then numbers. */
export function usualColumns(table) {
  const title = titleField(table);
  const of = (want, most) => table.all.filter((f) => f.name !== title && f.type !== "json" && want(f)).slice(0, most).map((f) => f.name);
  const picked = [...of((f) => f.facet, 4), ...of((f) => f.sort, 3), ...of((f) => ["integer", "float", "date"].includes(f.type), 3)];
  const rest = table.all.map((f) => f.name);
  return [...(title ? [title] : []), ...new Set([...picked, ...(picked.length ? [] : rest)])].slice(0, 8);
}
