// Pictures from the user's disk, held to the contract's rules before anything is sent.

import { size, t } from "./i18n.js";

const MOST_BYTES = 10_000_000;
const LEAST_SIDE = 300;
const MOST_ASPECT = 2.5;

/** `{name, size, width, height, data, preview}` of a file, or `{problem}` in words: which one, and why. */
export async function readPicture(file) {
  const name = file.name || t("pictures.pasted");
  const problem = (key, values) => ({ problem: t("pictures.problem", { name, why: t(`pictures.${key}`, values) }) });
  const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  const isPng = start[0] === 0x89 && start[1] === 0x50;
  const isJpeg = start[0] === 0xff && start[1] === 0xd8;
  if (!isPng && !isJpeg) return problem("kind");
  if (file.size > MOST_BYTES) return problem("large", { size: size(file.size) });
  const preview = URL.createObjectURL(file);
  const { width, height } = await dimensions(preview);
  const kept = { name, size: file.size, width, height, preview };
  if (!width) return problem("broken");
  if (Math.min(width, height) < LEAST_SIDE) return problem("small", { width, height });
  if (Math.max(width, height) / Math.min(width, height) > MOST_ASPECT) return problem("aspect", { width, height });
  return { ...kept, data: await dataUrl(file) };
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

/** The file as `data:image/png;base64,…`, its kind by its content. */
function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** The pictures of a paste or a drop. */
export const filesOf = (transfer) => [...(transfer?.files ?? [])];
