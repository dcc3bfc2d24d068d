// The account: what runs, what it has cost, which keys open it; and the way out.

import { call } from "./api.js";
import { fill, h } from "./dom.js";
import { errorBox } from "./errors.js";
import { moment, number, t } from "./i18n.js";
import { forgetKey, forgetSent, key } from "./store.js";

const PREFIX_CHARACTERS = 11;

export async function show(view, { signal, again }) {
  const content = h("div.stack", {}, h("p.hint", {}, t("loading")));
  fill(view, h("h1", {}, t("account.title")), content);
  try {
    const { data } = await call("GET", "/v1/account", { signal });
    fill(content, cards(data), keys(data.keys), leave());
  } catch (error) {
    if (error.name !== "AbortError") fill(content, errorBox(error, again));
  }
}

function cards({ account, concurrency, units }) {
  const card = (label, value, detail, meter) =>
    h("div.card.figure", {}, h("h2", {}, label), h("p.value", {}, value), meter, h("p.hint", {}, detail));
  const bar = (used, most, label) => h("progress", { max: Math.max(most, 1), value: used, "aria-label": label });
  const held = units.used + units.reserved;
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
      `${t("account.reserved", { units: number(units.reserved) })} · ${units.limit === null ? t("account.nolimit") : t("account.left", { units: number(Math.max(0, units.limit - held)) })}`,
      units.limit === null ? null : bar(held, units.limit, t("account.units")),
    ),
  );
}

function keys(list) {
  const mine = key()?.slice(0, PREFIX_CHARACTERS);
  const row = ({ prefix, kind, models, created_at: made }) =>
    h(
      "tr",
      {},
      h("td", {}, h("code", {}, `${prefix}…`), prefix === mine ? h("span.badge", {}, t("account.thiskey")) : null),
      h("td", {}, kind === "jwt" ? "JWT" : t("account.bearer")),
      h("td", {}, models?.join(", ") ?? t("account.allmodels")),
      h("td", {}, moment(made)),
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
            ["key", "kind", "models", "made"].map((name) => h("th", { scope: "col" }, t(`account.col.${name}`))),
          ),
        ),
        h("tbody", {}, list.map(row)),
      ),
    ),
    h("p.hint", {}, t("account.keys.hint")),
  );
}

function leave() {
  const go = () => {
    forgetKey();
    forgetSent();
    location.reload(); // what was written goes too
  };
  return h("div", {}, h("button", { type: "button", onclick: go }, t("account.leave")));
}
