/** The client. */

import { errorOf, isObject, isTemporary } from "./answers.js";
import { type ClientOptions, Connection } from "./connection.js";
import { createTask } from "./creating.js";
import { Elements } from "./elements.js";
import { ConnectionFailed, type FramehouseError, ServerError } from "./errors.js";
import { answerOf, get, post, repeat, Retries, sendOnce, sleep } from "./exchange.js";
import { type ImageInput, readImage, urlOf } from "./images.js";
import type { components } from "./openapi.js";
import {
  combineRequest,
  type CombineOptions,
  createRequest,
  type CreateOptions,
  expandRequest,
  type ExpandOptions,
  type TaskOptions,
  type TaskRequest,
  tryOnRequest,
} from "./requests.js";
import { Task } from "./task.js";
import type { Kind } from "./task-data.js";
import { getTask, listPage, PAGE_SIZE } from "./watching.js";

/** The account of the key: its limits and what it has used. */
export type Account = components["schemas"]["AccountOut"];
/** The origin of an image. */
export type Verification = components["schemas"]["VerificationOut"];

/** The time that a server has to respond to a large file, in seconds. */
const SEND_S = 180;

/**
 * A client for a Framehouse server, for Kling or for a reseller.
 *
 * A URL without a path, such as `http://127.0.0.1:8000`, gets the path `/kling`, except for Kling's own hosts.
 * Temporary errors are retried for `retry` seconds. All methods throw FramehouseError or one of its subclasses.
 */
export class Client {
  readonly elements: Elements;
  readonly #connection: Connection;

  constructor(options: ClientOptions = {}) {
    this.#connection = new Connection(options);
    this.elements = new Elements(this.#connection);
  }

  /**
   * Create a task, and return it without waiting for its images.
   *
   * The prompt cites the first of the `images` as `<<<image_1>>>`, and the first of the `elements` as `<<<element_1>>>`.
   * The task is created at most once, even if a response is lost. See TaskMayExist.
   */
  async create(prompt: string, options: CreateOptions = {}): Promise<Task> {
    return this.#submit(await createRequest(prompt, options), options.signal);
  }

  /** Expand an image beyond its edges. The ratios are multiples of its width or height, from 0 to 2. */
  async expand(image: ImageInput, options: ExpandOptions): Promise<Task> {
    return this.#submit(await expandRequest(image, options), options.signal);
  }

  /** Combine one to four subjects in a new image, with the scene and the style of two other images. */
  async combine(subjects: readonly ImageInput[], options: CombineOptions = {}): Promise<Task> {
    return this.#submit(await combineRequest(subjects, options), options.signal);
  }

  /** Show a person in clothes. */
  async tryOn(human: ImageInput, cloth: ImageInput, options: TaskOptions = {}): Promise<Task> {
    return this.#submit(await tryOnRequest(human, cloth, options), options.signal);
  }

  /** Return a task by its id or external id. Without a kind, all endpoints are tried. Throws NotFound. */
  async get(id: string, options: { kind?: Kind; signal?: AbortSignal } = {}): Promise<Task> {
    return new Task(this.#connection, await getTask(this.#connection, id, options.kind ?? "", options.signal));
  }

  /**
   * Iterate over the tasks of the account, newest first.
   *
   * Without a kind, Framehouse lists the tasks of all kinds, and other servers list the omni-image tasks.
   */
  async *tasks(
    options: { limit?: number; kind?: Kind; signal?: AbortSignal } = {},
  ): AsyncGenerator<Task, void, undefined> {
    const limit = options.limit ?? Infinity;
    const size = Math.min(limit, PAGE_SIZE);
    const seen = new Set<string>();
    for (let page = 1; seen.size < limit; page++) {
      const tasks = await listPage(this.#connection, options.kind ?? "", page, size, options.signal);
      for (const data of tasks) {
        // a new task moves the tasks of a page to the next page
        if (seen.has(data.id) || seen.size >= limit) continue;
        seen.add(data.id);
        yield new Task(this.#connection, data);
      }
      if (tasks.length < size) return;
    }
  }

  /**
   * Upload an image, and return a URL that requests can contain. Only Framehouse has this endpoint.
   *
   * This makes requests with many large images smaller. An unused upload is deleted after 24 hours.
   */
  async upload(image: ImageInput, options: { signal?: AbortSignal } = {}): Promise<string> {
    const body = await readImage(image);
    const { data } = (await post(this.#connection, "/v1/uploads", {}, options)).body;
    const urls = isObject(data) ? data : {};
    const url = this.#connection.absolute(String(urls["upload_url"]));
    const headers = { "Content-Type": "application/octet-stream" };
    const retries = new Retries(this.#connection);
    for (;;) {
      let error: FramehouseError;
      let temporary = true;
      try {
        // the URL is signed and can point to another host, so the key is not sent
        const request = { method: "PUT", url, headers, body, foreign: true, timeoutS: SEND_S } as const;
        const response = await sendOnce(this.#connection, request, options.signal);
        if (response.status >= 200 && response.status < 300) {
          return this.#connection.absolute(String(urls["download_url"]));
        }
        const answer = answerOf(response);
        error = errorOf(answer);
        temporary = isTemporary(answer);
      } catch (failed) {
        if (!(failed instanceof ConnectionFailed)) throw failed;
        error = failed;
      }
      const pauseS = temporary ? retries.pauseS() : null;
      if (pauseS === null) throw error;
      await sleep(pauseS, options.signal);
    }
  }

  /** Return whether this server made an image, and whether the image was changed. Only Framehouse has this endpoint. */
  async verify(image: ImageInput, options: { signal?: AbortSignal } = {}): Promise<Verification> {
    const imageUrl = urlOf(image);
    if (imageUrl !== null) {
      return this.#data(await post(this.#connection, "/v1/verify", { image: imageUrl }, options));
    }
    const body = new FormData();
    body.append("image", new Blob([await readImage(image)]), "image");
    const url = this.#connection.urlOf("/v1/verify");
    return this.#data(await repeat(this.#connection, { method: "POST", url, body, timeoutS: SEND_S }, options));
  }

  /** Return the account of the key: its limits and what it has used. Only Framehouse has this endpoint. */
  async account(options: { signal?: AbortSignal } = {}): Promise<Account> {
    return this.#data(await get(this.#connection, "/v1/account", {}, options));
  }

  #data<Data>(answer: { body: Record<string, unknown>; status: number }): Data {
    if (!isObject(answer.body["data"])) {
      throw new ServerError("the response contains no data", { status: answer.status });
    }
    return answer.body["data"] as Data;
  }

  async #submit(request: TaskRequest, signal?: AbortSignal): Promise<Task> {
    const task = await createTask(this.#connection, request, signal);
    return new Task(this.#connection, task, request.kind as Kind);
  }
}
