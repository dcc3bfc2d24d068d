/** The saved elements of the account. */

import { integerOf, isObject, type JsonObject, listed, nested } from "./answers.js";
import type { Connection } from "./connection.js";
import { createTask } from "./creating.js";
import { InvalidRequest, NotFound, TaskFailed, TimedOut } from "./errors.js";
import { get, post, sleep } from "./exchange.js";
import type { ImageInput } from "./images.js";
import { type ElementOptions, elementRequest, PATHS } from "./requests.js";
import { parseTask } from "./task-data.js";
import { PAGE_SIZE, Watch } from "./watching.js";

const PRESETS = "/v1/general/advanced-presets-elements";
const DELETE = "/v1/general/delete-elements";
const TIMEOUT_S = 120;

/** A saved subject, such as a character or a product. `create(…, {elements: [element]})` uses it. */
export interface Element {
  id: number;
  name: string;
  description: string;
  /** The URLs of the images. The first is the frontal image. */
  imageUrls: string[];
  /** The ids of the tags. */
  tags: string[];
  /** `framehouse` or `kling` for a preset. */
  ownedBy: string;
  /** The object of the response. */
  raw: JsonObject;
}

interface Options {
  signal?: AbortSignal | undefined;
}

export class Elements {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Create an element from its frontal image and up to three further images, and wait until it is saved. */
  async create(
    name: string,
    description: string,
    images: readonly ImageInput[],
    options: ElementOptions = {},
  ): Promise<Element> {
    const request = await elementRequest(name, description, images, options);
    const { id } = await createTask(this.#connection, request, options.signal);
    const watch = new Watch(options.timeout ?? TIMEOUT_S, false, options.signal);
    for (;;) {
      const answer = await get(this.#connection, `${PATHS.element}/${encodeURIComponent(id)}`, {}, options);
      for (const data of nested(answer.body)) {
        const state = parseTask(data, id);
        if (state?.status === "failed") throw new TaskFailed(state.message || "the server states no reason", id);
        const [element] = state ? elementsOf(data) : [];
        if (element) return element;
      }
      if (watch.remainingS <= 0) throw new TimedOut(`the element was not saved within ${watch.timeoutS} s`, id);
      await sleep(watch.nextPauseS(), options.signal);
    }
  }

  /** Return an element by its element id, task id or external id. Throws NotFound. */
  async get(id: number | string, options: Options = {}): Promise<Element> {
    const path = `${PATHS.element}/${encodeURIComponent(id)}`;
    const answer = await notFound(id, get(this.#connection, path, {}, options));
    const [element] = nested(answer.body).flatMap(elementsOf);
    if (!element) throw new NotFound(`the element ${id} is not saved yet, or was not saved`);
    return element;
  }

  /** Iterate over the elements of the account, newest first. */
  list(options: Options = {}): AsyncGenerator<Element, void, undefined> {
    return this.#pages(PATHS.element, options);
  }

  /** Iterate over the elements that the server offers to all accounts. */
  presets(options: Options = {}): AsyncGenerator<Element, void, undefined> {
    return this.#pages(PRESETS, options);
  }

  /** Delete an element. Tasks that already use it are not affected. Throws NotFound. */
  async delete(element: Element | number, options: Options = {}): Promise<void> {
    const id = typeof element === "number" ? element : element.id;
    await notFound(id, post(this.#connection, DELETE, { element_id: id }, options));
  }

  async *#pages(path: string, options: Options): AsyncGenerator<Element, void, undefined> {
    for (let page = 1; ; page++) {
      const answer = await get(this.#connection, path, { pageNum: page, pageSize: PAGE_SIZE }, options);
      const entries = listed(answer);
      yield* entries.flatMap(elementsOf);
      if (entries.length < PAGE_SIZE) return;
    }
  }
}

/** Wait for a response. The server states a missing element as an invalid request. */
async function notFound<Value>(id: number | string, response: Promise<Value>): Promise<Value> {
  try {
    return await response;
  } catch (error) {
    if (!(error instanceof InvalidRequest)) throw error;
    throw new NotFound(`the element ${id} does not exist: ${error.message}`, error, { cause: error });
  }
}

/** Return the elements of an element task. Older versions of the Kling API have them without a task. */
function elementsOf(data: JsonObject): Element[] {
  const result = data["task_result"];
  const values = isObject(result) ? result["elements"] : [data];
  return (Array.isArray(values) ? values : []).filter(isObject).flatMap((value) => {
    const id = integerOf(value["element_id"]);
    return id ? [elementOf(id, value)] : [];
  });
}

function elementOf(id: number, data: JsonObject): Element {
  const images = isObject(data["element_image_list"]) ? data["element_image_list"] : {};
  const others = Array.isArray(images["refer_images"]) ? images["refer_images"].filter(isObject) : [];
  const urls = [
    images["frontal_image"] || data["element_frontal_image"],
    ...others.map((image) => image["image_url"]),
  ];
  const tags = Array.isArray(data["tag_list"]) ? data["tag_list"].filter(isObject) : [];
  return {
    id,
    name: String(data["element_name"] ?? ""),
    description: String(data["element_description"] ?? ""),
    imageUrls: urls.filter((url): url is string => typeof url === "string" && url !== ""),
    tags: tags.map((tag) => String(tag["id"] ?? tag["tag_id"] ?? "")).filter(Boolean),
    ownedBy: String(data["owned_by"] ?? ""),
    raw: data,
  };
}
