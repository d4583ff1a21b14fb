// What stands around every page: navigation, health, theme.

import { el, icon, keep, kept, say } from "./dom.js";
import { link } from "./place.js";
import { sampler, watch } from "./sampler.js";

const $ = (id) => document.getElementById(id);

/** Pages in the order of the navigation, with the key that leads there behind `g`. */
export const PAGES = [
  { page: "search", title: "Search", icon: "search", key: "s" },
  { page: "tail", title: "Live tail", icon: "tail", key: "l" },
  { page: "status", title: "Status", icon: "status", key: "i" },
  { page: "quarantine", title: "Quarantine", icon: "quarantine", key: "q" },
  { page: "tables", title: "Tables", icon: "tables", key: "t" },
  { page: "api", title: "API", icon: "api", key: "a" },
];

/** Draws the navigation once. */
export function shell() {
  $("nav").append(el("ul", {}, PAGES.map(({ page, title, icon: name }) => el("li", {}, el("a", { href: link(page), "data-page": page }, icon(name), el("span", {}, title))))));
  $("menu").addEventListener("click", () => menu($("menu").getAttribute("aria-expanded") !== "true"));
  $("skip").addEventListener("click", (event) => {
    // The address holds the page.
    event.preventDefault();
    $("main").focus();
  });
  $("theme").addEventListener("click", nextTheme);
  showTheme();
  watch(showHealth, new AbortController().signal);
}

function menu(open) {
  $("menu").setAttribute("aria-expanded", String(open));
  $("side").classList.toggle("open", open);
}

/** Marks the page that is open. */
export function mark(page) {
  menu(false);
  const shown = page === "record" ? "search" : page;
  for (const a of $("nav").querySelectorAll("a")) {
    if (a.dataset.page === shown) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
}

const THEMES = { auto: ["light", "Theme: as the system"], light: ["dark", "Theme: light"], dark: ["auto", "Theme: dark"] };

function nextTheme() {
  const next = THEMES[kept("theme", "auto")]?.[0] ?? "auto";
  keep("theme", next);
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  showTheme();
  say(THEMES[next][1]);
}

function showTheme() {
  const now = kept("theme", "auto"), label = THEMES[now]?.[1] ?? THEMES.auto[1];
  $("theme").replaceChildren(icon(now in THEMES ? now : "auto"));
  $("theme").setAttribute("aria-label", `${label}; change it`);
  $("theme").title = label;
}

/** `[kind, words, why]` of this instance. */
export function healthOf(status, problem) {
  if (problem) return ["bad", "No answer", problem.detail];
  if (!status) return ["", "Connecting", ""];
  const { tasks, tables, broker, stopping, stall } = status;
  const phase = (name) => tasks.filter((t) => t.phase.name === name);
  const restoring = phase("restoring"), running = phase("running").length;
  const percent = Math.floor(restoring.reduce((sum, t) => sum + (t.phase.percent ?? 0), 0) / (restoring.length || 1));
  if (stopping) return ["busy", "Shutting down", ""];
  if (stall) return ["bad", "A worker is stuck", stall];
  if (phase("stopped").length) return ["bad", "A task has stopped", phase("stopped")[0].phase.why ?? ""];
  if (broker.trouble) return ["bad", "Broker away", broker.trouble];
  if (status.schema_registry?.trouble) return ["busy", "Registry away", status.schema_registry.trouble];
  if (!tasks.length && tables.length) return ["busy", "Waiting for tasks", ""];
  if (running < tasks.length) return ["busy", restoring.length ? `Restoring ${percent} %` : "Starting", ""];
  return ["good", "Running", ""];
}

function showHealth() {
  const [kind, words, why] = healthOf(sampler.status, sampler.problem);
  $("health").className = `health ${kind}`;
  if ($("health-text").textContent !== words) $("health-text").textContent = words;
  $("health").title = why;
  if (sampler.status) $("instance").textContent = `${sampler.status.instance} · ${sampler.status.version}`;
}
