// The gallery: all tasks, newest first, more as one scrolls.

import { call, ended, local, TASKS } from "./api.js";
import { fill, h } from "./dom.js";
import { errorBox } from "./errors.js";
import { moment, t } from "./i18n.js";
import { aspect } from "./shapes.js";

const PAGE = 24;
const LAST_PAGE = 1000;
const LOOK_MS = 3000;

export const picturesOf = (task) => [...(task.task_result?.images ?? []), ...(task.task_result?.series_images ?? [])];
export const stateOf = (task) => (canceled(task) ? "canceled" : task.task_status);
export const badge = (task) => h(`span.badge.${stateOf(task)}`, {}, t(`status.${stateOf(task)}`));
export const canceled = (task) => task.task_status === "failed" && task.task_status_msg === "Canceled";

export function show(view, { signal }) {
  const grid = h("ul.gallery");
  const end = h("div.end", {}, h("p.hint", {}, t("loading")));
  const cards = new Map();
  let page = 1;
  let busy = false;

  fill(view, h("h1", {}, t("tasks.title")), grid, end);

  function put(task, first) {
    const before = cards.get(task.task_id);
    const state = JSON.stringify(task);
    if (before?.state === state) return;
    const node = card(task);
    if (before) {
      const focused = before.node.contains(document.activeElement);
      before.node.replaceWith(node);
      if (focused) node.querySelector("a").focus();
    } else if (first) grid.prepend(node);
    else grid.append(node);
    cards.set(task.task_id, { node, task, state });
  }
  const read = (number) => call("GET", `${TASKS}?pageNum=${number}&pageSize=${PAGE}&include=request`, { signal });

  async function more() {
    if (busy || signal.aborted) return;
    busy = true;
    try {
      const { data } = await read(page);
      for (const task of data) put(task); // one that slid onto this page is known already
      page += 1;
      if (data.length < PAGE || page > LAST_PAGE) {
        watcher.disconnect();
        fill(end, cards.size ? null : empty());
      }
    } catch (error) {
      if (error.name !== "AbortError")
        fill(
          end,
          errorBox(error, () => (fill(end, h("p.hint", {}, t("loading"))), more())),
        );
      busy = false;
      return;
    }
    busy = false;
    if (end.isConnected && end.getBoundingClientRect().top < innerHeight + 600 && end.firstChild) more();
  }
  async function look() {
    const running = [...cards.values()].some(({ task }) => !ended(task));
    if (!running || document.hidden) return;
    try {
      const { data } = await read(1);
      for (const task of data.reverse()) put(task, true);
    } catch (error) {
      if (error.name !== "AbortError") return; // the next look may do
    }
  }
  const watcher = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && more(), {
    rootMargin: "600px",
  });
  watcher.observe(end);
  const timer = setInterval(look, LOOK_MS);
  signal.addEventListener("abort", () => (watcher.disconnect(), clearInterval(timer)));
}

/** In the place of a picture that is no longer kept. */
export const gone = (event) => event.target.replaceWith(h("span.badge", {}, t("tasks.gone")));

function card(task) {
  const [first] = picturesOf(task);
  const count = task.request?.series_amount ?? task.request?.n ?? 1;
  const shape = { "--ratio": aspect(task.request?.aspect_ratio) };
  const prompt = task.request?.prompt ?? task.task_id;
  return h(
    "li",
    shape,
    h(
      "a.tile",
      { href: `#/tasks/${task.task_id}` },
      h(
        `div.frame.${stateOf(task)}`,
        {},
        first ? h("img", { src: local(first.url), alt: "", loading: "lazy", onerror: gone }) : null,
        first ? null : badge(task),
        count > 1 ? h("span.count", { "aria-label": t("tasks.pictures", { count }) }, count) : null,
        ended(task) ? null : h("progress", { max: 1, value: task.progress ?? 0, "aria-label": t("status.processing") }),
      ),
      h("span.title", {}, prompt),
      h("time.detail", { datetime: new Date(task.created_at).toISOString() }, moment(task.created_at)),
    ),
  );
}

function empty() {
  return h(
    "div.empty",
    {},
    h("h2", {}, t("tasks.none")),
    h("p", {}, t("tasks.none.why")),
    h("a.button.primary", { href: "#/" }, t("nav.create")),
  );
}
