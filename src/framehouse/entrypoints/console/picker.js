// Choosing an element: a dialog of own ones and presets.

import { fill, h, icon } from "./dom.js";
import { errorBox } from "./errors.js";
import { t } from "./i18n.js";
import { loadLibrary } from "./library.js";

/** A modal dialog with a title; it removes itself when it closes. */
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

/** Ask for an element; `chosen({id, name, picture})` is called once, or never. */
export async function pickElement(chosen) {
  const list = h("div.picker", {}, h("p.hint", {}, t("loading")));
  const box = dialog(t("picker.title"), list);
  const choice = (element) =>
    h(
      "button.pick",
      { type: "button", onclick: () => (box.close(), chosen(element)) },
      h("img", { src: element.picture, alt: "", width: 96, height: 96, loading: "lazy" }),
      h("span", {}, element.name),
    );
  try {
    const { own, presets } = await loadLibrary();
    const ready = own.filter(({ status }) => status === "succeed");
    fill(
      list,
      h("h3", {}, t("elements.own")),
      ready.length
        ? h("div.picks", {}, ready.map(choice))
        : h(
            "p.hint",
            {},
            t("picker.none"),
            " ",
            h("a", { href: "#/elements", onclick: () => box.close() }, t("picker.make")),
          ),
      h("h3", {}, t("elements.presets")),
      h("div.picks", {}, presets.map(choice)),
    );
    list.querySelector("button")?.focus();
  } catch (error) {
    fill(list, errorBox(error));
  }
}
