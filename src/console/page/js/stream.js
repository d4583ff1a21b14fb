// Changes of a table as they happen (server-sent events). By `fetch`, for EventSource tells neither status nor advice of a refusal.

import { isAbort, parse, refusal, request } from "./ask.js";
import { pause } from "./dom.js";

const FIRST_WAIT = 500, LONGEST_WAIT = 10_000;
/** Without a word for so long the connection is taken for dead; the server's heartbeat comes every 15 s. */
const SILENCE = 50_000;

/**
 * The events of a body, one after the other: `{ event, id, data }`; of a heartbeat that moves the position only `id`. Comments are
 * passed over, but show that somebody is there.
 */
export async function* events(body, heard = () => {}) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", event = {};
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data !== undefined || event.id !== undefined) yield { event: event.event ?? "message", id: event.id, data: event.data };
        event = {};
      } else if (!line.startsWith(":")) {
        const [, name, text = ""] = /^([^:]*):? ?(.*)$/s.exec(line);
        event[name] = name === "data" && event.data !== undefined ? `${event.data}\n${text}` : text;
      }
    }
  }
}

/** Cuts after which going on where we were makes no sense. */
const GONE = new Set(["gap"]);

/**
 * Follows a table until `signal`, and goes on at its position after breaks.
 *
 * `onEvent(kind, data)` gets `changed`, `deleted`, `entered`, `left`; `onState(name, more)` gets `connecting`, `open`, `absent`
 * (the instance has no such endpoint), `refused` (with its problem), `cut` (with the server's reason), `lost` (with seconds to wait).
 */
export async function follow(table, { params = {}, onEvent, onState, signal }) {
  let position = null, wait = FIRST_WAIT;
  while (!signal.aborted) {
    onState("connecting", { position });
    const end = await once(table, params, position, {
      signal,
      hello: (data) => {
        position = data.position ?? position;
        wait = FIRST_WAIT;
        onState("open", { position, partitions: data.partitions });
      },
      event: (kind, data, id) => {
        position = id ?? position;
        onEvent(kind, data, position);
      },
      beat: (id) => { position = id; },
    });
    if (signal.aborted || end.state === "absent" || end.state === "refused") {
      if (!signal.aborted) onState(end.state, end);
      return;
    }
    if (end.state === "cut" && GONE.has(end.reason)) position = null;
    onState(end.state, { ...end, position, wait_s: wait / 1_000 });
    await pause(wait, signal);
    wait = Math.min(wait * 2, LONGEST_WAIT);
  }
}

/** One connection; how it ended. */
async function once(table, params, position, { signal, hello, event, beat }) {
  const query = new URLSearchParams(params);
  if (position) query.set("from", position);
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE);
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE);
  };
  try {
    const response = await request(`/v1/tables/${encodeURIComponent(table)}/changes?${query}`, {
      signal: AbortSignal.any([signal, silence.signal]), headers: { accept: "text/event-stream" }, cache: "no-store",
    });
    if (!response.ok) return refused(await refusal(response));
    for await (const { event: kind, id, data } of events(response.body, heard)) {
      if (data === undefined) {
        beat(id);
        continue;
      }
      const said = parse(data);
      if (kind === "hello") hello(said);
      else if (kind === "cut") return { state: "cut", ...said };
      else event(kind, said, id);
    }
    return { state: "lost", detail: "The connection ended." };
  } catch (error) {
    if (isAbort(error)) return { state: "lost", detail: "Nothing was heard for a while." };
    return { state: "lost", detail: error.problem?.detail ?? "The connection broke." };
  } finally {
    clearTimeout(timer);
  }
}

function refused({ problem }) {
  if (problem.reason === "no_such_route") return { state: "absent" };
  // What may be otherwise in a moment is tried again.
  return problem.status >= 500 || problem.status === 429 ? { state: "lost", detail: problem.detail, advice: problem.advice } : { state: "refused", problem };
}
