// The page "Create": prompt, references, settings, and the request as code.

import { ApiError, call, TASK_PATHS } from "./api.js";
import { callbackField, isCallbackUrl } from "./callback.js";
import { fill, h } from "./dom.js";
import {
  applyModelLimits,
  asUrl,
  availableModels,
  availableModes,
  characters,
  decimal,
  draft,
  ensureDraft,
  expandedArea,
  expandedSize,
  kind,
  MAX_AREA,
  MAX_CHARACTERS,
  MAX_REFERENCES,
  MAX_SUBJECTS,
  model,
  offersFidelities,
  offersNegativePrompt,
  offersSeries,
  requestBody,
  sentImages,
  SIDES,
} from "./draft.js";
import { errorBox } from "./errors.js";
import { expansionField } from "./expansion.js";
import { number, t } from "./i18n.js";
import { promptField } from "./prompt.js";
import { aspect, pixels, RATIOS } from "./ratios.js";
import { imagesField } from "./references.js";
import { requestPanel } from "./request.js";
import { saveSentRequest } from "./store.js";

export function show(view, { signal }) {
  ensureDraft();
  const errorArea = h("div.error-area");
  const inputs = h("div.card.stack.inputs");
  const settings = h("div.stack");
  const request = requestPanel();
  const submit = h("button.primary.large", { type: "submit" }, t("create.submit"));
  const onChange = () => request.update();
  let negativePrompt;

  function renderInputs() {
    negativePrompt = negativePromptField(onChange);
    const selectMode = (mode) => {
      draft.mode = mode;
      fill(errorArea);
      renderInputs();
      renderSettings();
    };
    const modes = availableModes();
    fill(
      inputs,
      modes.length > 1
        ? radioGroup("create.mode", "mode", modes, draft.mode, (mode) => t(`mode.${mode}`), selectMode, "segments")
        : null,
      modeFields({ onChange, renderInputs, renderSettings, negativePrompt, signal }),
    );
  }
  function renderSettings(focusId) {
    applyModelLimits();
    fill(settings, settingFields(renderSettings, onChange));
    negativePrompt.hidden = !offersNegativePrompt();
    onChange();
    if (focusId) document.getElementById(focusId)?.focus();
  }
  async function send(event) {
    event.preventDefault();
    const problem = validate();
    if (problem) {
      fill(errorArea, errorBox(new ApiError(1201, problem.text)));
      return document.getElementById(problem.field)?.focus();
    }
    submit.disabled = true;
    const body = requestBody();
    const path = TASK_PATHS[kind()];
    const sent = [requestBody(asUrl), sentImages().filter(({ url }) => !url).length];
    try {
      const { data } = await call("POST", path, { body, headers: { "Idempotency-Key": idempotencyKey(path, body) } });
      lastRequest.text = "";
      saveSentRequest(data.task_id, ...sent);
      if (!signal.aborted) location.hash = `#/tasks/${data.task_id}`;
    } catch (error) {
      fill(errorArea, errorBox(error));
      submit.disabled = false;
      errorArea.scrollIntoView({ block: "nearest" });
    }
  }
  fill(
    view,
    h("h1.hidden", {}, t("nav.create")),
    h(
      "form.create",
      { onsubmit: send, novalidate: true },
      inputs,
      h("div.card.stack.settings", {}, settings, callbackField(onChange, signal), errorArea, submit),
      request.node,
    ),
  );
  renderInputs();
  renderSettings();
}

/** Return the fields for the prompt and the images of the current mode. */
function modeFields({ onChange, renderInputs, renderSettings, negativePrompt, signal }) {
  const prompt = promptField(onChange);
  const images = (name, list, options = {}) =>
    imagesField({ name, images: list, max: 1, onChange: renderSettings, signal, ...options });
  switch (draft.mode) {
    case "combine":
      return [
        images("subjects", draft.subjects, { max: MAX_SUBJECTS }),
        h("div.slots", {}, images("scene", draft.scene), images("style", draft.style)),
        prompt.node,
      ];
    case "expand":
      return [
        images("original", draft.original, { onChange: () => (renderInputs(), renderSettings()) }),
        expansionField(renderSettings),
        prompt.node,
      ];
    case "try-on":
      return h("div.slots", {}, images("human", draft.human), images("cloth", draft.cloth));
    default:
      return [
        prompt.node,
        negativePrompt,
        images("references", draft.images, {
          elements: draft.elements,
          max: MAX_REFERENCES,
          onCite: prompt.insert,
        }),
      ];
  }
}

