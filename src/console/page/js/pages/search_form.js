// The box, the filters, the order, and how hits are shown.

import { button, el, icon, keep } from "../dom.js";
import { link } from "../place.js";
import { usualColumns } from "../definitions.js";
import { is, parameters } from "../query.js";

const DEBOUNCE = 140;

/** `act`: `typed` (words of the box), `changed` (anything else that asks anew), `looks` (the same, shown otherwise), `live`. */
export function form(state, act) {
  const box = el("input", {
    id: "q", type: "search", "data-search": true, placeholder: "Search records", "aria-label": "Search", "aria-describedby": "q-hint", autocomplete: "off", spellcheck: "false",
    autocapitalize: "off", enterkeyhint: "search",
  });
  let timer = 0;
  const typed = () => {
    clearTimeout(timer);
    if (state.q === box.value) return;
    state.q = box.value;
    act.typed();
  };
  box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { if (box.isConnected) typed(); }, DEBOUNCE); });
  const hint = el("p", { class: "unseen", id: "q-hint" }, "Words, field:value, quotes, ranges, prefixes. Results appear as you type; arrow down goes to them.");
  const chips = el("ul", { class: "chips", "aria-label": "Filters" });
  const extra = filterBox(state, act), order = sorting(state, act), looks = appearance(state, act);
  const watch = el("a", { class: "small button", title: "Changes that match, as they come" }, icon("tail"), el("span", {}, "Watch"));
  const node = el("form", { class: "ask", role: "search", on: { submit: (event) => { event.preventDefault(); typed(); } } },
    el("div", { class: "q" }, icon("search"), box, el("kbd", { "aria-hidden": "true" }, "/")), hint,
    el("div", { class: "refine" }, extra.node, order.node, looks.node, liveSwitch(state, act), watch), chips);

  function show() {
    if (document.activeElement !== box || box.value.trim() !== state.q.trim()) box.value = state.q;
    order.show();
    looks.show();
    const of = [
      ...state.filters.map((f) => chip(f, () => { state.filters = state.filters.filter((x) => x !== f); act.changed(); })),
      ...[...state.picked].flatMap(([field, values]) => values.map((v) => chip(`${field}: ${v}`, () => { state.picked.set(field, values.filter((x) => x !== v)); act.changed(); }))),
    ];
    if (of.length > 1) of.push(el("li", {}, button("Clear all", () => { state.filters = []; state.picked = new Map(); act.changed(); }, { class: "link" })));
    chips.replaceChildren(...of);
    chips.hidden = !of.length;
    showWatch();
  }

  function showWatch() {
    const p = parameters(state), to = new URLSearchParams();
    for (const [name, value] of p) if (name === "q" || name === "filter") to.append(name, value);
    watch.href = link("tail", [state.name], to);
  }

  show();
  return {
    node, show,
    focus: () => { if (matchMedia("(hover: hover)").matches) box.focus({ preventScroll: true }); },
    accept: () => { extra.accept(); showWatch(); },
    refuse: (problem) => extra.refuse(problem),
  };
}

function chip(text, remove) {
  return el("li", { class: "chip" }, el("span", {}, text), el("button", { type: "button", "aria-label": `Remove filter ${text}`, on: { click: remove } }, icon("close")));
}

/** A field for a filter of one's own. */
function filterBox(state, act) {
  const names = el("datalist", { id: "filter-names" }, state.table.all.filter((f) => f.index).map((f) => el("option", { value: f.facet ? is(f.name, "") : `${f.name}:` })));
  const input = el("input", { id: "filter", type: "text", list: "filter-names", placeholder: "field:value, price:[10 TO 50]", spellcheck: "false", autocapitalize: "off", autocomplete: "off" });
  const add = () => {
    const text = input.value.trim();
    if (!text || state.filters.includes(text)) return;
    state.filters = [...state.filters, text];
    input.value = "";
    act.changed();
  };
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  });
  const node = el("div", { class: "field wide" }, el("label", { for: "filter" }, "Filter"), input, names, button("Add", add, { class: "small" }));
  return {
    node,
    accept: () => input.removeAttribute("aria-invalid"),
    refuse: ({ parameter, detail }) => { if (parameter === "filter" || /^filter\b/.test(detail ?? "")) input.setAttribute("aria-invalid", "true"); },
  };
}

