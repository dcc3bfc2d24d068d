// The viewer of a task's images: a large image, a strip of thumbnails, keys to switch between images, and a comparison
// with the watermarked copy.

import { localUrl } from "./api.js";
import { fill, h, icon } from "./dom.js";
import { replaceMissingImage, previewUrl } from "./gallery.js";
import { t } from "./i18n.js";

/** Return the viewer of `images` (`{url, watermark_url, preview_url}`). `ratio` is the aspect ratio, `start` the index of the image
 * that is shown first. `onMove(index)` is called when the user switches to another image. */
export function viewer(images, { ratio, start, onMove, signal, nameOf, alt }) {
  let index = Math.min(Math.max(start, 0), images.length - 1);
  let comparing = false;
  const stage = h("div.stage", { "--ratio": ratio });
  const position = h("span.position", { "aria-live": "polite" });
  const tools = h("div.row.wrap");
  const strip = h("ul.strip");
  const thumbs = images.map((image, number) =>
    h(
      "button.thumb",
      {
        type: "button",
        "--ratio": ratio,
        "aria-label": t("viewer.image", { number: number + 1 }),
        onclick: () => showImage(number),
      },
      h("img", { src: previewUrl(image), alt: "" }),
    ),
  );
  fill(
    strip,
    thumbs.map((thumb) => h("li", {}, thumb)),
  );
  const arrow = (step, name, label) =>
    images.length > 1
      ? h(
          `button.arrow.${name}`,
          { type: "button", "aria-label": t(label), onclick: () => showImage(index + step) },
          icon(name),
        )
      : null;

  function showImage(to) {
    index = (to + images.length) % images.length;
    onMove(index);
    render();
    thumbs[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  function render() {
    const { url, watermark_url: watermarkedUrl } = images[index];
    // the aspect ratio of some images, such as expanded images, is unknown until they are loaded
    const onload = ({ target }) => stage.style.setProperty("--ratio", target.naturalWidth / target.naturalHeight);
    const imageNode = (from, text) => h("img", { src: localUrl(from), alt: text, onload, onerror: replaceMissingImage });
    const moveDivider = (event) => stage.style.setProperty("--split", `${event.target.value}%`);
    fill(
      stage,
      imageNode(url, alt(index)),
      comparing && watermarkedUrl
        ? [
            h("div.watermarked", {}, imageNode(watermarkedUrl, t("viewer.watermarked"))),
            h("span.divider", { "aria-hidden": "true" }),
            h("input.split", {
              type: "range",
              min: 0,
              max: 100,
              value: "50",
              "aria-label": t("viewer.divider"),
              oninput: moveDivider,
            }),
          ]
        : null,
    );
    stage.style.setProperty("--split", "50%");
    position.textContent = images.length > 1 ? `${index + 1} / ${images.length}` : "";
    thumbs.forEach((thumb, number) =>
      number === index ? thumb.setAttribute("aria-current", "true") : thumb.removeAttribute("aria-current"),
    );
    fill(
      tools,
      h("a.button", { href: localUrl(url), download: nameOf(index) }, icon("down"), t("viewer.download")),
      watermarkedUrl
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
      const isEditing = event.target.matches?.("input, textarea, select") || document.querySelector("dialog[open]");
      if (!step || isEditing || event.altKey || event.ctrlKey || event.metaKey || images.length < 2) return;
      event.preventDefault();
      showImage(index + step);
    },
    { signal },
  );
  render();
  return {
    node: h(
      "div.viewer",
      {},
      h("div.stagebox", {}, arrow(-1, "left", "viewer.previous"), stage, arrow(1, "right", "viewer.next")),
      images.length > 1 ? strip : null,
    ),
    tools,
    position,
  };
}

/** Return the images that have been generated so far, and placeholders for the others. `generated` maps the index of an
 * image to the image. While the task is running, the first placeholder is animated. */
export function skeletons(count, ratio, running, generated) {
  const next = Array.from({ length: count }, (_, index) => index).find((index) => !generated.has(index));
  const columns = count < 5 ? count : Math.ceil(count / 2);
  return h(
    `ul.skeletons${count === 1 ? ".one" : ""}`,
    { "--ratio": ratio, "--columns": columns },
    Array.from({ length: count }, (_, index) => {
      if (!generated.has(index)) return h("li", {}, h(`div.skeleton${running && index === next ? ".now" : ""}`));
      const alt = t("viewer.image", { number: index + 1 });
      return h("li", {}, h("div.skeleton.done", {}, h("img", { src: previewUrl(generated.get(index)), alt })));
    }),
  );
}
