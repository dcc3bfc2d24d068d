// Elements as the picker, the form and their own page show them.

import { call, ELEMENTS, local, PRESETS } from "./api.js";
import { t } from "./i18n.js";

const PAGE = 500;

function elementOf(task) {
  const [element] = task.task_result?.elements ?? [];
  return {
    task,
    id: element?.element_id,
    name: element?.element_name ?? "",
    description: element?.element_description ?? "",
    picture: element ? local(element.element_image_list.frontal_image) : "",
    tags: element?.tag_list.map(({ id }) => t(`tag.${id}`)) ?? [],
    status: task.task_status === "succeed" ? element.status : task.task_status,
  };
}

/** Own elements that are there or being made, newest first, and the presets. */
export async function loadLibrary(signal) {
  const [own, presets] = await Promise.all([
    call("GET", `${ELEMENTS}?pageSize=${PAGE}`, { signal }),
    call("GET", `${PRESETS}?pageSize=${PAGE}`, { signal }),
  ]);
  return {
    own: own.data.map(elementOf).filter(({ status }) => status !== "deleted"),
    presets: presets.data.map(elementOf),
  };
}
