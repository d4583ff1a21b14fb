// Tasks of all instances: role, phase, lag, positions.

import { el } from "../dom.js";
import { plural, rate, span, whole } from "../format.js";
import { badge } from "../parts.js";
import { standing } from "../sampler.js";

const HEAD = ["Partition", "Instance", "Role", "Phase", "Unread", "Behind", "Index behind", "Records", "Positions"];

/** A table of tasks for each table; `status` adds what only this instance knows of its own tasks. */
export function tasks({ served_by: here, instances, tables }, status, now) {
  const all = Object.entries(instances).flatMap(([instance, i]) => i.tasks.map((t) => ({ ...t, instance, alive: i.alive, mine: instance === here ? own(status, t) : undefined })));
  return el("div", {}, Object.keys(tables).map((name) => {
    const of = all.filter((t) => t.table === name).sort((a, b) => a.partition - b.partition || a.role.localeCompare(b.role));
    const names = of.filter((t) => t.role === "active").map(nameOf);
    return el("div", { class: "scroll tasks" }, el("table", { class: "data stack" }, el("caption", {}, name),
      el("thead", {}, el("tr", {}, HEAD.map((h) => el("th", { scope: "col" }, h)))), el("tbody", {}, of.map((t) => row(t, names, now)))));
  }));
}

const nameOf = (t) => `${t.instance}/${t.table}/${t.partition}`;
const own = (status, task) => status?.tasks.find((t) => t.table === task.table && t.partition === task.partition);

function row(task, names, now) {
  const name = nameOf(task), stands = task.role === "active" ? standing(name, task, now, names.filter((n) => n !== name)) : null;
  const cells = [
    el("th", { scope: "row" }, String(task.partition)), task.instance, badge(task.role, task.role === "active" ? "source" : ""),
    el("span", { class: "phase" }, phase(task), stands ? badge(`${stands.word} for ${span(stands.still)}`, stands.word === "stalled" ? "bad" : "busy", HINTS[stands.word]) : null),
    whole(task.lag), task.lag_ms ? span(task.lag_ms) : "–", task.changelog > task.indexed ? plural(task.changelog - task.indexed, "entry", "entries") : "–",
    task.mine ? whole(task.mine.records) : "–", positions(task),
  ];
  return el("tr", { class: task.alive ? null : "dead", "data-task": `${task.table}/${task.partition}/${task.instance}` },
    cells.map((cell, i) => (i === 0 ? cell : el("td", { "data-label": HEAD[i], class: [4, 5, 6, 7].includes(i) ? "right" : null }, cell))));
}

const HINTS = {
  stalled: "Events wait, and nothing has moved for a while",
  quiet: "Nothing comes, while other partitions move: event time stands still here unless idle_after is set",
};

function phase({ phase: { name, percent, rate: each, eta_s: eta, done, why }, alive }) {
  if (!alive) return badge(`${name}, as of its last heartbeat`, "");
  if (name === "restoring") {
    const bar = el("i"), words = [`${(percent ?? 0).toFixed(1)} %`, each ? `${rate(each)} records/s` : null, eta !== undefined && eta !== null ? `${span(eta * 1_000)} left` : null];
    bar.style.inlineSize = `${percent ?? 0}%`;
    return [badge("restoring", "busy"), el("span", { class: "progress", role: "progressbar", "aria-valuenow": String(percent ?? 0), "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": "Restored" }, bar), el("span", { class: "quiet" }, words.filter(Boolean).join(", "))];
  }
  if (name === "indexing") return [badge("indexing", "busy"), el("span", { class: "quiet" }, `${whole(done ?? 0)} records`)];
  if (name === "stopped") return [badge("stopped", "bad"), el("span", {}, why)];
  return badge(name, name === "running" ? "good" : "busy");
}

function positions({ applied, visible, changelog, indexed, mine }) {
  const lines = Object.entries(applied).map(([topic, at]) => el("li", {}, at, visible[topic] !== at ? el("span", { class: "quiet" }, ` (searchable: ${visible[topic] ?? "none"})`) : null));
  const time = mine?.watermark_ms ? el("li", {}, "event time ", new Date(mine.watermark_ms).toISOString().slice(0, 19), "Z") : null;
  return el("details", {}, el("summary", {}, `changelog ${whole(changelog)}`), el("ul", { class: "plain mono" }, lines, time, el("li", { class: "quiet" }, `index ${whole(indexed)}`)));
}
