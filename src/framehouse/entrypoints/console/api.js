// The public API, which the console uses like any other client.

import { key, removeKey } from "./store.js";

/** The URL of the folder that contains the page. A proxy may serve the console under a path. */
const BASE = new URL(".", location.href.split("#")[0]).href;

export let config = { prefix: "", models: [], version: "" };

/** Load the configuration of this server. Raises ApiError. */
export async function loadConfig() {
  config = await send("console/config.json");
}

/** An error response (`code` is the API's error code), or no response (`code` is 0). */
export class ApiError extends Error {
  constructor(code, message, requestId = "", retryAfter = 0) {
    super(message);
    Object.assign(this, { code, requestId, retryAfter });
  }
}

/** Return the URL that clients use for an API path; `path` begins with /v1. */
export const endpoint = (path) => BASE.replace(/\/$/, "") + config.prefix + path;

/** Return the URL of an image under the address of this page. The server's public URL may be a different one. */
export function localUrl(url) {
  const match = /\/((?:images|references|presets)\/.*)$/.exec(url.split("?")[0]);
  return match ? BASE + match[1] + (url.includes("?") ? url.slice(url.indexOf("?")) : "") : url;
}

async function send(url, options = {}) {
  let response;
  let body;
  try {
    response = await fetch(new URL(url, BASE), options);
    body = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(response ? 5000 : 0, response ? `HTTP ${response.status}` : "");
  }
  if (response.ok) return body;
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  throw new ApiError(body.code ?? 5000, body.message ?? `HTTP ${response.status}`, body.request_id, retryAfter);
}

/** Dispatches the event "refused" when the server refuses the stored key. The page then shows the sign-in form. */
export const keyRefused = new EventTarget();

/** Call the API with the stored key, or with `unsavedKey`. Returns the response body, `{data, request_id, …}`. Raises
 * ApiError and AbortError. */
export async function call(method, path, { body, form, signal, unsavedKey, headers } = {}) {
  const token = unsavedKey ?? key();
  if (!/^[!-~]+$/.test(token)) throw new ApiError(1002, ""); // a header cannot contain such characters
  const options = { method, signal, cache: "no-store", headers: { ...headers, Authorization: `Bearer ${token}` } };
  if (form) options.body = form; // the browser sets the Content-Type
  if (body) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  try {
    return await send(endpoint(path), options);
  } catch (error) {
    if (error.code >= 1000 && error.code <= 1004 && !unsavedKey && token === key()) {
      removeKey();
      keyRefused.dispatchEvent(new CustomEvent("refused", { detail: error }));
    }
    throw error;
  }
}

/** Exchange the code of the sign-in link for a key. Raises ApiError. */
export async function exchangeCode(code) {
  const headers = { "Content-Type": "application/json" };
  return (await send("console/sign-in", { method: "POST", headers, body: JSON.stringify({ code }) })).data.key;
}

/** The path for tasks of all kinds. */
export const TASKS = "/v1/tasks";

/** The path at which tasks of each kind are created. */
export const TASK_PATHS = {
  "omni-image": "/v1/images/omni-image",
  generations: "/v1/images/generations",
  "multi-image2image": "/v1/images/multi-image2image",
  expand: "/v1/images/editing/expand",
  "try-on": "/v1/images/kolors-virtual-try-on",
};
export const ELEMENTS = "/v1/general/advanced-custom-elements";
export const PRESETS = "/v1/general/advanced-presets-elements";

export const hasEnded = (task) => task.task_status === "succeed" || task.task_status === "failed";
const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/** Poll a task until it ends. `onUpdate(task, requestId)` is called with each response. After a temporary failure,
 * `onError(error)` is called, and the request is repeated after a pause. The pause doubles with each failure, up to 10
 * seconds. `intervalMs` is the pause between polls, for endpoints without ?wait. Raises AbortError, and ApiError if the
 * failure is permanent. */
export async function follow(path, { onUpdate, onError, signal, intervalMs = 0 }) {
  const separator = path.includes("?") ? "&" : "?";
  let failures = 0;
  let wait = 0;
  for (;;) {
    try {
      const { data, request_id: requestId } = await call("GET", `${path}${separator}wait=${wait}`, { signal });
      failures = 0;
      onUpdate(data, requestId);
      if (hasEnded(data)) return;
      if (intervalMs) await pause(intervalMs, signal);
      // the server responds when the task ends; a visible page polls every second to show the progress
      wait = document.hidden ? 20 : 1;
    } catch (error) {
      if (!(error instanceof ApiError) || (error.code && error.code < 5000 && error.code !== 1302)) throw error;
      onError(error);
      failures += 1;
      await pause(Math.max(error.retryAfter * 1000, Math.min(500 * 2 ** failures, 10_000)), signal);
      wait = 0;
    }
  }
}
