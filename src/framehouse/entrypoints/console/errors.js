// Error messages, with the code and the request id that support needs to find the error.

import { h, icon } from "./dom.js";
import { hasText, t } from "./i18n.js";

/** Return a translated title for an error. The server's message, which is not translated, has the details. */
export function titleOf(error) {
  const code = error.code ?? 5000;
  return t(hasText(`error.${code}`) ? `error.${code}` : code >= 5000 ? "error.5000" : "error.other");
}

/** Return a box that shows an error. If `retry` is given, the box has a button that calls it. */
export function errorBox(error, retry) {
  const details = [
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
      details.some(Boolean) ? h("p.facts", {}, details.filter(Boolean).join(" · ")) : null,
    ),
    retry ? h("button", { type: "button", onclick: retry }, t("retry")) : null,
  );
}
