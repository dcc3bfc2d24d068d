// What is sent along with a prompt: pictures by file, drop, paste or URL, and elements.

import { fill, h, icon } from "./dom.js";
import { draft, MOST_REFERENCES } from "./draft.js";
import { size, t } from "./i18n.js";
import { pickElement } from "./picker.js";
import { filesOf, readPicture } from "./pictures.js";

/** The part of the form; `changed()` is called when the lists change, `cite(token)` when a chip is pressed. */
export function referencesField({ changed, cite, signal }) {
  const said = h("div.problems", { role: "alert" });
  const chips = h("ul.chips");
  const input = h("input", {
    type: "file",
    accept: "image/png,image/jpeg",
    multiple: true,
    hidden: true,
    "aria-label": t("references.add"),
  });
  const address = h("input", {
    type: "url",
    placeholder: "https://…",
    "aria-label": t("references.url"),
    hidden: true,
  });
  const count = h("span.counter");

  const taken = () => draft.images.length + draft.elements.length;
  const say = (problems) =>
    fill(
      said,
      problems.map((problem) => h("p", {}, icon("alert"), problem)),
    );

  async function add(files) {
    const problems = [];
    for (const file of files) {
      if (taken() >= MOST_REFERENCES) {
        problems.push(t("references.full", { name: file.name, most: MOST_REFERENCES }));
        continue;
      }
      const picture = await readPicture(file);
      if (picture.problem) problems.push(picture.problem);
      else draft.images.push(picture);
    }
    say(problems);
    render();
    changed();
  }
  function addUrl() {
    const url = address.value.trim();
    if (!url) return;
    if (!/^https?:\/\/./.test(url) || taken() >= MOST_REFERENCES) {
      say([
        taken() >= MOST_REFERENCES
          ? t("references.full", { name: url, most: MOST_REFERENCES })
          : t("references.bad", { url }),
      ]);
      return;
    }
    draft.images.push({ name: url, url });
    address.value = "";
    address.hidden = true;
    say([]);
    render();
    changed();
  }
  function addElement() {
    if (taken() >= MOST_REFERENCES)
      return say([t("references.full", { name: t("references.element"), most: MOST_REFERENCES })]);
    pickElement((element) => {
      draft.elements.push(element);
      say([]);
      render();
      changed();
    });
  }
  function chip(list, thing, index, kind, detail) {
    const token = `<<<${kind}_${index + 1}>>>`;
    const remove = () => {
      list.splice(index, 1);
      render();
      changed();
    };
    return h(
      "li.chip",
      {},
      thing.preview || thing.picture
        ? h("img", { src: thing.preview ?? thing.picture, alt: "", width: 52, height: 52 })
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
            onclick: () => cite(token),
          },
          `${kind}_${index + 1}`,
        ),
        h("span.name", { title: thing.name }, thing.name),
        detail ? h("span.detail", {}, detail) : null,
      ),
      h(
        "button.quiet.square",
        { type: "button", "aria-label": t("remove", { name: thing.name }), onclick: remove },
        icon("close"),
      ),
    );
  }
  function render() {
    count.textContent = t("references.count", { used: taken(), most: MOST_REFERENCES });
    fill(
      chips,
      draft.images.map((image, index) =>
        chip(
          draft.images,
          image,
          index,
          "image",
          image.width && `${image.width} × ${image.height}, ${size(image.size)}`,
        ),
      ),
      draft.elements.map((element, index) => chip(draft.elements, element, index, "element")),
    );
    chips.hidden = !taken();
  }
  input.addEventListener("change", () => add([...input.files]).then(() => (input.value = "")));
  address.addEventListener("keydown", (event) => event.key === "Enter" && (event.preventDefault(), addUrl()));
  address.addEventListener("change", addUrl);
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
    h("div.row.between", {}, h("span.label", { id: "references-label" }, t("references.label")), count),
    chips,
    said,
    h(
      "div.row.wrap",
      {},
      input,
      h("button", { type: "button", onclick: () => input.click() }, icon("plus"), t("references.add")),
      h("button", { type: "button", onclick: addElement }, icon("plus"), t("references.element")),
      h(
        "button",
        { type: "button", onclick: () => ((address.hidden = false), address.focus()) },
        icon("plus"),
        t("references.url"),
      ),
    ),
    address,
    h("p.hint", {}, t("references.hint")),
  );
  render();
  return node;
}
