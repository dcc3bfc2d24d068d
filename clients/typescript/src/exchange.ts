/** Send requests, and repeat them after temporary errors. */

import { type Answer, errorOf, isTemporary, parseAnswer } from "./answers.js";
import type { Connection } from "./connection.js";
import { ConnectionFailed, FramehouseError, ServerError } from "./errors.js";

const FIRST_PAUSE_S = 0.5;
const LONGEST_PAUSE_S = 10;
/** How long a request is repeated if the server cannot be reached and never responded. The URL is then probably wrong. */
const FIRST_CONTACT_S = 2;
/** The time that a server has to respond, in seconds. */
const RESPONSE_S = 30;

export interface HttpRequest {
  method: "GET" | "POST" | "PUT";
  url: string;
  headers?: Record<string, string>;
  body?: BodyInit;
  /** The time that the server has to respond, in seconds. */
  timeoutS?: number;
  /** Whether the request is sent to another host or needs no key. The key is then not sent, and redirects are allowed. */
  foreign?: boolean;
}

export interface HttpResponse {
  status: number;
  headers: Headers;
  body: Uint8Array<ArrayBuffer>;
}

export interface SendOptions {
  signal?: AbortSignal | undefined;
  /** The time, as `Date.now()` returns it, after which the request is not repeated. */
  until?: number | undefined;
}

/** The pauses between the attempts of one request. The time begins with the first failed attempt. */
export class Retries {
  readonly #connection: Connection;
  readonly #until: number;
  #firstFailure: number | null = null;
  #attempt = 0;

  constructor(connection: Connection, until = Infinity) {
    this.#connection = connection;
    this.#until = until;
  }

  /**
   * Return the pause before the next attempt in seconds, or null if the time is over.
   *
   * The pause doubles after each attempt and has jitter. A server can request a longer pause.
   */
  pauseS(retryAfter: number | null = null, unreachable = false): number | null {
    const now = Date.now();
    this.#firstFailure ??= now;
    const { reached, retryS } = this.#connection;
    const budgetS = unreachable && !reached ? Math.min(retryS, FIRST_CONTACT_S) : retryS;
    const backoffS = Math.min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** Math.min(this.#attempt++, 10));
    const pauseS = Math.max(backoffS * (0.5 + Math.random() / 2), retryAfter ?? 0);
    if (now + pauseS * 1000 >= this.#firstFailure + budgetS * 1000 || now >= this.#until) return null;
    return Math.min(pauseS, (this.#until - now) / 1000);
  }
}

/** Send a request once. Throws ConnectionFailed if there is no response, and the signal's reason if it is aborted. */
export async function sendOnce(
  connection: Connection,
  request: HttpRequest,
  signal?: AbortSignal,
): Promise<HttpResponse> {
  signal?.throwIfAborted();
  const headers: Record<string, string> = { Accept: "application/json", ...request.headers };
  if (!request.foreign) headers["Authorization"] = await connection.authorization();
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  const timer = setTimeout(abort, (request.timeoutS ?? RESPONSE_S) * 1000);
  signal?.addEventListener("abort", abort);
  try {
    const response = await connection.fetch(request.url, {
      method: request.method,
      headers,
      body: request.body ?? null,
      signal: controller.signal,
      // a redirect could lead to another host, which must not receive the key
      redirect: request.foreign ? "follow" : "manual",
      credentials: "omit",
    });
    const body = new Uint8Array(await response.arrayBuffer());
    if (!request.foreign) connection.learn(response.headers);
    return { status: response.status, headers: response.headers, body };
  } catch (error) {
    signal?.throwIfAborted();
    const reason = controller.signal.aborted ? "the server did not respond in time" : reasonOf(error);
    throw new ConnectionFailed(`cannot reach ${new URL(request.url).origin}: ${reason}`, !isUnreachable(error), {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Return the answer in a response of the API. Throws ServerError if the response is a redirect. */
export function answerOf(response: HttpResponse): Answer {
  if (response.status === 0 || (response.status >= 300 && response.status < 400)) {
    const location = response.headers.get("location") ?? "another URL";
    throw new ServerError(`the server redirects to ${location}; use this URL`, { status: response.status || null });
  }
  return parseAnswer(response.status, response.headers, new TextDecoder().decode(response.body));
}

/**
 * Send a request that has no effect if it is sent again. Return the answer if it states success.
 *
 * Temporary errors are retried. Throws FramehouseError.
 */
export async function repeat(
  connection: Connection,
  request: HttpRequest,
  options: SendOptions = {},
): Promise<Answer> {
  const retries = new Retries(connection, options.until);
  for (;;) {
    let error: FramehouseError;
    let pauseS: number | null;
    try {
      const answer = answerOf(await sendOnce(connection, request, options.signal));
      if (answer.success) return answer;
      error = errorOf(answer);
      pauseS = isTemporary(answer) ? retries.pauseS(answer.retryAfter) : null;
    } catch (failed) {
      if (!(failed instanceof ConnectionFailed)) throw failed;
      error = failed;
      pauseS = retries.pauseS(null, !failed.sent);
    }
    if (pauseS === null) throw error;
    await sleep(pauseS, options.signal);
  }
}

/** Send a GET request. */
export function get(
  connection: Connection,
  path: string,
  query: Record<string, string | number> = {},
  options: SendOptions & { timeoutS?: number } = {},
): Promise<Answer> {
  const parameters = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  const url = connection.urlOf(path) + (Object.keys(query).length === 0 ? "" : `?${parameters}`);
  return repeat(connection, { method: "GET", url, timeoutS: options.timeoutS ?? RESPONSE_S }, options);
}

/** Send a POST request that can be repeated without harm. */
export function post(connection: Connection, path: string, body: object, options: SendOptions = {}): Promise<Answer> {
  return repeat(connection, { method: "POST", url: connection.urlOf(path), ...jsonBody(body) }, options);
}

export function jsonBody(body: object): { headers: Record<string, string>; body: string } {
  return { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

/** Wait for a number of seconds. Throws the signal's reason if it is aborted. */
export function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const end = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, Math.max(0, seconds) * 1000);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** Return whether an error of `fetch` shows that no request was sent. Browsers do not state the reason of an error. */
function isUnreachable(error: unknown): boolean {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    const code = String((cause as { code?: unknown }).code ?? "");
    if (/^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT)$/.test(code)) return true;
    if (/tcp connect error|dns error/.test(cause.message)) return true;
  }
  return false;
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const code = (cause as { code?: unknown } | null)?.code;
  return (cause instanceof Error && cause.message) || String(code ?? error);
}
