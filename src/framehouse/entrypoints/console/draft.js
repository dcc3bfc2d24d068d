// The draft of a request: the values of the form, and the request body that is built from them.

import { config } from "./api.js";
import { Base64OfFile } from "./snippets.js";

export const MAX_CHARACTERS = 2500;
export const MAX_REFERENCES = 10;
export const MAX_SUBJECTS = 4;
export const MAX_AREA = 3;
export const SIDES = ["up", "left", "right", "down"];

/** The modes of the form, and the kinds of tasks that each mode creates. */
const MODES = {
  text: ["omni-image", "generations"],
  combine: ["multi-image2image"],
  expand: ["expand"],
  "try-on": ["try-on"],
};

// an image is {name, url} for a URL, or {name, size, width, height, data, blobUrl} for a file
const newDraft = () => ({
  mode: availableModes()[0],
  models: {}, // the name of the selected model of each mode
  prompt: "",
  negativePrompt: "",
  images: [],
  elements: [], // {id, name, image}
  imageReference: "",
  imageFidelity: "",
  humanFidelity: "",
  subjects: [],
  scene: [], // at most one image, as in the following lists
  style: [],
  original: [],
  human: [],
  cloth: [],
  expansion: Object.fromEntries(SIDES.map((side) => [side, "0.25"])),
  ratio: "auto",
  resolution: "1k",
  series: false,
  n: 1,
  seriesAmount: "auto",
  watermark: false,
  seed: "",
  callbackUrl: "",
});

/** The draft. It is kept until the page is reloaded, so that visiting another view does not lose it. */
export let draft = null;

export function ensureDraft() {
  draft ??= newDraft();
}

const modelsOf = (mode) => config.models.filter(({ kinds }) => kinds.some((kind) => MODES[mode].includes(kind)));

/** Return the modes for which the server offers a model. */
export const availableModes = () => Object.keys(MODES).filter((mode) => modelsOf(mode).length);

export const modeOf = (kind) => Object.keys(MODES).find((mode) => MODES[mode].includes(kind));
export const availableModels = () => modelsOf(draft.mode);
export const model = () =>
  availableModels().find(({ name }) => name === draft.models[draft.mode]) ?? availableModels()[0];
export const offers = (kind) => model().kinds.includes(kind);
export const characters = (text) => [...text].length;

export const offersSeries = () => draft.mode === "text" && offers("omni-image") && model().series;
export const offersNegativePrompt = () => draft.mode === "text" && offers("generations") && !draft.series;
export const offersFidelities = () => draft.mode === "text" && !offers("omni-image") && draft.images.length > 0;

/** Return the kind of task that the draft describes. */
export function kind() {
  if (draft.mode !== "text") return MODES[draft.mode][0];
  const needed = offersNegativePrompt() && (draft.negativePrompt.trim() || !offers("omni-image"));
  return needed ? "generations" : "omni-image";
}

/** Return the images that the prompt can cite, in the order of their numbers. */
export const citableImages = () =>
  ({ text: draft.images, combine: [...draft.subjects, ...draft.scene, ...draft.style], expand: draft.original })[
    draft.mode
  ] ?? [];

/** Change the settings that the selected model does not support. */
export function applyModelLimits() {
  if (!offersSeries()) draft.series = false;
  if (!model().resolutions.includes(draft.resolution)) [draft.resolution] = model().resolutions;
}

/** Return the area of the expanded image as a multiple of the area of the original image; NaN if a ratio is invalid. */
export function expandedArea() {
  const { up, down, left, right } = expansionRatios();
  return (1 + up + down) * (1 + left + right);
}

/** Return the size of the expanded image in pixels, before it is rounded to even numbers; null if it is unknown. */
export function expandedSize() {
  const { up, down, left, right } = expansionRatios();
  const { width, height } = draft.original[0] ?? {};
  if (!width || !expandedArea()) return null;
  return [Math.round(width * (1 + left + right)), Math.round(height * (1 + up + down))];
}

const expansionRatios = () => Object.fromEntries(SIDES.map((side) => [side, decimal(draft.expansion[side])]));

/** Return the number that the user entered; 0 if the field is empty, and NaN if the text is not a number. */
export const decimal = (text) => (/^\d*[.,]?\d*$/.test(text) ? Number(text.replace(",", ".")) : NaN);

// how an image is written in a request body; undefined omits the image
const asContent = ({ url, data }) => url ?? data;
export const asFileName = ({ url, name }) => url ?? new Base64OfFile(name);
export const asUrl = ({ url }) => url;

