/** The address of a server, the credentials, and what the client has learned about the server. */

import { environmentVariable } from "./environment.js";
import { JWT_VALID_S, signJwt } from "./jwt.js";

/**
 * Framehouse sends this header with each response of its API. The header means that the server recognizes repeated
 * requests by their `Idempotency-Key`. Kling and its resellers ignore this request header.
 */
const FRAMEHOUSE_HEADER = "x-framehouse";
/** A JWT is replaced this time before it expires, in seconds. */
const JWT_RENEW_S = 300;

export interface ClientOptions {
  /** The URL of the server. The default is the environment variable FRAMEHOUSE_URL. */
  url?: string | URL;
  /** The API key. The default is the environment variable FRAMEHOUSE_KEY. */
  key?: string;
  /** The access key of a server that requires JWTs. It replaces `key`, and needs `secretKey`. */
  accessKey?: string;
  secretKey?: string;
  /** The time in seconds for which a request is repeated after temporary errors. The default is 120. */
  retry?: number;
  /** The function that sends requests. The default is the global `fetch`. */
  fetch?: typeof fetch;
}

export class Connection {
  readonly baseUrl: string;
  readonly retryS: number;
  readonly fetch: typeof fetch;
  /** Whether the server has responded before. */
  reached = false;
  /** Whether a response had the header of Framehouse. */
  isFramehouse = false;
  readonly #key: string;
  readonly #accessKey: string;
  readonly #secretKey: string;
  #token = "";
  #tokenUntil = 0;

  /** Throws TypeError if the URL or the key is missing or invalid. */
  constructor(options: ClientOptions) {
    const url = String(options.url ?? environmentVariable("FRAMEHOUSE_URL"));
    if (!url) throw new TypeError("the URL of the server is missing: pass url, or set FRAMEHOUSE_URL");
    this.#accessKey = options.accessKey ?? "";
    this.#secretKey = options.secretKey ?? "";
    if (!this.#accessKey !== !this.#secretKey) throw new TypeError("accessKey and secretKey must be used together");
    if (options.key && this.#accessKey) throw new TypeError("use key, or accessKey and secretKey, not both");
    this.#key = this.#accessKey ? "" : options.key || environmentVariable("FRAMEHOUSE_KEY");
    const token = this.#key || this.#accessKey;
    if (!token) throw new TypeError("the API key is missing: pass key, or set FRAMEHOUSE_KEY");
    if (!/^[\x21-\x7e]+$/.test(token)) {
      throw new TypeError("the API key contains characters that are not allowed in an API key");
    }
    this.baseUrl = baseUrlOf(url);
    this.retryS = options.retry ?? 120;
    this.fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /** Return the URL of a path such as `/v1/images/omni-image`. */
  urlOf(path: string): string {
    return this.baseUrl + path;
  }

  /** Return an absolute URL. Some servers send URLs that are relative to their own address. */
  absolute(url: string): string {
    return url.startsWith("data:") ? url : new URL(url, `${this.baseUrl}/`).href;
  }

  /** Return the value of the Authorization header. A JWT is signed again before it expires. */
  async authorization(): Promise<string> {
    if (this.#key) return `Bearer ${this.#key}`;
    const now = Date.now() / 1000;
    if (now > this.#tokenUntil - JWT_RENEW_S) {
      this.#token = await signJwt(this.#accessKey, this.#secretKey, now);
      this.#tokenUntil = now + JWT_VALID_S;
    }
    return `Bearer ${this.#token}`;
  }

  learn(headers: Headers): void {
    this.reached = true;
    this.isFramehouse ||= headers.has(FRAMEHOUSE_HEADER);
  }
}

/**
 * Return the URL to which a path such as `/v1/images/omni-image` is appended. Throws TypeError.
 *
 * A URL without a path gets the path `/kling`, which Framehouse and most resellers use, unless the host belongs to
 * Kling. Every other path is kept, except for a final `/v1`.
 */
export function baseUrlOf(url: string): string {
  const parts = parse(url.trim());
  if (!parts || !/^https?:$/.test(parts.protocol) || parts.search || parts.hash || parts.username) {
    throw new TypeError(`the URL of the server must look like "http://127.0.0.1:8000", not ${JSON.stringify(url)}`);
  }
  let path = parts.pathname.replace(/\/+$/, "");
  if (!path && !/(^|\.)(klingai\.com|kling\.ai)$/.test(parts.hostname)) path = "/kling";
  return parts.origin + path.replace(/\/v1$/, "");
}

function parse(url: string): URL | null {
  try {
    return new URL(url);
  } catch {
    return null;
  }
}
