// The prompt field. It counts characters as the API does, and completes citations of reference images and elements.

import { h } from "./dom.js";
import { characters, citableImages, draft, MAX_CHARACTERS } from "./draft.js";
import { number, t } from "./i18n.js";

/** Return the images and elements that the prompt can cite, in order: `{token, label, image}`. */
export const citations = () => [
  ...citableImages().map((image, index) => ({
    token: `<<<image_${index + 1}>>>`,
    label: image.name,
    image: image.blobUrl,
  })),
  ...(draft.mode === "text" ? draft.elements : []).map((element, index) => ({
    token: `<<<element_${index + 1}>>>`,
    label: element.name,
    image: element.image,
  })),
];

/** Return the prompt field with its counter and completion. `onChange()` is called after every edit. `insert(token)`
 * inserts a citation at the caret. */
export function promptField(onChange) {
  const isRequired = draft.mode === "text";
  const counter = h("span.counter", { id: "counter" });
  const list = h("ul.completion", { id: "completion", role: "listbox", "aria-label": t("prompt.cite"), hidden: true });
  const area = h("textarea", {
    id: "prompt",
    rows: 5,
    required: isRequired,
    value: draft.prompt,
    placeholder: t(isRequired ? "prompt.placeholder" : "prompt.optional"),
    "aria-describedby": "counter",
    "aria-autocomplete": "list",
    "aria-controls": "completion",
  });
  let options = [];
  let active = 0;
  let start = -1;

  function updateCounter() {
    const used = characters(area.value);
    counter.textContent = t("prompt.counter", { used: number(used), max: number(MAX_CHARACTERS) });
    counter.classList.toggle("over", used > MAX_CHARACTERS);
  }
  function close() {
    list.hidden = true;
    options = [];
    area.removeAttribute("aria-activedescendant");
  }
  function insertToken(from, token) {
    area.setRangeText(token, from, area.selectionEnd, "end");
    draft.prompt = area.value;
    close();
    updateCounter();
    onChange();
    area.focus();
  }
  function complete() {
    const typed = /<{1,3}\s*([a-z_0-9]*)$/i.exec(area.value.slice(0, area.selectionStart));
    options = typed ? citations().filter(({ token }) => token.slice(3).startsWith(typed[1].toLowerCase())) : [];
    if (!options.length) return close();
    start = area.selectionStart - typed[0].length;
    active = 0;
    render();
  }
  function render() {
    list.replaceChildren(
      ...options.map((option, index) =>
        h(
          "li",
          {
            id: `option-${index}`,
            role: "option",
            "aria-selected": String(index === active),
            onpointerdown: (event) => (event.preventDefault(), insertToken(start, option.token)),
          },
          option.image ? h("img", { src: option.image, alt: "", width: 28, height: 28 }) : null,
          h("code", {}, option.token),
          h("span", {}, option.label),
        ),
      ),
    );
    list.hidden = false;
    area.setAttribute("aria-activedescendant", `option-${active}`);
  }
  area.addEventListener("input", () => {
    draft.prompt = area.value;
    updateCounter();
    complete();
    onChange();
  });
  area.addEventListener("blur", close);
  area.addEventListener("keydown", (event) => {
    if (!options.length || event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      active = (active + step + options.length) % options.length;
      render();
    } else if (event.key === "Enter" || event.key === "Tab") insertToken(start, options[active].token);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  updateCounter();
  const node = h(
    "div.field.prompt",
    {},
    h("div.row.between", {}, h("label", { for: "prompt" }, t("prompt.label")), counter),
    h("div.anchor", {}, area, list),
  );
  return { node, area, insert: (token) => insertToken(area.selectionStart, token) };
}
