// Small charts of the last minutes, drawn in SVG.

import { arrange, el, svg } from "./dom.js";
import { moment } from "./format.js";

const WIDTH = 320, HEIGHT = 96;
/** Milliseconds from the left edge to the right one. */
const WINDOW = 300_000;

/**
 * A chart with its heading. `lines` is a list of `{ name, take(sample), kind }`; `show` writes a value; `floor` is the least
 * top of the scale. `update(samples)` draws.
 */
export function chart({ title, unit, lines, show, floor = 1 }) {
  const figure = el("p", { class: "figure" }, "–"), top = el("span", { class: "top quiet" });
  const grid = svg("path", { class: "grid", d: `M0 1H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}` });
  const areas = svg("path", { class: "area" });
  const drawn = lines.map((line) => svg("path", { class: `line ${line.kind}` }));
  const cursor = svg("path", { class: "cursor" });
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, grid, areas, drawn, cursor);
  const pointed = el("p", { class: "pointed quiet" });
  const legend = lines.length > 1 ? el("p", { class: "legend quiet" }, lines.map((l) => el("span", { class: l.kind }, el("i", { "aria-hidden": "true" }), l.name))) : null;
  const node = el("section", { class: "chart" }, el("header", {}, el("h3", {}, title), legend), el("div", { class: "reading" }, figure, el("span", { class: "quiet" }, unit), pointed),
    el("div", { class: "plot" }, top, picture), el("p", { class: "axis quiet", "aria-hidden": "true" }, el("span", {}, "5 min ago"), el("span", {}, "now")));
  let held = [];

  picture.addEventListener("pointermove", (event) => point((event.offsetX / picture.clientWidth) * WIDTH));
  picture.addEventListener("pointerleave", () => { cursor.setAttribute("d", ""); pointed.replaceChildren(); });

  const x = (at) => WIDTH - ((held.at(-1).at - at) / WINDOW) * WIDTH;

  function point(where) {
    const near = held.reduce((best, s) => (best && Math.abs(x(best.at) - where) <= Math.abs(x(s.at) - where) ? best : s), null);
    if (!near) return;
    cursor.setAttribute("d", `M${x(near.at).toFixed(1)} 0V${HEIGHT}`);
    const values = lines.map((l) => l.take(near)).map((v) => (v === null ? "–" : show(v)));
    arrange(pointed, [el("span", {}, moment(near.at, "clock"), `: ${values.join(" / ")}`)]);
  }

  function update(samples) {
    held = samples;
    if (!samples.length) return;
    const all = samples.flatMap((s) => lines.map((l) => l.take(s))).filter((v) => v !== null);
    const most = Math.max(floor, ...all), now = lines.map((l) => lastOf(samples, l.take));
    figure.textContent = now.map((v) => (v === null ? "–" : show(v))).join(" / ");
    top.textContent = show(most);
    const y = (v) => HEIGHT - 2 - (v / most) * (HEIGHT - 4);
    drawn.forEach((path, i) => path.setAttribute("d", trace(samples, lines[i].take, x, y)));
    areas.setAttribute("d", area(samples, lines[0].take, x, y));
    picture.setAttribute("aria-label", `${title}, last five minutes: now ${figure.textContent} ${unit}, at most ${show(Math.max(0, ...all))}`);
  }

  return { node, update };
}

/** What was measured last, if it is no older than a few looks. */
function lastOf(samples, take) {
  return samples.slice(-5).map(take).filter((v) => v !== null).at(-1) ?? null;
}

/** A line with gaps where nothing was measured. */
function trace(samples, take, x, y) {
  let path = "", pen = false;
  for (const s of samples) {
    const v = take(s);
    if (v !== null) path += `${pen ? "L" : "M"}${x(s.at).toFixed(1)} ${y(v).toFixed(1)}`;
    pen = v !== null;
  }
  // A single point is drawn as a dot.
  return path.replace(/M([\d.-]+) ([\d.-]+)(?=M|$)/g, "M$1 $2h0.1");
}

function area(samples, take, x, y) {
  let path = "", run = [];
  const close = () => {
    if (run.length > 1) path += `M${run.map(([a, b]) => `${a} ${b}`).join("L")}L${run.at(-1)[0]} ${HEIGHT}L${run[0][0]} ${HEIGHT}Z`;
    run = [];
  };
  for (const s of samples) {
    const v = take(s);
    if (v === null) close();
    else run.push([x(s.at).toFixed(1), y(v).toFixed(1)]);
  }
  close();
  return path;
}
