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
  const head = h("div.task-head");
  const stage = h("div.task-stage", {}, h("p.hint", {}, t("loading")));
  const foot = h("div.task-foot");
  fill(view, h("a.back", { href: "#/tasks" }, icon("left"), t("nav.tasks")), away, head, stage, foot);
  let last = "";

  function seen(task, requestId) {
    fill(away);
    if (signal.aborted) return;
    const state = JSON.stringify(task);
    if (state !== last) {
      const fresh = !last;
      last = state;
      render(task, requestId, fresh);
    }
  }
  function render(task, requestId) {
    const pictures = picturesOf(task);
    const asked = task.request ?? {};
    const ratio = aspect(asked.aspect_ratio);
    let look = null;
    if (pictures.length) {
      look = viewer(pictures, {
        ratio,
        start: Number(picture ?? 1) - 1,
        moved: (index) => history.replaceState(null, "", `#/tasks/${encodeURIComponent(id)}/${index + 1}`),
        signal,
        nameOf: (index) => nameOf(task, pictures[index], index),
        alt: (index) => t("viewer.alt", { number: index + 1, prompt: asked.prompt ?? "" }),
      });
      fill(stage, look.node);
    } else if (task.task_status === "failed") {
      fill(stage, failure(task, requestId));
    } else {
      const count = asked.series_amount ?? asked.n ?? 1;
      fill(stage, skeletons(count, ratio, task.progress ?? 0, task.task_status === "processing"));
    }
    const cancel = async (event) => {
      event.target.disabled = true;
      try {
        await call("POST", `${url}/cancel`);
      } catch (error) {
        fill(away, errorBox(error));
      }
    };
    fill(
      head,
      headOf(
        task,
        asked,
        look?.place,
        ended(task) ? null : h("button", { type: "button", onclick: cancel }, icon("close"), t("task.cancel")),
      ),
    );
    const finished = pictures.length > 0;
    fill(
      foot,
      look?.tools,
      finished && pictures.length > 1
        ? h(
            "button",
            { type: "button", onclick: (event) => downloadAll(event.target, task, pictures) },
            icon("down"),
            t("task.zip"),
          )
        : null,
      h("button", { type: "button", onclick: () => useAgain(task) }, icon("redo"), t("task.again")),
      h("button", { type: "button", onclick: () => showJson(task) }, icon("code"), t("task.json")),
      h("button", { type: "button", onclick: () => showCallbacks(url) }, icon("right"), t("task.callbacks")),
    );
  }
  try {
    await follow(`${url}?include=request`, {
      seen,
      signal,
      away: (error) => !signal.aborted && fill(away, errorBox(error), h("p.hint", {}, t("task.away"))),
    });
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(stage);
    fill(away, errorBox(error));
  }
}

const nameOf = (task, picture, index) =>
  `${task.task_id.slice(-8)}-${index + 1}${/\.\w+$/.exec(picture.url.split("?")[0])?.[0] ?? ""}`;

function headOf(task, asked, place, cancel) {
  const size = pixels(asked.aspect_ratio, asked.resolution);
  const facts = [
    asked.model_name,
    asked.aspect_ratio,
    size ? `${number(size[0])} × ${number(size[1])}` : null,
    ended(task) ? t("task.units", { units: task.final_unit_deduction }) : null,
    moment(task.created_at),
  ];
  const percent = Math.round((task.progress ?? 0) * 100);
  return [
    h("h1.prompt-title", {}, asked.prompt ?? task.task_id),
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
          h("span.detail", {}, `${percent} %`),
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
