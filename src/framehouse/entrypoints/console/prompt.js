// The prompt's field: counts characters as the API does, and completes citations of what is sent along.

import { h } from "./dom.js";
import { characters, draft, MOST_CHARACTERS } from "./draft.js";
import { number, t } from "./i18n.js";

/** What may be cited: `{token, label, picture}`, in order. */
export const cited = () => [
  ...draft.images.map((image, index) => ({
    token: `<<<image_${index + 1}>>>`,
    label: image.name,
    picture: image.preview,
  })),
  ...draft.elements.map((element, index) => ({
    token: `<<<element_${index + 1}>>>`,
    label: element.name,
    picture: element.picture,
  })),
];

/** The field with counter and completion; `changed()` is called at every edit. `insert(token)` writes at the caret. */
export function promptField(changed) {
  const counter = h("span.counter", { id: "counter" });
  const list = h("ul.completion", { id: "completion", role: "listbox", "aria-label": t("prompt.cite"), hidden: true });
  const area = h("textarea", {
    id: "prompt",
    rows: 5,
    required: true,
    value: draft.prompt,
    placeholder: t("prompt.placeholder"),
    "aria-describedby": "counter",
    "aria-autocomplete": "list",
    "aria-controls": "completion",
  });
  let options = [];
  let active = 0;
  let start = -1;

  function count() {
    const used = characters(area.value);
    counter.textContent = t("prompt.counter", { used: number(used), most: number(MOST_CHARACTERS) });
    counter.classList.toggle("over", used > MOST_CHARACTERS);
  }
  function close() {
    list.hidden = true;
    options = [];
    area.removeAttribute("aria-activedescendant");
  }
  function write(from, token) {
    area.setRangeText(token, from, area.selectionEnd, "end");
    draft.prompt = area.value;
    close();
    count();
    changed();
    area.focus();
  }
  function complete() {
    const typed = /<{1,3}\s*([a-z_0-9]*)$/i.exec(area.value.slice(0, area.selectionStart));
    options = typed ? cited().filter(({ token }) => token.slice(3).startsWith(typed[1].toLowerCase())) : [];
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
            onpointerdown: (event) => (event.preventDefault(), write(start, option.token)),
          },
          option.picture ? h("img", { src: option.picture, alt: "", width: 28, height: 28 }) : null,
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
    count();
    complete();
    changed();
  });
  area.addEventListener("blur", close);
  area.addEventListener("keydown", (event) => {
    if (!options.length || event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      active = (active + step + options.length) % options.length;
      render();
    } else if (event.key === "Enter" || event.key === "Tab") write(start, options[active].token);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  count();
  const node = h(
    "div.field.prompt",
    {},
    h("div.row.between", {}, h("label", { for: "prompt" }, t("prompt.label")), counter),
    h("div.anchor", {}, area, list),
  );
  return { node, area, insert: (token) => write(area.selectionStart, token) };
}
