// The page of one task. It shows the progress until the task ends, then the result.

import { call, follow, hasEnded, localUrl, TASKS } from "./api.js";
import { fill, h, icon, saveFile, toast } from "./dom.js";
import { loadDraft, modeOf } from "./draft.js";
import { errorBox } from "./errors.js";
import { badge, imagesOf, isCanceled, modeLabel, titleOf } from "./gallery.js";
import { dateTime, number, t } from "./i18n.js";
import { loadLibrary } from "./library.js";
import { dialog } from "./picker.js";
import { aspect, pixels } from "./ratios.js";
import { findSentRequest } from "./store.js";
import { skeletons, viewer } from "./viewer.js";
import { zip } from "./zip.js";

export async function show(view, { path, signal }) {
  const [id, imageNumber] = path;
  const url = `${TASKS}/${encodeURIComponent(id)}`;
  const connectionError = h("div", { role: "status" });
  const errorArea = h("div");
  const head = h("div.task-head");
  const stage = h("div.task-stage", {}, h("p.hint", {}, t("loading")));
  const foot = h("div.task-foot");
  const backLink = h("a.back", { href: "#/tasks" }, icon("left"), t("nav.tasks"));
  fill(view, backLink, connectionError, errorArea, head, stage, foot);
  let current = null;
  let phase = "";

  function update(task, requestId) {
    fill(connectionError);
    const previous = current;
    current = task;
    if (previous && JSON.stringify(previous) === JSON.stringify(task)) return;
    // create the buttons only when the phase changes, so that a button does not lose its focus or a click
    const newPhase = hasEnded(task) ? "ended" : "running";
    if (newPhase !== phase) renderPhase(task, requestId, newPhase);
    if (!hasEnded(task)) renderProgress(task);
  }
  function renderPhase(task, requestId, newPhase) {
    phase = newPhase;
    const images = imagesOf(task);
    const imageViewer = images.length ? viewerOf(task, images) : null;
    if (imageViewer) fill(stage, imageViewer.node);
    else if (hasEnded(task)) fill(stage, failure(task, requestId));
    fill(head, headOf(task, imageViewer?.position, hasEnded(task) ? null : cancelButton()));
    fill(
      foot,
      imageViewer?.tools,
      images.length > 1
        ? button("down", "task.zip", ({ currentTarget }) => downloadAll(currentTarget, task, images))
        : null,
      button("redo", "task.reuse", () => reuseRequest(current)),
      button("code", "task.json", () => showJson(current)),
      button("right", "task.callbacks", () => showCallbacks(url)),
    );
  }
  function renderProgress(task) {
    const { aspect_ratio: ratio, series_amount: series, n } = task.request;
    const progress = task.progress ?? 0;
    head.querySelector(".badge").replaceWith(badge(task));
    head.querySelector("progress").value = progress;
    head.querySelector(".percent").textContent = `${Math.round(progress * 100)} %`;
    const generated = new Map((task.pictures ?? []).map((image) => [image.index, image]));
    const shown = `${task.task_status} ${[...generated.keys()]}`;
    if (shown === stage.dataset.shown) return; // do not load the same images again
    stage.dataset.shown = shown;
    fill(stage, skeletons(series ?? n ?? 1, aspect(ratio), task.task_status === "processing", generated));
  }
  function viewerOf(task, images) {
    return viewer(images, {
      ratio: aspect(task.request.aspect_ratio),
      start: Number(imageNumber ?? 1) - 1,
      onMove: (index) => history.replaceState(null, "", `#/tasks/${encodeURIComponent(id)}/${index + 1}`),
      signal,
      nameOf: (index) => fileNameOf(task, images[index], index),
      alt: (index) => t("viewer.alt", { number: index + 1, prompt: titleOf(task) }),
    });
  }
  function cancelButton() {
    return button("close", "task.cancel", async ({ currentTarget }) => {
      currentTarget.disabled = true;
      try {
        await call("POST", `${url}/cancel`);
      } catch (error) {
        fill(errorArea, errorBox(error));
        currentTarget.disabled = false;
      }
    });
  }
  try {
    await follow(`${url}?include=request,pictures,previews`, {
      onUpdate: update,
      onError: (error) =>
        !signal.aborted && fill(connectionError, errorBox(error), h("p.hint", {}, t("task.reconnecting"))),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(stage);
    fill(connectionError);
    fill(errorArea, errorBox(error));
  }
}

const button = (iconName, textKey, onclick) => h("button", { type: "button", onclick }, icon(iconName), t(textKey));

const fileNameOf = (task, image, index) =>
  `${task.task_id.slice(-8)}-${index + 1}${/\.\w+$/.exec(image.url.split("?")[0])?.[0] ?? ""}`;

function headOf(task, position, cancel) {
  const request = task.request;
  const size = pixels(request.aspect_ratio, request.resolution);
  const facts = [
    modeOf(task.kind) === "text" ? null : modeLabel(task),
    request.model_name,
    request.aspect_ratio,
    size ? `${number(size[0])} × ${number(size[1])}` : null,
    hasEnded(task) ? t("task.units", { units: task.final_unit_deduction }) : null,
    dateTime(task.created_at),
  ];
  return [
    h("h1.prompt-title", {}, titleOf(task)),
    h(
      "div.row.wrap.between",
      {},
      h("p.facts", {}, badge(task), facts.filter(Boolean).join(" · ")),
      h("div.row", {}, position, cancel),
    ),
    hasEnded(task)
      ? null
      : h(
          "div.row.progress",
          {},
          h("progress", { max: 1, value: task.progress ?? 0, "aria-label": t("status.processing") }),
          h("span.detail.percent", {}),
        ),
  ];
}

function failure(task, requestId) {
  if (isCanceled(task)) return h("div.empty", {}, h("h2", {}, t("status.canceled")), h("p", {}, t("task.canceled")));
  const facts = [t("error.task", { id: task.task_id }), t("error.request", { id: requestId })];
  return h(
    ".notice.bad",
    { role: "alert" },
    icon("alert"),
    h(
      "div",
      {},
      h("strong", {}, t("task.failed")),
      h("p", {}, task.task_status_msg),
      h("p.facts", {}, facts.join(" · ")),
    ),
  );
}

async function downloadAll(button, task, images) {
  button.disabled = true;
  try {
    const files = await Promise.all(
      images.flatMap((image, index) => {
        const name = fileNameOf(task, image, index);
        const watermarked = image.watermark_url
          ? [fetchFile(image.watermark_url, name.replace(/(\.\w+)?$/, "-marked$1"))]
          : [];
        return [fetchFile(image.url, name), ...watermarked];
      }),
    );
    saveFile(zip(files), `framehouse-${task.task_id.slice(-8)}.zip`);
  } catch {
    toast(t("task.zip.failed"));
  }
  button.disabled = false;
}

async function fetchFile(url, name) {
  const response = await fetch(localUrl(url));
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return { name, bytes: new Uint8Array(await response.arrayBuffer()) };
}

/** Open the form with the request of a task. If this browser stored the request, the form shows it as it was sent.
 * Otherwise the form shows the server's copy, which has the chosen values instead of `auto`. */
async function reuseRequest(task) {
  const sent = findSentRequest(task.task_id);
  const request = sent?.request ?? task.request;
  let elements = new Map();
  if (request.element_list?.length) {
    try {
      const { own, presets } = await loadLibrary();
      elements = new Map([...own, ...presets].map((element) => [String(element.id), element]));
    } catch (error) {
      return toast(error.message || t("error.0"));
    }
  }
  loadDraft(task.kind, request, elements);
  location.hash = "#/";
  const missing =
    (sent?.left ?? 0) + (request.element_list ?? []).filter(({ element_id: id }) => !elements.has(String(id))).length;
  // the server's copy of a request has no images, so the mode or the prompt shows whether there were any
  const hadImages = modeOf(task.kind) !== "text" || /<<<?\s*(image|object)/i.test(request.prompt);
  if (missing || (!sent && hadImages)) toast(t("task.reuse.incomplete"));
}

function showJson(task) {
  dialog(
    t("task.json"),
    h("pre.json", { tabindex: 0, role: "region", "aria-label": t("task.json") }, JSON.stringify(task, null, 2)),
  );
}

async function showCallbacks(url) {
  const list = h("div.stack", {}, h("p.hint", {}, t("loading")));
  dialog(t("task.callbacks"), list);
  try {
    const { data } = await call("GET", `${url}/callbacks`);
    fill(list, data.length ? data.map(delivery) : h("p.hint", {}, t("callbacks.none")));
  } catch (error) {
    fill(list, errorBox(error));
  }
}

function delivery(message) {
  const facts = [
    t("callbacks.attempts", { attempts: message.tries }),
    message.last_code ? `HTTP ${message.last_code}` : null,
    message.tried_at ? dateTime(message.tried_at) : null,
    message.next_try_at ? t("callbacks.next", { at: dateTime(message.next_try_at) }) : null,
  ];
  return h(
    "div.delivery",
    {},
    h(
      "div.row.wrap",
      {},
      h(`span.badge.${message.state}`, {}, t(`callbacks.${message.state}`)),
      h("strong", {}, t(`status.${message.task_status}`)),
    ),
    h("p.facts", {}, facts.filter(Boolean).join(" · ")),
    h("p.facts", {}, message.url),
    message.last_error ? h("p", {}, message.last_error) : null,
    message.advice ? h("p", {}, message.advice) : null,
  );
}
