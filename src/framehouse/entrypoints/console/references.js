// A field for images (from files, drag and drop, the clipboard or URLs). The field can also contain elements.

import { fill, h, icon } from "./dom.js";
import { fileSize, t } from "./i18n.js";
import { filesOf, readImage } from "./images.js";
import { pickElement } from "./picker.js";

/** Return the field. `name` is the prefix of the names of its texts. `images` is the list that the field changes. A
 * field without `elements` contains only images. `max` is the largest number of images and elements. `onChange()` is
 * called when an image or element is added or removed. `onCite(token)` is called when the user clicks the token of a
 * reference; without `onCite`, there are no tokens. */
export function imagesField({ name, images, elements, max, onChange, onCite, signal }) {
  const problemList = h("div.problems", { role: "alert" });
  const chips = h("ul.chips");
  const input = h("input", {
    type: "file",
    accept: "image/png,image/jpeg,image/webp,image/avif",
    multiple: max > 1,
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

  const count = () => images.length + (elements?.length ?? 0);
  const full = (added) => t(elements ? "references.full" : "images.full", { name: added, max });
  const showProblems = (problems) =>
    fill(
      problemList,
      problems.map((problem) => h("p", {}, icon("alert"), problem)),
    );

  async function add(files) {
    const problems = [];
    for (const file of files) {
      if (count() >= max) {
        problems.push(full(file.name));
        continue;
      }
      const image = await readImage(file);
      if (image.problem) problems.push(image.problem);
      else images.push(image);
    }
    showProblems(problems);
    render();
    onChange();
  }
  function addUrl() {
    const url = urlInput.value.trim();
    if (!url) return;
    if (!/^https?:\/\/./.test(url) || count() >= max) {
      showProblems([
        count() >= max ? full(url) : t("references.invalid_url", { url }),
      ]);
      return;
    }
    images.push({ name: url, url });
    urlInput.value = "";
    urlInput.hidden = true;
    showProblems([]);
    render();
    onChange();
  }
  function addElement() {
    if (count() >= max) return showProblems([full(t("references.element"))]);
    pickElement((element) => {
      elements.push(element);
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
      reference.blobUrl || reference.image
        ? h("img", { src: reference.blobUrl ?? reference.image, alt: "", width: 52, height: 52 })
        : h("span.noimage", {}, icon("image")),
      h(
        "div",
        {},
        onCite
          ? h(
              "button.token",
              {
                type: "button",
                title: t("references.cite"),
                "aria-label": `${t("references.cite")}: ${token}`,
                onclick: () => onCite(token),
              },
              `${kind}_${index + 1}`,
            )
          : null,
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
    counter.textContent = t("references.count", { used: count(), max });
    counter.hidden = max === 1;
    buttons.hidden = max === 1 && count() === 1;
    fill(
      chips,
      images.map((image, index) =>
        chip(
          images,
          image,
          index,
          "image",
          image.width && `${image.width} × ${image.height}, ${fileSize(image.size)}`,
        ),
      ),
      (elements ?? []).map((element, index) => chip(elements, element, index, "element")),
    );
    chips.hidden = !count();
  }
  input.addEventListener("change", () => add([...input.files]).then(() => (input.value = "")));
  urlInput.addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), addUrl()));
  urlInput.addEventListener("change", addUrl);
  addEventListener(
    "paste",
    (event) => {
      const files = filesOf(event.clipboardData);
      // if there are several fields, the first one with space takes the images
      const takesImages = node.isConnected && !event.defaultPrevented && (elements || count() < max);
      if (takesImages && files.length && !document.querySelector("dialog[open]")) {
        event.preventDefault();
        add(files);
      }
    },
    { signal },
  );

  const buttons = h(
    "div.row.wrap",
    {},
    input,
    h("button", { type: "button", onclick: () => input.click() }, icon("plus"), t("references.add")),
    elements ? h("button", { type: "button", onclick: addElement }, icon("plus"), t("references.element")) : null,
    h(
      "button",
      { type: "button", onclick: () => ((urlInput.hidden = false), urlInput.focus()) },
      icon("plus"),
      t("references.url"),
    ),
  );
  const node = h(
    "div.field.drop",
    {
      role: "group",
      "aria-labelledby": `${name}-label`,
      ondragover: (event) => (event.preventDefault(), node.classList.add("over")),
      ondragleave: (event) => node.contains(event.relatedTarget) || node.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        node.classList.remove("over");
        add(filesOf(event.dataTransfer));
      },
    },
    h("div.row.between", {}, h("span.label", { id: `${name}-label` }, t(`${name}.label`)), counter),
    chips,
    problemList,
    buttons,
    urlInput,
    h("p.hint", {}, t(`${name}.hint`)),
  );
  render();
  return node;
}
