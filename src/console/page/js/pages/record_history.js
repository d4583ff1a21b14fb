// What happens to a record while one looks at it.

import { isAbort } from "../ask.js";
import { differences } from "../diff.js";
import { el, pause, say } from "../dom.js";
import { moment, plural } from "../format.js";
import { badge, value } from "../parts.js";
import { follow } from "../stream.js";

const MOST = 100, POLL = 1_000, GATHER = 100, TURNS = 50;
const MARKS = { added: "+", removed: "−", changed: "→" };

/** The column. `load` reads the record anew and gives it: null where there is none, undefined where it cannot be had. */
export function history({ table, key, load, signal }) {
  const state = el("p", { class: "state quiet", role: "status" }), list = el("ol", { class: "plain entries", "aria-label": "Changes" });
  const none = el("p", { class: "quiet" }, "Changes appear here as they arrive.");
  const node = el("aside", { class: "history", "aria-label": "Live history" }, el("h2", {}, "Live history"), state, none, list);
  const pending = [];
  let known, began = false, timer = 0;

  function add(kind, before, now, at) {
    const found = differences(before, now);
    if (kind === "deleted" ? before === null : !found.length) return;
    none.hidden = true;
    const word = kind === "deleted" ? badge("deleted", "bad") : before === null ? badge("created", "good") : badge(plural(found.length, "field"), "info");
    const lines = kind === "deleted" ? [] : found.map((d) => line(d, table.kinds.get(d.name)));
    list.prepend(el("li", { class: "entry flash" }, el("header", {}, word, moment(at, "clock")), el("ul", { class: "plain" }, lines)));
    while (list.children.length > MOST) list.lastChild.remove();
    say(kind === "deleted" ? "The record was deleted" : `Changed: ${found.map((d) => d.name).join(", ")}`);
  }

  /** Takes a change; a key may change a thousand times a second, so what comes is gathered before it is shown. */
  function arrived(kind, data) {
    pending.push({ now: kind === "deleted" || kind === "left" ? null : (data.record ?? null), at: data.time_ms ?? Date.now() });
    if (pending.length > MOST) pending.shift();
    timer ||= setTimeout(show, GATHER);
  }

  async function show() {
    for (const { now, at } of pending.splice(0)) {
      if (began && known !== undefined) add(now ? "changed" : "deleted", known, now, at);
      known = now;
    }
    await catchUp().catch(ignoreEnd);
    // What came while the record was read is shown next.
    timer = 0;
    if (pending.length) timer = setTimeout(show, GATHER);
  }

  /** Reads the record until it is what the stream has told: the stream may tell of a change before reads by key do. */
  async function catchUp() {
    for (let turn = 0; turn < TURNS && !signal.aborted; turn++) {
      const now = await load({ quiet: true });
      if (now === undefined || pending.length || !differences(known, now).length) return;
      await pause(GATHER, signal);
    }
  }

  /** Follows the stream, or asks again and again where there is none. */
  async function begin() {
    const opened = Promise.withResolvers();
    follow(table.name, {
      params: { key }, signal,
      onState: async (name, more) => {
        state.replaceChildren(...words(name, more));
        // Read behind the stream's beginning, nothing in between is missed; and read again after every break.
        if (name === "open") await reread();
        if (name === "absent") poll();
        if (name !== "connecting") {
          if (name !== "open" && known === undefined) await reread();
          opened.resolve();
        }
      },
      onEvent: arrived,
    }).catch(ignoreEnd);
    signal.addEventListener("abort", () => opened.resolve());
    await opened.promise;
  }

  async function reread() {
    const now = await load({ quiet: began }).catch(ignoreEnd);
    if (now === undefined) return;
    if (began && known !== undefined && differences(known, now).length) add(now === null ? "deleted" : "changed", known, now, Date.now());
    known = now;
    began = true;
  }

  async function poll() {
    while (!signal.aborted) {
      await pause(POLL, signal);
      if (!document.hidden && !signal.aborted) await reread();
    }
  }

  return { node, begin };
}

function ignoreEnd(error) {
  if (!isAbort(error)) throw error;
}

function words(name, more) {
  const dot = (kind) => el("span", { class: `dot ${kind}`, "aria-hidden": "true" });
  switch (name) {
    case "connecting": return [dot(""), "Connecting"];
    case "open": return [dot("good"), "Live"];
    case "absent": return [dot("busy"), "Looked at once a second, for this instance has no stream of changes: what happens in between is not seen."];
    case "refused": return [dot("bad"), `${more.problem.detail} ${more.problem.advice ?? ""}`];
    case "cut": return [dot("busy"), `Cut by the server (${more.reason}): ${more.detail ?? ""} ${more.advice ?? ""} Connecting again.`];
    default: return [dot("busy"), `${more.detail ?? "The connection broke."} Again in ${more.wait_s} s.`];
  }
}

function line({ name, kind, before, after }, type) {
  const old = before === undefined ? null : el("del", {}, value(before, type)), now = after === undefined ? null : el("ins", {}, value(after, type));
  return el("li", { class: `diff ${kind}`, "data-field": name }, el("span", { class: "name" }, name), el("span", { class: "what" }, el("span", { class: "unseen" }, kind, ": "), old, old && now ? el("span", { class: "sign", "aria-hidden": "true" }, MARKS.changed) : null, now,
    old && now ? null : el("span", { class: "quiet" }, kind)));
}
