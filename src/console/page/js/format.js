// Numbers, sizes and times as people read them.

import { el } from "./dom.js";

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minutes = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});
const seconds = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
});

export const whole = (n) => grouped.format(n);
export const compact = (n) => (Math.abs(n) < 100_000 ? grouped.format(n) : short.format(n));
export const plural = (n, one, many = `${one}s`) => `${whole(n)} ${n === 1 ? one : many}`;

/** A rate: a digit behind the point where it is small. */
export const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : compact(Math.round(n)));

/** Milliseconds that something took. */
export const took = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

/** A length of time. */
export function span(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const s = ms / 1_000;
  if (s < 90) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 5_400) return `${Math.round(s / 60)} min`;
  return s < 129_600 ? `${Math.round(s / 3_600)} h` : `${Math.round(s / 86_400)} days`;
}

/** A moment, local, with UTC on hover. `how`: `clock` for today's things, else date and minutes (seconds where there are any). */
export function moment(ms, how) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return String(ms);
  const format = how === "clock" ? clock : date.getTime() % 60_000 === 0 ? minutes : seconds;
  const utc = date.toISOString();
  return el("time", { datetime: utc, title: `${utc.replace("T", " ").replace(/(\.000)?Z$/, "")} UTC` }, format.format(date));
}

/** Whether a number looks like milliseconds since the epoch: versions often are. */
export const isTime = (n) => Number.isSafeInteger(n) && n > 3e11 && n < 1e14;
