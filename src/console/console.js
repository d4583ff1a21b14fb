// The built-in page. Everything that comes from a record is put on the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const PAGE = 30, MOST = 300, SAMPLES = 60, TICK = 1000, DEBOUNCE = 120;

/** An element with attributes and children; strings become text. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined).map((c) => (c instanceof Node ? c : String(c))));
  return node;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const number = (n) => (Math.abs(n) < 100000 ? whole.format(n) : compact.format(n));
const plural = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 90) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 129600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} days`;
}

// ------------------------------------------------------------------------------------------------ asking

/** A refusal by the server, with its problem+json, or a failure to reach it. */
class Refusal extends Error {
  constructor(problem) { super(problem.detail); this.problem = problem; }
}

async function ask(path, signal) {
  let response;
  try {
    response = await fetch(path, { signal, headers: { accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal({ reason: "unreachable", detail: "This instance does not answer.", advice: "Trying again every second." });
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal({ reason: "unknown", detail: `Answer ${response.status}.`, advice: "", ...body });
  return body;
}

// ------------------------------------------------------------------------------------------------ state

const state = {
  table: null, tables: [], fields: [], keyPath: null,
  limit: PAGE, hits: [], nodes: new Map(), shown: new Map(), question: "", at: -1,
  open: null, record: null, asJson: false, descending: false,
  search: null, detail: null, previous: null, rates: [],
};

const url = () => `/v1/tables/${encodeURIComponent(state.table)}`;

function remember() {
  const p = new URLSearchParams();
  if (state.tables.length > 1) p.set("table", state.table);
  for (const id of ["q", "filter"]) if ($(id).value) p.set(id, $(id).value);
  if ($("sort").value) p.set("sort", (state.descending ? "-" : "") + $("sort").value);
  if ($("live").checked) p.set("live", "1");
  if (state.open !== null) p.set("key", state.open);
  const text = p.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
}

// ------------------------------------------------------------------------------------------------ tables

async function loadTables() {
  const { tables } = await ask("/v1/tables");
  state.tables = tables.map((t) => t.name);
  $("table").replaceChildren(...state.tables.map((name) => el("option", { value: name }, name)));
  const given = new URLSearchParams(location.search);
  const wanted = given.get("table");
  const first = state.tables.includes(wanted) ? wanted : state.tables[0];
  $("table-picker").hidden = state.tables.length < 2;
  $("table-name").hidden = state.tables.length !== 1;
  $("table-name").textContent = first ?? "";
  if (first === undefined) return notice("No table is configured.", "Add one to the configuration file.", true);
  $("q").value = given.get("q") ?? "";
  $("filter").value = given.get("filter") ?? "";
  $("live").checked = given.get("live") === "1";
  await useTable(first);
  const sort = given.get("sort") ?? "";
  state.descending = sort.startsWith("-");
  $("sort").value = sort.replace(/^-/, "");
  if ($("sort").selectedIndex < 0) $("sort").value = "";
  showDirection();
  search();
  if (given.get("key") !== null) open(given.get("key"));
}

async function useTable(name) {
  state.table = name;
  $("table").value = name;
  const table = await ask(url());
  state.fields = table.fields;
  state.keyPath = table.key;
  const sorts = [["", "Best match"], ["_key", "Key"], ...table.fields.filter((f) => f.sort).map((f) => [f.name, f.name])];
  $("sort").replaceChildren(...sorts.map(([value, label]) => el("option", { value }, label)));
  state.limit = PAGE;
  state.nodes.clear();
  state.shown.clear();
  close();
}

function showDirection() {
  const button = $("direction");
  button.disabled = $("sort").value === "";
  button.textContent = state.descending ? "↓" : "↑";
  button.setAttribute("aria-pressed", String(state.descending));
  button.title = state.descending ? "Largest first" : "Smallest first";
}

// ------------------------------------------------------------------------------------------------ search

function question() {
  const p = new URLSearchParams({ limit: state.limit, stale: "allow" });
  if ($("q").value.trim()) p.set("q", $("q").value);
  if ($("filter").value.trim()) p.set("filter", $("filter").value);
  if ($("sort").value) p.set("sort", (state.descending ? "-" : "") + $("sort").value);
  return `${url()}/search?${p}`;
}

/** Asks and shows; a question that is overtaken by another is dropped. */
async function search({ quiet = false } = {}) {
  if (!state.table || (quiet && state.search)) return;
  state.search?.abort();
  const mine = (state.search = new AbortController());
  const asked = question();
  try {
    const answer = await ask(asked, mine.signal);
    if (state.search !== mine) return;
    const same = asked === state.question;
    state.question = asked;
    notice();
    $("filter").removeAttribute("aria-invalid");
    showHits(answer, same);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refusal)) throw error;
    const { parameter, detail, advice, reason } = error.problem;
    $("filter").toggleAttribute("aria-invalid", false);
    if (parameter === "filter" || /filter/.test(detail ?? "")) $("filter").setAttribute("aria-invalid", "true");
    notice(detail, advice, reason !== "restoring");
  } finally {
    if (state.search === mine) state.search = null;
  }
}

let pending = 0;
function soon() {
  state.limit = PAGE;
  clearTimeout(pending);
  pending = setTimeout(() => { remember(); search(); }, DEBOUNCE);
}

function notice(title, text, bad = false) {
  const box = $("notice");
  box.hidden = !title;
  if (!title) return;
  box.className = bad ? "notice bad" : "notice";
  box.replaceChildren(el("strong", {}, title), el("span", {}, text ?? ""));
}

function showHits(answer, same) {
  const keep = state.hits[state.at]?.key;
  state.hits = answer.hits;
  const words = wanted();
  const nodes = new Map(), shown = new Map();
  for (const hit of answer.hits) {
    const text = JSON.stringify(hit.record) + words.join(" ") + (hit.score ?? "");
    const was = state.shown.get(hit.key);
    const node = was === text ? state.nodes.get(hit.key) : hitNode(hit, words);
    // Only what changed under an unchanged question is news.
    if (same && was !== text) node.classList.add("flash");
    nodes.set(hit.key, node);
    shown.set(hit.key, text);
  }
  state.nodes = nodes;
  state.shown = shown;
  arrange($("hits"), [...nodes.values()]);
  state.at = keep === undefined ? -1 : state.hits.findIndex((h) => h.key === keep);
  markSelected(false);
  showSummary(answer);
}

/** Makes `nodes` the children of `list`, touching only what changed: a node that is put in again starts its flash again. */
function arrange(list, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null); });
}

