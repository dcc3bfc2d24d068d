/** Verify the callbacks of Framehouse, which are signed as Standard Webhooks (https://www.standardwebhooks.com). */

import { parseObject } from "./answers.js";
import { fromBase64, toBase64 } from "./encoding.js";
import { InvalidSignature } from "./errors.js";
import { hmacSha256, utf8 } from "./jwt.js";
import { parseTask, type TaskData } from "./task-data.js";

/** The headers of a request: of `fetch`, of Node.js, or a plain object. */
export type WebhookHeaders = Headers | Record<string, string | string[] | undefined>;

/**
 * Verify the signature of a callback, and return the task that the callback describes.
 *
 * `body` is the body of the request, byte for byte. `secret` is the callback secret of the account (`whsec_…`), or
 * several secrets while you change the secret. A message that was sent more than `tolerance` seconds ago is refused, so
 * that nobody can repeat an old message. The same message can arrive twice; its `webhook-id` is then the same.
 *
 * Throws InvalidSignature if no secret matches, and TypeError if a secret is not valid.
 */
export async function verifyWebhook(
  body: string | Uint8Array,
  headers: WebhookHeaders,
  secret: string | readonly string[],
  options: { tolerance?: number } = {},
): Promise<TaskData> {
  const [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) => {
    const value = headerOf(headers, name);
    if (!value) throw new InvalidSignature(`the header ${name} is missing`);
    return value;
  }) as [string, string, string];
  const age = Math.abs(Date.now() / 1000 - Number(timestamp));
  if (!/^[0-9]{1,15}$/.test(timestamp) || age > (options.tolerance ?? 300)) {
    throw new InvalidSignature("the message is too old, or the clocks of the sender and this machine differ");
  }
  const content = typeof body === "string" ? utf8(body) : body;
  const head = utf8(`${id}.${timestamp}.`);
  const signed = new Uint8Array(head.length + content.length);
  signed.set(head);
  signed.set(content, head.length);
  let matches = 0;
  for (const one of typeof secret === "string" ? [secret] : secret) {
    const expected = `v1,${toBase64(await hmacSha256(keyOf(one), signed))}`;
    for (const received of signatures.split(" ")) matches += Number(sameText(expected, received));
  }
  if (!matches) throw new InvalidSignature("the signature does not match the message and the secret");
  const task = parseTask(parseObject(new TextDecoder().decode(content)));
  if (!task) throw new InvalidSignature("the message has a valid signature, but describes no task");
  return task;
}

function headerOf(headers: WebhookHeaders, name: string): string {
  if (headers instanceof Headers) return headers.get(name) ?? "";
  const found = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  return (Array.isArray(found) ? found[0] : found) ?? "";
}

/** Compare two texts in a time that depends only on their lengths, so that the time does not show the right signature. */
function sameText(one: string, other: string): boolean {
  let difference = one.length ^ other.length;
  for (let position = 0; position < one.length; position++) {
    difference |= one.charCodeAt(position) ^ other.charCodeAt(position % Math.max(1, other.length));
  }
  return difference === 0;
}

function keyOf(secret: string): Uint8Array<ArrayBuffer> {
  try {
    const key = fromBase64(secret.replace(/^whsec_/, ""));
    if (key.length) return key;
  } catch {
    // the message below describes the problem
  }
  throw new TypeError("a callback secret consists of whsec_ and base64");
}
