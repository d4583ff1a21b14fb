// Looks at this instance every two seconds, whatever page is open, so that charts have their minutes when somebody looks.

import { ask, isAbort, text } from "./ask.js";
import { pause } from "./dom.js";

const EVERY = 2_000, KEPT = "keld.samples";
/** Five minutes. */
export const SAMPLES = 150;

export const sampler = { status: null, problem: null, samples: [], moved: new Map() };
const listeners = new Set();
let buckets = null;

/** Calls `act` after each look until `signal`. */
export function watch(act, signal) {
  listeners.add(act);
  signal.addEventListener("abort", () => listeners.delete(act));
}

/** Goes on for ever; a hidden page rests. */
export async function sample() {
  for (;;) {
    if (!document.hidden) await look();
    await pause(EVERY);
  }
}

async function look() {
  try {
    const [status, metrics] = await Promise.all([ask("/v1/status"), text("/metrics").catch(() => "")]);
    add(status, freshness(metrics));
    sampler.problem = null;
  } catch (error) {
    if (isAbort(error)) return;
    if (!error.problem) throw error;
    sampler.problem = error.problem;
  }
  listeners.forEach((act) => act());
}

function add(status, fresh) {
  const last = sampler.status, accounts = status.tables.flatMap((t) => Object.values(t.accounting));
  const sum = (name) => accounts.reduce((n, a) => n + a[name], 0);
  if (!last) restore(status);
  else if (status.instance !== last.instance || status.uptime_s < last.uptime_s) sampler.samples.length = 0;
  const active = status.tasks.filter((t) => t.role === "active");
  const totals = { consumed: sum("consumed"), quarantined: sum("quarantined") };
  const before = sampler.samples.at(-1);
  const seconds = before ? (status.now_ms - before.at) / 1_000 : 0;
  // Tasks that come and go bring their whole accounts with them: that is no throughput.
  const same = before?.tasks === active.length;
  const each = (name) => (seconds > 0 && same ? Math.max(0, totals[name] - before.totals[name]) / seconds : null);
  sampler.samples.push({
    at: status.now_ms, tasks: active.length, totals, rate: each("consumed"), refused: each("quarantined"),
    lag: active.reduce((n, t) => n + t.lag, 0), behind: active.reduce((n, t) => Math.max(n, t.lag_ms), 0),
    p50: fresh?.(0.5) ?? null, p99: fresh?.(0.99) ?? null,
  });
  if (sampler.samples.length > SAMPLES) sampler.samples.shift();
  status.tasks.forEach((t) => note(`${status.instance}/${t.table}/${t.partition}`, t, status.now_ms));
  sampler.status = status;
  save(status);
}

/** When this process began, milliseconds. */
const born = ({ now_ms, uptime_s }) => now_ms - uptime_s * 1_000;

/** Takes up what this tab has seen before the page was loaded anew, of the same process. */
function restore(status) {
  try {
    const held = JSON.parse(sessionStorage.getItem(KEPT));
    const same = held && held.instance === status.instance && Math.abs(held.born - born(status)) < 1_000;
    if (same && status.now_ms - held.samples.at(-1).at < 60_000) sampler.samples.push(...held.samples);
  } catch {
    // Nothing was kept, or by another version.
  }
}

function save(status) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify({ instance: status.instance, born: born(status), samples: sampler.samples }));
  } catch {
    // Without storage the charts begin anew.
  }
}

/** Remembers when a task last moved: `{ at, since, seen }`, milliseconds; `since` is when it was first looked at. */
export function note(name, task, now) {
  const at = `${task.changelog}/${JSON.stringify(task.applied)}`, held = sampler.moved.get(name);
  if (!held) sampler.moved.set(name, { at, since: now, moved: null });
  else if (held.at !== at) sampler.moved.set(name, { at, since: held.since, moved: now });
}

/**
 * How a task stands: `stalled` (events wait and nothing moves), `quiet` (nothing comes, while others of its table move), or null.
 * With how long, milliseconds.
 */
export function standing(name, task, now, others) {
  const held = sampler.moved.get(name);
  if (!held || task.phase.name !== "running") return null;
  const still = now - (held.moved ?? held.since);
  if (task.lag > 0 && still >= 6_000) return { word: "stalled", still };
  const moving = others.some((other) => now - (sampler.moved.get(other)?.moved ?? 0) < 10_000);
  return task.lag === 0 && still >= 30_000 && moving ? { word: "quiet", still } : null;
}

/** A function from quantile to milliseconds, of what became visible since the last look; null where nothing did. */
function freshness(metrics) {
  const now = new Map();
  for (const [, le, n] of metrics.matchAll(/^keld_visible_after_seconds_bucket\{(?:[^}]*,)?le="([^"]+)"[^}]*\} (\d+)/gm)) {
    const edge = le === "+Inf" ? Infinity : Number(le);
    now.set(edge, (now.get(edge) ?? 0) + Number(n));
  }
  const before = buckets;
  buckets = now;
  if (!before || !now.size) return null;
  const edges = [...now.keys()].sort((a, b) => a - b);
  const counts = edges.map((edge) => now.get(edge) - (before.get(edge) ?? 0));
  return counts.at(-1) > 0 && counts.every((n) => n >= 0) ? (q) => quantile(edges, counts, q) : null;
}

/** `counts` are cumulative; within a bucket values are taken to be spread evenly. */
export function quantile(edges, counts, q) {
  const wanted = q * counts.at(-1), i = counts.findIndex((n) => n >= wanted);
  const below = i === 0 ? 0 : counts[i - 1], low = i === 0 ? 0 : edges[i - 1];
  const high = edges[i] === Infinity ? low : edges[i];
  return 1_000 * (low + (high - low) * ((wanted - below) / Math.max(1, counts[i] - below)));
}
