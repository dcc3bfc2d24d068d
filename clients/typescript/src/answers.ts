/**
 * Read the responses of Framehouse, of Kling, and of resellers that do not follow Kling's documentation exactly.
 *
 * Examples of such differences: HTTP 200 with an error code, codes that are strings or words, and the body of Kling's
 * response as the text of a reseller's error.
 */

import {
  AuthenticationError,
  ContentRefused,
  FramehouseError,
  InvalidRequest,
  NotFound,
  QuotaExceeded,
  RateLimited,
  ServerError,
} from "./errors.js";

export type JsonObject = Record<string, unknown>;
type ErrorClass = new (message: string, details: ConstructorParameters<typeof FramehouseError>[1]) => FramehouseError;

const SUCCESS_WORDS = ["success", "succeed", "succeeded", "ok"];
const MAX_MESSAGE_CHARACTERS = 500;
const MAX_DEPTH = 4;
/** Statuses below 500 that do not mean that the server refused the request. */
const UNCLEAR_STATUSES = [408, 409, 425, 499];
const TEMPORARY_STATUSES = [...UNCLEAR_STATUSES, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529];

const CODES = new Map<number, ErrorClass>([
  ...[1000, 1001, 1002, 1003, 1004, 1103].map((code): [number, ErrorClass] => [code, AuthenticationError]),
  ...[1100, 1101, 1102].map((code): [number, ErrorClass] => [code, QuotaExceeded]),
  ...[1202, 1203].map((code): [number, ErrorClass] => [code, NotFound]),
  ...[1300, 1301].map((code): [number, ErrorClass] => [code, ContentRefused]),
  ...[1302, 1303, 1304].map((code): [number, ErrorClass] => [code, RateLimited]),
]);
const STATUSES = new Map<number, ErrorClass>([
  [401, AuthenticationError],
  [402, QuotaExceeded],
  [403, AuthenticationError],
  [404, NotFound],
  [405, NotFound],
  [429, RateLimited],
  [451, ContentRefused],
]);
/** Patterns that are searched in the name of an error, such as `insufficient_quota`. */
const NAMES: [RegExp, ErrorClass][] = [
  [/content.?(policy|filter)|moderation|sensitive|nsfw|prohibited|risk.?control/, ContentRefused],
  [/insufficient|balance|quota|arrear|billing|payment/, QuotaExceeded],
  [/rate.?limit|too.?many|concurren|parallel|throttl/, RateLimited],
  [/(invalid|wrong|incorrect).?(api.?)?(key|token)|unauthori[sz]ed|authentication/, AuthenticationError],
  [/not.?found|unsupported.?model/, NotFound],
  [/invalid.?(request|param|argument|input)|bad.?request|validation/, InvalidRequest],
];
const UNKNOWN_TASK = new RegExp(
  "(task|element|record|job|\\bid\\b|任务|记录)[^.]{0,300}(not.?(found|exist)|n.t.exist|不存在)" +
    "|(no such|unknown).(task|element|record|job|id\\b)|not.?(found|exist)[^.]{0,20}(task|\\bid\\b)",
);
const DUPLICATE = /external.*(already|exist|duplicate)|(already.exists|duplicate).*(external|task)/;

/** A response as the client understands it. */
export interface Answer {
  status: number;
  /** The JSON object, or an empty object if the body is not a JSON object. */
  body: JsonObject;
  /** Whether the server states success. */
  success: boolean;
  /** A code of the Kling API, or null. */
  code: number | null;
  /** Another code, such as `model_not_found`, in lower case, or an empty string. */
  name: string;
  message: string;
  requestId: string;
  /** The pause that the server requests, in seconds, or null. */
  retryAfter: number | null;
}

/** Parse a response. Never throws an error. */
export function parseAnswer(status: number, headers: Headers, text: string): Answer {
  const body = parseObject(text);
  let code = codeOf(body);
  let message = messageOf(body);
  if (typeof code === "string" && !SUCCESS_WORDS.includes(code)) {
    const inner = parseObject(message); // some resellers send the body of Kling's response as their own message
    const innerCode = codeOf(inner);
    if (typeof innerCode === "number" && innerCode >= 1000) {
      code = innerCode;
      message = messageOf(inner);
    }
  }
  const succeeded = status >= 200 && status < 300;
  const stated =
    typeof code === "string" ? SUCCESS_WORDS.includes(code) : code === null || code === 0 || (code >= 200 && code < 300);
  const hasBody = Object.keys(body).length > 0;
  if (!hasBody) {
    message = text.slice(0, 2000).replace(/<[^>]{0,1000}>/g, " ");
  }
  return {
    // some resellers send HTTP 200 with a code such as 429
    status: succeeded && typeof code === "number" && code >= 400 && code < 600 ? code : status,
    body,
    success: succeeded && stated && hasBody,
    code: typeof code === "number" && code >= 1000 ? code : null,
    name: typeof code === "string" && !SUCCESS_WORDS.includes(code) ? code : "",
    message: oneLine(message) || `HTTP ${status}`,
    requestId: String(body["request_id"] || headers.get("x-request-id") || ""),
    retryAfter: retryAfterOf(headers.get("retry-after") ?? ""),
  };
}

