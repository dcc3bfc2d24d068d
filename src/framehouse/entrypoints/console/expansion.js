// The field that shows how far an image is expanded, with one input on each side of the image.

import { h, icon } from "./dom.js";
import { draft, SIDES } from "./draft.js";
import { t } from "./i18n.js";

/** Return the field. `onChange()` is called after every edit. */
export function expansionField(onChange) {
  const [original] = draft.original;
  const input = (side) =>
    h("input", {
      class: side,
      id: `expand-${side}`,
      inputmode: "decimal",
      autocomplete: "off",
      value: draft.expansion[side],
      placeholder: "0",
      "aria-label": t(`expand.${side}`),
      title: t(`expand.${side}`),
      oninput: (event) => ((draft.expansion[side] = event.target.value.trim()), onChange()),
    });
  return h(
    "fieldset.field",
    {},
    h("legend", {}, t("expand.ratios")),
    h(
      "div.expansion",
      {},
      SIDES.map(input),
      h("div.original", {}, original?.blobUrl ? h("img", { src: original.blobUrl, alt: "" }) : icon("image")),
    ),
    h("p.hint", {}, t("expand.hint")),
  );
}
