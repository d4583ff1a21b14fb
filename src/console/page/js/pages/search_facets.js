// Facets: what the matches have in common, with counts that toggle filters.

import { button, el } from "../dom.js";
import { compact, plural, whole } from "../format.js";
import { brief } from "../parts.js";

/** How many values a facet shows when more are asked for. */
const MORE = 40;

/** The column. `act.changed` after a choice, `act.more` when a facet is to show more values. */
export function facets(state, act) {
  const body = el("div", { class: "groups" });
  // Open beside the hits, folded above them.
  const node = el("details", { class: "facets" }, el("summary", {}, "Facets"), body);
  const wide = matchMedia("(min-width: 900px)");
  node.open = wide.matches;
  wide.addEventListener?.("change", () => { node.open = wide.matches; });

  function choose(field, value, on) {
    const values = state.picked.get(field) ?? [];
    state.picked.set(field, on ? [...values, value] : values.filter((v) => v !== value));
    act.changed();
  }

  function group(field, { values, distinct, max_error: error }) {
    const picked = state.picked.get(field) ?? [], most = Math.max(1, ...values.map((v) => v.count));
    const listed = values.map((v) => [brief(v.value), v.count]);
    // What is chosen stays visible, also where nothing has it any more.
    const rest = picked.filter((p) => !listed.some(([v]) => v === p)).map((p) => [p, 0]);
    const lines = [...rest, ...listed].map(([value, count]) => {
      const id = `facet:${field}:${value}`;
      const box = el("input", { type: "checkbox", id, "data-value": value, on: { change: () => choose(field, value, box.checked) } });
      box.checked = picked.includes(value);
      const bar = el("i", { "aria-hidden": "true" });
      bar.style.inlineSize = `${(100 * count) / most}%`;
      return el("li", {}, el("label", { for: id }, box, el("span", { class: "value" }, value), el("span", { class: "count", title: whole(count) }, compact(count)), bar));
    });
    const hidden = distinct !== null && distinct > values.length;
    const open = state.sizes.get(field) === MORE;
    return el("fieldset", { "data-facet": field }, el("legend", {}, field), el("ul", { class: "plain" }, lines),
      hidden || open ? button(open ? "Fewer" : `More of ${plural(distinct, "value")}`, () => { open ? state.sizes.delete(field) : state.sizes.set(field, MORE); act.more(); }, { class: "link", id: `more:${field}` }) : null,
      error ? el("p", { class: "quiet" }, `counts may be too small by ${whole(error)}`) : null);
  }

  function show(all) {
    const fields = state.table.all.map((f) => f.name).filter((f) => all[f]?.values.length || state.picked.get(f)?.length);
    const focused = document.activeElement?.id;
    body.replaceChildren(...fields.map((f) => group(f, all[f] ?? { values: [], distinct: 0, max_error: 0 })));
    node.hidden = !fields.length;
    if (focused && !document.activeElement?.id) document.getElementById(focused)?.focus({ preventScroll: true });
  }

  return { node, show };
}
