/** The state of a task, and how it is read from a response. */

import { type Answer, integerOf, isObject, type JsonObject, nested } from "./answers.js";
import { ServerError } from "./errors.js";

export type Status = "submitted" | "processing" | "succeed" | "failed";
export type Kind = "omni-image" | "generations" | "multi-image2image" | "expand" | "try-on";

/** An image of a task. `url` can be relative to the URL of the server, or a `data:` URL. */
export interface ImageData {
  index: number;
  url: string;
  watermarkUrl: string;
}

/** The state of a task in one response. */
export interface TaskData {
  id: string;
  status: Status;
  /** The kind of the task, or an empty string if the response does not state it. */
  kind: Kind | "";
  externalTaskId: string;
  /** The reason if the task failed. */
  message: string;
  /** A number from 0 to 1. */
  progress: number;
  /** The images of a task that has succeeded. */
  images: ImageData[];
  /** The images that exist already while the task is processing. */
  finished: ImageData[];
  /** The number of units that were charged. */
  units: number;
  createdAt: Date | null;
  updatedAt: Date | null;
  /** The object of the response. */
  raw: JsonObject;
}

/** The words for the states of a task, in lower case and with underscores. */
const STATES: Record<Status, string> = {
  submitted: "submitted pending queued queueing waiting created in_queue not_start",
  processing: "processing running generating in_progress started",
  succeed: "succeed succeeded success successful completed complete finished finish done",
  failed: "failed fail failure error rejected expired timeout cancelled canceled cancel",
};
const STATUS_BY_WORD = new Map(
  Object.entries(STATES).flatMap(([status, words]) => words.split(" ").map((word) => [word, status as Status])),
);
const RESULT_NAMES = [
  "images",
  "series_images",
  "image",
  "image_urls",
  "image_url",
  "image_list",
  "imageUrl",
  "urls",
  "url",
];
const MAX_DEPTH = 4;

export function hasEnded(task: TaskData): boolean {
  return task.status === "succeed" || task.status === "failed";
}

/** Return the task of a successful answer, or null if the answer contains no task. Throws ServerError. */
export function taskOf(answer: Answer, queriedId = ""): TaskData | null {
  for (const data of nested(answer.body)) {
    const task = parseTask(data, queriedId);
    if (task) return task;
  }
  return null;
}

/** Return the task id of the response to a request that creates a task, or an empty string. */
export function acceptedId(answer: Answer): string {
  let data = answer.body["data"];
  data = Array.isArray(data) && data.length === 1 ? data[0] : data;
  return (isObject(data) && taskIdOf(data)) || taskIdOf(answer.body);
}

/**
 * Convert an object to a TaskData. Returns null if the object is not a task. Throws ServerError.
 *
 * An object with another name than `task_status` for the state could describe the response itself. It is a task only
 * if its id is a task id.
 */
export function parseTask(data: JsonObject, queriedId = ""): TaskData | null {
  let state = data["task_status"] || data["taskStatus"];
  const id = taskIdOf(data) || (state ? queriedId : "");
  if (!state && (data["task_id"] || data["taskId"] || id === queriedId || externalIdOf(data))) {
    state = data["status"] || data["state"];
  }
  if (typeof state !== "string" || !id) return null;
  const status = STATUS_BY_WORD.get(state.trim().toLowerCase().replace(/[\s-]+/g, "_"));
  if (!status) {
    throw new ServerError(`the server reports the unknown status ${JSON.stringify(state.slice(0, 50))} of task ${id}`);
  }
  const messages = ["task_status_msg", "fail_reason", "message", "error"].map((name) => textOf(data[name]));
  return {
    id,
    status,
    kind: (typeof data["kind"] === "string" ? data["kind"] : "") as Kind | "",
    externalTaskId: externalIdOf(data),
    message: status === "failed" ? (messages.find(Boolean) ?? "") : "",
    progress: status === "succeed" ? 1 : progressOf(data["progress"]),
    images: status === "succeed" ? resultOf(data) : [],
    finished: imagesOf({ images: data["pictures"] }),
    units: Number(data["final_unit_deduction"]) || 0,
    createdAt: momentOf(data["created_at"]),
    updatedAt: momentOf(data["updated_at"]),
    raw: data,
  };
}

