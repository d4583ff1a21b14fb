// The console. One page at a time in `main`; the address says which.
//
// A page is a function `show({ root, path, params, signal })` that draws into `root` and may answer with `{ update(place) }`, which
// is called when the address changes within the page, and says whether it could follow. `signal` ends when the page is left.

import { isAbort } from "./ask.js";
import { heading, problem } from "./parts.js";
import { keys } from "./keys.js";
import { here, link } from "./place.js";
import { sample } from "./sampler.js";
import { mark, PAGES, shell } from "./shell.js";
import { api } from "./pages/api.js";
import { quarantine } from "./pages/quarantine.js";
import { record } from "./pages/record.js";
import { search } from "./pages/search.js";
import { status } from "./pages/status.js";
import { tables } from "./pages/tables.js";
import { tail } from "./pages/tail.js";

const SHOW = { api, quarantine, record, search, status, tables, tail };
const root = document.getElementById("main");
let open = { page: null, leave: null, controls: null };

async function route(first = false) {
  const place = here();
  if (!Object.hasOwn(SHOW, place.page)) return location.replace(link("search"));
  if (place.page === open.page && open.controls?.update?.(place)) return;
  open.leave?.abort();
  const leave = new AbortController();
  open = { page: place.page, leave, controls: null };
  root.replaceChildren();
  root.className = place.page;
  scrollTo(0, 0);
  mark(place.page);
  document.title = `${PAGES.find((p) => p.page === place.page)?.title ?? place.path.at(-1) ?? ""} · Keld`;
  try {
    const controls = await SHOW[place.page]({ root, ...place, signal: leave.signal });
    if (leave.signal.aborted) return;
    open.controls = controls ?? null;
    // Who came by a link is told where they are; who came back to a list stays where they were.
    if (!first && !root.contains(document.activeElement)) root.querySelector("h1")?.focus({ preventScroll: true });
    document.dispatchEvent(new Event("keld:shown"));
  } catch (error) {
    if (isAbort(error) || leave.signal.aborted) return;
    if (!error.problem) throw error;
    root.replaceChildren(heading("That did not work"), problem(error.problem, () => { open.page = null; route(); }));
  }
}

history.scrollRestoration = "manual";
shell();
keys();
addEventListener("hashchange", () => route());
sample();
route(true);
