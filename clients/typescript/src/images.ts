/** Image files: the images that requests contain, and the types of downloaded images. */

import { toBase64 } from "./encoding.js";
import { files } from "./environment.js";

/** An image: the path of a file (Node.js and Deno), an http(s) or `data:` URL, or the content of a file. */
export type ImageInput = string | URL | Blob | Uint8Array | ArrayBuffer;

/** Return an image as requests contain it: the URL itself, or the content in base64. */
export async function encodeImage(image: ImageInput): Promise<string> {
  return urlOf(image) ?? toBase64(await readImage(image));
}

/** Return the URL of an image, or null if the image is a file or the content of a file. */
export function urlOf(image: ImageInput): string | null {
  if (image instanceof URL) {
    return image.protocol === "file:" ? null : image.href;
  }
  return typeof image === "string" && /^(https?:\/\/|data:)/i.test(image) ? image : null;
}

/** Return the content of an image that is not a URL. */
export async function readImage(image: ImageInput): Promise<Uint8Array<ArrayBuffer>> {
  if (image instanceof Blob) {
    return new Uint8Array(await image.arrayBuffer());
  }
  if (image instanceof ArrayBuffer) {
    return new Uint8Array(image);
  }
  if (image instanceof Uint8Array) {
    return new Uint8Array(image);
  }
  if (typeof image !== "string" && !(image instanceof URL)) {
    throw new TypeError("an image is a path, a URL, a Blob, a Uint8Array or an ArrayBuffer");
  }
  return (await files(`reading the image ${image}`)).readFile(image);
}

const MEDIA_TYPES: Record<string, string> = {
  png: "image/png",
  jpg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  avif: "image/avif",
};

/** Return the extension of the file name of an image, or an empty string if the content is not an image. */
export function extensionOf(content: Uint8Array): string {
  const head = String.fromCharCode(...content.subarray(0, 12));
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (head.startsWith("\xff\xd8\xff")) return "jpg";
  if (head.startsWith("GIF8")) return "gif";
  if (head.startsWith("RIFF") && head.slice(8) === "WEBP") return "webp";
  return ["ftypavif", "ftypavis"].includes(head.slice(4)) ? "avif" : "";
}

/** Return the media type of an image with this extension. */
export function mediaTypeOf(extension: string): string {
  return MEDIA_TYPES[extension] ?? "application/octet-stream";
}
