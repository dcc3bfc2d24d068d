/** A client for Framehouse, Kling's image API and gateways that offer this API. */

export { type Account, Client, type Verification } from "./client.js";
export type { ClientOptions } from "./connection.js";
export type { Element, Elements } from "./elements.js";
export {
  AuthenticationError,
  ConnectionFailed,
  ContentRefused,
  FramehouseError,
  InvalidRequest,
  InvalidSignature,
  NotFound,
  QuotaExceeded,
  RateLimited,
  ServerError,
  TaskFailed,
  TaskMayExist,
  TimedOut,
} from "./errors.js";
export type { ImageInput } from "./images.js";
export type { components, operations, paths } from "./openapi.js";
export type {
  AspectRatio,
  CombineOptions,
  CreateOptions,
  ElementOptions,
  ExpandOptions,
  Resolution,
  TaskOptions,
} from "./requests.js";
export type { StreamOptions, Task, TaskImage, WaitOptions } from "./task.js";
export type { ImageData, Kind, Status, TaskData } from "./task-data.js";
export { verifyWebhook, type WebhookHeaders } from "./webhooks.js";
