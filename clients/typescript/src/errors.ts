/** The errors of the client. All of them are subclasses of `FramehouseError`. */

export interface ErrorDetails {
  code?: number | null;
  status?: number | null;
  requestId?: string;
}

/** The base class of all errors of the client. */
export class FramehouseError extends Error {
  /** The error code of the Kling API (docs/errors.md of Framehouse), or null. */
  readonly code: number | null;
  /** The HTTP status, or null if there was no response. */
  readonly status: number | null;
  /** The id under which the server logged the request, or an empty string. */
  readonly requestId: string;

  constructor(message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = details.code ?? null;
    this.status = details.status ?? null;
    this.requestId = details.requestId ?? "";
  }
}

/** The key is missing, unknown or expired, or may not use the model. */
export class AuthenticationError extends FramehouseError {}

/** A field of the request is wrong. The message names the field and the allowed values. */
export class InvalidRequest extends FramehouseError {}

/** The task, the element, the model, the image or the path does not exist. */
export class NotFound extends FramehouseError {}

/** The server refuses the prompt or an image because of its content. */
export class ContentRefused extends FramehouseError {}

/** The account is disabled, or its units are used up. A later attempt fails, too. */
export class QuotaExceeded extends FramehouseError {}

/** The account sends too many requests, or has too many images in flight. The client has already repeated the request. */
export class RateLimited extends FramehouseError {}

/** The server has an internal error, or its response is not a response of the Kling API. */
export class ServerError extends FramehouseError {}

/** The server cannot be reached. `sent` is false if the request certainly did not reach the server. */
export class ConnectionFailed extends FramehouseError {
  readonly sent: boolean;

  constructor(message: string, sent: boolean, options?: ErrorOptions) {
    super(message, {}, options);
    this.sent = sent;
  }
}

/**
 * The response to a request was lost, so the task may have been created and billed.
 *
 * The client did not find the task, and did not send the request again, because the server might bill it twice.
 * `client.get(error.externalTaskId)` finds the task if the server created it.
 */
export class TaskMayExist extends FramehouseError {
  readonly externalTaskId: string;

  constructor(message: string, externalTaskId: string, options?: ErrorOptions) {
    super(message, {}, options);
    this.externalTaskId = externalTaskId;
  }
}

/** The task has ended without images. The message contains the reason that the server states. */
export class TaskFailed extends FramehouseError {
  readonly taskId: string;

  constructor(message: string, taskId: string) {
    super(message);
    this.taskId = taskId;
  }
}

/** The task did not end in the time that the caller gave. The task continues: `client.get(error.taskId)` returns it. */
export class TimedOut extends FramehouseError {
  readonly taskId: string;

  constructor(message: string, taskId: string, options?: ErrorOptions) {
    super(message, {}, options);
    this.taskId = taskId;
  }
}

/** A webhook was not sent by the server, was changed, or is too old. */
export class InvalidSignature extends FramehouseError {}
