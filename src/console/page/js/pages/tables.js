// Tables: fields, types, strategies, search options, sources; and searches made of them to begin with.

import { ask, isAbort } from "../ask.js";
import { chosen, definition, facetFields, remember } from "../definitions.js";
import { el } from "../dom.js";
import { bytes, plural, span, whole } from "../format.js";
import { asCurl, badge, empty, heading, picker } from "../parts.js";
import { go, link } from "../place.js";
import { is } from "../query.js";

/** The page. */
export async function tables({ root, path, signal }) {
  const name = await chosen(path[0], signal);
  if (name === undefined) return root.append(heading("Tables"), empty("No table is configured"));
  const table = await definition(name, signal);
  remember(name);
  const to = await picker(name, (other) => go(link("tables", [other])), signal);
  const examples = el("ul", { class: "plain examples" });
  root.append(heading("Tables", to), facts(table), el("section", {}, el("h2", {}, "Searches to begin with"), examples), el("section", {}, el("h2", {}, "Fields"), fieldTable(table)),
    table.derived.length ? el("section", {}, el("h2", {}, "Derived fields"), derivedTable(table)) : "", el("section", {}, el("h2", {}, "Sources"), sourceTable(table)),
    el("div", { class: "beside" }, asCurl(`/v1/tables/${encodeURIComponent(name)}`)));
  try {
    const found = await suggestions(table, signal);
    examples.append(...found.map(({ what, to: params }) => el("li", {}, el("a", { href: link("search", [name], params), "data-step": true }, el("code", {}, said(params))), el("span", { class: "quiet" }, what))));
  } catch (error) {
    if (!isAbort(error) && !error.problem) throw error;
  }
  return null;
}

const said = ({ q, filter, sort }) => [q, ...[filter ?? []].flat(), sort ? `by ${sort}` : null].filter(Boolean).join("  ");

function facts(table) {
  const here = table.partitions_here.length;
  return el("dl", { class: "figures" },
    fact("Key", table.key), fact("Records here", whole(table.records), `about, ${bytes(table.store_bytes)} on disk`), fact("Partitions", String(table.partitions), here === table.partitions ? "all here" : `${here} here`),
    fact("Window", plural(table.window.events, "event"), `or ${span(table.window.time_ms)} of event time`), fact("Other members", table.dynamic, WORDS[table.dynamic]), fact("Partitioner", table.partitioner));
}

const WORDS = { store: "kept and shown", index: "kept and searched", ignore: "passed over", reject: "the event is refused" };
const fact = (name, v, note) => el("div", {}, el("dt", {}, name), el("dd", { class: "figure" }, v), note ? el("dd", { class: "quiet" }, note) : null);

function rows(head, lines) {
  return el("div", { class: "scroll" }, el("table", { class: "data stack" }, el("thead", {}, el("tr", {}, head.map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, lines.map(([first, ...rest]) => el("tr", {}, el("th", { scope: "row" }, first), rest.map((cell, i) => el("td", { "data-label": head[i + 1] }, cell)))))));
}

function fieldTable(table) {
  return rows(["Name", "Type", "Merged by", "In events", "Search"], table.fields.map((f) => [f.name, f.type, [f.merge, f.limit ? el("span", { class: "quiet" }, ` at most ${f.limit}`) : null], el("code", {}, f.path), options(f)]));
}

function derivedTable(table) {
  return rows(["Name", "Type", "Expression", "Search"], table.derived.map((f) => [f.name, f.type, el("code", {}, f.expr), options(f)]));
}

function options(f) {
  const words = [f.index ? badge("search", "good") : badge("not searched"), f.sort ? badge("sort", "info") : null, f.facet ? badge("facet", "info") : null];
  const ways = [f.analysis ? ["words", f.analysis] : null, ...Object.entries(f.variants ?? {}).map(([n, a]) => [`${f.name}.${n}`, a])].filter(Boolean);
  return [words, ways.map(([n, a]) => el("div", { class: "quiet" }, n, ": ", analysis(a)))];
}

function analysis({ language, stop_words: stops, folding, grams, edge_grams: edges, synonyms }) {
  const parts = [language ? `stems of ${language}` : null, stops ? (stops.length ? `without ${stops.join(", ")}` : "without stop words") : null, folding ? "accents folded" : null,
    grams ? `parts of ${grams.join("–")} letters` : null, edges ? `beginnings of ${edges.join("–")} letters` : null, synonyms ? `synonyms of ${synonyms}` : null];
  return parts.filter(Boolean).join(", ") || "plain words";
}

function sourceTable(table) {
  return rows(["Source", "Topic", "Format", "Version", "Event id", "Rank", "Deletes", "Absent fields"], table.sources.map((s) => [s.name, el("code", {}, s.topic), s.format, el("code", {}, s.version.join(", ")),
    s.event_id ? el("code", {}, s.event_id) : "none", String(s.rank), s.delete ? el("code", {}, `${s.delete.field} = ${JSON.stringify(s.delete.equals)}`) : "none", s.absent]));
}

/** Searches that find something, made of what the table holds. */
async function suggestions(table, signal) {
  const facets = facetFields(table).slice(0, 4), numbers = table.all.filter((f) => f.index && ["integer", "float"].includes(f.type)).slice(0, 2);
  const aggs = Object.fromEntries(numbers.map((f) => [f.name, { avg: { field: f.name } }]));
  const body = { limit: 20, stale: "allow", ...(facets.length ? { facets: facets.map((f) => `${f}:3`) } : {}), ...(numbers.length ? { aggs } : {}) };
  const answer = await ask(`/v1/tables/${encodeURIComponent(table.name)}/search`, { body, signal });
  const found = [], word = aWord(table, answer.hits);
  if (word) {
    found.push({ what: `records with this word, the best first`, to: { q: word.text } }, { what: `words of ${word.field} that begin so`, to: { q: `${word.field}:${word.text.slice(0, 3).toLowerCase()}*` } });
    found.push({ what: "nearly this word: one letter may differ", to: { q: `${word.text.toLowerCase()}~1` } });
  }
  const values = facets.flatMap((f) => (answer.facets?.[f]?.values[0] ? [[f, answer.facets[f].values[0].value]] : []));
  for (const [f, v] of values.slice(0, 2)) found.push({ what: `the most frequent value of ${f}`, to: { filter: is(f, v) } });
  if (values.length > 1) found.push({ what: "one without the other", to: { filter: `${is(...values[0])} NOT ${is(...values[1])}` } });
  for (const f of numbers) {
    const low = answer.aggs?.[f.name]?.value;
    if (Number.isFinite(low)) found.push({ what: `${f.name} above the average`, to: { filter: `${f.name}:[${f.type === "integer" ? Math.round(low) : Number(low.toPrecision(4))} TO *]`, ...(f.sort ? { sort: `-${f.name}` } : {}) } });
  }
  const sorted = table.all.find((f) => f.sort);
  if (sorted) found.push({ what: `everything, ordered by ${sorted.name}`, to: { sort: sorted.name } });
  return found;
}

/** A word of some length that a text of these records holds. */
function aWord(table, hits) {
  for (const field of table.all.filter((f) => f.type === "text" && f.index)) {
    for (const { record } of hits) {
      const text = String(record[field.name] ?? "").match(/\p{L}{5,12}/u)?.[0];
      if (text) return { field: field.name, text };
    }
  }
  return null;
}
