// What differs between two records, by field.

import { stringify } from "./ask.js";

/** `[{ name, kind: "added" | "removed" | "changed", before, after }]`, in the order of the newer record. */
export function differences(before, after) {
  const [old, now] = [before ?? {}, after ?? {}];
  const found = [];
  for (const name of Object.keys(now)) {
    if (!Object.hasOwn(old, name)) found.push({ name, kind: "added", after: now[name] });
    else if (stringify(old[name]) !== stringify(now[name])) found.push({ name, kind: "changed", before: old[name], after: now[name] });
  }
  for (const name of Object.keys(old)) if (!Object.hasOwn(now, name)) found.push({ name, kind: "removed", before: old[name] });
  return found;
}
