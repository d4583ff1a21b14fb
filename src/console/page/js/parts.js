// Pieces that several pages show.

import { stringify } from "./ask.js";
import { tableNames } from "./definitions.js";
import { button, el, icon, say } from "./dom.js";
import { isTime, moment, plural, span } from "./format.js";
import { curl } from "./query.js";

/** A value of a record. `kind` is the type of its field, where it has one. */
export function value(v, kind) {
  if (v === null || v === undefined) return el("span", { class: "nothing" }, "null");
  if (Array.isArray(v)) {
    return v.length ? el("span", { class: "members" }, v.map((m) => el("span", { class: "member" }, value(m)))) : el("span", { class: "nothing" }, "empty");
  }
  if (typeof v === "object") return el("code", { class: "json" }, stringify(v));
  if (kind === "date" && typeof v === "string") return moment(Date.parse(v));
  if (typeof v === "number" || typeof v === "bigint") return el("span", { class: "number" }, String(v));
  return document.createTextNode(String(v));
}

/** A value as short text, for places where there is one line. */
export const brief = (v) => (typeof v === "object" && v !== null ? stringify(v) : String(v));

/** JSON with its members told apart, as text nodes. */
export function json(v) {
  const pattern = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/g;
  const source = typeof v === "string" ? v : stringify(v, 2);
  const parts = [];
  let at = 0;
  for (const found of source.matchAll(pattern)) {
    const [all, text, colon] = found;
    parts.push(source.slice(at, found.index), el("span", { class: colon ? "name" : text ? "text" : "literal" }, text ?? all), colon ?? "");
    at = found.index + all.length;
  }
  return el("pre", { class: "source", tabindex: "0" }, ...parts, source.slice(at));
}

/** A button that copies what `take` gives. */
export function copy(label, take, attributes) {
  const node = el("button", { type: "button", class: "small", ...attributes }, icon("copy"), el("span", {}, label));
  node.addEventListener("click", async () => {
    const done = await write(take());
    node.lastChild.textContent = done ? "Copied" : "Cannot copy here";
    say(done ? "Copied" : "Copying is not possible here: select the text instead");
    setTimeout(() => { node.lastChild.textContent = label; }, 1_500);
  });
  return node;
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without TLS there is no clipboard on addresses other than this machine's.
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** The command line for a request, folded. */
export function asCurl(path, params, body) {
  const text = curl(path, params, body);
  return el("details", { class: "curl" }, el("summary", {}, "As a command"), el("div", { class: "fold" }, el("pre", { class: "source", tabindex: "0" }, text), copy("Copy", () => text)));
}

/** Who answered, how fresh it is, and up to which events. */
export function coverage(answer) {
  const behind = answer.lag_ms > 0 ? `${span(answer.lag_ms)} behind` : "up to date";
  const word = answer.caught_up ? behind : "catching up";
  const kind = answer.caught_up && answer.lag_ms < 10_000 ? "good" : "busy";
  const rows = Object.entries(answer.position ?? {}).flatMap(([, topics]) => Object.values(topics));
  return el("details", { class: "coverage" },
    el("summary", {}, el("span", { class: `dot ${kind}`, "aria-hidden": "true" }), word),
    el("dl", { class: "fold pairs" },
      pair("Answered by", answer.served_by), pair("Role", answer.role), pair("Behind", `${answer.lag_ms} ms, ${plural(answer.lag, "unread event")}`),
      pair("Caught up", answer.caught_up ? "yes" : "no: it may be older than an answer before"),
      pair("Covers", rows.length ? el("ul", { class: "plain mono" }, rows.map((r) => el("li", {}, r))) : "nothing yet")));
}

/** A term and what it is, for a `dl`. */
export const pair = (term, ...what) => el("div", {}, el("dt", {}, term), el("dd", {}, ...what));

/** What went wrong, with what can be done. `again` makes a button. */
export function problem({ title, detail, advice, reason, retry_after_s: after }, again) {
  return el("div", { class: "notice bad", role: "alert" },
    el("strong", {}, title || "That did not work"), el("p", {}, detail),
    advice ? el("p", { class: "advice" }, el("b", {}, "What to do: "), advice) : null,
    el("p", { class: "quiet" }, reason, after ? `, ask again in ${after} s` : ""),
    again ? button("Try again", again, { class: "small" }) : null);
}

/** A heading with something to say instead of results. */
export const empty = (title, ...more) => el("div", { class: "empty" }, el("p", { class: "head" }, title), ...more);

/** The heading of a page, which takes the focus when the page is entered. */
export const heading = (text, ...beside) => el("div", { class: "heading" }, el("h1", { tabindex: "-1" }, text), ...beside);

/** Chooses a table; says nothing where there is only one. */
export async function picker(current, act, signal, all) {
  const names = await tableNames(signal);
  if (names.length < 2 && !all) return el("span", { class: "one-table" }, current);
  const options = [...(all ? [el("option", { value: "" }, all)] : []), ...names.map((n) => el("option", { value: n }, n))];
  const node = el("select", { id: "table", on: { change: () => act(node.value) } }, options);
  node.value = current ?? "";
  return el("label", { class: "field" }, el("span", {}, "Table"), node);
}

/** A version: one or two numbers, as a time where it looks like one. */
export function version(parts) {
  if (!parts) return "–";
  const exact = parts.join(".");
  if (!isTime(parts[0])) return el("span", { class: "number" }, exact);
  const node = moment(parts[0]);
  node.title = `version ${exact}, ${node.title}`;
  return node;
}

/** A word with a colour. */
export const badge = (word, kind = "", title) => el("span", { class: `badge ${kind}`, title }, word);

/** A text in which `such pieces` are code. */
export const prose = (text) => (text ?? "").split(/`([^`]*)`/).map((part, i) => (i % 2 ? el("code", {}, part) : part));
