// The panel that shows the request as curl, Python or JavaScript code.

import { endpoint, TASK_PATHS } from "./api.js";
import { h, icon, toast } from "./dom.js";
import { asFileName, kind, requestBody } from "./draft.js";
import { t } from "./i18n.js";
import { curl, javascript, python } from "./snippets.js";

const LANGUAGES = { curl, Python: python, JavaScript: javascript };
let language = "curl";

/** Return the panel as `node`, and `update`, which must be called after each change of the draft. */
export function requestPanel() {
  const code = h("code");
  const text = () => LANGUAGES[language](endpoint(TASK_PATHS[kind()]), requestBody(asFileName));
  const update = () => (code.textContent = text());
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      toast(t("copied"));
    } catch {
      // browsers allow the clipboard only over https or on localhost
      getSelection().selectAllChildren(code);
      toast(t("copy.selected"));
    }
  };
  const tabs = Object.keys(LANGUAGES).map((name) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: "code",
        value: name,
        checked: name === language,
        onchange: () => ((language = name), update()),
      }),
      h("span", {}, name),
    ),
  );
  const node = h(
    "div.card.request",
    {},
    h(
      "div.row.between.wrap",
      {},
      h("h2", {}, t("request.title")),
      h(
        "div.row",
        {},
        h("div.segments", { role: "radiogroup", "aria-label": t("request.language") }, tabs),
        h("button", { type: "button", onclick: copy }, icon("copy"), t("copy")),
      ),
    ),
    h("pre", { tabindex: 0, role: "region", "aria-label": t("request.title") }, code),
  );
  return { node, update };
}
