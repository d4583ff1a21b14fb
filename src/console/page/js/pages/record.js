// A record: what it is, why, and how it changes while one looks.

import { ask, isAbort, stringify } from "../ask.js";
import { definition } from "../definitions.js";
import { button, el } from "../dom.js";
import { moment } from "../format.js";
import { asCurl, badge, copy, coverage, empty, heading, json, problem, version } from "../parts.js";
import { link, walked } from "../place.js";
import { fields, journals } from "./record_fields.js";
import { history } from "./record_history.js";

const PARAMETERS = new URLSearchParams({ explain: "true", stale: "allow" });

/** The page. */
export async function record({ root, path: [name, ...rest], signal }) {
  if (name === undefined || !rest.length) return root.append(heading("Record"), empty("Which record?", el("p", {}, el("a", { href: link("search") }, "Search for it"))));
  const key = rest.join("/");
  const table = await definition(name, signal);
  document.title = `${key} · ${name} · Keld`;
  const path = `/v1/tables/${encodeURIComponent(name)}/records/${encodeURIComponent(key)}`;
  const shown = { answer: null, json: false };

  const body = el("div", { class: "body" }), beside = el("div", { class: "beside" }), notices = el("div", {});
  const tabs = [["Fields", false], ["JSON", true]].map(([label, as]) => button(label, () => { shown.json = as; draw(); }, { "aria-pressed": "false" }));
  const tools = el("div", { class: "toolbar" }, el("div", { class: "pair words", role: "group", "aria-label": "How the record is shown" }, tabs),
    copy("Copy JSON", () => stringify(shown.answer?.record ?? null, 2)), el("a", { class: "small button", href: link("tail", [name], { filter: `_key:"${key.replace(/[\\"]/g, "\\$&")}"` }) }, "In the live tail"));
  const live = history({ table, key, load, signal });
  const where = el("nav", { class: "crumbs", "aria-label": "Where" }, el("a", { href: link("search", [name]), "data-back": true, on: { click: back } }, `← ${name}`));
  root.append(where, heading(key), notices, el("div", { class: "split" },
    el("section", { "aria-label": "Record" }, tools, body, beside), live.node));

  /** Back to the list one came from, as it was. */
  function back(event) {
    if (!walked()) return;
    event.preventDefault();
    globalThis.history.back();
  }

  async function load({ quiet = false } = {}) {
    try {
      const answer = await ask(`${path}?${PARAMETERS}`, { signal });
      accept(answer);
      return answer.record;
    } catch (error) {
      if (isAbort(error) || !error.problem) throw error;
      if (error.problem.reason === "no_such_record") {
        accept({ record: null, ...error.problem });
        return null;
      }
      notices.replaceChildren(problem(error.problem, quiet ? null : () => load()));
      return undefined;
    }
  }

  function accept(answer) {
    const before = shown.answer?.record;
    shown.answer = answer;
    notices.replaceChildren(...notes(answer));
    beside.replaceChildren(coverage(answer), asCurl(path, PARAMETERS));
    draw(before);
  }

  function draw(before) {
    tabs.forEach((b, i) => b.setAttribute("aria-pressed", String(Boolean(i) === shown.json)));
    if (!shown.answer) return;
    const { record: now, explain } = shown.answer;
    if (shown.json) body.replaceChildren(json(shown.answer));
    else if (now === null) body.replaceChildren(gone(explain), ...journals(explain));
    else body.replaceChildren(fields(table, now, explain, before), ...journals(explain), notKept(explain));
  }

  await live.begin();
  return null;
}

function notes({ record: now, explain }) {
  const found = [];
  if (now !== null && explain?.tombstone) {
    found.push(el("div", { class: "notice" }, el("strong", {}, "Deleted before"), el("p", {}, "A delete of version ", version(explain.tombstone), " ended what was older; what is shown is newer.", until(explain.tombstone_until_ms, " The delete is forgotten when event time has passed "))));
  }
  if (now !== null && explain?.record_until_ms) found.push(el("div", { class: "notice" }, el("p", {}, "It ends when event time has passed ", moment(explain.record_until_ms), ", if nothing newer comes.")));
  return found;
}

const until = (ms, words) => (ms ? [words, moment(ms), "."] : null);

function gone(explain) {
  if (!explain?.tombstone) return empty("There is no such record", el("p", { class: "quiet" }, "No event has told of this key yet. If one does, it appears here."));
  return empty("Deleted", el("p", {}, badge("deleted", "bad"), " by version ", version(explain.tombstone), "."),
    el("p", { class: "quiet" }, "Older events do not bring it back.", until(explain.tombstone_until_ms, " The delete itself is forgotten when event time has passed ")));
}

function notKept(explain) {
  if (!explain?.not_kept?.length) return null;
  return el("details", { class: "notkept quiet" }, el("summary", {}, "What cannot be told"), el("ul", {}, explain.not_kept.map((line) => el("li", {}, line))));
}
