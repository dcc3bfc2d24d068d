// What the browser keeps: the key, choices, and the requests sent from here. Works, without memory, where it may not.

const PREFIX = "framehouse.";
const MOST_SENT = 200;

function attempt(work) {
  try {
    return work();
  } catch {
    return null; // storage is forbidden, full, or was written by something else
  }
}

export const choice = (name) => attempt(() => localStorage.getItem(PREFIX + name));
export const choose = (name, value) => attempt(() => localStorage.setItem(PREFIX + name, value));

let inMemory = null;

export function key() {
  return inMemory ?? attempt(() => sessionStorage.getItem(`${PREFIX}key`) ?? localStorage.getItem(`${PREFIX}key`));
}

/** Keep the key for this tab, or for this browser. */
export function keepKey(value, remember) {
  forgetKey();
  inMemory = value;
  attempt(() => (remember ? localStorage : sessionStorage).setItem(`${PREFIX}key`, value));
}

/** Nobody is signed in any more. */
export function forgetKey() {
  inMemory = null;
  attempt(() => sessionStorage.removeItem(`${PREFIX}key`));
  attempt(() => localStorage.removeItem(`${PREFIX}key`));
}

const sent = () => attempt(() => JSON.parse(localStorage.getItem(`${PREFIX}sent`))) ?? [];

/** Remember a request by its task; of pictures only their URLs, for their content is too much to keep. */
export function keepSent(taskId, request) {
  const images = (request.image_list ?? []).filter(({ image }) => /^https?:/.test(image));
  const left = (request.image_list ?? []).length - images.length;
  const entry = { taskId, request: { ...request, image_list: images }, left };
  attempt(() => localStorage.setItem(`${PREFIX}sent`, JSON.stringify([entry, ...sent()].slice(0, MOST_SENT))));
}

/** `{request, left}` of a task that was made here, or undefined; `left` pictures were not kept. */
export const findSent = (taskId) => sent().find((entry) => entry.taskId === taskId);

/** It may be somebody else who signs in next. */
export const forgetSent = () => attempt(() => localStorage.removeItem(`${PREFIX}sent`));
