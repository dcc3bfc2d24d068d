// A task's pictures: one large, all in a strip, left and right by keyboard, compared with the watermarked copy.

import { local } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { gone } from "./gallery.js";
import { t } from "./i18n.js";

/** The viewer of `pictures` (`{url, watermark_url}`) in a shape; `moved(index)` tells which one is looked at. */
export function viewer(pictures, { ratio, start, moved, signal, nameOf, alt }) {
  let index = Math.min(Math.max(start, 0), pictures.length - 1);
  let comparing = false;
  const stage = h("div.stage", { "--ratio": ratio });
  const place = h("span.place", { "aria-live": "polite" });
  const tools = h("div.row.wrap");
  const strip = h("ul.strip");
  const thumbs = pictures.map((picture, number) =>
    h(
      "button.thumb",
      {
        type: "button",
        "--ratio": ratio,
        "aria-label": t("viewer.picture", { number: number + 1 }),
        onclick: () => go(number),
      },
      h("img", { src: local(picture.url), alt: "" }),
    ),
  );
  fill(
    strip,
    thumbs.map((thumb) => h("li", {}, thumb)),
  );
  const move = (step, name, label) =>
    pictures.length > 1
      ? h(
          `button.arrow.${name}`,
          { type: "button", "aria-label": t(label), onclick: () => go(index + step) },
          icon(name),
        )
      : null;

  function go(to) {
    index = (to + pictures.length) % pictures.length;
    moved(index);
    render();
    thumbs[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  function render() {
    const { url, watermark_url: marked } = pictures[index];
    const image = (from, text) => h("img", { src: local(from), alt: text, onerror: gone });
    const split = (event) => stage.style.setProperty("--split", `${event.target.value}%`);
    fill(
      stage,
      image(url, alt(index)),
      comparing && marked
        ? [
            h("div.marked", {}, image(marked, t("viewer.marked"))),
            h("span.cut", { "aria-hidden": "true" }),
            h("input.split", {
              type: "range",
              min: 0,
              max: 100,
              value: "50",
              "aria-label": t("viewer.split"),
              oninput: split,
            }),
          ]
        : null,
    );
    stage.style.setProperty("--split", "50%");
    place.textContent = pictures.length > 1 ? `${index + 1} / ${pictures.length}` : "";
    thumbs.forEach((thumb, number) =>
      number === index ? thumb.setAttribute("aria-current", "true") : thumb.removeAttribute("aria-current"),
    );
    fill(
      tools,
      h("a.button", { href: local(url), download: nameOf(index) }, icon("down"), t("viewer.download")),
      marked
        ? h(
            "button",
            {
              type: "button",
              "aria-pressed": String(comparing),
              onclick: () => ((comparing = !comparing), render(), tools.querySelector("[aria-pressed]").focus()),
            },
            icon("compare"),
            t("viewer.compare"),
          )
        : null,
    );
  }
  addEventListener(
    "keydown",
    (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const writes = event.target.matches?.("input, textarea, select") || document.querySelector("dialog[open]");
      if (!step || writes || event.altKey || event.ctrlKey || event.metaKey || pictures.length < 2) return;
      event.preventDefault();
      go(index + step);
    },
    { signal },
  );
  render();
  return {
    node: h(
      "div.viewer",
      {},
      h("div.stagebox", {}, move(-1, "left", "viewer.before"), stage, move(1, "right", "viewer.after")),
      pictures.length > 1 ? strip : null,
    ),
    tools,
    place,
  };
}

/** What stands there until the pictures come, in their shape: those that are `made` (URLs by index), and for the others
 * their places, the first of which is breathing. */
export function skeletons(count, ratio, running, made) {
  const next = Array.from({ length: count }, (_, index) => index).find((index) => !made.has(index));
  const columns = count < 5 ? count : Math.ceil(count / 2);
  return h(
    `ul.skeletons${count === 1 ? ".one" : ""}`,
    { "--ratio": ratio, "--columns": columns },
    Array.from({ length: count }, (_, index) => {
      if (!made.has(index)) return h("li", {}, h(`div.skeleton${running && index === next ? ".now" : ""}`));
      const alt = t("viewer.picture", { number: index + 1 });
      return h("li", {}, h("div.skeleton.done", {}, h("img", { src: local(made.get(index)), alt })));
    }),
  );
}
