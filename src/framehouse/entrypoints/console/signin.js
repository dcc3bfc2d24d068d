// Signing in: a key is pasted, tried, and kept.

import { call } from "./api.js";
import { fill, h } from "./dom.js";
import { errorBox } from "./errors.js";
import { t } from "./i18n.js";
import { keepKey } from "./store.js";

export function show(view, { problem, again }) {
  const said = h("div.said", {}, problem ? errorBox(problem) : null);
  const field = h("input", {
    id: "key",
    type: "password",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "fh_…",
    "aria-describedby": "key-help",
  });
  const remember = h("input", { type: "checkbox" });
  const button = h("button.primary", {}, t("signin.go"));
  const enter = async (event) => {
    event.preventDefault();
    const token = field.value.trim();
    button.disabled = true;
    try {
      await call("GET", "/v1/account", { as: token });
      keepKey(token, remember.checked);
      again();
    } catch (error) {
      fill(said, errorBox(error));
      button.disabled = false;
      field.focus();
    }
  };
  fill(
    view,
    h(
      ".signin",
      {},
      h("img", { src: "console/icon.svg", alt: "", width: 56, height: 56 }),
      h("h1", {}, t("signin.title")),
      h("p.lead", {}, t("signin.lead")),
      h(
        "form.card.stack",
        { onsubmit: enter },
        said,
        h("div.field", {}, h("label", { for: "key" }, t("signin.key")), field),
        h("label.check", {}, remember, t("signin.remember")),
        button,
        h("p.hint", { id: "key-help" }, t("signin.help"), " ", h("code", {}, "framehouse key create default")),
      ),
    ),
  );
  field.focus();
}