function sorting(state, act) {
  const sortable = state.table.all.filter((f) => f.sort).map((f) => f.name);
  const select = el("select", { id: "sort" }, el("option", { value: "" }, "Best match"), el("option", { value: "_key" }, "Key"), sortable.map((f) => el("option", { value: f }, f)));
  const turn = el("button", { type: "button", class: "icon" });
  const field = () => state.sort.replace(/^-/, ""), down = () => state.sort.startsWith("-");
  select.addEventListener("change", () => { state.sort = select.value && down() && select.value !== "_key" ? `-${select.value}` : select.value; act.changed(); });
  turn.addEventListener("click", () => { state.sort = down() ? field() : `-${field()}`; act.changed(); });
  return {
    node: el("div", { class: "field" }, el("label", { for: "sort" }, "Sort"), select, turn),
    show: () => {
      select.value = field();
      turn.disabled = state.sort === "";
      const words = down() ? "Largest first" : "Smallest first";
      turn.replaceChildren(icon(down() ? "down" : "up"));
      turn.title = words;
      turn.setAttribute("aria-label", `${words}; turn round`);
    },
  };
}

/** Cards or table, and which columns. */
function appearance(state, act) {
  const views = { cards: "As cards", table: "As a table" };
  const buttons = Object.entries(views).map(([view, label]) =>
    el("button", { type: "button", class: "icon", "aria-label": label, title: label, on: { click: () => { state.view = view; show(); act.looks(); } } }, icon(view === "cards" ? "cards" : "tables")));
  const boxes = state.table.all.map((f) => {
    const box = el("input", { type: "checkbox", on: { change: () => choose(f.name, box.checked) } });
    return [f.name, box, el("label", { class: "check" }, box, f.name)];
  });
  function choose(name, on) {
    const order = state.table.all.map((f) => f.name);
    const wanted = on ? [...state.columns, name] : state.columns.filter((c) => c !== name);
    set(order.filter((n) => wanted.includes(n)));
  }
  function set(columns) {
    state.columns = columns;
    keep(`columns.${state.name}`, columns);
    show();
    act.looks();
  }
  const menu = el("details", { class: "menu" }, el("summary", { class: "icon", title: "Fields to show" }, icon("columns"), el("span", { class: "unseen" }, "Fields to show")),
    el("div", { class: "fold" }, el("div", { class: "checks" }, boxes.map(([, , label]) => label)), button("As it was", () => set(usualColumns(state.table)), { class: "link" })));
  closesOutside(menu);
  function show() {
    buttons.forEach((b, i) => b.setAttribute("aria-pressed", String(Object.keys(views)[i] === state.view)));
    boxes.forEach(([name, box]) => { box.checked = state.columns.includes(name); });
  }
  return { node: el("div", { class: "looks" }, el("div", { class: "pair", role: "group", "aria-label": "Results" }, buttons), menu), show };
}

/** A menu closes when the focus or the pointer goes elsewhere, and by Escape. */
export function closesOutside(menu) {
  menu.addEventListener("focusout", (event) => { if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false; });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    event.preventDefault();
    menu.open = false;
    menu.firstChild.focus();
  });
  menu.addEventListener("toggle", () => {
    if (!menu.open) return;
    const close = new AbortController();
    document.addEventListener("pointerdown", (event) => { if (!menu.contains(event.target)) menu.open = false; }, { signal: close.signal });
    menu.addEventListener("toggle", () => close.abort(), { once: true });
  });
}

function liveSwitch(state, act) {
  const box = el("input", { type: "checkbox", role: "switch", on: { change: () => { state.live = box.checked; act.live(); } } });
  return el("label", { class: "switch", title: "Ask again every two seconds" }, box, el("i", { "aria-hidden": "true" }), "Live");
}
