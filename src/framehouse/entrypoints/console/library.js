// Loads the user's elements and the presets, for the element picker, the form and the page "Elements".

import { call, ELEMENTS, localUrl, PRESETS } from "./api.js";
import { t } from "./i18n.js";

const PAGE_SIZE = 500;

function elementOf(task) {
  const [element] = task.task_result?.elements ?? [];
  return {
    task,
    id: element?.element_id,
    name: element?.element_name ?? "",
    description: element?.element_description ?? "",
    image: element ? localUrl(element.element_image_list.frontal_image) : "",
    tags: element?.tag_list.map(({ id }) => t(`tag.${id}`)) ?? [],
    status: task.task_status === "succeed" ? element.status : task.task_status,
  };
}

/** Return the user's elements, newest first, and the presets. The list includes elements that are being created and
 * elements that could not be created, but no deleted elements. */
export async function loadLibrary(signal) {
  const [own, presets] = await Promise.all([
    call("GET", `${ELEMENTS}?pageSize=${PAGE_SIZE}`, { signal }),
    call("GET", `${PRESETS}?pageSize=${PAGE_SIZE}`, { signal }),
  ]);
  return {
    own: own.data.map(elementOf).filter(({ status }) => status !== "deleted"),
    presets: presets.data.map(elementOf),
  };
}
