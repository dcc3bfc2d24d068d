// The page "Tasks": a gallery of all tasks, newest first. Scrolling down loads more tasks.

import { call, hasEnded, localUrl, TASKS } from "./api.js";
import { fill, h } from "./dom.js";
import { modeOf } from "./draft.js";
import { errorBox } from "./errors.js";
import { dateTime, t } from "./i18n.js";
import { aspect } from "./ratios.js";

const PAGE_SIZE = 24;
const MAX_PAGE = 1000;
const POLL_MS = 3000;

export const imagesOf = (task) => [...(task.task_result?.images ?? []), ...(task.task_result?.series_images ?? [])];
export const stateOf = (task) => (isCanceled(task) ? "canceled" : task.task_status);
export const badge = (task) => h(`span.badge.${stateOf(task)}`, {}, t(`status.${stateOf(task)}`));
export const modeLabel = (task) => t(`mode.${modeOf(task.kind)}`);
export const titleOf = (task) => task.request.prompt || modeLabel(task);
export const isCanceled = (task) => task.task_status === "failed" && task.task_status_msg === "Canceled";

export function show(view, { signal }) {
  const grid = h("ul.gallery");
  const end = h("div.end", {}, h("p.hint", {}, t("loading")));
  const cards = new Map();
  let page = 1;
  let busy = false;

  fill(view, h("h1", {}, t("tasks.title")), grid, end);

  /** Add the card of a new task at the end or the start of the gallery. Replace the card of a task that has changed. */
  function showTask(task, { atStart = false } = {}) {
    const previous = cards.get(task.task_id);
    const state = JSON.stringify(task);
    if (previous?.state === state) return;
    const node = card(task);
    if (previous) {
      const focused = previous.node.contains(document.activeElement);
      previous.node.replaceWith(node);
      if (focused) node.querySelector("a").focus();
    } else if (atStart) grid.prepend(node);
    else grid.append(node);
    cards.set(task.task_id, { node, task, state });
  }
  const loadPage = (number) =>
    call("GET", `${TASKS}?pageNum=${number}&pageSize=${PAGE_SIZE}&include=request,previews`, { signal });

  async function loadMore() {
    if (busy || signal.aborted) return;
    busy = true;
    try {
      const { data } = await loadPage(page);
      // new tasks move older ones to the next page; showTask does not add a task twice
      for (const task of data) showTask(task);
      page += 1;
      if (data.length < PAGE_SIZE || page > MAX_PAGE) {
        observer.disconnect();
        fill(end, cards.size ? null : emptyGallery());
      }
    } catch (error) {
      if (error.name !== "AbortError")
        fill(
          end,
          errorBox(error, () => (fill(end, h("p.hint", {}, t("loading"))), loadMore())),
        );
      busy = false;
      return;
    }
    busy = false;
    if (end.isConnected && end.getBoundingClientRect().top < innerHeight + 600 && end.firstChild) loadMore();
  }
  async function poll() {
    const running = [...cards.values()].some(({ task }) => !hasEnded(task));
    if (!running || document.hidden) return;
    try {
      const { data } = await loadPage(1);
      for (const task of data.reverse()) showTask(task, { atStart: true });
    } catch (error) {
      if (error.name !== "AbortError") return; // the next poll tries again
    }
  }
  const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && loadMore(), {
    rootMargin: "600px",
  });
  observer.observe(end);
  const timer = setInterval(poll, POLL_MS);
  signal.addEventListener("abort", () => (observer.disconnect(), clearInterval(timer)));
}

/** Replace an image that cannot be loaded, usually because it has expired, by a badge. */
export const replaceMissingImage = (event) => event.target.replaceWith(h("span.badge", {}, t("tasks.missing_image")));

/** Return the URL of the preview of an image, or of the image itself if it has no preview. */
export const previewUrl = ({ preview_url: preview, url }) => localUrl(preview ?? url);

function card(task) {
  const [first] = imagesOf(task);
  const count = task.request.series_amount ?? task.request.n ?? 1;
  const style = { "--ratio": aspect(task.request.aspect_ratio) };
  return h(
    "li",
    style,
    h(
      "a.tile",
      { href: `#/tasks/${task.task_id}` },
      h(
        `div.frame.${stateOf(task)}`,
        {},
        first ? h("img", { src: previewUrl(first), alt: "", loading: "lazy", onerror: replaceMissingImage }) : null,
        first ? null : badge(task),
        count > 1 ? h("span.count", { "aria-label": t("tasks.image_count", { count }) }, count) : null,
        hasEnded(task)
          ? null
          : h("progress", { max: 1, value: task.progress ?? 0, "aria-label": t("status.processing") }),
      ),
      h("span.title", {}, titleOf(task)),
      h(
        "span.detail",
        {},
        modeOf(task.kind) === "text" || !task.request.prompt ? null : `${modeLabel(task)} · `,
        h("time", { datetime: new Date(task.created_at).toISOString() }, dateTime(task.created_at)),
      ),
    ),
  );
}

function emptyGallery() {
  return h(
    "div.empty",
    {},
    h("h2", {}, t("tasks.none")),
    h("p", {}, t("tasks.none.hint")),
    h("a.button.primary", { href: "#/" }, t("nav.create")),
  );
}
