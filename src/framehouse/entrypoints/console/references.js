// The field for reference images (from files, drag and drop, the clipboard or URLs) and elements.

import { fill, h, icon } from "./dom.js";
import { draft, MAX_REFERENCES } from "./draft.js";
import { fileSize, t } from "./i18n.js";
import { filesOf, readImage } from "./images.js";
import { pickElement } from "./picker.js";

/** Return the field. `onChange()` is called when a reference is added or removed. `onCite(token)` is called when the
 * user clicks the token of a reference. */
export function referencesField({ onChange, onCite, signal }) {
  const problemList = h("div.problems", { role: "alert" });
  const chips = h("ul.chips");
  const input = h("input", {
    type: "file",
    accept: "image/png,image/jpeg",
    multiple: true,
    hidden: true,
    "aria-label": t("references.add"),
  });
  const urlInput = h("input", {
    type: "url",
    placeholder: "https://…",
    "aria-label": t("references.url"),
    hidden: true,
  });
  const counter = h("span.counter");

  const referenceCount = () => draft.images.length + draft.elements.length;
  const showProblems = (problems) =>
    fill(
      problemList,
      problems.map((problem) => h("p", {}, icon("alert"), problem)),
    );

  async function add(files) {
    const problems = [];
    for (const file of files) {
      if (referenceCount() >= MAX_REFERENCES) {
        problems.push(t("references.full", { name: file.name, max: MAX_REFERENCES }));
        continue;
      }
      const image = await readImage(file);
      if (image.problem) problems.push(image.problem);
      else draft.images.push(image);
    }
    showProblems(problems);
    render();
    onChange();
  }
  function addUrl() {
    const url = urlInput.value.trim();
    if (!url) return;
    if (!/^https?:\/\/./.test(url) || referenceCount() >= MAX_REFERENCES) {
      showProblems([
        referenceCount() >= MAX_REFERENCES
          ? t("references.full", { name: url, max: MAX_REFERENCES })
          : t("references.invalid_url", { url }),
      ]);
      return;
    }
    draft.images.push({ name: url, url });
    urlInput.value = "";
    urlInput.hidden = true;
    showProblems([]);
    render();
    onChange();
  }
  function addElement() {
    if (referenceCount() >= MAX_REFERENCES)
      return showProblems([t("references.full", { name: t("references.element"), max: MAX_REFERENCES })]);
    pickElement((element) => {
      draft.elements.push(element);
      showProblems([]);
      render();
      onChange();
    });
  }
  function chip(list, reference, index, kind, detail) {
    const token = `<<<${kind}_${index + 1}>>>`;
    const remove = () => {
      list.splice(index, 1);
      render();
      onChange();
    };
    return h(
      "li.chip",
      {},
      reference.preview || reference.image
        ? h("img", { src: reference.preview ?? reference.image, alt: "", width: 52, height: 52 })
        : h("span.noimage", {}, icon("image")),
      h(
        "div",
        {},
        h(
          "button.token",
          {
            type: "button",
            title: t("references.cite"),
            "aria-label": `${t("references.cite")}: ${token}`,
            onclick: () => onCite(token),
          },
          `${kind}_${index + 1}`,
        ),
        h("span.name", { title: reference.name }, reference.name),
        detail ? h("span.detail", {}, detail) : null,
      ),
      h(
        "button.quiet.square",
        { type: "button", "aria-label": t("remove", { name: reference.name }), onclick: remove },
        icon("close"),
      ),
    );
  }
  function render() {
    counter.textContent = t("references.count", { used: referenceCount(), max: MAX_REFERENCES });
    fill(
      chips,
      draft.images.map((image, index) =>
        chip(
          draft.images,
          image,
          index,
          "image",
          image.width && `${image.width} × ${image.height}, ${fileSize(image.size)}`,
        ),
      ),
      draft.elements.map((element, index) => chip(draft.elements, element, index, "element")),
    );
    chips.hidden = !referenceCount();
  }
  input.addEventListener("change", () => add([...input.files]).then(() => (input.value = "")));
  urlInput.addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), addUrl()));
  urlInput.addEventListener("change", addUrl);
  addEventListener(
    "paste",
    (event) => {
      const files = filesOf(event.clipboardData);
      if (files.length && !document.querySelector("dialog[open]")) {
        event.preventDefault();
        add(files);
      }
    },
    { signal },
  );

  const node = h(
    "div.field.drop",
    {
      role: "group",
      "aria-labelledby": "references-label",
      ondragover: (event) => (event.preventDefault(), node.classList.add("over")),
      ondragleave: (event) => node.contains(event.relatedTarget) || node.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        node.classList.remove("over");
        add(filesOf(event.dataTransfer));
      },
    },
    h("div.row.between", {}, h("span.label", { id: "references-label" }, t("references.label")), counter),
    chips,
    problemList,
    h(
      "div.row.wrap",
      {},
      input,
      h("button", { type: "button", onclick: () => input.click() }, icon("plus"), t("references.add")),
      h("button", { type: "button", onclick: addElement }, icon("plus"), t("references.element")),
      h(
        "button",
        { type: "button", onclick: () => ((urlInput.hidden = false), urlInput.focus()) },
        icon("plus"),
        t("references.url"),
      ),
    ),
    urlInput,
    h("p.hint", {}, t("references.hint")),
  );
  render();
  return node;
}
