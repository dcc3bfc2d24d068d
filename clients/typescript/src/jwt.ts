/** JWTs, which Kling requires instead of a key. */

import { toBase64Url } from "./encoding.js";
import { subtleCrypto } from "./environment.js";

/** The validity of a JWT in seconds. */
export const JWT_VALID_S = 1800;

/** Return a JWT (HS256) as Kling documents it: valid for half an hour, from five seconds ago. `now` is in seconds. */
export async function signJwt(accessKey: string, secretKey: string, now: number): Promise<string> {
  const claims = { iss: accessKey, exp: Math.floor(now) + JWT_VALID_S, nbf: Math.floor(now) - 5 };
  const parts = [{ alg: "HS256", typ: "JWT" }, claims].map((part) => toBase64Url(utf8(JSON.stringify(part))));
  const signature = await hmacSha256(utf8(secretKey), utf8(parts.join(".")));
  return [...parts, toBase64Url(signature)].join(".");
}

/** Return the HMAC-SHA256 of a content. */
export async function hmacSha256(key: Uint8Array<ArrayBuffer>, content: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const subtle = await subtleCrypto();
  const imported = await subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", imported, content));
}

export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text) as Uint8Array<ArrayBuffer>;
}
