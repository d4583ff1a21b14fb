// Elements. Strings become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") for (const [type, act] of Object.entries(value)) node.addEventListener(type, act);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  const shown = children.flat(3).filter((c) => c !== null && c !== undefined && c !== false);
  node.append(...shown.map((c) => (c instanceof Node ? c : String(c))));
  return node;
}

/** An element with attributes (`on` holds listeners) and children. */
export const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same in SVG. */
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const ICONS = {
  search: ["M3 8.5a5.5 5.5 0 1 0 11 0 5.5 5.5 0 1 0-11 0", "M12.8 12.8 17 17"],
  tail: ["M2.5 10h3l2-5 4 10 2.2-5h3.8"],
  status: ["M3 16.5h14", "M5 13.5V9", "M10 13.5v-9", "M15 13.5V7"],
  quarantine: ["M10 3.2 17.5 16h-15z", "M10 8.3v3.5", "M10 13.9v.01"],
  tables: ["M3 4h14v12H3z", "M3 8h14", "M8 8v8"],
  api: ["M7.5 5 3 10l4.5 5", "M12.5 5 17 10l-4.5 5"],
  copy: ["M7 7h9.5v9.5H7z", "M13 4.5V3H3v10h1.5"],
  close: ["m5 5 10 10M15 5 5 15"],
  auto: ["M10 3a7 7 0 1 0 0 14 7 7 0 1 0 0-14", "M10 3v14", "M12 6.2h3.8M12 10h5M12 13.8h3.8"],
  light: ["M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 1 0 0-7", "M10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M15.7 4.3l-1.1 1.1M5.4 14.6l-1.1 1.1"],
  dark: ["M16.5 11.8A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.3 8.3z"],
  up: ["M10 16V4.5M5 9l5-5 5 5"],
  down: ["M10 4v11.5M5 11l5 5 5-5"],
  cards: ["M3 4h14v5H3z", "M3 12h14v4.5H3z"],
  columns: ["M3 4h14v12H3z", "M8 4v12M12.7 4v12"],
  pause: ["M7 4.5v11M13 4.5v11"],
  play: ["m6.5 4.5 9 5.5-9 5.5z"],
};

/** An icon that says nothing to screen readers: what it stands for is said beside it. */
export const icon = (name) => svg("svg", { viewBox: "0 0 20 20", "aria-hidden": "true", class: "glyph" },
  ICONS[name].map((d) => svg("path", { d })));

/** Says something to screen readers. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** A button. */
export const button = (label, act, attributes) => el("button", { type: "button", on: { click: act }, ...attributes }, label);

/** Makes `nodes` the children of `list`, touching only what changed: so focus stays, and no animation starts again. */
export function arrange(list, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, i) => { if (list.children[i] !== node) list.insertBefore(node, list.children[i] ?? null); });
}

/** A promise that is kept after so many milliseconds, or at once when `signal` says so. */
export const pause = (ms, signal) => new Promise((done) => {
  if (signal?.aborted) return done();
  const timer = setTimeout(finish, ms);
  function finish() {
    clearTimeout(timer);
    signal?.removeEventListener("abort", finish);
    done();
  }
  signal?.addEventListener("abort", finish);
});

/** What is kept between visits; `fallback` where nothing is, or storage is off. */
export function kept(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(`keld.${name}`)) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Keeps a value between visits, where the browser lets us. */
export function keep(name, value) {
  try {
    localStorage.setItem(`keld.${name}`, JSON.stringify(value));
  } catch {
    // It holds until the page is left.
  }
}