function negativePromptField(onChange) {
  return h(
    "div.field",
    {},
    h("label", { for: "negative-prompt" }, t("create.negative_prompt")),
    h("textarea", {
      id: "negative-prompt",
      rows: 1,
      value: draft.negativePrompt,
      placeholder: t("create.negative_prompt.hint"),
      oninput: (event) => ((draft.negativePrompt = event.target.value), onChange()),
    }),
  );
}

let lastRequest = { text: "", key: "" };

/** Return the same key for the same request until the request succeeds. If a response is lost and the user sends the
 * request again, the account therefore pays only once. */
function idempotencyKey(path, request) {
  const text = path + JSON.stringify(request);
  if (lastRequest.text !== text)
    lastRequest = { text, key: Array.from(crypto.getRandomValues(new Uint32Array(4)), String).join("-") };
  return lastRequest.key;
}

/** Return the first problem of the draft: a translated text, and the id of the field to focus, if there is one. */
function validate() {
  const problem = (field, key, values) => ({ field, text: t(`create.${key}`, values) });
  const tooLong = (field, text) =>
    characters(text) > MAX_CHARACTERS ? problem(field, "prompt_too_long", { max: number(MAX_CHARACTERS) }) : null;
  const isRatio = (text, max) => decimal(text) >= 0 && decimal(text) <= max;
  const { mode } = draft;
  if (mode === "text" && !draft.prompt.trim()) return problem("prompt", "prompt_empty");
  if (mode === "combine" && !draft.subjects.length) return problem("", "subjects_missing");
  if (mode === "expand" && !draft.original.length) return problem("", "original_missing");
  if (mode === "expand") {
    const side = SIDES.find((name) => !isRatio(draft.expansion[name], 2));
    if (side) return problem(`expand-${side}`, "expansion_invalid");
    if (expandedArea() === 1) return problem("expand-up", "expansion_missing");
    if (expandedArea() > MAX_AREA + 1e-9) return problem("expand-up", "expansion_too_large", { max: MAX_AREA });
  }
  if (mode === "try-on" && !(draft.human.length && draft.cloth.length)) return problem("", "try_on_missing");
  if (offersFidelities())
    for (const [field, text] of [
      ["image-fidelity", draft.imageFidelity],
      ["human-fidelity", draft.humanFidelity],
    ])
      if (!isRatio(text, 1)) return problem(field, "fidelity_invalid");
  if (draft.seed !== "" && !/^-?\d{1,15}$/.test(draft.seed)) return problem("seed", "seed_invalid");
  if (draft.callbackUrl && !isCallbackUrl(draft.callbackUrl)) return problem("callback-url", "callback_invalid");
  const negativePrompt = offersNegativePrompt() ? draft.negativePrompt : "";
  return tooLong("prompt", draft.prompt) ?? tooLong("negative-prompt", negativePrompt);
}

