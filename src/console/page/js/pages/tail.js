// Live tail: what changes in a table, or enters and leaves a search, as it happens.

import { chosen, definition, remember, usualColumns } from "../definitions.js";
import { differences } from "../diff.js";
import { button, el, icon, kept } from "../dom.js";
import { moment, plural, rate, whole } from "../format.js";
import { asCurl, badge, brief, empty, heading, json, picker, problem } from "../parts.js";
import { go, link } from "../place.js";
import { follow } from "../stream.js";

/** Rows that are shown; more are dropped at the end. */
const MOST = 200;
/** Records that are remembered to tell what changed. */
const KNOWN = 2_000;
const DRAW = 200, RATE_OVER = 5_000;
const WORDS = { entered: ["entered", "good", "+"], changed: ["changed", "info", "~"], left: ["left", "busy", "−"], deleted: ["deleted", "bad", "×"] };

/** The page. */
export async function tail({ root, path, params, signal }) {
  const name = await chosen(path[0], signal);
  if (name === undefined) return root.append(heading("Live tail"), empty("No table is configured"));
  const table = await definition(name, signal);
  remember(name);
  const to = await picker(name, (other) => go(link("tail", [other])), signal);
  const q = params.get("q") ?? "", filters = params.getAll("filter");
  const asked = new URLSearchParams([...(q ? [["q", q]] : []), ...filters.map((f) => ["filter", f])]);
  const rows = list(table, kept(`columns.${name}`, usualColumns(table)));
  const state = el("p", { class: "state", role: "status" }), notices = el("div", {});
  const toggle = el("button", { type: "button", class: "small", "aria-pressed": "false" });
  const meter = el("p", { class: "meter" }), count = el("span", { class: "number" }, "0"), waiting = el("span", { class: "quiet" });
  meter.append(count, el("span", { class: "quiet" }, " changes a second"), waiting);

  const paused = () => toggle.getAttribute("aria-pressed") === "true";
  function hold(on) {
    toggle.setAttribute("aria-pressed", String(on));
    toggle.replaceChildren(icon(on ? "play" : "pause"), el("span", {}, on ? "Go on" : "Hold"));
    if (!on) rows.flush();
  }
  toggle.addEventListener("click", () => hold(!paused()));
  hold(false);

  const box = form(q, filters, (q_, filters_) => go(link("tail", [name], { q: q_, filter: filters_ })));
  root.append(heading("Live tail", to), box, notices,
    el("div", { class: "toolbar" }, state, meter, toggle, button("Clear", rows.clear, { class: "small" })), rows.node,
    el("div", { class: "beside" }, asCurl(`/v1/tables/${encodeURIComponent(name)}/changes`, asked)));

  const arrivals = [];
  const timer = setInterval(() => {
    if (!paused()) rows.flush();
    const now = performance.now();
    while (arrivals.length && now - arrivals[0] > RATE_OVER) arrivals.shift();
    count.textContent = rate(arrivals.length / (RATE_OVER / 1_000));
    waiting.textContent = paused() ? `, ${plural(rows.waiting(), "row")} held back` : "";
  }, DRAW);
  signal.addEventListener("abort", () => clearInterval(timer));

  follow(name, {
    params: asked, signal,
    onEvent: (kind, data) => { arrivals.push(performance.now()); rows.add(kind, data); },
    onState: (what, more) => told(what, more, { state, notices, rows }),
  });
  return null;
}

function told(what, more, { state, notices, rows }) {
  const dot = (kind) => el("span", { class: `dot ${kind}`, "aria-hidden": "true" });
  const at = more.position ? el("span", { class: "mono quiet", title: "Position of the stream" }, ` at ${more.position}`) : "";
  if (what === "connecting") state.replaceChildren(dot(""), "Connecting");
  if (what === "open") {
    notices.replaceChildren();
    state.replaceChildren(dot("good"), "Live", at);
    rows.ready();
  }
  if (what === "lost") state.replaceChildren(dot("busy"), `${more.detail} Again in ${more.wait_s} s`, at);
  if (what === "cut") {
    state.replaceChildren(dot("busy"), "Cut; connecting again", at);
    notices.replaceChildren(el("div", { class: "notice", role: "alert" }, el("strong", {}, `The server cut the stream: ${more.reason}`), el("p", {}, more.detail), more.advice ? el("p", { class: "advice" }, el("b", {}, "What to do: "), more.advice) : null));
  }
  if (what === "refused") {
    state.replaceChildren(dot("bad"), "Refused");
    notices.replaceChildren(problem(more.problem));
  }
  if (what === "absent") {
    state.replaceChildren(dot("bad"), "Not here");
    notices.replaceChildren(el("div", { class: "notice", role: "status" }, el("strong", {}, "This instance has no stream of changes"), el("p", {}, "A newer one has. Until then, a record's page looks once a second, and a search can be asked again by itself with Live.")));
  }
}

