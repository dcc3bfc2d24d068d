// Elements: saved subjects that prompts cite. Create, see, delete.

import { call, ELEMENTS, follow } from "./api.js";
import { fill, h, icon, toast } from "./dom.js";
import { characters } from "./draft.js";
import { errorBox } from "./errors.js";
import { t } from "./i18n.js";
import { loadLibrary } from "./library.js";
import { dialog } from "./picker.js";
import { readPicture } from "./pictures.js";

const MOST = { name: 20, description: 100, more: 3 };
const TAGS = ["o_102", "o_103", "o_104", "o_105", "o_106", "o_107", "o_108", "o_101"];

export function show(view, { signal }) {
  const own = h("ul.cards", {}, h("li.hint", {}, t("loading")));
  const presets = h("ul.cards");
  const said = h("div");
  fill(
    view,
    h(
      "div.row.between.wrap",
      {},
      h("h1", {}, t("elements.title")),
      h("button.primary", { type: "button", onclick: () => createDialog(reload) }, icon("plus"), t("elements.create")),
    ),
    h("p.lead", {}, t("elements.lead")),
    said,
    h("h2", {}, t("elements.own")),
    own,
    h("h2", {}, t("elements.presets")),
    presets,
  );
  async function reload() {
    try {
      const found = await loadLibrary(signal);
      fill(said);
      fill(
        own,
        found.own.length
          ? found.own.map((element) => card(element, () => remove(element)))
          : h("li.hint", {}, t("elements.none")),
      );
      fill(
        presets,
        found.presets.map((element) => card(element)),
      );
      for (const element of found.own) if (["submitted", "processing"].includes(element.status)) watch(element);
    } catch (error) {
      if (error.name !== "AbortError") fill(said, errorBox(error, reload));
    }
  }
  const watched = new Set();
  async function watch({ task }) {
    if (watched.has(task.task_id)) return;
    watched.add(task.task_id);
    try {
      await follow(`${ELEMENTS}/${task.task_id}`, { signal, seen: () => {}, away: () => {}, each: 400 });
      reload();
    } catch (error) {
      if (error.name !== "AbortError") fill(said, errorBox(error, reload));
    }
  }
  function remove(element) {
    const go = async () => {
      box.close();
      try {
        await call("POST", "/v1/general/delete-elements", { body: { element_id: element.id } });
        toast(t("elements.deleted", { name: element.name }));
        reload();
      } catch (error) {
        fill(said, errorBox(error));
      }
    };
    const box = dialog(
      t("elements.delete"),
      h("p", {}, t("elements.delete.sure", { name: element.name })),
      h(
        "div.row.end",
        {},
        h("button", { type: "button", onclick: () => box.close() }, t("cancel")),
        h("button.danger", { type: "button", onclick: go }, t("elements.delete")),
      ),
    );
  }
  reload();
}

function card(element, remove) {
  const made = element.status === "succeed";
  return h(
    "li.card.element",
    {},
    element.picture
      ? h("img", { src: element.picture, alt: "", loading: "lazy" })
      : h(`div.frame.${element.status}`, {}, h("span.badge", {}, t(`status.${element.status}`))),
    h(
      "div",
      {},
      h("h3", {}, element.name || t("elements.unnamed")),
      h("p", {}, made ? element.description : element.task.task_status_msg),
      h("p.facts", {}, made ? [`${element.id}`, ...element.tags].join(" · ") : element.task.task_id),
    ),
    made && remove
      ? h(
          "button.quiet.square.remove",
          { type: "button", "aria-label": t("elements.delete.one", { name: element.name }), onclick: remove },
          icon("trash"),
        )
      : null,
  );
}

function createDialog(done) {
  const pictures = { frontal: [], more: [] };
  const said = h("div.problems", { role: "alert" });
  const name = h("input", { id: "element-name", required: true, autocomplete: "off" });
  const description = h("textarea", { id: "element-description", rows: 2, required: true });
  const tag = h(
    "select",
    { id: "element-tag" },
    h("option", { value: "" }, "–"),
    TAGS.map((id) => h("option", { value: id }, t(`tag.${id}`))),
  );
  const submit = h("button.primary", {}, t("elements.save"));
  const say = (text) => fill(said, h("p", {}, icon("alert"), text));

  function picker(kind, most) {
    const shown = h("span.row.wrap");
    const input = h("input.hidden", {
      id: `element-${kind}`,
      type: "file",
      accept: "image/png,image/jpeg",
      multiple: most > 1,
      onchange: async () => {
        const read = await Promise.all([...input.files].slice(0, most).map(readPicture));
        fill(
          said,
          read.filter(({ problem }) => problem).map(({ problem }) => h("p", {}, icon("alert"), problem)),
        );
        pictures[kind] = read.filter(({ problem }) => !problem);
        fill(
          shown,
          pictures[kind].map(({ preview, name: alt }) => h("img", { src: preview, alt, width: 56, height: 56 })),
        );
      },
    });
    return h(
      "div.field",
      {},
      h("label", { for: input.id }, t(`elements.${kind}`)),
      h("div.row.wrap", {}, input, h("label.button", { for: input.id }, icon("plus"), t("elements.choose")), shown),
    );
  }
  async function send(event) {
    event.preventDefault();
    if (!name.value.trim() || !description.value.trim() || !pictures.frontal.length || !pictures.more.length)
      return say(t("elements.missing"));
    for (const [field, most] of [
      [name, MOST.name],
      [description, MOST.description],
    ]) {
      if (characters(field.value) > most)
        return (say(t("elements.long", { field: field.labels[0].textContent, most })), field.focus());
    }
    submit.disabled = true;
    const body = {
      element_name: name.value.trim(),
      element_description: description.value.trim(),
      element_image_list: {
        frontal_image: pictures.frontal[0].data,
        refer_images: pictures.more.map(({ data }) => ({ image_url: data })),
      },
      tag_list: tag.value ? [{ tag_id: tag.value }] : [],
    };
    try {
      await call("POST", ELEMENTS, { body });
      box.close();
      toast(t("elements.sent"));
      done();
    } catch (error) {
      fill(said, errorBox(error));
      submit.disabled = false;
    }
  }
  const labelled = (field, key, values) => h("div.field", {}, h("label", { for: field.id }, t(key, values)), field);
  const box = dialog(
    t("elements.create"),
    h(
      "form.stack",
      { onsubmit: send, novalidate: true },
      labelled(name, "elements.name", { most: MOST.name }),
      labelled(description, "elements.description", { most: MOST.description }),
      picker("frontal", 1),
      picker("more", MOST.more),
      labelled(tag, "elements.tag"),
      said,
      h("div.row.end", {}, submit),
    ),
  );
  name.focus();
}