function settingFields(renderSettings, onChange) {
  const option = (value) => ({ value, label: value });
  const numbersFrom = (first) => Array.from({ length: 10 - first }, (_, i) => String(i + first));
  const selectField = (id, options, selected, labelKey, onSelect) =>
    h(
      "div.field",
      {},
      h("label", { for: id }, t(labelKey)),
      h(
        "select",
        { id, onchange: (event) => onSelect(event.target.value) },
        options.map(({ value, label }) => h("option", { value, selected: value === selected }, label)),
      ),
    );
  const change = (field, value) => {
    draft[field] = value;
    renderSettings();
  };
  const textField = (id, field, labelKey, placeholder, inputmode) =>
    h(
      "div.field",
      {},
      h("label", { for: id }, t(labelKey)),
      h("input", {
        id,
        inputmode,
        autocomplete: "off",
        value: draft[field],
        placeholder,
        oninput: (event) => ((draft[field] = event.target.value.trim()), onChange()),
      }),
    );
  const { mode } = draft;
  const series = mode === "text" && draft.series;
  const count = series ? draft.seriesAmount : String(mode === "try-on" ? 1 : draft.n);
  const units = model().units[mode === "text" ? draft.resolution : "1k"];
  const modelNames = availableModels().map(({ name }) => option(name));
  const selectModel = (value) => ((draft.models[mode] = value), renderSettings("model"));
  return [
    selectField("model", modelNames, model().name, "create.model", selectModel),
    model().preview ? h("p.hint", {}, t("create.preview")) : null,
    ["text", "combine"].includes(mode) &&
      radioGroup("create.ratio", "ratio", RATIOS, draft.ratio, ratioLabel, (value) => change("ratio", value), "ratios"),
    mode === "text" && resolutionAndResultType(change),
    offersFidelities() && [
      selectField(
        "image-reference",
        ["", "subject", "face"].map((value) => ({ value, label: t(`create.image_reference.${value || "none"}`) })),
        draft.imageReference,
        "create.image_reference",
        (value) => change("imageReference", value),
      ),
      h(
        "div.pair",
        {},
        textField("image-fidelity", "imageFidelity", "create.image_fidelity", "0.5", "decimal"),
        textField("human-fidelity", "humanFidelity", "create.human_fidelity", "0.45", "decimal"),
      ),
    ],
    h(
      "div.pair",
      {},
      series &&
        selectField(
          "amount",
          [{ value: "auto", label: t("auto") }, ...numbersFrom(2).map(option)],
          draft.seriesAmount,
          "create.count",
          (value) => ((draft.seriesAmount = value), renderSettings("amount")),
        ),
      !series &&
        mode !== "try-on" &&
        selectField(
          "n",
          numbersFrom(1).map(option),
          String(draft.n),
          "create.count",
          (value) => ((draft.n = Number(value)), renderSettings("n")),
        ),
      textField("seed", "seed", "create.seed", t("create.seed_random"), "numeric"),
    ),
    h(
      "label.check",
      {},
      h("input", {
        type: "checkbox",
        checked: draft.watermark,
        onchange: (event) => ((draft.watermark = event.target.checked), onChange()),
      }),
      t("create.watermark"),
    ),
    h(
      "p.hint.sum",
      {},
      sizeText(),
      count === "auto" ? t("create.cost_each", { units }) : t("create.cost", { units: number(units * Number(count)) }),
    ),
  ];
}

function resolutionAndResultType(change) {
  return h(
    "div.pair",
    {},
    radioGroup(
      "create.resolution",
      "resolution",
      model().resolutions,
      draft.resolution,
      (value) => value.toUpperCase(),
      (value) => change("resolution", value),
      "segments",
    ),
    radioGroup(
      "create.result_type",
      "result_type",
      offersSeries() ? ["single", "series"] : ["single"],
      draft.series ? "series" : "single",
      (value) => t(`create.${value}`),
      (value) => change("series", value === "series"),
      "segments",
    ),
  );
}

/** Return the size of the images, and a separator; an empty string if the mode does not determine the size. */
function sizeText() {
  const { mode } = draft;
  if (mode === "try-on" || (mode === "expand" && !expandedArea())) return "";
  const size =
    mode === "expand" ? expandedSize() : pixels(draft.ratio, mode === "text" ? draft.resolution : undefined);
  if (size) return `${number(size[0])} × ${number(size[1])} px · `;
  return `${mode === "expand" ? t("create.area", { area: number(expandedArea()) }) : t("create.ratio_auto")} · `;
}

/** Return a group of radio buttons. The selected button gets the focus again if the group is rendered again. */
function radioGroup(labelKey, group, values, selected, label, onSelect, className) {
  const select = (value) => {
    onSelect(value);
    document.querySelector(`input[name="${group}"]:checked`)?.focus();
  };
  return h(
    "fieldset.field",
    {},
    h("legend", {}, t(labelKey)),
    h(
      `div.${className}`,
      {},
      values.map((value) =>
        h(
          "label",
          {},
          h("input", { type: "radio", name: group, value, checked: value === selected, onchange: () => select(value) }),
          h("span", {}, label(value)),
        ),
      ),
    ),
  );
}

function ratioLabel(ratio) {
  return [
    h(ratio === "auto" ? "i.ratio.auto" : "i.ratio", { "--ratio": aspect(ratio), "aria-hidden": "true" }),
    ratio === "auto" ? t("auto") : ratio,
  ];
}