function resultOf(data: JsonObject): ImageData[] {
  for (const holder of nested(data)) {
    for (const name of ["task_result", "result", "output", ...RESULT_NAMES]) {
      const images = imagesOf(holder[name]);
      if (images.length) return images;
    }
  }
  return [];
}

/** Return the images of a result, ordered by index. If an index is missing or repeated, their order numbers them. */
export function imagesOf(value: unknown): ImageData[] {
  const result = decoded(value);
  let found: [number | null, string, string][] = [];
  for (const name of isObject(result) ? RESULT_NAMES : []) {
    if (!found.length) found = [...imagesIn((result as JsonObject)[name])];
  }
  if (!found.length) found = [...imagesIn(result)];
  const unique = found.filter((image, position) => found.findIndex((other) => other[1] === image[1]) === position);
  const numbers = unique.map((image) => image[0]);
  const numbered = !numbers.includes(null) && new Set(numbers).size === numbers.length;
  return unique
    .map(([index, url, watermarkUrl], position) => ({ index: numbered ? (index ?? 0) : position, url, watermarkUrl }))
    .sort((one, other) => one.index - other.index);
}

/** Yield the index, the URL and the URL of the watermarked copy of each image in a value. */
function* imagesIn(input: unknown, depth = 0): Generator<[number | null, string, string]> {
  if (depth > MAX_DEPTH) return;
  const value = decoded(input);
  if (typeof value === "string") {
    if (value.trim()) yield [null, value.trim(), ""];
  } else if (Array.isArray(value)) {
    for (const item of value) yield* imagesIn(item, depth + 1);
  } else if (isObject(value)) {
    const watermark = typeof value["watermark_url"] === "string" ? value["watermark_url"] : "";
    for (const name of ["url", "image_url", "imageUrl", "image", "resource", "download_url", "src"]) {
      for (const [, url] of imagesIn(value[name], depth + 1)) {
        yield [integerOf(value["index"]), url, watermark];
        return;
      }
    }
    const encoded = value["b64_json"] || value["base64"];
    if (typeof encoded === "string") {
      yield [integerOf(value["index"]), `data:;base64,${encoded.trim()}`, ""];
      return;
    }
    for (const item of Object.values(value)) {
      if (typeof item === "object" && item !== null) yield* imagesIn(item, depth + 1);
    }
  }
}

/** Return a value. If the value is text that contains a JSON object or list, return that object or list. */
function decoded(value: unknown): unknown {
  if (typeof value === "string" && /^\s*[[{]/.test(value)) {
    try {
      return JSON.parse(value);
    } catch {
      return value;
    }
  }
  return value;
}

/** Return the task id of an object, or an empty string. Some resellers use numbers as ids. */
function taskIdOf(data: JsonObject): string {
  for (const name of ["task_id", "taskId", "id"]) {
    const value = typeof data[name] === "number" ? String(data[name]) : data[name];
    if (typeof value === "string" && /^[^\p{C}]{1,255}$/u.test(value)) return value;
  }
  return "";
}

function externalIdOf(data: JsonObject): string {
  const info = isObject(data["task_info"]) ? data["task_info"] : {};
  const values = [info["external_task_id"], data["external_task_id"], data["externalTaskId"]];
  return values.find((value): value is string => typeof value === "string" && value !== "") ?? "";
}

function textOf(value: unknown): string {
  const text = isObject(value) ? value["message"] : value;
  return typeof text === "string" ? text : "";
}

/** Return the progress. Some resellers send a percentage such as `"40%"`. */
function progressOf(value: unknown): number {
  if (typeof value === "string" && /^\s*[0-9]{1,3}\s*%\s*$/.test(value)) return Math.min(1, parseInt(value, 10) / 100);
  return typeof value === "number" && value >= 0 && value <= 1 ? value : 0;
}

/** Return a time in milliseconds, or in seconds, as a Date. Returns null for all other values. */
function momentOf(value: unknown): Date | null {
  const number = integerOf(value);
  return number && number > 0 ? new Date(number > 1e11 ? number : number * 1000) : null;
}
