// Quarantine: events that were refused, why, and how they are brought back.

import { ask, isAbort, parse } from "../ask.js";
import { tableNames } from "../definitions.js";
import { button, el } from "../dom.js";
import { bytes, moment, plural, whole } from "../format.js";
import { asCurl, badge, copy, empty, heading, json, pair, problem } from "../parts.js";
import { go, link } from "../place.js";
import { replay } from "./quarantine_replay.js";

/** Reason codes that events are refused with; a newer instance may have others. */
const REASONS = [
  "bad_key", "beyond_horizon", "missing_event_id", "missing_key", "missing_version", "null_key", "out_of_range", "outside_window", "too_deep", "too_large", "undecodable", "undeclared",
  "unknown_schema", "unsupported", "version_ahead", "wrong_partition", "wrong_type",
];
const LIMIT = 50;

/** The page. */
export async function quarantine({ root, params, signal }) {
  const asked = Object.fromEntries(["table", "reason", "from", "to"].map((n) => [n, params.get(n) ?? ""]));
  const chosen = new Set(), seen = new Set(REASONS);
  const list = el("ol", { class: "plain refused", "aria-label": "Refused events, newest first" }), notices = el("div", {});
  const more = el("button", { type: "button", class: "more", hidden: true }, "Show more"), summary = el("p", { class: "summary", role: "status" });
  const picked = button("Replay chosen", () => replay({ ids: [...chosen] }, again), { class: "small primary", disabled: true });
  const matching = button("Replay all that match", () => replay(narrowed(), again), { class: "small" });
  const whole_ = el("label", { class: "check" }, el("input", { type: "checkbox", id: "choose-all", on: { change: (event) => chooseAll(event.target.checked) } }), "Choose all shown");
  const form = filters(asked, await tableNames(signal), seen, (wanted) => go(link("quarantine", [], wanted)));
  root.append(heading("Quarantine"), el("p", { class: "quiet lead" }, "Events that could not be merged, with the reason. After the cause is gone they can be replayed, each once."), form, notices,
    el("div", { class: "toolbar" }, summary, whole_, picked, matching), list, more);
  let cursor = null;
  more.addEventListener("click", () => load());

  const narrowed = () => Object.fromEntries(Object.entries(asked).filter(([, v]) => v !== ""));
  const parameters = () => new URLSearchParams({ ...narrowed(), limit: LIMIT, ...(cursor ? { cursor } : {}) });

  function changed() {
    picked.disabled = chosen.size === 0;
    picked.textContent = chosen.size ? `Replay ${plural(chosen.size, "chosen event")}` : "Replay chosen";
    // A replay of everything must say of what: the server wants it so.
    matching.disabled = Object.keys(narrowed()).length === 0 || !list.children.length;
    matching.title = Object.keys(narrowed()).length ? "" : "Filter by table, reason or time first";
  }

  function chooseAll(on) {
    for (const box of list.querySelectorAll("input[data-id]:not(:disabled)")) {
      box.checked = on;
      on ? chosen.add(box.dataset.id) : chosen.delete(box.dataset.id);
    }
    changed();
  }

  function choose(id, on) {
    on ? chosen.add(id) : chosen.delete(id);
    changed();
  }

  async function load() {
    more.disabled = true;
    try {
      let looked = 0;
      // A page may be empty and yet not the last.
      do {
        const answer = await ask(`/v1/quarantine?${parameters()}`, { signal });
        cursor = answer.cursor;
        looked += answer.looked_at;
        list.append(...answer.entries.map((e) => entry(e, choose, signal)));
        answer.entries.forEach((e) => seen.add(e.reason));
      } while (cursor && !list.children.length && looked < 200_000);
      shown();
    } catch (error) {
      if (isAbort(error)) return;
      if (!error.problem) throw error;
      notices.replaceChildren(problem(error.problem, () => load()));
    } finally {
      more.disabled = false;
    }
  }

  function shown() {
    const n = list.children.length;
    summary.replaceChildren(el("b", {}, whole(n)), cursor ? " shown, there are more" : n === 1 ? " event" : " events");
    more.hidden = !cursor;
    if (!n) notices.replaceChildren(empty("Nothing is quarantined", el("p", { class: "quiet" }, Object.keys(narrowed()).length ? "Nothing matches these filters." : "Every event could be merged.")));
    changed();
  }

  async function again() {
    chosen.clear();
    cursor = null;
    list.replaceChildren();
    notices.replaceChildren();
    await load();
  }

  await load();
  return null;
}

