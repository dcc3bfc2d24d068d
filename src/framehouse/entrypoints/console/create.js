// Create: the prompt, what goes along, the settings, and the request as it will be sent.

import { ApiError, call, config, TASKS } from "./api.js";
import { fill, h } from "./dom.js";
import { begin, body, characters, draft, fit, model, MOST_CHARACTERS } from "./draft.js";
import { errorBox } from "./errors.js";
import { number, t } from "./i18n.js";
import { promptField } from "./prompt.js";
import { referencesField } from "./references.js";
import { requestPanel } from "./request.js";
import { aspect, pixels, RATIOS } from "./shapes.js";
import { keepSent } from "./store.js";

export function show(view, { signal }) {
  begin();
  const said = h("div.said");
  const settings = h("div.stack");
  const request = requestPanel();
  const submit = h("button.primary.large", { type: "submit" }, t("create.go"));
  const changed = () => request.update();
  const prompt = promptField(changed);
  const references = referencesField({ changed, cite: prompt.insert, signal });

  function redraw(focusId) {
    fit();
    fill(settings, settingFields(redraw, changed));
    changed();
    if (focusId) document.getElementById(focusId)?.focus();
  }
  async function send(event) {
    event.preventDefault();
    const problem = problemOf();
    if (problem) {
      fill(said, errorBox(new ApiError(1201, problem)));
      return prompt.area.focus();
    }
    submit.disabled = true;
    const sent = body();
    try {
      const { data } = await call("POST", TASKS, { body: sent, headers: { "Idempotency-Key": attemptKey(sent) } });
      attempt.text = "";
      keepSent(data.task_id, sent);
      if (!signal.aborted) location.hash = `#/tasks/${data.task_id}`;
    } catch (error) {
      fill(said, errorBox(error));
      submit.disabled = false;
      said.scrollIntoView({ block: "nearest" });
    }
  }
  fill(
    view,
    h("h1.hidden", {}, t("nav.create")),
    h(
      "form.create",
      { onsubmit: send, novalidate: true },
      h("div.card.stack.words", {}, prompt.node, references),
      h("div.card.stack.settings", {}, settings, said, submit),
      request.node,
    ),
  );
  redraw();
}

let attempt = { text: "", key: "" };

/** The same for the same request until it is answered: whoever presses again after a lost answer pays once. */
function attemptKey(request) {
  const text = JSON.stringify(request);
  if (attempt.text !== text)
    attempt = { text, key: Array.from(crypto.getRandomValues(new Uint32Array(4)), String).join("-") };
  return attempt.key;
}

function problemOf() {
  if (!draft.prompt.trim()) return t("create.noprompt");
  if (characters(draft.prompt) > MOST_CHARACTERS) return t("create.longprompt", { most: number(MOST_CHARACTERS) });
  if (draft.seed !== "" && !/^-?\d{1,15}$/.test(draft.seed)) return t("create.badseed");
  return "";
}

function settingFields(redraw, changed) {
  const name = (value) => ({ value, label: value });
  const amounts = (from) => Array.from({ length: 10 - from }, (_, i) => String(i + from));
  const choose = (field, options, selected, labelKey, chosen) =>
    h(
      "div.field",
      {},
      h("label", { for: field }, t(labelKey)),
      h(
        "select",
        { id: field, onchange: (event) => chosen(event.target.value) },
        options.map(({ value, label }) => h("option", { value, selected: value === selected }, label)),
      ),
    );
  const pick = (field, value) => {
    draft[field] = value;
    redraw();
  };
  const size = pixels(draft.ratio, draft.resolution);
  const count = draft.series ? draft.amount : String(draft.n);
  const units = model().units[draft.resolution];
  return [
    choose(
      "model",
      model() ? modelsOf() : [],
      draft.model,
      "create.model",
      (value) => ((draft.model = value), redraw("model")),
    ),
    model().preview ? h("p.hint", {}, t("create.preview")) : null,
    radios("create.shape", "ratio", RATIOS, draft.ratio, shapeLabel, (value) => pick("ratio", value), "shapes"),
    h(
      "div.pair",
      {},
      radios(
        "create.size",
        "resolution",
        model().resolutions,
        draft.resolution,
        (value) => value.toUpperCase(),
        (value) => pick("resolution", value),
        "segments",
      ),
      radios(
        "create.kind",
        "kind",
        model().series ? ["single", "series"] : ["single"],
        draft.series ? "series" : "single",
        (value) => t(`create.${value}`),
        (value) => pick("series", value === "series"),
        "segments",
      ),
    ),
    h(
      "div.pair",
      {},
      draft.series
        ? choose(
            "amount",
            [{ value: "auto", label: t("auto") }, ...amounts(2).map(name)],
            draft.amount,
            "create.amount",
            (value) => ((draft.amount = value), redraw("amount")),
          )
        : choose(
            "n",
            amounts(1).map(name),
            String(draft.n),
            "create.amount",
            (value) => ((draft.n = Number(value)), redraw("n")),
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
          placeholder: t("create.seed.any"),
          oninput: (event) => ((draft.seed = event.target.value.trim()), changed()),
        }),
      ),
    ),
    h(
      "label.check",
      {},
      h("input", {
        type: "checkbox",
        checked: draft.watermark,
        onchange: (event) => ((draft.watermark = event.target.checked), changed()),
      }),
      t("create.watermark"),
    ),
    h(
      "p.hint.sum",
      {},
      size ? `${number(size[0])} × ${number(size[1])} px` : t("create.shape.auto"),
      " · ",
      count === "auto" ? t("create.cost.each", { units }) : t("create.cost", { units: number(units * Number(count)) }),
    ),
  ];
}

const modelsOf = () => config.models.map(({ name }) => ({ value: name, label: name }));

/** A group of radio buttons; where it is drawn anew, the chosen one keeps the focus. */
function radios(labelKey, group, values, selected, label, chosen, look) {
  const pick = (value) => {
    chosen(value);
    document.querySelector(`input[name="${group}"]:checked`)?.focus();
  };
  return h(
    "fieldset.field",
    {},
    h("legend", {}, t(labelKey)),
    h(
      `div.${look}`,
      {},
      values.map((value) =>
        h(
          "label",
          {},
          h("input", { type: "radio", name: group, value, checked: value === selected, onchange: () => pick(value) }),
          h("span", {}, label(value)),
        ),
      ),
    ),
  );
}

function shapeLabel(ratio) {
  return [
    h(ratio === "auto" ? "i.shape.auto" : "i.shape", { "--ratio": aspect(ratio), "aria-hidden": "true" }),
    ratio === "auto" ? t("auto") : ratio,
  ];
}
