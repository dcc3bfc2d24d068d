/** Get, list, cancel and watch tasks. */

import { type Answer, listed } from "./answers.js";
import type { Connection } from "./connection.js";
import { ConnectionFailed, InvalidRequest, NotFound, RateLimited, ServerError, TimedOut } from "./errors.js";
import { get, post, type SendOptions, sleep } from "./exchange.js";
import { KINDS, PATHS } from "./requests.js";
import { hasEnded, type Kind, parseTask, type TaskData, taskOf } from "./task-data.js";

/** The path at which Framehouse has the tasks of all kinds. */
const ANY_KIND = "/v1/tasks";
export const PAGE_SIZE = 100;
const LAST_PAGE = 1000;
const LONG_POLL_S = 30;
const PROGRESS_S = 1;
const FIRST_POLL_S = 0.5;
const LONGEST_POLL_S = 5;
const POLL_GROWTH = 1.3;
const RESPONSE_S = 30;

/** How long a caller waits for a task, in seconds. With `reports`, the caller needs the state every second. */
export class Watch {
  readonly timeoutS: number;
  readonly until: number;
  readonly longPollS: number;
  readonly signal: AbortSignal | undefined;
  #pauseS = FIRST_POLL_S;

  constructor(timeoutS: number | undefined, reports: boolean, signal?: AbortSignal) {
    this.timeoutS = timeoutS ?? Infinity;
    this.until = Date.now() + this.timeoutS * 1000;
    this.longPollS = reports ? PROGRESS_S : LONG_POLL_S;
    this.signal = signal;
  }

  get remainingS(): number {
    return (this.until - Date.now()) / 1000;
  }

  nextPauseS(): number {
    const pauseS = this.#pauseS;
    this.#pauseS = Math.min(LONGEST_POLL_S, pauseS * POLL_GROWTH);
    return Math.min(pauseS, Math.max(0, this.remainingS));
  }
}

/** Return a task by its id or external id. If the kind is not known, all kinds are tried. Throws NotFound. */
export async function getTask(
  connection: Connection,
  id: string,
  kind: Kind | "",
  signal?: AbortSignal,
): Promise<TaskData> {
  if (kind) return await query(connection, PATHS[kind], id, kind, {}, { signal });
  let missing: NotFound | InvalidRequest | null = null;
  for (const tried of KINDS) {
    try {
      return await query(connection, PATHS[tried], id, tried, {}, { signal });
    } catch (error) {
      if (!(error instanceof NotFound || error instanceof InvalidRequest)) throw error;
      missing ??= error;
    }
    if (connection.isFramehouse) return await query(connection, ANY_KIND, id, "", {}, { signal });
  }
  throw missing ?? new NotFound(`the task ${id} does not exist`);
}

/**
 * Return the state of a task after the server reported a change, or after a pause. Throws TimedOut.
 *
 * A server that supports the parameter `wait` responds after a while. All other servers respond immediately, so the
 * client pauses before its next query. With `pictures`, the state contains the images that exist already.
 */
export async function watchTask(
  connection: Connection,
  task: TaskData,
  watch: Watch,
  pictures = false,
): Promise<TaskData> {
  if (watch.remainingS <= 0) {
    throw new TimedOut(`the task ${task.id} did not end within ${watch.timeoutS} s`, task.id);
  }
  const waitS = Math.floor(Math.min(watch.longPollS, watch.remainingS));
  const parameters: Record<string, string | number> = {
    ...(waitS ? { wait: waitS } : {}),
    ...(pictures ? { include: "pictures" } : {}),
  };
  const started = Date.now();
  const path = task.kind ? PATHS[task.kind] : ANY_KIND;
  let state: TaskData;
  try {
    const options = { signal: watch.signal, until: watch.until, timeoutS: RESPONSE_S + waitS };
    state = await query(connection, path, task.id, task.kind, parameters, options);
  } catch (error) {
    const temporary = [ConnectionFailed, ServerError, RateLimited].some((kind) => error instanceof kind);
    if (temporary && watch.remainingS <= 0) {
      const message = `waited ${watch.timeoutS} s for the task ${task.id}: ${(error as Error).message}`;
      throw new TimedOut(message, task.id, { cause: error });
    }
    throw error;
  }
  if (!hasEnded(state) && Date.now() - started < 500 * Math.max(waitS, 1)) {
    await sleep(watch.nextPauseS(), watch.signal);
  }
  return state;
}

/** Cancel a task. Throws NotFound if the server cannot cancel tasks. */
export async function cancelTask(connection: Connection, task: TaskData, signal?: AbortSignal): Promise<TaskData> {
  const path = task.kind ? PATHS[task.kind] : ANY_KIND;
  const answer = await post(connection, `${path}/${encodeURIComponent(task.id)}/cancel`, {}, { signal });
  return stateOf(answer, task.id, task.kind);
}

/**
 * Return a page of tasks, newest first. `page` starts at 1.
 *
 * Without a kind, Framehouse returns the tasks of all kinds, and other servers return the omni-image tasks.
 */
export async function listPage(
  connection: Connection,
  kind: Kind | "",
  page: number,
  size: number,
  signal?: AbortSignal,
): Promise<TaskData[]> {
  if (page > LAST_PAGE) return [];
  const parameters = { pageNum: page, pageSize: size };
  if (kind) return tasksOf(await get(connection, PATHS[kind], parameters, { signal }), kind);
  if (!connection.isFramehouse) {
    const answer = await get(connection, PATHS["omni-image"], parameters, { signal });
    // the response shows whether the server is Framehouse
    if (!isFramehouse(connection)) return tasksOf(answer, "omni-image");
  }
  return tasksOf(await get(connection, ANY_KIND, parameters, { signal }), "");
}

function isFramehouse(connection: Connection): boolean {
  return connection.isFramehouse;
}

async function query(
  connection: Connection,
  path: string,
  id: string,
  kind: Kind | "",
  parameters: Record<string, string | number>,
  options: SendOptions & { timeoutS?: number },
): Promise<TaskData> {
  return stateOf(await get(connection, `${path}/${encodeURIComponent(id)}`, parameters, options), id, kind);
}

function stateOf(answer: Answer, id: string, kind: Kind | ""): TaskData {
  const task = taskOf(answer, id);
  if (!task) throw new ServerError(`the response does not contain the task ${id}`, { status: answer.status });
  return withKind(task, kind);
}

function tasksOf(answer: Answer, kind: Kind | ""): TaskData[] {
  return listed(answer).flatMap((data) => {
    const task = parseTask(data);
    return task ? [withKind(task, kind)] : [];
  });
}

/** Return a task with its kind. Only some responses of Framehouse state the kind. */
export function withKind(task: TaskData, kind: Kind | ""): TaskData {
  return kind ? { ...task, kind } : task;
}