function showSummary(answer) {
  const parts = [el("b", {}, answer.total === null ? `${number(answer.hits.length)}+` : whole.format(answer.total)),
    ` ${answer.total === 1 ? "record" : "records"} in ${answer.took_ms < 10 ? answer.took_ms.toFixed(1) : Math.round(answer.took_ms)} ms`];
  const warn = (text) => parts.push(" · ", el("span", { class: "warn" }, text));
  if (answer.missing_partitions.length) warn(`without ${plural(answer.missing_partitions.length, "partition")}`);
  answer.warnings.slice(0, 2).forEach(warn);
  const summary = $("summary"), text = parts.map((p) => (p.textContent ?? p)).join("");
  if (summary.textContent !== text) summary.replaceChildren(...parts);
  const none = answer.hits.length === 0;
  $("empty").hidden = !none;
  if (none) {
    const asked = $("q").value.trim() || $("filter").value.trim();
    $("empty-title").textContent = asked ? "Nothing matches" : "No records yet";
    $("empty-text").textContent = asked ? "Try fewer words, a prefix such as ket*, or another filter." : "They appear here as events arrive.";
  }
  $("more").hidden = answer.hits.length < state.limit || state.limit >= MOST;
}

/** The plain words of the question, to mark in the hits. */
function wanted() {
  const text = $("q").value.replace(/\w+:(\[[^\]]*\]|\{[^}]*\})/g, " ").replace(/\b\w+:/g, " ");
  const words = text.split(/[^\p{L}\p{N}]+/u).filter((w) => w.length > 1 && !/^(AND|OR|NOT|TO|IN)$/.test(w));
  return [...new Set(words.map((w) => w.toLowerCase()))];
}

/** Text with the wanted words marked, as nodes. */
function marked(text, words) {
  if (!words.length) return [text];
  const out = [];
  let last = 0;
  for (const m of text.matchAll(/[\p{L}\p{N}]+/gu)) {
    if (!words.some((w) => m[0].toLowerCase().startsWith(w))) continue;
    if (m.index > last) out.push(text.slice(last, m.index));
    out.push(el("mark", {}, m[0]));
    last = m.index + m[0].length;
  }
  out.push(text.slice(last));
  return out;
}

const isDate = (v) => typeof v === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(v);
const kindOf = (name) => state.fields.find((f) => f.name === name);