/** Return the request body. `write(image)` returns the value of an image. */
export function requestBody(write = asContent) {
  const written = (images) => images.map(write).filter((image) => image !== undefined);
  const objects = (name, values) => (values.length ? values.map((value) => ({ [name]: value })) : undefined);
  const optional = (text) => text.trim() || undefined;
  const images = written(draft.images);
  const element_list = objects(
    "element_id",
    draft.elements.map(({ id }) => id),
  );
  const { prompt, resolution, ratio: aspect_ratio } = draft;
  const n = Number(draft.n);
  const fidelity = (text) => (offersFidelities() && text !== "" ? decimal(text) : undefined);
  const fields = {
    "omni-image": () => ({
      prompt,
      image_list: objects("image", images),
      element_list,
      resolution,
      aspect_ratio,
      ...(draft.series
        ? {
            result_type: "series",
            series_amount: draft.seriesAmount === "auto" ? "auto" : Number(draft.seriesAmount),
          }
        : { result_type: "single", n }),
    }),
    generations: () => ({
      prompt,
      negative_prompt: optional(draft.negativePrompt),
      image: images.length === 1 ? images[0] : undefined,
      image_list: images.length > 1 ? objects("image", images) : undefined,
      image_reference: offersFidelities() ? optional(draft.imageReference) : undefined,
      image_fidelity: fidelity(draft.imageFidelity),
      human_fidelity: fidelity(draft.humanFidelity),
      element_list,
      resolution,
      aspect_ratio,
      n,
    }),
    "multi-image2image": () => ({
      prompt: optional(prompt),
      subject_image_list: objects("subject_image", written(draft.subjects)),
      scene_image: written(draft.scene)[0],
      style_image: written(draft.style)[0],
      aspect_ratio,
      n,
    }),
    expand: () => ({
      image: written(draft.original)[0],
      ...Object.fromEntries(
        Object.entries(expansionRatios()).map(([side, ratio]) => [`${side}_expansion_ratio`, ratio || undefined]),
      ),
      prompt: optional(prompt),
      n,
    }),
    "try-on": () => ({ human_image: written(draft.human)[0], cloth_image: written(draft.cloth)[0] }),
  };
  const request = {
    model_name: model().name,
    ...fields[kind()](),
    watermark_info: draft.watermark ? { enabled: true } : undefined,
    seed: draft.seed === "" ? undefined : Number(draft.seed),
    callback_url: draft.callbackUrl || undefined,
  };
  return Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));
}

/** Return the images of the request that the draft describes. */
export const sentImages = () => (draft.mode === "try-on" ? [...draft.human, ...draft.cloth] : citableImages());

/** Replace the draft by an earlier request. `elements` maps the ids of existing elements to the elements. */
export function loadDraft(taskKind, request, elements) {
  const mode = modeOf(taskKind);
  const fromUrls = (urls) => urls.filter(Boolean).map((url) => ({ name: url, url }));
  const inList = (name, key) => (request[name] ?? []).map((entry) => entry[key]);
  const text = (name) => String(request[name] ?? "");
  draft = Object.assign(newDraft(), {
    ...(modelsOf(mode).length ? { mode } : {}),
    models: { [mode]: request.model_name },
    prompt: text("prompt"),
    negativePrompt: text("negative_prompt"),
    images: mode === "text" ? fromUrls([request.image, ...inList("image_list", "image")]) : [],
    elements: inList("element_list", "element_id")
      .map((id) => elements.get(String(id)))
      .filter(Boolean),
    imageReference: text("image_reference"),
    imageFidelity: text("image_fidelity"),
    humanFidelity: text("human_fidelity"),
    subjects: fromUrls(inList("subject_image_list", "subject_image")),
    scene: fromUrls([request.scene_image]),
    style: fromUrls([request.style_image]),
    original: mode === "expand" ? fromUrls([request.image]) : [],
    human: fromUrls([request.human_image]),
    cloth: fromUrls([request.cloth_image]),
    ratio: request.aspect_ratio ?? "auto",
    resolution: request.resolution ?? "1k",
    series: request.result_type === "series",
    n: request.n ?? 1,
    seriesAmount: String(request.series_amount ?? "auto"),
    watermark: Boolean(request.watermark_info?.enabled),
    seed: text("seed"),
    callbackUrl: text("callback_url"),
  });
  if (mode === "expand")
    draft.expansion = Object.fromEntries(SIDES.map((side) => [side, String(request[`${side}_expansion_ratio`] || "")]));
  applyModelLimits();
}
