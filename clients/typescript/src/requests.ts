/**
 * Build the requests that create tasks. The functions read image files, but send nothing.
 *
 * A request with a negative prompt needs the endpoint `generations`, and every other request uses `omni-image`.
 */

import { hex, randomHex, subtleCrypto } from "./environment.js";
import { encodeImage, type ImageInput } from "./images.js";
import { utf8 } from "./jwt.js";
import type { Kind } from "./task-data.js";

export const PATHS: Record<Kind | "element", string> = {
  "omni-image": "/v1/images/omni-image",
  generations: "/v1/images/generations",
  "multi-image2image": "/v1/images/multi-image2image",
  expand: "/v1/images/editing/expand",
  "try-on": "/v1/images/kolors-virtual-try-on",
  element: "/v1/general/advanced-custom-elements",
};
export const KINDS = Object.keys(PATHS).filter((kind): kind is Kind => kind !== "element");
const DEFAULT_MODEL = "kling-v3-omni";

export type AspectRatio = "auto" | "16:9" | "9:16" | "1:1" | "4:3" | "3:4" | "3:2" | "2:3" | "21:9";
export type Resolution = "1k" | "2k" | "4k";

/** The options of all requests that create tasks. */
export interface TaskOptions {
  /** The name of a model. The default is `kling-v3-omni`, or the server's default for the endpoint. */
  model?: string | undefined;
  /** Whether the server also creates a watermarked copy of each image. */
  watermark?: boolean | undefined;
  /** The seed of the first image (only Framehouse). */
  seed?: number | undefined;
  /** The URL that receives a POST request after each change of the status; see `verifyWebhook`. */
  callbackUrl?: string | undefined;
  /** An id that you choose; each id can be used once in an account. The default is a random id. */
  externalTaskId?: string | undefined;
  /** A request with the same key and the same arguments returns the first task instead of a new task. */
  idempotencyKey?: string | undefined;
  /** Further fields of the request, as the Kling API names them. */
  extra?: Record<string, unknown> | undefined;
  /** Aborts the request. The task may have been created nevertheless. */
  signal?: AbortSignal | undefined;
}

export interface CreateOptions extends TaskOptions {
  /** Reference images. The prompt cites the first of them as `<<<image_1>>>`. */
  images?: readonly ImageInput[] | undefined;
  /** Elements, or the ids of elements. The prompt cites the first of them as `<<<element_1>>>`. */
  elements?: readonly ({ readonly id: number } | number | string)[] | undefined;
  /** The number of images, from 1 to 9. */
  n?: number | undefined;
  /** Images that belong together: a number from 2 to 9, or true if the prompt determines the number. */
  series?: number | boolean | undefined;
  aspectRatio?: AspectRatio | undefined;
  resolution?: Resolution | undefined;
  /** What the images must not show. The request then uses the endpoint `generations`, which generates no series. */
  negativePrompt?: string | undefined;
}

export interface ExpandOptions extends TaskOptions {
  /** The width of the added areas as a multiple of the image's width, from 0 to 2. */
  left?: number;
  right?: number;
  /** The height of the added areas as a multiple of the image's height, from 0 to 2. */
  up?: number;
  down?: number;
  prompt?: string | undefined;
  n?: number | undefined;
}

export interface CombineOptions extends TaskOptions {
  scene?: ImageInput | undefined;
  style?: ImageInput | undefined;
  prompt?: string | undefined;
  n?: number | undefined;
  aspectRatio?: AspectRatio | undefined;
}