function plain(value) {
  if (isDate(value)) return value.replace("T", " ").replace(/:\d\d(\.\d+)?Z$/, "").replace(/Z$/, "");
  if (Array.isArray(value)) return value.map(plain).join(", ");
  if (value !== null && typeof value === "object") return JSON.stringify(value);
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

/** The field that names a record best: the first text that is there. */
function titleOf(record) {
  const texts = state.fields.filter((f) => f.type === "text" && f.name !== state.keyPath && typeof record[f.name] === "string");
  return texts.find((f) => /title|name|subject|summary/.test(f.name)) ?? texts[0];
}

function hitNode(hit, words) {
  const title = titleOf(hit.record);
  const rest = Object.entries(hit.record).filter(([name]) => name !== title?.name && name !== state.keyPath);
  const node = el("li", { role: "option", id: `hit-${cssId(hit.key)}`, "aria-selected": "false" },
    el("div", { class: "head" },
      el("span", { class: "key" }, ...marked(hit.key, words)),
      el("span", { class: "title" }, ...(title ? marked(hit.record[title.name], words) : [""])),
      hit.score === null ? null : el("span", { class: "score", title: "Score" }, hit.score.toFixed(2))),
    el("dl", {}, ...rest.slice(0, 14).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, ...marked(plain(value).slice(0, 200), kindOf(name)?.type === "text" ? words : []))))));
  node.addEventListener("click", () => { select(state.hits.findIndex((h) => h.key === hit.key)); open(hit.key); });
  return node;
}

const cssId = (key) => Array.from(key, (c) => c.codePointAt(0).toString(36)).join("-");

// ------------------------------------------------------------------------------------------------ selection

function select(index) {
  if (!state.hits.length) return;
  state.at = Math.max(0, Math.min(index, state.hits.length - 1));
  markSelected(true);
}

function markSelected(scroll) {
  state.hits.forEach((hit, i) => state.nodes.get(hit.key)?.setAttribute("aria-selected", String(i === state.at)));
  const node = state.nodes.get(state.hits[state.at]?.key);
  for (const id of ["hits", "q"]) node ? $(id).setAttribute("aria-activedescendant", node.id) : $(id).removeAttribute("aria-activedescendant");
  if (scroll) node?.scrollIntoView({ block: "nearest" });
}

// ------------------------------------------------------------------------------------------------ detail

function open(key) {
  state.open = key;
  state.record = null;
  $("detail").hidden = false;
  $("columns").classList.add("open");
  $("detail-key").textContent = key;
  $("detail-foot").textContent = "";
  $("detail-body").replaceChildren();
  remember();
  loadRecord();
}

function close() {
  const was = state.open;
  state.open = null;
  state.detail?.abort();
  $("detail").hidden = true;
  $("columns").classList.remove("open");
  if (was !== null) remember();
  return was !== null;
}

async function loadRecord({ quiet = false } = {}) {
  if (state.open === null || (quiet && state.detail)) return;
  state.detail?.abort();
  const mine = (state.detail = new AbortController()), key = state.open;
  try {
    const answer = await ask(`${url()}/records/${encodeURIComponent(key)}?stale=allow`, mine.signal);
    if (key === state.open) showRecord(answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refusal)) throw error;
    state.record = null;
    $("detail-body").replaceChildren(el("pre", {}, error.problem.reason === "no_such_record" ? "There is no such record now." : error.problem.detail));
    $("detail-foot").textContent = error.problem.advice ?? "";
  } finally {
    if (state.detail === mine) state.detail = null;
  }
}

function showRecord(answer) {
  const before = state.record;
  state.record = answer.record;
  $("detail-body").firstElementChild?.matches(state.asJson ? "pre" : "table") && JSON.stringify(before) === JSON.stringify(answer.record)
    || $("detail-body").replaceChildren(state.asJson ? jsonView(answer.record) : fieldView(answer.record, before));
  const covers = Object.values(answer.position).flatMap((topics) => Object.values(topics));
  const foot = [el("b", {}, `${answer.role} on ${answer.served_by}`), covers.length ? ` · covers ${covers.join(", ")}` : ""];
  $("detail-foot").replaceChildren(...foot);
}

function fieldView(record, before) {
  const row = ([name, value]) => {
    const def = kindOf(name);
    const about = name === state.keyPath ? "key" : def ? (def.merge === "lww" ? def.type : `${def.type} · ${def.merge}`) : "undeclared";
    const cell = Array.isArray(value) && value.every((v) => v === null || typeof v !== "object")
      ? el("td", {}, ...value.map((v) => el("span", { class: "chip" }, plain(v))))
      : el("td", {}, value !== null && typeof value === "object" ? JSON.stringify(value, null, 2) : plain(value));
    const changed = before && JSON.stringify(before[name]) !== JSON.stringify(value);
    return el("tr", { class: changed ? "flash" : null }, el("th", { scope: "row" }, name, el("small", {}, about)), cell);
  };
  return el("table", {}, el("tbody", {}, ...Object.entries(record).map(row)));
}