function filters(asked, names, seen, act) {
  const table = el("select", { id: "table" }, el("option", { value: "" }, "All tables"), names.map((n) => el("option", { value: n }, n)));
  const reasons = el("datalist", { id: "reasons" });
  const reason = el("input", { id: "reason", type: "text", list: "reasons", placeholder: "any", autocomplete: "off", spellcheck: "false", on: { focus: () => reasons.replaceChildren(...[...seen].sort().map((r) => el("option", { value: r }))) } });
  const when = (id) => el("input", { id, type: "datetime-local", step: "1" });
  const [from, to] = [when("from"), when("to")];
  table.value = asked.table;
  reason.value = asked.reason;
  from.value = local(asked.from);
  to.value = local(asked.to);
  const utc = (input) => (input.value ? new Date(input.value).toISOString() : "");
  const field = (label, input) => el("label", { class: "field" }, el("span", {}, label), input);
  const node = el("form", { class: "refine filters" }, field("Table", table), field("Reason", reason), reasons, field("From", from), field("To", to), el("button", { type: "submit", class: "small" }, "Show"));
  node.addEventListener("submit", (event) => { event.preventDefault(); act({ table: table.value, reason: reason.value.trim(), from: utc(from), to: utc(to) }); });
  table.addEventListener("change", () => node.requestSubmit());
  return node;
}

/** A moment as a field for local times takes it. */
function local(text) {
  const date = new Date(/^\d+$/.test(text) ? Number(text) : text);
  if (!text || Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function entry(e, choose, signal) {
  const box = el("input", { type: "checkbox", "data-id": e.id, "aria-label": `Choose ${e.id}`, disabled: e.replayed_ms !== null, on: { change: () => choose(e.id, box.checked) } });
  const inside = el("div", { class: "fold" });
  const more = el("details", {}, el("summary", { "data-step": true }, "Event ", el("span", { class: "mono" }, e.id)), inside);
  more.addEventListener("toggle", () => { if (more.open && !inside.firstChild) unfold(e, inside, signal); });
  return el("li", { class: "entry", "data-entry": e.id }, box, el("div", { class: "in" },
    el("header", {}, badge(e.reason, "bad"), el("span", {}, e.table, el("span", { class: "quiet" }, " from ", e.source)), e.key === null ? null : el("span", { class: "mono key" }, e.key), moment(e.quarantined_ms),
      e.replayed_ms === null ? null : el("span", {}, badge("replayed", "good"), " ", moment(e.replayed_ms)), e.replay_of ? badge(`again: ${e.replay_of}`, "busy", "A replay that was refused again") : null),
    el("p", { class: "error" }, complaint(e)), e.fields?.length ? el("p", { class: "quiet" }, `Only ${e.fields.join(", ")}: the rest of the event was merged.`) : null, more));
}

/** The error, with the path it speaks of set off; its reason stands beside it. */
function complaint({ error, reason }) {
  const text = error.startsWith(`${reason}: `) ? error.slice(reason.length + 2) : error;
  const [, path, rest] = /^([^\s:]+)(: .*)$/s.exec(text) ?? [];
  return path ? [el("b", {}, path), rest] : text;
}

async function unfold(e, inside, signal) {
  inside.append(el("p", { class: "quiet" }, "Asking …"));
  try {
    const all = await ask(`/v1/quarantine/${encodeURIComponent(e.id)}`, { signal });
    inside.replaceChildren(el("dl", { class: "pairs" },
      pair("Came from", el("span", { class: "mono" }, all.origin)), pair("Event's time", moment(all.event_ms)), pair("Set aside", moment(all.quarantined_ms)),
      pair("Size", bytes(all.payload_bytes), all.whole ? "" : ", cut: a replay reads the rest from its topic"),
      all.headers.length ? pair("Headers", el("ul", { class: "plain mono" }, all.headers.map((h) => el("li", {}, `${h.name}: ${h.value}`)))) : null),
    payload(all), el("div", { class: "beside" }, copy("Copy payload", () => all.payload ?? ""), asCurl(`/v1/quarantine/${all.id}`)));
  } catch (error) {
    if (!isAbort(error) && error.problem) inside.replaceChildren(problem(error.problem));
  }
}

/** What the message held: pretty where it is JSON, else as it is. */
function payload({ payload: text, payload_base64: base64 }) {
  if (text === null) return el("p", { class: "nothing" }, "The message has no value (a tombstone).");
  try {
    return json(parse(text));
  } catch {
    return el("div", {}, base64 ? el("p", { class: "quiet" }, "Not UTF-8; shown as far as it is text.") : null, el("pre", { class: "source", tabindex: "0" }, text));
  }
}

