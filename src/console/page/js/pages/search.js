// Search: a box, filters, facets, hits.

import { ask, isAbort } from "../ask.js";
import { chosen, definition, facetFields, remember, textFields, usualColumns } from "../definitions.js";
import { el, kept, pause, say } from "../dom.js";
import { plural, took, whole } from "../format.js";
import { asCurl, coverage, empty, heading, picker, problem } from "../parts.js";
import { go, link, settle } from "../place.js";
import { fromAddress, parameters, toAddress } from "../query.js";
import { facets } from "./search_facets.js";
import { form } from "./search_form.js";
import { hits } from "./search_hits.js";

const PAGE = 30, LIVE = 2_000;
/** What was shown last, so that `back` shows it again at once and where it was. */
let last = null;

/** The page. */
export async function search({ root, path, params, signal }) {
  const name = await chosen(path[0], signal);
  if (name === undefined) {
    root.append(heading("Search"), empty("No table is configured", el("p", { class: "quiet" }, "Add one to the configuration file and start again.")));
    return null;
  }
  const table = await definition(name, signal);
  remember(name);
  const state = { ...fromAddress(params), name, table, columns: kept(`columns.${name}`, usualColumns(table)), sizes: new Map(), live: false };
  const page = assemble(state, signal);
  const to = await picker(name, (other) => go(link("search", [other])), signal);
  root.append(heading("Search", to), page.node);
  page.begin();
  return { update: (place) => place.path[0] === name || place.path[0] === undefined ? page.update(fromAddress(place.params)) : false };
}

