// Status: how this instance does, and what all instances have.

import { ask, isAbort } from "../ask.js";
import { chart } from "../chart.js";
import { arrange, el, pause } from "../dom.js";
import { bytes, compact, plural, rate, span, whole } from "../format.js";
import { heading, problem } from "../parts.js";
import { note, sampler, watch } from "../sampler.js";
import { instances, troubles } from "./status_cluster.js";
import { tasks } from "./status_tasks.js";

const EVERY = 2_000;

/** The page. */
export async function status({ root, signal }) {
  const charts = [
    chart({ title: "Throughput", unit: "events/s", show: (n) => rate(n), floor: 1, lines: [{ name: "consumed", kind: "one", take: (s) => s.rate }, { name: "quarantined", kind: "two", take: (s) => s.refused }] }),
    chart({ title: "Lag", unit: "unread events", show: (n) => compact(Math.round(n)), floor: 10, lines: [{ name: "lag", kind: "one", take: (s) => s.lag }] }),
    chart({ title: "Freshness", unit: "to searchable", show: (ms) => span(ms), floor: 100, lines: [{ name: "median", kind: "one", take: (s) => s.p50 }, { name: "p99", kind: "two", take: (s) => s.p99 }] }),
  ];
  const figures = el("dl", { class: "figures" }), trouble = el("div", {}), all = el("div", {}), table = el("div", {});
  const here = el("span", { class: "quiet" });
  root.append(heading("Status", here), trouble, el("section", { "aria-label": "This instance" }, figures, el("div", { class: "charts" }, charts.map((c) => c.node))),
    el("section", { "aria-label": "Instances" }, el("h2", {}, "Instances"), all), el("section", { "aria-label": "Tasks" }, el("h2", {}, "Tasks"), table));
  let cluster = null, refused = null;

  function draw() {
    const now = sampler.status;
    if (now) {
      here.textContent = `${now.instance}, up for ${span(now.uptime_s * 1_000)}`;
      figures.replaceChildren(...ofInstance(now));
      charts.forEach((c) => c.update(sampler.samples));
    }
    arrange(trouble, troubles(now, cluster, sampler.problem ?? refused));
    if (!cluster) return;
    all.replaceChildren(instances(cluster));
    table.replaceChildren(tasks(cluster, now, Date.now()));
  }

  watch(draw, signal);
  draw();
  await look();
  draw();
  keepLooking();
  return null;

  async function look() {
    try {
      cluster = await ask("/v1/cluster", { signal });
      refused = null;
      const now = Date.now();
      for (const [name, instance] of Object.entries(cluster.instances)) instance.tasks.forEach((t) => note(`${name}/${t.table}/${t.partition}`, t, now));
    } catch (error) {
      if (isAbort(error) || !error.problem) throw error;
      refused = error.problem;
    }
  }

  async function keepLooking() {
    while (!signal.aborted) {
      await pause(EVERY, signal);
      if (signal.aborted || document.hidden) continue;
      await look().catch((error) => { if (!isAbort(error)) throw error; });
      if (!signal.aborted) draw();
    }
  }
}

function ofInstance({ tasks: mine, tables, memory, broker }) {
  const active = mine.filter((t) => t.role === "active"), running = active.filter((t) => t.phase.name === "running").length;
  const sum = (of) => tables.reduce((n, t) => n + of(t), 0);
  const accounts = tables.flatMap((t) => Object.values(t.accounting)), total = (name) => accounts.reduce((n, a) => n + a[name], 0);
  const copies = mine.length - active.length, derived = sum((t) => Object.values(t.derived_errors ?? {}).reduce((n, e) => n + e, 0));
  return [
    figure("Tasks", `${running} of ${active.length}`, copies ? `at work; ${plural(copies, "standby", "standbys")}` : "at work"),
    figure("Records", compact(sum((t) => t.documents)), `${bytes(sum((t) => t.store_bytes))} on disk`),
    figure("Events", compact(total("consumed")), `${compact(total("applied"))} applied, ${compact(total("duplicate"))} duplicate, ${compact(total("stale"))} stale`, `${whole(total("consumed"))} consumed`),
    figure("Quarantined", compact(total("quarantined")), derived ? `${plural(derived, "derived field")} left out` : "since the beginning"),
    figure("Memory", memory.resident === null ? "–" : bytes(memory.resident), `budget ${bytes(memory.plan.budget)}`),
    figure("Broker", broker.kind === "kafka" ? "Kafka" : "embedded", broker.trouble ? "away" : "answers"),
  ];
}

const figure = (name, value, note_, title) => el("div", { title }, el("dt", {}, name), el("dd", { class: "figure" }, value), el("dd", { class: "quiet" }, note_));
