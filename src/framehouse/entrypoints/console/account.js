// The page "Account": images in flight, units, keys, and the sign-out button.

import { call } from "./api.js";
import { fill, h } from "./dom.js";
import { errorBox } from "./errors.js";
import { dateTime, number, t } from "./i18n.js";
import { key, removeKey, removeSentRequests } from "./store.js";

const PREFIX_CHARACTERS = 11;

export async function show(view, { signal, reload }) {
  const content = h("div.stack", {}, h("p.hint", {}, t("loading")));
  fill(view, h("h1", {}, t("account.title")), content);
  try {
    const { data } = await call("GET", "/v1/account", { signal });
    fill(content, limitCards(data), keysCard(data.keys), signOutButton());
  } catch (error) {
    if (error.name !== "AbortError") fill(content, errorBox(error, reload));
  }
}

function limitCards({ account, concurrency, units }) {
  const card = (label, value, detail, meter) =>
    h("div.card.figure", {}, h("h2", {}, label), h("p.value", {}, value), meter, h("p.hint", {}, detail));
  const bar = (used, limit, label) => h("progress", { max: Math.max(limit, 1), value: used, "aria-label": label });
  const usedOrReserved = units.used + units.reserved;
  return h(
    "div.figures",
    {},
    card(t("account.name"), account, t("account.name.hint")),
    card(
      t("account.concurrency"),
      `${number(concurrency.used)} / ${number(concurrency.allowed)}`,
      t("account.concurrency.hint"),
      bar(concurrency.used, concurrency.allowed, t("account.concurrency")),
    ),
    card(
      t("account.units"),
      units.limit === null ? number(units.used) : `${number(units.used)} / ${number(units.limit)}`,
      `${t("account.reserved", { units: number(units.reserved) })} · ${units.limit === null ? t("account.no_limit") : t("account.left", { units: number(Math.max(0, units.limit - usedOrReserved)) })}`,
      units.limit === null ? null : bar(usedOrReserved, units.limit, t("account.units")),
    ),
  );
}

function keysCard(keys) {
  const currentPrefix = key()?.slice(0, PREFIX_CHARACTERS);
  const row = ({ prefix, kind, models, created_at: createdAt }) =>
    h(
      "tr",
      {},
      h(
        "td",
        {},
        h("code", {}, `${prefix}…`),
        prefix === currentPrefix ? h("span.badge", {}, t("account.this_key")) : null,
      ),
      h("td", {}, kind === "jwt" ? "JWT" : t("account.bearer")),
      h("td", {}, models?.join(", ") ?? t("account.all_models")),
      h("td", {}, dateTime(createdAt)),
    );
  return h(
    "div.card",
    {},
    h("h2", { id: "keys" }, t("account.keys")),
    h(
      "div.scroll",
      { tabindex: 0, role: "region", "aria-labelledby": "keys" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["prefix", "kind", "models", "created"].map((name) =>
              h("th", { scope: "col" }, t(`account.column.${name}`)),
            ),
          ),
        ),
        h("tbody", {}, keys.map(row)),
      ),
    ),
    h("p.hint", {}, t("account.keys.hint")),
  );
}

function signOutButton() {
  const signOut = () => {
    removeKey();
    removeSentRequests();
    location.reload(); // a reload also discards the draft of a request
  };
  return h("div", {}, h("button", { type: "button", onclick: signOut }, t("account.sign_out")));
}