function assemble(state, signal) {
  const path = `/v1/tables/${encodeURIComponent(state.name)}/search`;
  const address = () => link("search", [state.name], toAddress(state));
  const shown = { answers: [], asked: null };
  let running = null;

  const controls = form(state, {
    typed: () => { settle(address()); fresh(); },
    changed: () => go(address()),
    looks: () => { settle(address()); draw(); },
    live: () => { if (state.live) fresh({ quiet: true }); },
  });
  const counts = facets(state, { changed: () => go(address()), more: () => fresh({ quiet: true }) });
  const summary = el("p", { class: "summary", role: "status" }), beside = el("div", { class: "beside" });
  const warnings = el("div", {}), list = hits(state, { explain, sort: (by) => { state.sort = by; go(address()); } });
  const more = el("button", { type: "button", class: "more", hidden: true, on: { click: next } }, "Show more");
  const results = el("section", { class: "results", "aria-label": "Results" }, el("div", { class: "over" }, summary, beside), warnings, list.node, more);
  const node = el("div", {}, controls.node, el("div", { class: "columns" }, counts.node, results));

  const question = (more_) => parameters(state, { limit: PAGE, highlight: textFields(state.table), ...more_ });

  /** Asks anew; what is under way is dropped. */
  async function fresh({ quiet = false } = {}) {
    running?.abort();
    const mine = running = new AbortController(), both = AbortSignal.any([signal, mine.signal]);
    const fields = facetFields(state.table).slice(0, 12), size = (f) => `${f}:${state.sizes.get(f) ?? 8}`;
    const asked = question({ facets: fields.map(size) });
    // A facet with a choice shows what else could be chosen: it is counted without its own filter.
    const own = fields.filter((f) => state.picked.get(f)?.length);
    const beside_ = own.map((f) => parameters(state, { without: f, facets: [size(f)], limit: 1, more: { count: "none" } }));
    if (!quiet) results.setAttribute("aria-busy", "true");
    try {
      const [answer, ...others] = await Promise.all([asked, ...beside_].map((p) => ask(`${path}?${p}`, { signal: both })));
      own.forEach((f, i) => { answer.facets[f] = others[i].facets[f]; });
      shown.answers = [answer];
      shown.asked = asked;
      draw({ flash: quiet });
    } catch (error) {
      if (isAbort(error)) return;
      if (!error.problem) throw error;
      refused(error.problem);
    } finally {
      if (running === mine) results.removeAttribute("aria-busy");
    }
  }

  async function next() {
    const { answers, asked } = shown, cursor = answers.at(-1)?.cursor;
    if (!cursor) return;
    more.disabled = true;
    // The next page of what is shown, whatever has been typed since.
    const page = new URLSearchParams(asked);
    page.delete("facets");
    page.append("cursor", cursor);
    try {
      const answer = await ask(`${path}?${page}`, { signal });
      if (shown.answers !== answers) return;
      answers.push(answer);
      const first = answer.hits[0]?.key;
      draw();
      say(`${plural(answer.hits.length, "more record")}`);
      if (first !== undefined) list.focus(first);
    } catch (error) {
      if (isAbort(error)) return;
      if (!error.problem) throw error;
      if (shown.answers === answers) warnings.replaceChildren(problem(error.problem, next));
    } finally {
      more.disabled = false;
    }
  }

  async function explain(key) {
    const p = question({ limit: 1, more: { explain: "true", filter: `_key:"${key.replace(/[\\"]/g, "\\$&")}"` } });
    return (await ask(`${path}?${p}`, { signal })).hits[0]?.explain ?? null;
  }

  function draw({ flash = false } = {}) {
    const [first] = shown.answers, latest = shown.answers.at(-1);
    if (!first) return;
    controls.accept();
    const all = shown.answers.flatMap((a) => a.hits);
    summary.replaceChildren(el("b", {}, whole(first.total)), ` ${first.total === 1 ? "record" : "records"} `, el("span", { class: "quiet" }, `in ${took(first.took_ms)}`));
    beside.replaceChildren(coverage(latest), asCurl(path, shown.asked));
    warnings.replaceChildren(...warningsOf(first));
    counts.show(first.facets ?? {});
    list.show(all, { flash });
    if (!all.length) list.node.replaceChildren(nothing(first));
    more.hidden = !latest.cursor || all.length >= first.total;
    more.textContent = `Show ${Math.min(PAGE, first.total - all.length)} more`;
  }

  function nothing(answer) {
    const narrowed = state.q.trim() || state.filters.length || [...state.picked.values()].some((v) => v.length);
    if (answer.missing_partitions.length) return empty("Nothing found where we could look", el("p", { class: "quiet" }, "Some partitions did not answer."));
    if (!narrowed) return empty("No records yet", el("p", { class: "quiet" }, `They come from ${state.table.sources.map((s) => s.topic).join(", ")}.`));
    return empty("Nothing matches", el("p", { class: "quiet" }, "Fewer words or filters find more; ket* finds words that begin so, kettel~1 such that are nearly so."),
      el("p", {}, el("a", { href: link("search", [state.name]) }, "Start over")));
  }

  function refused(what) {
    controls.refuse(what);
    summary.replaceChildren();
    beside.replaceChildren();
    more.hidden = true;
    warnings.replaceChildren(problem(what, () => fresh()));
    list.show([], {});
    counts.show({});
  }

  /** Shows what was there when the page was left, if it is the same one; asks in any case. */
  function begin() {
    if (last?.address === address()) {
      Object.assign(shown, last.shown);
      draw();
      if (last.key) list.focus(last.key);
      scrollTo(0, last.scroll);
      if (shown.answers.length === 1) fresh({ quiet: true });
    } else {
      fresh();
      controls.focus();
    }
    live();
    signal.addEventListener("abort", () => { last = { address: address(), shown: { ...shown }, scroll: left.scroll, key: left.key }; });
  }

  // Where the reader was is noted while they are here: when the page is left, it is gone.
  const left = { scroll: 0, key: null };
  addEventListener("scroll", () => { if (node.isConnected) left.scroll = scrollY; }, { signal, passive: true });
  node.addEventListener("focusin", (event) => { left.key = event.target.closest("[data-key]")?.dataset.key ?? null; });
  node.addEventListener("click", (event) => { left.key = event.target.closest("[data-key]")?.dataset.key ?? left.key; });

  async function live() {
    while (!signal.aborted) {
      await pause(LIVE, signal);
      if (state.live && !document.hidden && shown.answers.length === 1 && !results.hasAttribute("aria-busy")) await fresh({ quiet: true });
    }
  }

  function update(wanted) {
    Object.assign(state, wanted);
    controls.show();
    fresh();
    return true;
  }

  return { node, begin, update };
}

function warningsOf({ warnings, missing_partitions: missing }) {
  const lines = [...warnings];
  if (missing.length) lines.push(`without ${plural(missing.length, "partition")} that did not answer: ${missing.join(", ")}`);
  return lines.length ? [el("div", { class: "notice", role: "status" }, el("ul", { class: "plain" }, lines.slice(0, 5).map((w) => el("li", {}, w))))] : [];
}