function form(q, filters, act) {
  const words = el("input", { id: "q", type: "search", "data-search": true, placeholder: "Everything; or words to watch for", "aria-label": "Watch for", autocomplete: "off", spellcheck: "false" });
  const filter = el("input", { id: "filter", type: "text", placeholder: "field:value", autocomplete: "off", spellcheck: "false" });
  words.value = q;
  // Each holds as a whole: an OR in one of them must not reach into the next.
  filter.value = filters.length > 1 ? filters.map((f) => `(${f})`).join(" AND ") : filters.join("");
  const node = el("form", { class: "ask", role: "search" }, el("div", { class: "q" }, icon("search"), words, el("kbd", { "aria-hidden": "true" }, "/")),
    el("div", { class: "refine" }, el("label", { class: "field wide" }, el("span", {}, "Filter"), filter), el("button", { type: "submit", class: "small primary" }, "Watch")));
  node.addEventListener("submit", (event) => { event.preventDefault(); act(words.value.trim(), filter.value.trim() ? [filter.value.trim()] : []); });
  return node;
}

/** The rows, newest first. Drawn some times a second, however many come. */
function list(table, columns) {
  const node = el("ol", { class: "plain tail", "aria-label": "Changes, newest first" });
  const known = new Map(), pending = [];
  let dropped = 0;

  function add(kind, data) {
    const before = known.get(data.key), now = kind === "left" || kind === "deleted" ? null : data.record;
    known.delete(data.key);
    if (now) known.set(data.key, now);
    if (known.size > KNOWN) known.delete(known.keys().next().value);
    pending.push({ kind: kind === "left" && data.deleted ? "deleted" : kind, data, before, at: data.time_ms ?? Date.now() });
    if (pending.length > MOST) {
      pending.shift();
      dropped++;
    }
  }

  function flush() {
    if (!pending.length) return;
    node.querySelector(".empty")?.remove();
    const skipped = dropped ? [el("li", { class: "skipped quiet" }, `${whole(dropped)} more went by`)] : [];
    node.prepend(...pending.splice(0).reverse().map((e) => row(table, columns, e)), ...skipped);
    dropped = 0;
    while (node.children.length > MOST) node.lastChild.remove();
  }

  function clear() {
    pending.length = 0;
    node.replaceChildren();
  }

  function ready() {
    if (!node.children.length) node.append(el("li", { class: "empty" }, el("p", { class: "head" }, "Nothing has changed yet"), el("p", { class: "quiet" }, "Changes appear here the moment they are committed.")));
  }

  return { node, add, flush, clear, ready, waiting: () => pending.length };
}

function row(table, columns, { kind, data, before, at }) {
  const [word, colour, sign] = WORDS[kind] ?? [kind, "", "?"];
  const what = before && data.record ? differences(before, data.record).map((d) => [d.name, d.kind === "removed" ? "removed" : brief(d.after)])
    : data.record ? columns.filter((c) => data.record[c] !== undefined && data.record[c] !== null).slice(0, 5).map((c) => [c, brief(data.record[c])]) : [];
  const more = el("details", { class: "more-of" }, el("summary", {}, el("span", { class: "unseen" }, `Record of ${data.key}`)));
  more.addEventListener("toggle", () => { if (more.open && !more.children[1]) more.append(json(data)); });
  return el("li", { class: `change ${kind}`, "data-key": data.key },
    el("span", { class: "sign", "aria-hidden": "true" }, sign), badge(word, colour, data.before === "unknown" ? "Whether it matched before is not known after a break" : null), moment(at, "clock"),
    el("a", { class: "key", href: link("record", [table.name, data.key]), "data-step": true }, data.key),
    el("span", { class: "what" }, what.map(([n, v]) => el("span", {}, el("b", {}, n), " ", v))), more);
}
