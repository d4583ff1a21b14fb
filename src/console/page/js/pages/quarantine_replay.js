// Replaying: first what would happen, then, when it is confirmed, what did.

import { ask } from "../ask.js";
import { button, el, say } from "../dom.js";
import { plural, whole } from "../format.js";
import { asCurl, badge, problem } from "../parts.js";

const PATH = "/v1/quarantine/replay";
/** Refused entries that are told one by one. */
const TOLD = 20;

/** Opens the dialog for `{ ids }` or a filter; `done` is called when something was replayed and the dialog is closed. */
export async function replay(selection, done) {
  const body = el("div", { role: "status" }, el("p", { class: "quiet" }, "Looking at what would be replayed …"));
  const go = button("Replay", () => run(), { class: "primary", disabled: true }), stop = button("Cancel", () => dialog.close());
  const dialog = el("dialog", { class: "replay", "aria-labelledby": "replay-title" }, el("h2", { id: "replay-title" }, "Replay"), body, el("div", { class: "actions" }, stop, go));
  let replayed = 0;
  dialog.addEventListener("close", () => { dialog.remove(); if (replayed) done(); });
  document.body.append(dialog);
  dialog.showModal();

  const what = "ids" in selection ? `the ${plural(selection.ids.length, "chosen event")}` : `all events with ${Object.entries(selection).map(([n, v]) => `${n} ${v}`).join(", ")}`;
  try {
    const would = await every(selection, true);
    body.replaceChildren(el("p", {}, "Of ", what, ", ", el("b", { class: "number" }, whole(would.replayed)), " would be written to their topics again and processed like any other event."),
      ...outcome(would), asCurl(PATH, null, JSON.stringify(selection)));
    go.disabled = would.replayed === 0;
    go.textContent = would.replayed ? `Replay ${plural(would.replayed, "event")}` : "Nothing to replay";
    (would.replayed ? go : stop).focus();
  } catch (error) {
    refused(error);
  }

  async function run() {
    go.disabled = true;
    stop.disabled = true;
    body.replaceChildren(el("p", { class: "quiet" }, "Replaying …"));
    try {
      const did = await every(selection, false, (so_far) => { replayed = so_far; });
      replayed = did.replayed;
      body.replaceChildren(el("p", {}, badge("done", "good"), " ", el("b", { class: "number" }, whole(did.replayed)), ` ${did.replayed === 1 ? "event is" : "events are"} in their topics again. What is refused once more comes back as a new entry.`), ...outcome(did));
      say(`${plural(did.replayed, "event")} replayed`);
    } catch (error) {
      refused(error);
    }
    go.remove();
    stop.disabled = false;
    stop.textContent = "Close";
    stop.focus();
  }

  function refused(error) {
    if (!error.problem) throw error;
    body.replaceChildren(problem(error.problem));
    if (replayed) body.append(el("p", {}, `${plural(replayed, "event")} were replayed before that; asking again replays none of them twice.`));
  }
}

/** Asks until there is no more: one call replays a bounded number. */
async function every(selection, dry, progress = () => {}) {
  const sum = { replayed: 0, already: 0, refused: 0, entries: [] };
  let cursor = null;
  do {
    const answer = await ask(PATH, { body: { ...selection, ...(dry ? { dry_run: true } : {}), ...(cursor ? { cursor } : {}) } });
    for (const name of ["replayed", "already", "refused"]) sum[name] += answer[name];
    sum.entries.push(...answer.entries.filter((e) => e.fate === "refused" || e.fate === "unknown"));
    cursor = answer.cursor;
    progress(sum.replayed);
  } while (cursor);
  return sum;
}

function outcome({ already, refused, entries }) {
  const lines = [];
  if (already) lines.push(el("p", { class: "quiet" }, `${plural(already, "event")} replayed before: left alone.`));
  if (refused) lines.push(el("p", {}, badge(plural(refused, "event"), "bad"), " cannot be replayed:"), el("ul", {}, entries.slice(0, TOLD).map((e) => el("li", {}, el("span", { class: "mono" }, e.id), ": ", e.why ?? e.fate))));
  return lines;
}
