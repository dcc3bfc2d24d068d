// The page "Elements": create, show and delete elements.

import { call, ELEMENTS, follow } from "./api.js";
import { fill, h, icon, toast } from "./dom.js";
import { characters } from "./draft.js";
import { errorBox } from "./errors.js";
import { t } from "./i18n.js";
import { readImage } from "./images.js";
import { loadLibrary } from "./library.js";
import { dialog } from "./picker.js";

const MAX = { name: 20, description: 100, additional: 3 };
const TAGS = ["o_102", "o_103", "o_104", "o_105", "o_106", "o_107", "o_108", "o_101"];

export function show(view, { signal }) {
  const own = h("ul.cards", {}, h("li.hint", {}, t("loading")));
  const presets = h("ul.cards");
  const errorArea = h("div");
  fill(
    view,
    h(
      "div.row.between.wrap",
      {},
      h("h1", {}, t("elements.title")),
      h("button.primary", { type: "button", onclick: () => createDialog(reload) }, icon("plus"), t("elements.create")),
    ),
    h("p.lead", {}, t("elements.lead")),
    errorArea,
    h("h2", {}, t("elements.own")),
    own,
    h("h2", {}, t("elements.presets")),
    presets,
  );
  async function reload() {
    try {
      const library = await loadLibrary(signal);
      fill(errorArea);
      fill(
        own,
        library.own.length
          ? library.own.map((element) => card(element, () => confirmDelete(element)))
          : h("li.hint", {}, t("elements.none")),
      );
      fill(
        presets,
        library.presets.map((element) => card(element)),
      );
      for (const element of library.own)
        if (["submitted", "processing"].includes(element.status)) reloadWhenEnded(element);
    } catch (error) {
      if (error.name !== "AbortError") fill(errorArea, errorBox(error, reload));
    }
  }
  const watched = new Set();
  async function reloadWhenEnded({ task }) {
    if (watched.has(task.task_id)) return;
    watched.add(task.task_id);
    try {
      await follow(`${ELEMENTS}/${task.task_id}`, { signal, onUpdate: () => {}, onError: () => {}, intervalMs: 400 });
      reload();
    } catch (error) {
      if (error.name !== "AbortError") fill(errorArea, errorBox(error, reload));
    }
  }
  function confirmDelete(element) {
    const deleteElement = async () => {
      box.close();
      try {
        await call("POST", "/v1/general/delete-elements", { body: { element_id: element.id } });
        toast(t("elements.deleted", { name: element.name }));
        reload();
      } catch (error) {
        fill(errorArea, errorBox(error));
      }
    };
    const box = dialog(
      t("elements.delete"),
      h("p", {}, t("elements.delete.confirm", { name: element.name })),
      h(
        "div.row.end",
        {},
        h("button", { type: "button", onclick: () => box.close() }, t("cancel")),
        h("button.danger", { type: "button", onclick: deleteElement }, t("elements.delete")),
      ),
    );
  }
  reload();
}

function card(element, onDelete) {
  const ready = element.status === "succeed";
  return h(
    "li.card.element",
    {},
    element.image
      ? h("img", { src: element.image, alt: "", loading: "lazy" })
      : h(`div.frame.${element.status}`, {}, h("span.badge", {}, t(`status.${element.status}`))),
    h(
      "div",
      {},
      h("h3", {}, element.name || t("elements.unnamed")),
      h("p", {}, ready ? element.description : element.task.task_status_msg),
      h("p.facts", {}, ready ? [`${element.id}`, ...element.tags].join(" · ") : element.task.task_id),
    ),
    ready && onDelete
      ? h(
          "button.quiet.square.remove",
          { type: "button", "aria-label": t("elements.delete.one", { name: element.name }), onclick: onDelete },
          icon("trash"),
        )
      : null,
  );
}

function createDialog(onCreated) {
  const images = { frontal: [], additional: [] };
  const errorArea = h("div.problems", { role: "alert" });
  const name = h("input", { id: "element-name", required: true, autocomplete: "off" });
  const description = h("textarea", { id: "element-description", rows: 2, required: true });
  const tag = h(
    "select",
    { id: "element-tag" },
    h("option", { value: "" }, "–"),
    TAGS.map((id) => h("option", { value: id }, t(`tag.${id}`))),
  );
  const submit = h("button.primary", {}, t("elements.save"));
  const showProblem = (text) => fill(errorArea, h("p", {}, icon("alert"), text));

  function imagePicker(kind, max) {
    const previews = h("span.row.wrap");
    const input = h("input.hidden", {
      id: `element-${kind}`,
      type: "file",
      accept: "image/png,image/jpeg,image/webp,image/avif",
      multiple: max > 1,
      onchange: async () => {
        const results = await Promise.all([...input.files].slice(0, max).map(readImage));
        fill(
          errorArea,
          results.filter(({ problem }) => problem).map(({ problem }) => h("p", {}, icon("alert"), problem)),
        );
        images[kind] = results.filter(({ problem }) => !problem);
        fill(
          previews,
          images[kind].map(({ blobUrl, name: alt }) => h("img", { src: blobUrl, alt, width: 56, height: 56 })),
        );
      },
    });
    return h(
      "div.field",
      {},
      h("label", { for: input.id }, t(`elements.${kind}`)),
      h("div.row.wrap", {}, input, h("label.button", { for: input.id }, icon("plus"), t("elements.choose")), previews),
    );
  }
  async function createElement(event) {
    event.preventDefault();
    if (!name.value.trim() || !description.value.trim() || !images.frontal.length || !images.additional.length)
      return showProblem(t("elements.missing"));
    for (const [field, max] of [
      [name, MAX.name],
      [description, MAX.description],
    ]) {
      if (characters(field.value) > max)
        return (showProblem(t("elements.too_long", { field: field.labels[0].textContent, max })), field.focus());
    }
    submit.disabled = true;
    const body = {
      element_name: name.value.trim(),
      element_description: description.value.trim(),
      element_image_list: {
        frontal_image: images.frontal[0].data,
        refer_images: images.additional.map(({ data }) => ({ image_url: data })),
      },
      tag_list: tag.value ? [{ tag_id: tag.value }] : [],
    };
    try {
      await call("POST", ELEMENTS, { body });
      box.close();
      toast(t("elements.creating"));
      onCreated();
    } catch (error) {
      fill(errorArea, errorBox(error));
      submit.disabled = false;
    }
  }
  const labelledField = (field, key, values) =>
    h("div.field", {}, h("label", { for: field.id }, t(key, values)), field);
  const box = dialog(
    t("elements.create"),
    h(
      "form.stack",
      { onsubmit: createElement, novalidate: true },
      labelledField(name, "elements.name", { max: MAX.name }),
      labelledField(description, "elements.description", { max: MAX.description }),
      imagePicker("frontal", 1),
      imagePicker("additional", MAX.additional),
      labelledField(tag, "elements.tag"),
      errorArea,
      h("div.row.end", {}, submit),
    ),
  );
  name.focus();
}
