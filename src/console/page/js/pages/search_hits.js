// Hits, as cards or as a table.

import { stringify } from "../ask.js";
import { titleField } from "../definitions.js";
import { arrange, el } from "../dom.js";
import { whole } from "../format.js";
import { brief, problem, value } from "../parts.js";
import { link } from "../place.js";
import { pieces } from "../query.js";

/** The list. `act.explain(key)` gives why a hit has its score, `act.sort(by)` asks in another order. */
export function hits(state, act) {
  const node = el("div", { class: "hits" });
  let held = new Map();

  function show(all, { flash }) {
    const before = held;
    held = new Map();
    const make = state.view === "table" ? row : card, form = `${state.view}/${state.columns.join()}`;
    for (const hit of all) {
      const text = `${form}/${stringify(hit)}`, was = before.get(hit.key);
      const item = was?.text === text ? was.item : make(state, hit, act);
      if (flash && was && was.text !== text && was.form === form) item.classList.add("flash");
      held.set(hit.key, { text, form, item });
    }
    const items = [...held.values()].map((h) => h.item);
    const focused = document.activeElement?.closest?.("[data-key]")?.dataset.key;
    if (state.view === "table") inTable(items);
    else {
      if (!node.firstChild?.matches("ul")) node.replaceChildren(el("ul", { class: "cards plain" }));
      arrange(node.firstChild, items);
    }
    if (focused !== undefined && document.activeElement === document.body) focus(focused);
  }

  function inTable(items) {
    if (!items.length) return node.replaceChildren();
    const columns = state.columns.join();
    if (node.firstChild?.dataset?.columns !== columns || node.firstChild.dataset.sort !== state.sort) {
      node.replaceChildren(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Records", "data-columns": columns, "data-sort": state.sort },
        el("table", { class: "data" }, head(state, act), el("tbody"))));
    }
    arrange(node.querySelector("tbody"), items);
  }

  function focus(key) {
    held.get(key)?.item.querySelector("[data-step]")?.focus({ preventScroll: false });
  }

  node.addEventListener("animationend", (event) => event.target.classList.remove("flash"));
  return { node, show, focus };
}

const keyLink = (state, key) => el("a", { class: "key", href: link("record", [state.name, key]), "data-step": true }, key === "" ? "(empty key)" : key);

function card(state, hit, act) {
  const title = titleField(state.table), marked = hit.highlight ?? {};
  const shown = state.columns.filter((c) => c !== title && hit.record[c] !== undefined && hit.record[c] !== null);
  const found = Object.keys(marked).filter((f) => f !== title && !f.includes("."));
  return el("li", { class: "hit", "data-key": hit.key },
    el("div", { class: "head" }, keyLink(state, hit.key), state.q.trim() ? score(hit, act) : null),
    hit.record[title] === undefined ? null : el("p", { class: "title" }, marked[title] ? highlighted(marked[title]) : brief(hit.record[title])),
    found.map((f) => el("p", { class: "found" }, el("span", { class: "quiet" }, f), " ", highlighted(marked[f]))),
    shown.length ? el("dl", {}, shown.filter((c) => !found.includes(c)).map((c) => el("div", {}, el("dt", {}, c), el("dd", {}, value(hit.record[c], state.table.kinds.get(c)))))) : null);
}

const highlighted = (texts) => texts.flatMap((text, i) => [i ? " … " : null, ...pieces(text).map(([part, is]) => (is ? el("mark", {}, part) : part))]);

/** The score, which says why it is what it is when it is asked. */
function score(hit, act) {
  if (hit.score === null || hit.score === undefined || hit.score === 0) return null;
  const box = el("div", { class: "fold why" });
  const node = el("details", { class: "score" }, el("summary", { title: "Why this score?" }, el("span", { class: "unseen" }, "Score "), hit.score.toFixed(2)), box);
  node.addEventListener("toggle", async () => {
    if (!node.open || box.firstChild) return;
    box.append(el("p", { class: "quiet" }, "Asking …"));
    try {
      const why = await act.explain(hit.key);
      box.replaceChildren(why ? reasons(why) : el("p", { class: "quiet" }, "It does not match any more."));
    } catch (error) {
      if (error.problem) box.replaceChildren(problem(error.problem));
    }
  });
  return node;
}

function reasons({ value: n, description, details }) {
  const line = [el("b", { class: "number" }, Number.isInteger(n) ? whole(n) : n.toPrecision(4)), " ", description];
  return details?.length ? el("details", { open: true }, el("summary", {}, line), el("div", { class: "in" }, details.map(reasons))) : el("p", {}, line);
}

function head(state, act) {
  const sortable = new Set(["_key", ...state.table.all.filter((f) => f.sort).map((f) => f.name)]);
  const column = (name, label) => {
    const down = state.sort === `-${name}`, up = state.sort === name;
    const inside = sortable.has(name) ? el("button", { type: "button", on: { click: () => act.sort(up ? `-${name}` : name) } }, label, el("span", { "aria-hidden": "true" }, up ? " ↑" : down ? " ↓" : "")) : label;
    return el("th", { scope: "col", "aria-sort": up ? "ascending" : down ? "descending" : null, class: numeric(state, name) ? "right" : null }, inside);
  };
  return el("thead", {}, el("tr", {}, column("_key", "Key"), state.columns.map((c) => column(c, c))));
}

const numeric = (state, name) => ["integer", "float"].includes(state.table.kinds.get(name));

function row(state, hit) {
  const cells = state.columns.map((c) => el("td", { class: numeric(state, c) ? "right" : null },
    hit.record[c] === undefined ? "" : hit.highlight?.[c] ? highlighted(hit.highlight[c]) : value(hit.record[c], state.table.kinds.get(c))));
  return el("tr", { "data-key": hit.key }, el("th", { scope: "row" }, keyLink(state, hit.key)), cells);
}
