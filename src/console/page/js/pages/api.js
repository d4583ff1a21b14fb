// The API: every operation, from its description, to read and to try.

import { ask, isAbort, parse, request } from "../ask.js";
import { chosen } from "../definitions.js";
import { button, el } from "../dom.js";
import { took } from "../format.js";
import { asCurl, badge, heading, json, problem, prose } from "../parts.js";

/** Longest answer that is shown, characters. */
const LONGEST = 100_000;
const METHODS = ["get", "post", "put", "patch", "delete"];

/** The page. */
export async function api({ root, path: [open], signal }) {
  const description = await ask("/openapi.json", { signal });
  const table = await chosen(undefined, signal);
  const all = Object.entries(description.paths).flatMap(([path, of]) => METHODS.filter((m) => of[m]).map((method) => ({ path, method, ...of[method], shared: of.parameters ?? [] })));
  const tags = description.tags ?? [];
  const find = el("input", { type: "search", id: "q", "data-search": true, placeholder: "Find an operation", "aria-label": "Find an operation", autocomplete: "off" });
  const groups = tags.map((tag) => group(tag, all.filter((o) => (o.tags ?? [])[0] === tag.name), { description, table, open, signal }));
  find.addEventListener("input", () => groups.forEach((g) => g.narrow(find.value.trim().toLowerCase())));
  root.append(heading("API", el("a", { href: "/openapi.json", class: "small button" }, "openapi.json"), el("a", { href: "/metrics", class: "small button" }, "metrics")),
    el("p", { class: "quiet lead" }, prose(description.info.description)), el("div", { class: "q plain" }, find, el("kbd", { "aria-hidden": "true" }, "/")), ...groups.map((g) => g.node));
  document.getElementById(open ?? "")?.scrollIntoView();
  return null;
}

function group(tag, operations, context) {
  const drawn = operations.map((o) => ({ node: operation(o, context), text: `${o.method} ${o.path} ${o.summary} ${o.description ?? ""}`.toLowerCase() }));
  const node = el("section", { class: "operations" }, el("h2", {}, tag.name, el("span", { class: "quiet" }, tag.description)), drawn.map((d) => d.node));
  return {
    node,
    narrow: (text) => {
      drawn.forEach((d) => { d.node.hidden = !d.text.includes(text); });
      node.hidden = drawn.every((d) => d.node.hidden);
    },
  };
}

function operation(o, context) {
  const id = `${o.method} ${o.path}`, inside = el("div", { class: "fold" });
  const node = el("details", { id, class: "operation" }, el("summary", { "data-step": true }, badge(o.method.toUpperCase(), o.method === "get" ? "info" : "busy"), el("code", {}, o.path), el("span", { class: "quiet" }, o.summary)), inside);
  node.addEventListener("toggle", () => { if (node.open && !inside.firstChild) inside.append(...details(o, context)); });
  node.open = context.open === id;
  return node;
}

function details(o, { description, table, signal }) {
  const parameters = [...o.shared, ...(o.parameters ?? [])].map((p) => resolve(p, description));
  const fields = parameters.map((p) => ({ ...p, input: el("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: example(p) }) }));
  fields.forEach((f) => { if (f.in === "path") f.input.value = f.name === "table" ? (table ?? "") : ""; });
  const [kind, content] = Object.entries(o.requestBody?.content ?? {})[0] ?? [];
  const body = kind ? el("textarea", { rows: "6", spellcheck: "false", "aria-label": "Body" }) : null;
  if (body) body.value = kind.includes("json") ? JSON.stringify(sample(content.schema, description), null, 2) : String(content.example ?? "");
  const answer = el("div", { role: "status" });
  const ask_ = button(o.method === "get" ? "Try it" : "Send it", () => send(o, fields, body, kind, answer, signal), { class: "small primary" });
  return [
    o.description ? el("p", {}, prose(o.description)) : null,
    fields.length ? el("div", { class: "parameters" }, fields.map((f) => el("label", {}, el("span", { class: "name" }, el("code", {}, f.name), el("span", { class: "quiet" }, f.in === "path" ? " needed" : "")), f.input, el("span", { class: "quiet" }, prose(f.description))))) : null,
    body ? el("div", { class: "body" }, el("p", { class: "quiet" }, "Body, ", el("code", {}, kind)), body) : null,
    el("div", { class: "actions" }, ask_), answer,
    el("details", {}, el("summary", {}, "Answers"), el("ul", { class: "plain" }, Object.entries(o.responses).map(([status, r]) => el("li", {}, badge(status, status < "300" ? "good" : ""), " ", prose(r.description))))),
  ].filter(Boolean);
}

const resolve = (of, description) => (of?.$ref ? of.$ref.slice(2).split("/").reduce((at, name) => at?.[name], description) : of) ?? {};

function example({ example: one, schema }) {
  const value = one ?? schema?.example ?? schema?.default;
  return value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
}

/** A body made of the examples of its members. */
function sample(schema, description) {
  const { properties, example: one } = resolve(schema, description);
  if (one !== undefined) return one;
  const shown = Object.entries(properties ?? {}).map(([name, p]) => [name, resolve(p, description).example]).filter(([, v]) => v !== undefined);
  return Object.fromEntries(shown);
}

async function send(o, fields, body, kind, answer, signal) {
  const filled = fields.filter((f) => f.input.value !== "");
  const path = filled.filter((f) => f.in === "path").reduce((at, f) => at.replace(`{${f.name}}`, encodeURIComponent(f.input.value)), o.path);
  const query = new URLSearchParams(filled.filter((f) => f.in === "query").map((f) => [f.name, f.input.value]));
  const headers = Object.fromEntries(filled.filter((f) => f.in === "header").map((f) => [f.name, f.input.value]));
  const url = query.size ? `${path}?${query}` : path;
  const since = performance.now(), stop = new AbortController();
  answer.replaceChildren(el("p", { class: "quiet" }, "Asking …"), button("Stop", () => stop.abort(), { class: "small" }));
  try {
    const response = await request(url, { signal: AbortSignal.any([signal, stop.signal]), method: o.method.toUpperCase(), headers: { ...headers, ...(body ? { "content-type": kind } : {}) }, ...(body ? { body: body.value } : {}) });
    const text = await shown(response, stop), time = performance.now() - since;
    answer.replaceChildren(el("p", {}, badge(String(response.status), response.ok ? "good" : "bad"), " ", el("span", { class: "quiet" }, `${response.headers.get("content-type") ?? ""}, ${took(time)}`)), pretty(text),
      asCurl(body ? url : path, query, body?.value));
  } catch (error) {
    if (isAbort(error)) return void answer.replaceChildren();
    if (!error.problem) throw error;
    answer.replaceChildren(problem(error.problem));
  }
}

/** As much of a body as is shown: what streams without an end is cut, too. */
async function shown(response, stop) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (const until = performance.now() + 3_000; text.length < LONGEST;) {
    const left = new Promise((done) => setTimeout(done, Math.max(0, until - performance.now()), { done: true }));
    const { value, done } = await Promise.race([reader.read(), left]);
    if (done) break;
    text += value;
  }
  stop.abort();
  return text.slice(0, LONGEST);
}

function pretty(text) {
  try {
    return json(parse(text));
  } catch {
    return el("pre", { class: "source", tabindex: "0" }, text);
  }
}
