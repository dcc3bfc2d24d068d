/** A task and its images, as users of the client see them. */

import type { Connection } from "./connection.js";
import { download, makeFolder, nameOfTask, pathIn, writeFile } from "./downloading.js";
import { TaskFailed } from "./errors.js";
import { extensionOf, mediaTypeOf } from "./images.js";
import { hasEnded, type ImageData, type Kind, type Status, type TaskData } from "./task-data.js";
import { cancelTask, getTask, Watch, watchTask, withKind } from "./watching.js";

export interface StreamOptions {
  /** The longest time to wait, in seconds. The task then continues. The default is no limit. */
  timeout?: number | undefined;
  /** Ends the wait. The task continues. */
  signal?: AbortSignal | undefined;
}

export interface WaitOptions extends StreamOptions {
  /** Called after each change of the status or the progress. */
  onProgress?: ((task: Task) => unknown) | undefined;
}

/** A task. It has the state that the client last received: `refresh` and `wait` update it. */
export class Task {
  readonly #connection: Connection;
  #data: TaskData;

  constructor(connection: Connection, data: TaskData, kind: Kind | "" = "") {
    this.#connection = connection;
    this.#data = withKind(data, kind);
  }

  get id(): string {
    return this.#data.id;
  }

  /** The endpoint of the task: `omni-image`, `generations`, `multi-image2image`, `expand` or `try-on`. */
  get kind(): Kind | "" {
    return this.#data.kind;
  }

  /** The id that the caller chose, or else an id that the client generated. */
  get externalTaskId(): string {
    return this.#data.externalTaskId;
  }

  get status(): Status {
    return this.#data.status;
  }

  /** Whether the task has succeeded or failed. */
  get ended(): boolean {
    return hasEnded(this.#data);
  }

  /** A number from 0 to 1. Only Framehouse reports values between 0 and 1. */
  get progress(): number {
    return this.#data.progress;
  }

  /** The number of units that were charged. It is 0 until the task has succeeded. */
  get units(): number {
    return this.#data.units;
  }

  /** The reason if the task has failed, otherwise null. */
  get error(): string | null {
    return this.status === "failed" ? this.#data.message || "the server states no reason" : null;
  }

  get createdAt(): Date | null {
    return this.#data.createdAt;
  }

  /** The images of a task that has succeeded. The array is empty until then. */
  get images(): TaskImage[] {
    return this.#data.images.map((image) => new TaskImage(this.#connection, image));
  }

  /** The state as a plain object, with the response of the server in `raw`. */
  get data(): TaskData {
    return this.#data;
  }

  /** Update the state once. */
  async refresh(options: { signal?: AbortSignal } = {}): Promise<this> {
    this.#data = await getTask(this.#connection, this.id, this.kind, options.signal);
    return this;
  }

  /**
   * Wait until the task has ended, and return it. Restarts of the server do not end the wait.
   *
   * Throws TaskFailed if the task fails, and TimedOut after `timeout` seconds. The task then continues.
   */
  async wait(options: WaitOptions = {}): Promise<this> {
    const { onProgress } = options;
    const watch = new Watch(options.timeout, onProgress !== undefined, options.signal);
    while (!this.ended) {
      const before = this.#data;
      this.#data = await watchTask(this.#connection, before, watch);
      if (this.status !== before.status || this.progress !== before.progress) await onProgress?.(this);
    }
    this.#check();
    return this;
  }

  /**
   * Yield each image as soon as it exists. Servers other than Framehouse deliver all images at the end.
   *
   * Throws the same errors as `wait`.
   */
  async *stream(options: StreamOptions = {}): AsyncGenerator<TaskImage, void, undefined> {
    const watch = new Watch(options.timeout, true, options.signal);
    const yielded = new Set<number>();
    for (;;) {
      const { images, finished } = this.#data;
      for (const image of images.length ? images : finished) {
        if (!yielded.has(image.index)) {
          yielded.add(image.index);
          yield new TaskImage(this.#connection, image);
        }
      }
      if (this.ended) break;
      this.#data = await watchTask(this.#connection, this.#data, watch, true);
    }
    this.#check();
  }

  /** Cancel the task. A task that has ended stays unchanged. Kling and most resellers cannot cancel tasks. */
  async cancel(options: { signal?: AbortSignal } = {}): Promise<this> {
    this.#data = await cancelTask(this.#connection, this.#data, options.signal);
    return this;
  }

  /**
   * Save all images and watermarked copies in a folder, and return the paths. Call `wait` first.
   *
   * The names contain the id of the task and the number of the image. Only Node.js and Deno have files.
   */
  async save(folder: string = ".", options: { signal?: AbortSignal } = {}): Promise<string[]> {
    this.#check();
    await makeFolder(folder);
    const name = await nameOfTask(this.id);
    const paths: string[] = [];
    for (const { index, url, watermarkUrl } of this.images) {
      for (const [link, suffix] of [[url, ""], ...(watermarkUrl ? [[watermarkUrl, "-watermark"]] : [])] as const) {
        const content = await download(this.#connection, link as string, options.signal);
        const path = pathIn(folder, `${name}-${index}${suffix as string}.${extensionOf(content)}`);
        await writeFile(path, content);
        paths.push(path);
      }
    }
    return paths;
  }

  #check(): void {
    if (this.error !== null) throw new TaskFailed(`the task ${this.id} failed: ${this.error}`, this.id);
  }
}

/** An image of a task. `index` starts at 0. The URL needs no key, and expires when the server deletes the image. */
export class TaskImage {
  readonly index: number;
  readonly url: string;
  readonly watermarkUrl: string | null;
  readonly #connection: Connection;

  constructor(connection: Connection, data: ImageData) {
    this.#connection = connection;
    this.index = data.index;
    this.url = connection.absolute(data.url);
    this.watermarkUrl = data.watermarkUrl ? connection.absolute(data.watermarkUrl) : null;
  }

  /** Download the image. */
  bytes(options: { signal?: AbortSignal } = {}): Promise<Uint8Array<ArrayBuffer>> {
    return download(this.#connection, this.url, options.signal);
  }

  /** Download the image as a Blob, for example for `URL.createObjectURL`. */
  async blob(options: { signal?: AbortSignal } = {}): Promise<Blob> {
    const content = await this.bytes(options);
    return new Blob([content], { type: mediaTypeOf(extensionOf(content)) });
  }

  /** Download the image, and write it to a file. An existing file is replaced. Only Node.js and Deno have files. */
  async save(path: string, options: { signal?: AbortSignal } = {}): Promise<string> {
    await writeFile(path, await this.bytes(options));
    return path;
  }
}
