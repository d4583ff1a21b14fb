// The keyboard: the same keys on every page, and the dialog that tells of them. Single keys can be switched off.

import { button, el, keep, kept } from "./dom.js";
import { go, here, link } from "./place.js";
import { PAGES } from "./shell.js";

const $ = (id) => document.getElementById(id);
const TYPING = "input:not([type=checkbox]):not([type=radio]), select, textarea, [contenteditable]";
/** Within so many milliseconds the second key must follow `g`. */
const SEQUENCE = 1_500;
let went = -Infinity;

const KEYS = [
  ["/", "to the search box"], ["j k", "or arrows: next, previous"], ["Enter", "open"], ["Esc", "back, or empty the box"],
  ...PAGES.map(({ key, title }) => [`g ${key}`, title]), ["?", "this help"],
];

/** Listens. */
export function keys() {
  document.addEventListener("keydown", press);
  $("help-open").addEventListener("click", help);
  // A click beside the dialog closes it.
  $("help").addEventListener("click", (event) => { if (event.target === $("help")) $("help").close(); });
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target.matches(TYPING);
  if (event.key === "Escape") return escape(event);
  if (event.key === "ArrowDown" || event.key === "ArrowUp") return arrow(event, typing);
  if (typing || !kept("keys", true)) return;
  const act = keyFor(event);
  if (!act) return;
  event.preventDefault();
  act();
}

function keyFor({ key, timeStamp }) {
  const after = timeStamp - went < SEQUENCE;
  went = -Infinity;
  const page = after && PAGES.find((p) => p.key === key);
  if (page) return () => go(link(page.page));
  if (key === "g") return () => { went = timeStamp; };
  return { "/": toSearch, "?": help, j: () => step(1), k: () => step(-1) }[key];
}

function toSearch() {
  const box = document.querySelector("main [data-search]");
  if (box) {
    box.focus();
    box.select();
  } else {
    go(link("search", [], {}));
    document.addEventListener("keld:shown", toSearch, { once: true });
  }
}

/** What j, k and arrows go through: the links and buttons that are marked for it. */
const stops = () => [...document.querySelectorAll("main [data-step]")].filter((n) => n.offsetParent !== null);

function step(by) {
  const all = stops(), at = all.indexOf(document.activeElement);
  const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
  return next !== undefined;
}

function arrow(event, typing) {
  const list = event.target.matches("[data-step]"), box = event.target.matches("[data-search]");
  if (list && event.key === "ArrowUp" && stops()[0] === event.target) document.querySelector("main [data-search]")?.focus();
  else if (list || (box && event.key === "ArrowDown") || (event.target === document.body && !typing)) {
    if (!step(event.key === "ArrowDown" ? 1 : -1)) return;
  } else return;
  event.preventDefault();
}

function escape(event) {
  const box = event.target;
  if (box.matches("[data-search]") && box.value !== "") {
    box.value = "";
    box.dispatchEvent(new Event("input", { bubbles: true }));
  } else if (here().page === "record") {
    document.querySelector("[data-back]")?.click();
  } else if (box !== document.body) {
    box.blur();
  } else return;
  event.preventDefault();
}

function help() {
  const off = el("input", { type: "checkbox", id: "single-keys", on: { change: () => keep("keys", off.checked) } });
  off.checked = kept("keys", true);
  const dialog = $("help");
  dialog.replaceChildren(
    el("h2", { id: "help-title" }, "Keys"),
    el("dl", { class: "keys" }, KEYS.map(([key, what]) => el("div", {}, el("dt", {}, key.split(" ").map((k) => el("kbd", {}, k))), el("dd", {}, what)))),
    el("label", { class: "check" }, off, "Single keys do something"),
    el("p", { class: "quiet" }, "Words are looked for in all texts; ", el("code", {}, "field:value"), ", ", el("code", {}, '"a phrase"'), ", ", el("code", {}, "price:[10 TO 50]"), ", ",
      el("code", {}, "ket*"), ", ", el("code", {}, "kettel~1"), ", ", el("code", {}, "NOT"), ", ", el("code", {}, "OR"), " and brackets work."),
    el("div", { class: "actions" }, button("Close", () => dialog.close(), { autofocus: true })));
  dialog.showModal();
}