/** JSON with its names and values told apart by colour; built of text nodes. */
function jsonView(record) {
  const out = el("pre");
  const text = JSON.stringify(record, null, 2);
  let last = 0;
  for (const m of text.matchAll(/("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    out.append(text.slice(last, m.index), el("span", { class: m[2] ? "n" : m[1] ? "s" : "v" }, m[0]));
    last = m.index + m[0].length;
  }
  out.append(text.slice(last));
  return out;
}

// ------------------------------------------------------------------------------------------------ status

async function refreshStatus() {
  try {
    showStatus(await ask("/v1/status"));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    health("bad", error.problem.reason === "unreachable" ? "Not reachable" : "In trouble");
  }
}

function health(kind, text) {
  $("health").className = `health ${kind}`;
  if ($("health-text").textContent !== text) $("health-text").textContent = text;
}

function figure(id, text, unit = "", kind = "") {
  $(id).className = `figure ${kind}`;
  $(id).replaceChildren(text, ...(unit ? [el("small", {}, ` ${unit}`)] : []));
}

function note(id, ...parts) {
  $(id).replaceChildren(...parts);
}

function showStatus(status) {
  $("instance").textContent = `${status.instance} · ${status.version}`;
  showTasks(status);
  showLag(status);
  showRate(status);
  const documents = status.tables.reduce((n, t) => n + t.documents, 0);
  const stored = status.tables.reduce((n, t) => n + t.store_bytes, 0);
  figure("documents", number(documents));
  note("documents-note", `${bytes(stored)} on disk`);
  const { resident, plan } = status.memory;
  figure("memory", resident === null ? "–" : bytes(resident));
  $("memory-bar").style.width = `${Math.min(100, (100 * (resident ?? 0)) / plan.budget)}%`;
  $("memory-bar").className = resident > plan.budget ? "busy" : "";
  note("memory-note", `budget ${bytes(plan.budget)}`);
}

function showTasks({ tasks, broker, stopping, tables }) {
  const phases = new Map();
  for (const t of tasks) phases.set(t.phase.name, (phases.get(t.phase.name) ?? 0) + 1);
  const running = phases.get("running") ?? 0, stopped = phases.get("stopped") ?? 0;
  const restoring = tasks.filter((t) => t.phase.name === "restoring");
  const percent = restoring.reduce((sum, t) => sum + t.phase.percent, 0) / (restoring.length || 1);
  const kind = stopped ? "bad" : running < tasks.length ? "busy" : "";
  const rest = [...phases].filter(([name]) => name !== "running")
    .map(([name, n]) => `${n} ${name}${name === "restoring" ? ` ${Math.floor(percent)} %` : ""}`);
  figure("tasks", whole.format(running), rest.length ? `running, ${rest.join(", ")}` : "running", kind);
  $("tasks").title = tasks.filter((t) => t.phase.why).map((t) => `${t.table}[${t.partition}]: ${t.phase.why}`).join("\n");
  const squares = tasks.slice(0, 96).map((t) => el("i", {
    class: t.phase.name === "running" && t.role === "standby" ? "standby" : t.phase.name,
    title: `${t.table}[${t.partition}]: ${t.phase.name}, ${plural(t.lag, "unread event")}`,
  }));
  $("squares").replaceChildren(...squares);
  if (stopping) health("busy", "Shutting down");
  else if (stopped) health("bad", "A task has stopped");
  else if (broker.trouble) health("bad", "Broker not reachable");
  else if (!tasks.length && tables.length) health("busy", "Waiting for partitions");
  else if (running < tasks.length) health("busy", restoring.length ? `Restoring ${Math.floor(percent)} %` : "Starting");
  else health("good", "Running");
  $("health").title = broker.trouble ?? "";
}

function showLag({ tasks }) {
  const lag = tasks.reduce((n, t) => n + t.lag, 0), behind = tasks.reduce((n, t) => Math.max(n, t.lag_ms), 0);
  figure("lag", lag ? number(lag) : "0", lag === 1 ? "event" : "events", behind > 10000 ? "busy" : "");
  note("lag-note", lag === 0 ? "caught up" : behind >= 1000 ? `${span(behind)} behind` : "keeping up");
}

function showRate({ now_ms, uptime_s, tables }) {
  const all = tables.flatMap((t) => Object.values(t.accounting));
  const total = (name) => all.reduce((n, a) => n + a[name], 0);
  const consumed = total("consumed"), before = state.previous;
  state.previous = { now_ms, uptime_s, consumed };
  if (before && uptime_s >= before.uptime_s && now_ms > before.now_ms) {
    state.rates.push(Math.max(0, ((consumed - before.consumed) * 1000) / (now_ms - before.now_ms)));
    if (state.rates.length > SAMPLES) state.rates.shift();
  } else if (before && uptime_s < before.uptime_s) {
    state.rates = [];
  }
  figure("rate", number(Math.round(state.rates.at(-1) ?? 0)));
  const quarantined = total("quarantined");
  note("rate-note", `${number(consumed)} in all`, ...(quarantined ? [", ", el("span", { class: "bad" }, `${number(quarantined)} quarantined`)] : []));
  $("rate-note").title = ["applied", "duplicate", "stale", "quarantined"].map((n) => `${n}: ${whole.format(total(n))}`).join("\n");
  drawSpark();
}

function drawSpark() {
  const points = state.rates, top = Math.max(...points, 1), step = 120 / (SAMPLES - 1);
  const [area, line] = $("spark").children;
  if (points.length < 2) return;
  const from = 120 - step * (points.length - 1);
  const path = points.map((v, i) => `${i ? "L" : "M"}${(from + i * step).toFixed(2)} ${(31 - (v / top) * 29).toFixed(2)}`).join("");
  line.setAttribute("d", path);
  area.setAttribute("d", `${path}L120 32L${from.toFixed(2)} 32Z`);
}

// ------------------------------------------------------------------------------------------------ events

function onKey(event) {
  const typing = event.target.matches("input[type=text], input[type=search], select");
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "/" && !typing) { event.preventDefault(); $("q").focus(); $("q").select(); return; }
  if (event.key === "Escape") {
    if (close()) $(state.at < 0 ? "q" : "hits").focus();
    else if (event.target === $("q") && $("q").value) { $("q").value = ""; soon(); }
    else event.target.blur?.();
    return;
  }
  const inList = event.target === $("q") || event.target === $("hits") || event.target === document.body;
  if (!inList) return;
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
  if (event.key in moves) { event.preventDefault(); select(state.at + moves[event.key]); if (state.open !== null) openSelected(); }
  else if (event.target !== $("q") && event.key === "Home") { event.preventDefault(); select(0); }
  else if (event.target !== $("q") && event.key === "End") { event.preventDefault(); select(state.hits.length - 1); }
  else if (event.key === "Enter" && state.at >= 0) { event.preventDefault(); openSelected(); }
}

function openSelected() {
  const hit = state.hits[state.at];
  if (hit && hit.key !== state.open) open(hit.key);
}

function showAs(json) {
  state.asJson = json;
  $("as-json").setAttribute("aria-pressed", String(json));
  $("as-fields").setAttribute("aria-pressed", String(!json));
  if (state.record) $("detail-body").replaceChildren(json ? jsonView(state.record) : fieldView(state.record));
}

function listen() {
  const on = (id, type, act) => $(id).addEventListener(type, act);
  document.addEventListener("keydown", onKey);
  document.addEventListener("animationend", (event) => event.target.classList.remove("flash"));
  on("ask", "submit", (event) => { event.preventDefault(); clearTimeout(pending); remember(); search(); });
  on("q", "input", () => { state.at = -1; soon(); });
  on("filter", "input", soon);
  on("table", "change", async () => { await useTable($("table").value); showDirection(); remember(); search(); });
  on("sort", "change", () => { state.descending = /^(_key|)$/.test($("sort").value) ? false : state.descending; showDirection(); soon(); });
  on("direction", "click", () => { state.descending = !state.descending; showDirection(); soon(); });
  on("live", "change", () => { remember(); search(); });
  on("more", "click", () => { state.limit = Math.min(MOST, state.limit + PAGE * 2); search(); });
  on("close", "click", () => { close(); $("hits").focus(); });
  on("as-fields", "click", () => showAs(false));
  on("as-json", "click", () => showAs(true));
  on("copy", "click", () => navigator.clipboard?.writeText(JSON.stringify(state.record, null, 2)));
}

/** Once a second: the status, and with `Live` the results and the open record. A hidden page rests. */
async function tick() {
  if (!document.hidden) {
    const work = [refreshStatus()];
    if (!state.table) work.push(loadTables().catch((e) => (e instanceof Refusal ? notice(e.problem.detail, e.problem.advice, true) : Promise.reject(e))));
    else if ($("live").checked) work.push(search({ quiet: true }), loadRecord({ quiet: true }));
    await Promise.allSettled(work);
  }
  setTimeout(tick, TICK);
}

listen();
tick();
