// The fields of a record, each with where it comes from.

import { stringify } from "../ask.js";
import { el } from "../dom.js";
import { plural } from "../format.js";
import { badge, brief, pair, value, version } from "../parts.js";

/** The table of fields. What differs from `before` flashes. */
export function fields(table, record, explain, before) {
  const why = new Map((explain?.fields ?? []).map((f) => [f.name, f]));
  const rows = Object.entries(record).map(([name, v]) => row(table, name, v, why.get(name), explain, before));
  const cleared = (explain?.fields ?? []).filter((f) => !Object.hasOwn(record, f.name)).map((f) => hidden(f));
  const broken = Object.entries(explain?.derived ?? {}).filter(([, d]) => d.error).map(([name, d]) => el("tr", { class: "cleared", "data-field": name },
    el("th", { scope: "row" }, name, el("small", {}, "derived")), el("td", {}, el("span", { class: "nothing" }, "left out")), el("td", {}, d.error)));
  return el("table", { class: "fields" }, el("thead", {}, el("tr", {}, ["Field", "Value", "From"].map((t) => el("th", { scope: "col" }, t)))),
    el("tbody", {}, rows, cleared, broken));
}

function row(table, name, v, why, explain, before) {
  const changed = before && stringify(before[name]) !== stringify(v);
  const derived = table.computed.has(name), kind = table.kinds.get(name);
  const is = derived ? "derived" : kind ? `${kind}, ${why?.merge ?? table.fields.find((f) => f.name === name)?.merge ?? ""}` : name === table.key ? "key" : "not declared";
  return el("tr", { class: changed ? "flash" : null, "data-field": name }, el("th", { scope: "row" }, name, el("small", {}, is)),
    el("td", { class: "value" }, value(v, kind)), el("td", { class: "from" }, derived ? formula(table, name) : from(why, explain)));
}

const formula = (table, name) => [badge("derived", "info"), " ", el("code", {}, table.derived.find((d) => d.name === name)?.expr ?? "")];

/** What was cleared, or shows nothing for another reason. */
function hidden(field) {
  const by = field.cleared_to ? ["cleared up to ", version(field.cleared_to)] : null;
  const from_ = field.from.filter((o) => o.value === null).map((o) => [sources(o), " ", version(o.version)]);
  return el("tr", { class: "cleared", "data-field": field.name }, el("th", { scope: "row" }, field.name, el("small", {}, field.merge)),
    el("td", {}, el("span", { class: "nothing" }, "cleared")), el("td", { class: "from" }, by ?? from_));
}

function from(why, explain) {
  if (!why) return el("span", { class: "nothing" }, "–");
  if (!why.from.length) return contributions(why.name, explain);
  const [first, ...rest] = why.from.map((o) => origin(o, why.from.length > 1));
  if (!rest.length) return first;
  return [first, el("details", {}, el("summary", {}, `${rest.length} more`), rest)];
}

function origin(of, several) {
  return el("div", { class: "origin" }, sources(of), version(of.version),
    several ? el("span", { class: "quiet" }, of.key !== undefined ? `${of.key} = ${brief(of.value)}` : brief(of.value)) : null,
    of.events.length ? el("span", { class: "mono quiet", title: "Hash of the event's id, of those that journals hold" }, of.events.slice(0, 3).join(", "), of.events.length > 3 ? " …" : "") : null,
    of.lost_ties?.length ? el("span", { class: "quiet" }, `tied with ${of.lost_ties.map(brief).join(", ")}`) : null);
}

function sources({ sources: names, rank }) {
  const title = rank === null || rank === undefined ? "its rank is not kept" : `rank ${rank}`;
  if (!names.length) return badge("unknown source", "", title);
  return names.map((n) => badge(n, "source", title));
}

/** Sums and counts come from many: how many of each source the journals hold. */
function contributions(name, explain) {
  const found = Object.entries(explain?.journals ?? {}).map(([source, held]) => [source, held.events.filter((e) => name in e.contributions).length, held.base && name in held.base.folded]);
  const some = found.filter(([, n, folded]) => n || folded);
  if (!some.length) return el("span", { class: "nothing" }, "–");
  return some.map(([source, n, folded]) => el("div", { class: "origin" }, badge(source, "source"), el("span", { class: "quiet" }, [n ? plural(n, "event") : null, folded ? "earlier ones folded" : null].filter(Boolean).join(", "))));
}

/** What the journals hold, folded. */
export function journals(explain) {
  const held = Object.entries(explain?.journals ?? {});
  if (!held.length) return [];
  const all = held.reduce((n, [, j]) => n + j.events.length, 0);
  return [el("details", { class: "journals" }, el("summary", {}, "Journal ", el("span", { class: "quiet" }, plural(all, "event"))), held.map(([source, j]) => journal(source, j)))];
}

function journal(source, { base, events }) {
  const said = (contributions_) => Object.entries(contributions_).map(([n, v]) => `${n}: ${brief(v)}`).join(", ");
  return el("section", {}, el("h3", {}, badge(source, "source")),
    base ? el("dl", { class: "pairs" }, pair("Folded", said(base.folded) || "nothing"), pair("Versions", version(base.lowest), " to ", version(base.highest))) : null,
    el("ul", { class: "plain" }, events.map((e) => el("li", { class: "origin" }, version(e.version), el("span", { class: "mono quiet" }, e.event ?? "no id"), el("span", {}, said(e.contributions))))));
}
