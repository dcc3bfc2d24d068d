// The page "Create": prompt, references, settings, and the request as code.

import { ApiError, call, config, TASKS } from "./api.js";
import { fill, h } from "./dom.js";
import { applyModelLimits, characters, draft, ensureDraft, MAX_CHARACTERS, model, requestBody } from "./draft.js";
import { errorBox } from "./errors.js";
import { number, t } from "./i18n.js";
import { promptField } from "./prompt.js";
import { aspect, pixels, RATIOS } from "./ratios.js";
import { referencesField } from "./references.js";
import { requestPanel } from "./request.js";
import { saveSentRequest } from "./store.js";

export function show(view, { signal }) {
  ensureDraft();
  const errorArea = h("div.error-area");
  const settings = h("div.stack");
  const request = requestPanel();
  const submit = h("button.primary.large", { type: "submit" }, t("create.submit"));
  const onChange = () => request.update();
  const prompt = promptField(onChange);
  const references = referencesField({ onChange, onCite: prompt.insert, signal });

  function renderSettings(focusId) {
    applyModelLimits();
    fill(settings, settingFields(renderSettings, onChange));
    onChange();
    if (focusId) document.getElementById(focusId)?.focus();
  }
  async function send(event) {
    event.preventDefault();
    const problem = validate();
    if (problem) {
      fill(errorArea, errorBox(new ApiError(1201, problem)));
      return prompt.area.focus();
    }
    submit.disabled = true;
    const body = requestBody();
    try {
      const { data } = await call("POST", TASKS, { body, headers: { "Idempotency-Key": idempotencyKey(body) } });
      lastRequest.text = "";
      saveSentRequest(data.task_id, body);
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
      h("div.card.stack.inputs", {}, prompt.node, references),
      h("div.card.stack.settings", {}, settings, errorArea, submit),
      request.node,
    ),
  );
  renderSettings();
}

let lastRequest = { text: "", key: "" };

/** Return the same key for the same request until the request succeeds. If a response is lost and the user sends the
 * request again, the account therefore pays only once. */
function idempotencyKey(request) {
  const text = JSON.stringify(request);
  if (lastRequest.text !== text)
    lastRequest = { text, key: Array.from(crypto.getRandomValues(new Uint32Array(4)), String).join("-") };
  return lastRequest.key;
}

/** Return the first problem of the draft as a translated text; "" if there is none. */
function validate() {
  if (!draft.prompt.trim()) return t("create.prompt_empty");
  if (characters(draft.prompt) > MAX_CHARACTERS) return t("create.prompt_too_long", { max: number(MAX_CHARACTERS) });
  if (draft.seed !== "" && !/^-?\d{1,15}$/.test(draft.seed)) return t("create.seed_invalid");
  return "";
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
  const size = pixels(draft.ratio, draft.resolution);
  const count = draft.series ? draft.seriesAmount : String(draft.n);
  const units = model().units[draft.resolution];
  return [
    selectField(
      "model",
      model() ? modelOptions() : [],
      draft.model,
      "create.model",
      (value) => ((draft.model = value), renderSettings("model")),
    ),
    model().preview ? h("p.hint", {}, t("create.preview")) : null,
    radioGroup("create.ratio", "ratio", RATIOS, draft.ratio, ratioLabel, (value) => change("ratio", value), "ratios"),
    h(
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
        model().series ? ["single", "series"] : ["single"],
        draft.series ? "series" : "single",
        (value) => t(`create.${value}`),
        (value) => change("series", value === "series"),
        "segments",
      ),
    ),
    h(
      "div.pair",
      {},
      draft.series
        ? selectField(
            "amount",
            [{ value: "auto", label: t("auto") }, ...numbersFrom(2).map(option)],
            draft.seriesAmount,
            "create.count",
            (value) => ((draft.seriesAmount = value), renderSettings("amount")),
          )
        : selectField(
            "n",
            numbersFrom(1).map(option),
            String(draft.n),
            "create.count",
            (value) => ((draft.n = Number(value)), renderSettings("n")),
          ),
      h(
        "div.field",
        {},
        h("label", { for: "seed" }, t("create.seed")),
        h("input", {
          id: "seed",
          inputmode: "numeric",
          autocomplete: "off",
          value: draft.seed,
          placeholder: t("create.seed_random"),
          oninput: (event) => ((draft.seed = event.target.value.trim()), onChange()),
        }),
      ),
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
      size ? `${number(size[0])} × ${number(size[1])} px` : t("create.ratio_auto"),
      " · ",
      count === "auto" ? t("create.cost_each", { units }) : t("create.cost", { units: number(units * Number(count)) }),
    ),
  ];
}

const modelOptions = () => config.models.map(({ name }) => ({ value: name, label: name }));

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
