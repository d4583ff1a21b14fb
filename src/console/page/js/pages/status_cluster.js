// All instances, and what is wrong.

import { el } from "../dom.js";
import { plural } from "../format.js";
import { badge, problem } from "../parts.js";

/** What a person should look at, the worst first. */
export function troubles(status, cluster, refused) {
  const found = [];
  const say = (kind, title, ...more) => found.push(el("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" }, el("strong", {}, title), more.map((m) => el("p", {}, m))));
  if (refused) found.push(problem(refused));
  if (status?.stall) say("bad", "A worker makes no progress", status.stall, "This instance has given its tasks away meanwhile; look at its log.");
  for (const task of status?.tasks ?? []) if (task.phase.name === "stopped") say("bad", `Partition ${task.partition} of ${task.table} has stopped`, task.phase.why);
  if (status?.broker.trouble) say("bad", "The broker cannot be reached", status.broker.trouble, "Reads go on with what is here.");
  if (status?.schema_registry?.trouble) say("busy", "The schema registry cannot be reached", status.schema_registry.trouble, "Events that need a schema wait.");
  if (status?.stopping) say("busy", "This instance is shutting down");
  const several = Object.keys(cluster?.instances ?? {}).length > 1;
  for (const [name, { missing_partitions: missing, without_standby: bare }] of Object.entries(cluster?.tables ?? {})) {
    if (missing.length) say("bad", `Nobody works on ${plural(missing.length, "partition")} of ${name}`, `Partitions ${missing.join(", ")}.`);
    if (several && bare.length) say("", `${plural(bare.length, "partition")} of ${name} without a standby`, `Partitions ${bare.join(", ")}: if the owner dies, they are restored from the changelog.`);
  }
  return found;
}

/** A card for each instance. */
export function instances({ served_by: here, instances: all }) {
  return el("ul", { class: "plain instances" }, Object.entries(all).map(([name, i]) => card(name, i, name === here)));
}

function card(name, { url, alive, missed_heartbeats: missed, trouble, version, stopping, tasks }, here) {
  const word = !alive ? badge("no answer", "bad") : stopping ? badge("shutting down", "busy") : badge("answers", "good");
  const of = (role) => tasks.filter((t) => t.role === role);
  const phases = Map.groupBy(tasks.filter((t) => t.phase.name !== "running"), (t) => t.phase.name);
  return el("li", { class: alive ? "" : "dead", "data-instance": name },
    el("header", {}, el("h3", {}, name), word, here ? badge("this one") : null),
    el("p", { class: "mono quiet" }, here ? url : el("a", { href: url }, url)),
    el("p", {}, `${plural(of("active").length, "task")} of its own, ${plural(of("standby").length, "standby", "standbys")}`, [...phases].map(([phase, list]) => `, ${list.length} ${phase}`)),
    el("p", { class: "quiet" }, `version ${version}`, missed ? `, ${plural(missed, "heartbeat")} missed` : ""),
    trouble ? el("p", { class: "why" }, trouble) : null);
}