export interface ElementOptions {
  /** The ids of tags, such as `o_104`. */
  tags?: readonly string[] | undefined;
  externalTaskId?: string | undefined;
  idempotencyKey?: string | undefined;
  /** How long to wait until the element is saved, in seconds. The default is 120. */
  timeout?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** A request that creates a task, or an element with the kind `element`. */
export interface TaskRequest {
  kind: Kind | "element";
  body: Record<string, unknown>;
  /** The value of the header `Idempotency-Key`. */
  idempotencyKey: string;
  /** Whether the caller chose the key, so that an earlier process may have sent the same request. */
  repeatable: boolean;
  /** The id with which a task can be found whose response was lost. */
  externalTaskId: string;
  /** Whether the client generated this id. */
  generatedId: boolean;
}

export async function createRequest(prompt: string, options: CreateOptions): Promise<TaskRequest> {
  const { series, n, negativePrompt } = options;
  if (series && n !== undefined) throw new TypeError("use series or n, not both; for a series of 5: series: 5");
  if (series && negativePrompt) {
    throw new TypeError("negativePrompt and series cannot be used together, because they need different endpoints");
  }
  const images = await Promise.all(listOf(options.images, "images").map(encodeImage));
  const elements = listOf(options.elements, "elements");
  const fields: Record<string, unknown> = {
    prompt,
    negative_prompt: negativePrompt,
    aspect_ratio: options.aspectRatio,
    resolution: options.resolution,
  };
  if (elements.length) {
    fields["element_list"] = elements.map((element) => ({
      element_id: typeof element === "object" ? element.id : element,
    }));
  }
  const list = images.map((image) => ({ image }));
  if (negativePrompt) {
    // The Kling API allows only one image in this request. Sending more than one image is an extension.
    if (images.length === 1) fields["image"] = images[0];
    else if (images.length) fields["image_list"] = list;
    return newRequest("generations", { ...fields, n: n ?? 1 }, options);
  }
  if (images.length) fields["image_list"] = list;
  const amount = series
    ? { result_type: "series", series_amount: series === true ? "auto" : series }
    : { result_type: "single", n: n ?? 1 };
  return newRequest("omni-image", { ...fields, ...amount }, { ...options, model: options.model ?? DEFAULT_MODEL });
}

export async function expandRequest(image: ImageInput, options: ExpandOptions): Promise<TaskRequest> {
  const fields = {
    prompt: options.prompt,
    n: options.n ?? 1,
    image: await encodeImage(image),
    up_expansion_ratio: options.up ?? 0,
    down_expansion_ratio: options.down ?? 0,
    left_expansion_ratio: options.left ?? 0,
    right_expansion_ratio: options.right ?? 0,
  };
  return newRequest("expand", fields, options);
}

export async function combineRequest(subjects: readonly ImageInput[], options: CombineOptions): Promise<TaskRequest> {
  const encoded = await Promise.all(listOf(subjects, "subjects").map(encodeImage));
  const fields = {
    prompt: options.prompt,
    aspect_ratio: options.aspectRatio,
    n: options.n ?? 1,
    subject_image_list: encoded.map((image) => ({ subject_image: image })),
    scene_image: options.scene === undefined ? undefined : await encodeImage(options.scene),
    style_image: options.style === undefined ? undefined : await encodeImage(options.style),
  };
  return newRequest("multi-image2image", fields, options);
}

export async function tryOnRequest(human: ImageInput, cloth: ImageInput, options: TaskOptions): Promise<TaskRequest> {
  const [human_image, cloth_image] = await Promise.all([encodeImage(human), encodeImage(cloth)]);
  return newRequest("try-on", { human_image, cloth_image }, options);
}

export async function elementRequest(
  name: string,
  description: string,
  images: readonly ImageInput[],
  options: ElementOptions,
): Promise<TaskRequest> {
  const [frontal, ...others] = await Promise.all(listOf(images, "images").map(encodeImage));
  if (!frontal) throw new TypeError("images must contain at least one image: the frontal image of the element");
  const fields = {
    element_name: name,
    element_description: description,
    reference_type: "image_refer",
    element_image_list: { frontal_image: frontal, refer_images: others.map((image_url) => ({ image_url })) },
    tag_list: options.tags?.length ? options.tags.map((tag_id) => ({ tag_id })) : undefined,
  };
  return newRequest("element", fields, options);
}

/**
 * Return a request with these fields.
 *
 * If the caller chose an idempotency key, the generated external id depends only on the key and the body. The client
 * therefore recognizes a repeated request even if the server does not.
 */
async function newRequest(
  kind: TaskRequest["kind"],
  fields: Record<string, unknown>,
  options: TaskOptions,
): Promise<TaskRequest> {
  const body: Record<string, unknown> = {
    model_name: options.model,
    ...fields,
    seed: options.seed,
    callback_url: options.callbackUrl,
    ...(kind === "element" ? {} : { watermark_info: { enabled: options.watermark ?? false } }),
    ...options.extra,
  };
  const key = options.idempotencyKey || (await randomHex(16));
  const chosen = options.externalTaskId ?? body["external_task_id"];
  const generated = options.idempotencyKey ? await digest(JSON.stringify([key, body])) : key;
  const externalTaskId = chosen ? String(chosen) : `fh-${generated}`;
  return {
    kind,
    body: { ...body, external_task_id: externalTaskId },
    idempotencyKey: key,
    repeatable: Boolean(options.idempotencyKey),
    externalTaskId,
    generatedId: !chosen,
  };
}

async function digest(text: string): Promise<string> {
  const subtle = await subtleCrypto();
  return hex(new Uint8Array(await subtle.digest("SHA-256", utf8(text)))).slice(0, 40);
}

/** Return the values. A single image is a mistake, because a string or an array of bytes is also iterable. */
function listOf<Value>(values: readonly Value[] | undefined, name: string): readonly Value[] {
  if (values !== undefined && !Array.isArray(values)) throw new TypeError(`${name} must be an array`);
  return values ?? [];
}
