/**
 * Create a task exactly once.
 *
 * A response can be lost, and the client then cannot see whether the server created the task. The rules:
 *
 * 1. Each request has an `Idempotency-Key` and an `external_task_id`. Both are generated unless the caller chose them.
 * 2. If the request certainly did not reach the server, or if the server states that it refuses the request because of
 *    a limit, the request is sent again.
 * 3. In every other case without a task id, the client queries the task by its external id. Queries are free.
 * 4. If the task does not exist, the request is sent again only to Framehouse, which recognizes the `Idempotency-Key`.
 *    Framehouse is recognized by the header `X-Framehouse` of any of its responses, including that of the query.
 * 5. Every other server ignores the `Idempotency-Key`. "Not found" does not prove that such a server will not create the
 *    task, because the first request may still be on its way. The client queries several times, and then throws
 *    TaskMayExist instead of sending the request again.
 */

import { type Answer, errorOf, isDuplicate } from "./answers.js";
import type { Connection } from "./connection.js";
import { ConnectionFailed, FramehouseError, InvalidRequest, NotFound, RateLimited, ServerError, TaskMayExist } from "./errors.js";
import { answerOf, get, jsonBody, Retries, sendOnce, sleep } from "./exchange.js";
import { PATHS, type TaskRequest } from "./requests.js";
import { acceptedId, hasEnded, type TaskData, taskOf } from "./task-data.js";

/** The time that a server has to respond, in seconds. A request can contain ten large images. */
const SEND_S = 180;
/** The pauses in seconds between the queries for a task whose response was lost, if the server is not Framehouse. */
const QUERY_AFTER_S = [1, 3, 8, 20];

type Outcome =
  | { kind: "accepted"; task: TaskData }
  /** The server will never accept the request. `duplicate` means that the external id is taken. */
  | { kind: "refused"; error: FramehouseError; duplicate: boolean }
  /** The request has not created a task, and can be sent again. */
  | { kind: "postponed"; error: FramehouseError; retryAfter: number | null; unreachable: boolean }
  /** The request may have created a task. */
  | { kind: "lost"; error: FramehouseError; retryAfter: number | null };

/** Create the task, or return the task that the same request created earlier. Throws FramehouseError. */
export async function createTask(
  connection: Connection,
  request: TaskRequest,
  signal?: AbortSignal,
): Promise<TaskData> {
  if (request.repeatable && !connection.isFramehouse) {
    // An earlier process may have sent the same request. This query also shows whether the server is Framehouse.
    const found = await find(connection, request, signal);
    if (found) return found;
  }
  const retries = new Retries(connection);
  for (;;) {
    const outcome = await send(connection, request, signal);
    let pauseS: number | null;
    switch (outcome.kind) {
      case "accepted":
        return outcome.task;
      case "refused": {
        // an earlier request created the task, and its response was lost
        const found = outcome.duplicate && request.generatedId ? await find(connection, request, signal) : null;
        if (found) return found;
        throw outcome.error;
      }
      case "postponed":
        pauseS = retries.pauseS(outcome.retryAfter, outcome.unreachable);
        break;
      case "lost": {
        const found = await findLost(connection, request, outcome.error, signal);
        if (found) return found;
        pauseS = retries.pauseS(outcome.retryAfter);
      }
    }
    if (pauseS === null) throw outcome.error;
    await sleep(pauseS, signal);
  }
}

/** Send the request once. A response counts as a refusal only if the server states the refusal. */
async function send(connection: Connection, request: TaskRequest, signal?: AbortSignal): Promise<Outcome> {
  const { headers, body } = jsonBody(request.body);
  let answer: Answer;
  try {
    answer = answerOf(
      await sendOnce(
        connection,
        {
          method: "POST",
          url: connection.urlOf(PATHS[request.kind]),
          headers: { ...headers, "Idempotency-Key": request.idempotencyKey },
          body,
          timeoutS: SEND_S,
        },
        signal,
      ),
    );
  } catch (error) {
    if (error instanceof ConnectionFailed && !error.sent) {
      return { kind: "postponed", error, retryAfter: null, unreachable: true };
    }
    if (error instanceof FramehouseError) return { kind: "lost", error, retryAfter: null };
    throw error;
  }
  const id = acceptedId(answer);
  if (answer.success && id) return { kind: "accepted", task: newTask(answer, id, request) };
  if (answer.success) {
    return { kind: "lost", error: new ServerError("the server sent no task id", answer), retryAfter: null };
  }
  const error = errorOf(answer);
  if (id || error instanceof ServerError) return { kind: "lost", error, retryAfter: answer.retryAfter };
  if (error instanceof RateLimited) {
    return { kind: "postponed", error, retryAfter: answer.retryAfter, unreachable: false };
  }
  return { kind: "refused", error, duplicate: isDuplicate(answer) };
}

/**
 * Query the task of a request whose response was lost.
 *
 * Returns null only if the request can be sent again. Throws TaskMayExist if the task is not found.
 */
async function findLost(
  connection: Connection,
  request: TaskRequest,
  error: FramehouseError,
  signal?: AbortSignal,
): Promise<TaskData | null> {
  let problem = error;
  for (const pauseS of [0, ...QUERY_AFTER_S]) {
    if (pauseS && connection.isFramehouse) return null;
    await sleep(pauseS, signal);
    try {
      const found = await find(connection, request, signal);
      if (found) return found;
    } catch (failed) {
      if (!(failed instanceof FramehouseError)) throw failed;
      if (isPage(error) && isPage(failed)) throw failed; // for example the website of another product
      problem = failed;
      break;
    }
  }
  if (connection.isFramehouse && problem === error) return null;
  const advice =
    "The task may have been created and billed, and the request was not sent again. " +
    `To look for the task: client.get(${JSON.stringify(request.externalTaskId)})`;
  throw new TaskMayExist(`${problem.message}. ${advice}`, request.externalTaskId, { cause: problem });
}

/** Query the task by its external id. Returns null if the server has no such task. */
async function find(connection: Connection, request: TaskRequest, signal?: AbortSignal): Promise<TaskData | null> {
  const id = request.externalTaskId;
  try {
    const answer = await get(connection, `${PATHS[request.kind]}/${encodeURIComponent(id)}`, {}, { signal });
    const task = taskOf(answer, id);
    // Some servers return another task if they do not have the requested task, and some add a prefix to external ids.
    return task && (!task.externalTaskId || task.externalTaskId.endsWith(id)) ? task : null;
  } catch (error) {
    if (error instanceof NotFound || error instanceof InvalidRequest) return null;
    throw error;
  }
}

/** Return the task of the response to a request. The response may contain nothing but the id. */
function newTask(answer: Answer, id: string, request: TaskRequest): TaskData {
  const task = taskOf(answer, id);
  if (task && !hasEnded(task)) return task;
  return {
    id,
    status: "submitted",
    kind: "",
    externalTaskId: request.externalTaskId,
    message: "",
    progress: 0,
    images: [],
    finished: [],
    units: 0,
    createdAt: null,
    updatedAt: null,
    raw: answer.body,
  };
}

/** Return whether the server responded with success, but not with a response of the Kling API. */
function isPage(error: FramehouseError): boolean {
  return error instanceof ServerError && error.code === null && error.status !== null && error.status < 300;
}
