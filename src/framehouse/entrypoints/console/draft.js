// The draft of a request: the values of the form, and the request body that is built from them.

import { config } from "./api.js";
import { Base64OfFile } from "./snippets.js";

export const MAX_CHARACTERS = 2500;
export const MAX_REFERENCES = 10;

const newDraft = () => ({
  model: config.models[0]?.name ?? "",
  prompt: "",
  images: [], // {name, url} for a URL, or {name, size, width, height, data, preview} for a file
  elements: [], // {id, name, image}
  ratio: "auto",
  resolution: "1k",
  series: false,
  n: 1,
  seriesAmount: "auto",
  watermark: false,
  seed: "",
});

/** The draft. It is kept until the page is reloaded, so that visiting another view does not lose it. */
export let draft = null;

export function ensureDraft() {
  draft ??= newDraft();
}

export const model = () => config.models.find(({ name }) => name === draft.model) ?? config.models[0];
export const characters = (text) => [...text].length;

/** Change the settings that the selected model does not support. */
export function applyModelLimits() {
  if (!model().series) draft.series = false;
  if (!model().resolutions.includes(draft.resolution)) [draft.resolution] = model().resolutions;
}

/** Return the request body. With `filesByName`, a Base64OfFile replaces the content of each image from a file. */
export function requestBody({ filesByName = false } = {}) {
  const { prompt, images, elements, ratio, resolution, series, n, seriesAmount, watermark, seed } = draft;
  const request = { model_name: draft.model, prompt };
  if (images.length) {
    request.image_list = images.map(({ url, data, name }) => ({
      image: url ?? (filesByName ? new Base64OfFile(name) : data),
    }));
  }
  if (elements.length) request.element_list = elements.map(({ id }) => ({ element_id: id }));
  request.resolution = resolution;
  request.aspect_ratio = ratio;
  request.result_type = series ? "series" : "single";
  if (series) request.series_amount = seriesAmount === "auto" ? "auto" : Number(seriesAmount);
  else request.n = Number(n);
  if (watermark) request.watermark_info = { enabled: true };
  if (seed !== "") request.seed = Number(seed);
  return request;
}

/** Replace the draft by an earlier request. `elements` maps the ids of existing elements to the elements. */
export function loadDraft(request, elements) {
  draft = Object.assign(newDraft(), {
    prompt: request.prompt,
    images: (request.image_list ?? []).map(({ image }) => ({ name: image, url: image })),
    elements: (request.element_list ?? []).map(({ element_id: id }) => elements.get(String(id))).filter(Boolean),
    ratio: request.aspect_ratio ?? "auto",
    resolution: request.resolution ?? "1k",
    series: request.result_type === "series",
    n: request.n ?? 1,
    seriesAmount: String(request.series_amount ?? "auto"),
    watermark: Boolean(request.watermark_info?.enabled),
    seed: String(request.seed ?? ""),
  });
  if (config.models.some(({ name }) => name === request.model_name)) draft.model = request.model_name;
  applyModelLimits();
}
