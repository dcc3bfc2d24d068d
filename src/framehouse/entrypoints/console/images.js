// Reads images from files and checks them against the rules of the API before they are sent.

import { fileSize, t } from "./i18n.js";

const MAX_BYTES = 10_000_000;
const MIN_SIDE_PX = 300;
const MAX_ASPECT = 2.5;

/** Return `{name, size, width, height, blobUrl, data}` of an image file. `size` is in bytes, `blobUrl` is a blob URL,
 * and `data` is a data URL. If the file breaks a rule, return `{problem}`, a text with the name and the reason. */
export async function readImage(file) {
  const name = file.name || t("images.pasted");
  const problem = (key, values) => ({ problem: t("images.problem", { name, reason: t(`images.${key}`, values) }) });
  if (!hasAcceptedType(await file.slice(0, 12).arrayBuffer())) return problem("type");
  if (file.size > MAX_BYTES) return problem("too_large", { size: fileSize(file.size) });
  const blobUrl = URL.createObjectURL(file);
  const { width, height } = await dimensions(blobUrl);
  if (!width) return problem("unreadable");
  if (Math.min(width, height) < MIN_SIDE_PX) return problem("too_small", { width, height });
  if (Math.max(width, height) / Math.min(width, height) > MAX_ASPECT) return problem("aspect", { width, height });
  return { name, size: file.size, width, height, blobUrl, data: await dataUrl(file) };
}

/** Return whether the first bytes of a file are those of a PNG, JPEG, WebP or AVIF file. */
export function hasAcceptedType(start) {
  const text = String.fromCharCode(...new Uint8Array(start));
  return /^(?:\x89PNG|\xff\xd8\xff|RIFF....WEBP|....ftyp(?:avi[fs]|mif1))/s.test(text);
}

async function dimensions(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return { width: 0, height: 0 };
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}

/** Return the content of a file as a data URL. Its media type is `file.type`, which the server ignores. */
function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** Return the files of a paste or drop event. */
export const filesOf = (transfer) => [...(transfer?.files ?? [])];
