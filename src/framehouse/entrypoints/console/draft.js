// The request being written: what the form shows, and what is sent.

import { config } from "./api.js";
import { File64 } from "./snippets.js";

export const MOST_CHARACTERS = 2500;
export const MOST_REFERENCES = 10;

const fresh = () => ({
  model: config.models[0]?.name ?? "",
  prompt: "",
  images: [], // {name, url} of the net, or {name, size, data, preview} of a file
  elements: [], // {id, name, picture}
  ratio: "auto",
  resolution: "1k",
  series: false,
  n: 1,
  amount: "auto",
  watermark: false,
  seed: "",
});

/** Lives as long as the page, so that a look elsewhere loses nothing. */
export let draft = null;

export function begin() {
  draft ??= fresh();
}

export const model = () => config.models.find(({ name }) => name === draft.model) ?? config.models[0];
export const characters = (text) => [...text].length;

/** Settle what the chosen model does not offer. */
export function fit() {
  if (!model().series) draft.series = false;
  if (!model().resolutions.includes(draft.resolution)) [draft.resolution] = model().resolutions;
}

/** The body that is sent; with `shown`, pictures of files stand as File64. */
export function body(shown = false) {
  const { prompt, images, elements, ratio, resolution, series, n, amount, watermark, seed } = draft;
  const request = { model_name: draft.model, prompt };
  if (images.length) {
    request.image_list = images.map(({ url, data, name }) => ({ image: url ?? (shown ? new File64(name) : data) }));
  }
  if (elements.length) request.element_list = elements.map(({ id }) => ({ element_id: id }));
  request.resolution = resolution;
  request.aspect_ratio = ratio;
  request.result_type = series ? "series" : "single";
  if (series) request.series_amount = amount === "auto" ? "auto" : Number(amount);
  else request.n = Number(n);
  if (watermark) request.watermark_info = { enabled: true };
  if (seed !== "") request.seed = Number(seed);
  return request;
}

/** Begin anew from a request that was sent; `elements` are those that still exist, by id. */
export function use(request, elements) {
  draft = Object.assign(fresh(), {
    prompt: request.prompt,
    images: (request.image_list ?? []).map(({ image }) => ({ name: image, url: image })),
    elements: (request.element_list ?? []).map(({ element_id: id }) => elements.get(String(id))).filter(Boolean),
    ratio: request.aspect_ratio ?? "auto",
    resolution: request.resolution ?? "1k",
    series: request.result_type === "series",
    n: request.n ?? 1,
    amount: String(request.series_amount ?? "auto"),
    watermark: Boolean(request.watermark_info?.enabled),
    seed: String(request.seed ?? ""),
  });
  if (config.models.some(({ name }) => name === request.model_name)) draft.model = request.model_name;
  fit();
}
