// Errors in words, with what support needs to find them: code and request id.

import { h, icon } from "./dom.js";
import { has, t } from "./i18n.js";

/** What went wrong, as a title of ours; the server's own sentence says the rest. */
export function titleOf(error) {
  const code = error.code ?? 5000;
  return t(has(`error.${code}`) ? `error.${code}` : code >= 5000 ? "error.5000" : "error.other");
}

/** A notice. `again`, where given, is what trying again does. */
export function errorBox(error, again) {
  const facts = [
    error.code ? t("error.code", { code: error.code }) : "",
    error.requestId ? t("error.request", { id: error.requestId }) : "",
  ];
  return h(
    ".notice.bad",
    { role: "alert" },
    icon("alert"),
    h(
      "div",
      {},
      h("strong", {}, titleOf(error)),
      error.message ? h("p", {}, error.message) : null,
      facts.some(Boolean) ? h("p.facts", {}, facts.filter(Boolean).join(" · ")) : null,
    ),
    again ? h("button", { type: "button", onclick: again }, t("again")) : null,
  );
}
