// The public API, as any client sees it.

import { forgetKey, key } from "./store.js";

/** Where the page is, which need not be the root of its host. */
const BASE = new URL(".", location.href.split("#")[0]).href;

export let config = { prefix: "", models: [], version: "" };

/** What this server says of itself. Raises ApiError. */
export async function loadConfig() {
  config = await send("console/config.json");
}

/** An answer that is an error (`code` is the API's), or none at all (`code` 0). */
export class ApiError extends Error {
  constructor(code, message, requestId = "", retryAfter = 0) {
    super(message);
    Object.assign(this, { code, requestId, retryAfter });
  }
}

/** The API's address for clients; `path` begins with /v1. */
export const endpoint = (path) => BASE.replace(/\/$/, "") + config.prefix + path;

/** A picture's URL under the address that this page was reached by: the server may be known by others. */
export function local(url) {
  const found = /\/((?:images|references|presets)\/.*)$/.exec(url.split("?")[0]);
  return found ? BASE + found[1] + (url.includes("?") ? url.slice(url.indexOf("?")) : "") : url;
}

async function send(url, options = {}) {
  let answer;
  let body;
  try {
    answer = await fetch(new URL(url, BASE), options);
    body = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(answer ? 5000 : 0, answer ? `HTTP ${answer.status}` : "");
  }
  if (answer.ok) return body;
  const retry = Number(answer.headers.get("Retry-After")) || 0;
  throw new ApiError(body.code ?? 5000, body.message ?? `HTTP ${answer.status}`, body.request_id, retry);
}

/** What is told when a key is refused; the app signs out. */
export const refused = new EventTarget();

/** Call the API with the key. Gives the whole answer, `{data, request_id, …}`. Raises ApiError, AbortError. */
export async function call(method, path, { body, signal, as, headers } = {}) {
  const token = as ?? key();
  if (!/^[!-~]+$/.test(token)) throw new ApiError(1002, ""); // no header can carry it
  const options = { method, signal, cache: "no-store", headers: { ...headers, Authorization: `Bearer ${token}` } };
  if (body) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  try {
    return await send(endpoint(path), options);
  } catch (error) {
    if (error.code >= 1000 && error.code <= 1004 && !as && token === key()) {
      forgetKey();
      refused.dispatchEvent(new CustomEvent("refused", { detail: error }));
    }
    throw error;
  }
}

/** Exchange the code of the printed link for a key. Raises ApiError. */
export async function exchange(code) {
  const headers = { "Content-Type": "application/json" };
  return (await send("console/sign-in", { method: "POST", headers, body: JSON.stringify({ code }) })).data.key;
}

export const TASKS = "/v1/images/omni-image";
export const ELEMENTS = "/v1/general/advanced-custom-elements";
export const PRESETS = "/v1/general/advanced-presets-elements";

export const ended = (task) => task.task_status === "succeed" || task.task_status === "failed";
const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/** Follow a task until it ends. `seen(task, requestId)` is called with each state, `away(error)` with each failure that
 * passes by itself; it is asked again, with growing pauses. `each` are milliseconds between looks, for what has no
 * ?wait. Raises the ApiError that does not pass, AbortError. */
export async function follow(path, { seen, away, signal, each = 0 }) {
  const mark = path.includes("?") ? "&" : "?";
  let failures = 0;
  let wait = 0;
  for (;;) {
    try {
      const { data, request_id: requestId } = await call("GET", `${path}${mark}wait=${wait}`, { signal });
      failures = 0;
      seen(data, requestId);
      if (ended(data)) return;
      if (each) await pause(each, signal);
      wait = document.hidden ? 20 : 1; // answers when the task ends; each second until then, for the progress
    } catch (error) {
      if (!(error instanceof ApiError) || (error.code && error.code < 5000 && error.code !== 1302)) throw error;
      away(error);
      failures += 1;
      await pause(Math.max(error.retryAfter * 1000, Math.min(500 * 2 ** failures, 10_000)), signal);
      wait = 0;
    }
  }
}
