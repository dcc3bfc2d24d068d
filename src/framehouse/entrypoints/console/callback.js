// The field for the callback URL, and the button that sends a test callback.

import { call } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { draft } from "./draft.js";
import { errorBox } from "./errors.js";
import { number, t } from "./i18n.js";

/** Return whether a text can be a callback URL. */
export const isCallbackUrl = (text) => /^https?:\/\/\S+$/i.test(text);

/** Return the field. `onChange` is called after each change of the URL. */
export function callbackField(onChange, signal) {
  const result = h("div", { role: "status" });
  const send = h("button", { type: "button", onclick: () => test() }, icon("right"), t("callback.test"));
  const show = () => (send.disabled = !isCallbackUrl(draft.callbackUrl));
  const input = h("input", {
    id: "callback-url",
    inputmode: "url",
    autocomplete: "off",
    spellcheck: "false",
    value: draft.callbackUrl,
    placeholder: "https://…",
    oninput: (event) => {
      draft.callbackUrl = event.target.value.trim();
      fill(result);
      show();
      onChange();
    },
  });
  async function test() {
    const url = draft.callbackUrl;
    send.disabled = true;
    fill(result, h("p.hint", {}, t("callback.sending")));
    try {
      const { data } = await call("POST", "/v1/callbacks/test", { body: { callback_url: url }, signal });
      if (url === draft.callbackUrl) fill(result, resultBox(data));
    } catch (error) {
      if (error.name !== "AbortError" && url === draft.callbackUrl) fill(result, errorBox(error));
    }
    show();
  }
  show();
  return h("div.field.callback", {}, h("label", { for: "callback-url" }, t("callback.label")), input, send, result);
}

function resultBox({ delivered, status, seconds, reason, advice }) {
  const facts = [status === null ? null : `HTTP ${status}`, t("callback.seconds", { seconds: number(seconds) })];
  return h(
    `.notice.${delivered ? "good" : "bad"}`,
    {},
    icon(delivered ? "check" : "alert"),
    h(
      "div",
      {},
      h("strong", {}, t(delivered ? "callbacks.delivered" : "callback.failed")),
      reason ? h("p", {}, reason) : null,
      advice ? h("p", {}, advice) : null,
      h("p.facts", {}, facts.filter(Boolean).join(" · ")),
    ),
  );
}
