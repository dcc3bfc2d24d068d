// The dialog in which the user selects an element.

import { fill, h, icon } from "./dom.js";
import { errorBox } from "./errors.js";
import { t } from "./i18n.js";
import { loadLibrary } from "./library.js";

/** Open a modal dialog with a title. The dialog is removed from the page when it is closed. */
export function dialog(title, ...content) {
  const box = h(
    "dialog",
    { "aria-labelledby": "dialog-title", onclose: () => box.remove() },
    h(
      "div.dialog-head",
      {},
      h("h2", { id: "dialog-title" }, title),
      h("button.quiet.square", { type: "button", "aria-label": t("close"), onclick: () => box.close() }, icon("close")),
    ),
    content,
  );
  document.body.append(box);
  box.showModal();
  return box;
}

/** Let the user select an element or a preset. `onSelect(element)` is not called if the user closes the dialog. */
export async function pickElement(onSelect) {
  const list = h("div.picker", {}, h("p.hint", {}, t("loading")));
  const box = dialog(t("picker.title"), list);
  const elementButton = (element) =>
    h(
      "button.pick",
      { type: "button", onclick: () => (box.close(), onSelect(element)) },
      h("img", { src: element.image, alt: "", width: 96, height: 96, loading: "lazy" }),
      h("span", {}, element.name),
    );
  try {
    const { own, presets } = await loadLibrary();
    const ready = own.filter(({ status }) => status === "succeed");
    fill(
      list,
      h("h3", {}, t("elements.own")),
      ready.length
        ? h("div.picks", {}, ready.map(elementButton))
        : h(
            "p.hint",
            {},
            t("picker.none"),
            " ",
            h("a", { href: "#/elements", onclick: () => box.close() }, t("picker.create")),
          ),
      h("h3", {}, t("elements.presets")),
      h("div.picks", {}, presets.map(elementButton)),
    );
    list.querySelector("button")?.focus();
  } catch (error) {
    fill(list, errorBox(error));
  }
}