/** Return whether the server refuses the request because its external id is taken. */
export function isDuplicate(answer: Answer): boolean {
  return !answer.success && DUPLICATE.test(`${answer.name} ${answer.message}`.toLowerCase());
}

/** Return whether the same query may succeed later. */
export function isTemporary(answer: Answer): boolean {
  if (answer.success) return false;
  if (answer.code !== null) return answer.code >= 5000 || CODES.get(answer.code) === RateLimited;
  return TEMPORARY_STATUSES.includes(answer.status);
}

/** Return the error that an answer reports. */
export function errorOf(answer: Answer): FramehouseError {
  const kind = errorClass(answer);
  let message = answer.message;
  if (Object.keys(answer.body).length === 0 && (answer.status < 300 || kind === NotFound)) {
    message = `the server does not implement the Kling API at this URL; check the URL: ${message}`;
  }
  return new kind(message, { code: answer.code, status: answer.status, requestId: answer.requestId });
}

function errorClass(answer: Answer): ErrorClass {
  const text = `${answer.name} ${answer.message}`.toLowerCase();
  if (answer.code !== null) {
    const known = CODES.get(answer.code);
    if (known) return known;
    if (answer.code < 1200 || answer.code >= 1400) return ServerError;
    return UNKNOWN_TASK.test(answer.message.toLowerCase()) ? NotFound : InvalidRequest;
  }
  const named = answer.name ? NAMES.find(([pattern]) => pattern.test(answer.name)) : undefined;
  if (named) return named[1];
  const byStatus = STATUSES.get(answer.status);
  if (byStatus) return byStatus;
  if (answer.status >= 400 && answer.status < 500 && !UNCLEAR_STATUSES.includes(answer.status)) {
    return UNKNOWN_TASK.test(text) ? NotFound : InvalidRequest;
  }
  return ServerError;
}

/** Return the objects that may be a task: `data`, the data of `data`, and so on, and the object itself. */
export function nested(answer: JsonObject): JsonObject[] {
  const found: JsonObject[] = [];
  let value: unknown = answer;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    value = isObject(value) ? value["data"] : null;
    value = Array.isArray(value) && value.length === 1 ? value[0] : value;
    if (isObject(value)) found.push(value);
  }
  return [...found, answer];
}

/** Return the objects of a page. Some resellers put the list into a field of `data`. */
export function listed(answer: Answer): JsonObject[] {
  let value = answer.body["data"];
  if (isObject(value)) {
    const holder = value;
    value = ["list", "items", "tasks", "records", "data", "result"].map((name) => holder[name]).find(Array.isArray);
  }
  return Array.isArray(value) ? value.filter(isObject) : [];
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return a number, or text that contains a number, as an integer. Returns null for all other values. */
export function integerOf(value: unknown): number | null {
  if (typeof value === "string" && /^\s*-?[0-9]{1,15}\s*$/.test(value)) return Number(value);
  return typeof value === "number" && Number.isInteger(value) ? value : null;
}

/** Return the JSON object in a text, or an empty object. */
export function parseObject(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

/** Return the code of a response as a number or as a word in lower case, or null if the response has no code. */
function codeOf(body: JsonObject): number | string | null {
  const error = body["error"];
  const inner = isObject(error) ? error : {};
  const word = typeof error === "string" && /^[\w.:-]{1,100}$/.test(error) ? error : null;
  for (const value of [body["code"], inner["code"], inner["type"], word]) {
    const number = integerOf(value);
    if (number !== null) return number;
    if (typeof value === "string" && value.trim()) return value.trim().toLowerCase().slice(0, 100);
  }
  const failed = error || body["success"] === false || ["error", "fail", "failed"].includes(String(body["status"]));
  return failed ? "error" : null;
}

function messageOf(body: JsonObject): string {
  const error = body["error"];
  const values = ["message", "msg", "detail", "error_message"].map((name) => body[name]);
  values.push(isObject(error) ? error["message"] : error);
  return values.find((value): value is string => typeof value === "string" && value !== "") ?? "";
}

/** Return text on one line and without control characters. */
function oneLine(text: string): string {
  return text.slice(0, 2000).replace(/[\p{C}\s]+/gu, " ").trim().slice(0, MAX_MESSAGE_CHARACTERS);
}

/** Return the value of a Retry-After header in seconds, or null if the header is absent or invalid. */
function retryAfterOf(value: string): number | null {
  if (/^\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*$/.test(value)) return Number(value);
  const moment = value ? Date.parse(value) : NaN;
  return Number.isNaN(moment) ? null : Math.max(0, (moment - Date.now()) / 1000);
}
