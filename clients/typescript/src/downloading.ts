/** Download images, and save them as files. */

import type { Connection } from "./connection.js";
import { fromBase64 } from "./encoding.js";
import { files, hex, randomHex, subtleCrypto } from "./environment.js";
import { ConnectionFailed, FramehouseError, NotFound, ServerError } from "./errors.js";
import { Retries, sendOnce, sleep } from "./exchange.js";
import { extensionOf } from "./images.js";
import { utf8 } from "./jwt.js";

const TEMPORARY = [408, 425, 429, 500, 502, 503, 504];
/** The time for downloading an image, in seconds. */
const DOWNLOAD_S = 300;

/**
 * Return the content of an image. Throws FramehouseError.
 *
 * Image URLs are signed and can point to any host. The key is therefore never sent with them. The content must begin
 * like an image file, because some servers return an HTML page with an error message.
 */
export async function download(
  connection: Connection,
  url: string,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  if (url.startsWith("data:")) return checked(contentOfDataUrl(url), "the data URL");
  const shown = url.split("?")[0] ?? url;
  const retries = new Retries(connection);
  for (;;) {
    let error: FramehouseError;
    let temporary = true;
    try {
      const headers = { Accept: "image/*" };
      const response = await sendOnce(
        connection,
        { method: "GET", url, headers, foreign: true, timeoutS: DOWNLOAD_S },
        signal,
      );
      if (response.status === 200) return checked(response.body, shown);
      if ([403, 404, 410].includes(response.status)) {
        const message = `the image ${shown} does not exist, or its URL has expired`;
        throw new NotFound(message, { status: response.status });
      }
      error = new ServerError(`cannot download ${shown}`, { status: response.status });
      temporary = TEMPORARY.includes(response.status);
    } catch (failed) {
      if (!(failed instanceof ConnectionFailed)) throw failed;
      error = failed;
    }
    const pauseS = temporary ? retries.pauseS() : null;
    if (pauseS === null) throw error;
    await sleep(pauseS, signal);
  }
}

/**
 * Write a complete file, or replace it. After an error, the old file is unchanged. Throws the error of the system.
 */
export async function writeFile(path: string, content: Uint8Array): Promise<void> {
  const system = await files(`writing ${path}`);
  const part = `${path}.${await randomHex(4)}.part`;
  try {
    await system.writeFile(part, content);
    await system.rename(part, path);
  } finally {
    await system.rm(part, { force: true });
  }
}

/** Create a folder, and the folders that contain it. */
export async function makeFolder(path: string): Promise<void> {
  await (await files(`writing into ${path}`)).mkdir(path, { recursive: true });
}

/** Return a path in a folder. */
export function pathIn(folder: string, name: string): string {
  return /[/\\]$/.test(folder) ? folder + name : `${folder || "."}/${name}`;
}

/**
 * Return the part of a file name that stands for a task. Different tasks have different names.
 *
 * A UUID is shortened to its last 12 hexadecimal digits. In any other id, all characters except ASCII letters, digits,
 * `.`, `_` and `-` are replaced. If this changes the id, a hash of the id is appended.
 */
export async function nameOfTask(id: string): Promise<string> {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) return id.slice(-12).toLowerCase();
  const name = id.replace(/[^A-Za-z0-9._-]/g, "_").slice(0, 64).replace(/^\.+/, "") || "_";
  if (name === id) return name;
  const digest = await (await subtleCrypto()).digest("SHA-256", utf8(id));
  return `${name}-${hex(new Uint8Array(digest)).slice(0, 8)}`;
}

function checked(content: Uint8Array<ArrayBuffer>, shown: string): Uint8Array<ArrayBuffer> {
  if (!extensionOf(content)) throw new ServerError(`${shown} is not an image`);
  return content;
}

function contentOfDataUrl(url: string): Uint8Array<ArrayBuffer> {
  const [head, text] = [url.slice(0, url.indexOf(",")), url.slice(url.indexOf(",") + 1)];
  try {
    return head.endsWith(";base64") ? fromBase64(text) : new Uint8Array();
  } catch {
    return new Uint8Array();
  }
}
