// The sign-in form. It tests the key with a request before it stores the key.

import { call } from "./api.js";
import { fill, h } from "./dom.js";
import { errorBox } from "./errors.js";
import { t } from "./i18n.js";
import { saveKey } from "./store.js";

export function show(view, { signInError, reload }) {
  const errorArea = h("div.error-area", {}, signInError ? errorBox(signInError) : null);
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
  const button = h("button.primary", {}, t("signin.submit"));
  const signIn = async (event) => {
    event.preventDefault();
    const token = field.value.trim();
    button.disabled = true;
    try {
      await call("GET", "/v1/account", { unsavedKey: token });
      saveKey(token, remember.checked);
      reload();
    } catch (error) {
      fill(errorArea, errorBox(error));
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
        { onsubmit: signIn },
        errorArea,
        h("div.field", {}, h("label", { for: "key" }, t("signin.key")), field),
        h("label.check", {}, remember, t("signin.remember")),
        button,
        h("p.hint", { id: "key-help" }, t("signin.help"), " ", h("code", {}, "framehouse key create default")),
      ),
    ),
  );
  field.focus();
}
