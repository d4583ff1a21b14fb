// Asking the API. Its answers keep integers that JavaScript's numbers cannot hold.

/** A refusal by the server, with its problem+json, or a failure to reach it. */
export class Refusal extends Error {
  constructor(problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

const exact = (_, value, context) =>
  typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "") ? BigInt(context.source) : value;

/** JSON as text to value; integers beyond 2^53 become BigInt. */
export const parse = (text) => JSON.parse(text, exact);

/** And back. */
export const stringify = (value, indent) =>
  JSON.stringify(value, (_, v) => (typeof v === "bigint" ? (JSON.rawJSON?.(String(v)) ?? String(v)) : v), indent);

function unreachable() {
  return new Refusal({
    title: "No answer", reason: "unreachable", status: 0, detail: "This instance does not answer.",
    advice: "It may be starting or gone: look at its log. This page goes on trying.",
  });
}

/** The refusal that a response is. */
export async function refusal(response) {
  const text = await response.text().catch(() => "");
  let body = {};
  try {
    body = parse(text);
  } catch {
    // A proxy in between may answer with anything.
  }
  return new Refusal({ title: `Answer ${response.status}`, reason: "unknown", status: response.status, detail: text.slice(0, 300), advice: "", ...body });
}

/** The response to a request; a refusal where the server cannot be reached. Aborting throws AbortError. */
export async function request(path, options = {}) {
  try {
    return await fetch(path, { headers: { accept: "application/json" }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

/** The JSON of a GET, or of a POST of `body`. */
export async function ask(path, { signal, body } = {}) {
  const options = body === undefined ? { signal } : {
    signal, method: "POST", body: stringify(body), headers: { accept: "application/json", "content-type": "application/json" },
  };
  const response = await request(path, options);
  if (!response.ok) throw await refusal(response);
  try {
    return parse(await response.text());
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

/** The text of a GET. */
export async function text(path, signal) {
  const response = await request(path, { signal, headers: {} });
  if (!response.ok) throw await refusal(response);
  return response.text();
}

/** Whether an error only says that somebody does not want the answer any more. */
export const isAbort = (error) => error.name === "AbortError";
