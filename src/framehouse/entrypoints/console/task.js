// One task: watched until it ends, then looked at.

import { call, ended, follow, local, TASKS } from "./api.js";
import { fill, h, icon, save, toast } from "./dom.js";
import { use } from "./draft.js";
import { errorBox } from "./errors.js";
import { badge, canceled, picturesOf } from "./gallery.js";
import { moment, number, t } from "./i18n.js";
import { loadLibrary } from "./library.js";
import { dialog } from "./picker.js";
import { aspect, pixels } from "./shapes.js";
import { findSent } from "./store.js";
import { skeletons, viewer } from "./viewer.js";
import { zip } from "./zip.js";

export async function show(view, { path, signal }) {
  const [id, picture] = path;
  const url = `${TASKS}/${encodeURIComponent(id)}`;
  const away = h("div", { role: "status" });
  const said = h("div");
  const head = h("div.task-head");
  const stage = h("div.task-stage", {}, h("p.hint", {}, t("loading")));
  const foot = h("div.task-foot");
  fill(view, h("a.back", { href: "#/tasks" }, icon("left"), t("nav.tasks")), away, said, head, stage, foot);
  let now = null;
  let phase = "";

  function seen(task, requestId) {
    fill(away);
    const before = now;
    now = task;
    if (before && JSON.stringify(before) === JSON.stringify(task)) return;
    // buttons stay as they are while the task runs: who presses one, or stands on it, must not lose it
    const arrived = ended(task) ? "ended" : "running";
    if (arrived !== phase) frame(task, requestId, arrived);
    if (!ended(task)) advance(task);
  }
  function frame(task, requestId, arrived) {
    phase = arrived;
    const pictures = picturesOf(task);
    const look = pictures.length ? looking(task, pictures) : null;
    if (look) fill(stage, look.node);
    else if (ended(task)) fill(stage, failure(task, requestId));
    fill(head, headOf(task, look?.place, ended(task) ? null : cancelButton()));
    fill(
      foot,
      look?.tools,
      pictures.length > 1
        ? button("down", "task.zip", ({ currentTarget }) => downloadAll(currentTarget, task, pictures))
        : null,
      button("redo", "task.again", () => useAgain(now)),
      button("code", "task.json", () => showJson(now)),
      button("right", "task.callbacks", () => showCallbacks(url)),
    );
  }
  function advance(task) {
    const { aspect_ratio: shape, series_amount: series, n } = task.request;
    const progress = task.progress ?? 0;
    head.querySelector(".badge").replaceWith(badge(task));
    head.querySelector("progress").value = progress;
    head.querySelector(".percent").textContent = `${Math.round(progress * 100)} %`;
    const made = new Map((task.pictures ?? []).map((picture) => [picture.index, picture.url]));
    const shown = `${task.task_status} ${[...made.keys()]}`;
    if (shown === stage.dataset.shown) return; // pictures that are there already stay untouched
    stage.dataset.shown = shown;
    fill(stage, skeletons(series ?? n, aspect(shape), task.task_status === "processing", made));
  }
  function looking(task, pictures) {
    return viewer(pictures, {
      ratio: aspect(task.request.aspect_ratio),
      start: Number(picture ?? 1) - 1,
      moved: (index) => history.replaceState(null, "", `#/tasks/${encodeURIComponent(id)}/${index + 1}`),
      signal,
      nameOf: (index) => nameOf(task, pictures[index], index),
      alt: (index) => t("viewer.alt", { number: index + 1, prompt: task.request.prompt }),
    });
  }
  function cancelButton() {
    return button("close", "task.cancel", async ({ currentTarget }) => {
      currentTarget.disabled = true;
      try {
        await call("POST", `${url}/cancel`);
      } catch (error) {
        fill(said, errorBox(error));
        currentTarget.disabled = false;
      }
    });
  }
  try {
    await follow(`${url}?include=request,pictures`, {
      seen,
      signal,
      away: (error) => !signal.aborted && fill(away, errorBox(error), h("p.hint", {}, t("task.away"))),
    });
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(stage);
    fill(away);
    fill(said, errorBox(error));
  }
}

const button = (sign, words, onclick) => h("button", { type: "button", onclick }, icon(sign), t(words));

const nameOf = (task, picture, index) =>
  `${task.task_id.slice(-8)}-${index + 1}${/\.\w+$/.exec(picture.url.split("?")[0])?.[0] ?? ""}`;

function headOf(task, place, cancel) {
  const asked = task.request;
  const size = pixels(asked.aspect_ratio, asked.resolution);
  const facts = [
    asked.model_name,
    asked.aspect_ratio,
    size ? `${number(size[0])} × ${number(size[1])}` : null,
    ended(task) ? t("task.units", { units: task.final_unit_deduction }) : null,
    moment(task.created_at),
  ];
  return [
    h("h1.prompt-title", {}, asked.prompt),
    h(
      "div.row.wrap.between",
      {},
      h("p.facts", {}, badge(task), facts.filter(Boolean).join(" · ")),
      h("div.row", {}, place, cancel),
    ),
    ended(task)
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
  if (canceled(task)) return h("div.empty", {}, h("h2", {}, t("status.canceled")), h("p", {}, t("task.canceled")));
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

async function downloadAll(button, task, pictures) {
  button.disabled = true;
  try {
    const files = await Promise.all(
      pictures.flatMap((picture, index) => {
        const one = nameOf(task, picture, index);
        const marked = picture.watermark_url
          ? [fetchFile(picture.watermark_url, one.replace(/(\.\w+)?$/, "-marked$1"))]
          : [];
        return [fetchFile(picture.url, one), ...marked];
      }),
    );
    save(zip(files), `framehouse-${task.task_id.slice(-8)}.zip`);
  } catch {
    toast(t("task.zip.failed"));
  }
  button.disabled = false;
}

async function fetchFile(url, name) {
  const answer = await fetch(local(url));
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return { name, bytes: new Uint8Array(await answer.arrayBuffer()) };
}

/** Back to the form: as it was sent, if it was sent from here; else as the server tells, with `auto` decided. */
async function useAgain(task) {
  const sent = findSent(task.task_id);
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
  use(request, elements);
  location.hash = "#/";
  const lost =
    (sent?.left ?? 0) + (request.element_list ?? []).filter(({ element_id: id }) => !elements.has(String(id))).length;
  if (lost || (!sent && /<<<?\s*(image|object)/i.test(request.prompt))) toast(t("task.again.left"));
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
    t("callbacks.tries", { tries: message.tries }),
    message.last_code ? `HTTP ${message.last_code}` : null,
    message.tried_at ? moment(message.tried_at) : null,
    message.next_try_at ? t("callbacks.next", { at: moment(message.next_try_at) }) : null,
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
    message.last_error ? h("p.facts", {}, message.last_error) : null,
  );
}
