// Browser storage: the key, preferences, and the requests that this browser sent. If the browser forbids storage, the
// console works but does not remember them.

const PREFIX = "framehouse.";
const MAX_SENT = 200;

function tryStorage(operation) {
  try {
    return operation();
  } catch {
    return null; // storage is forbidden or full, or contains data that the console did not write
  }
}

export const preference = (name) => tryStorage(() => localStorage.getItem(PREFIX + name));
export const savePreference = (name, value) => tryStorage(() => localStorage.setItem(PREFIX + name, value));

let keyInMemory = null;

export function key() {
  return (
    keyInMemory ?? tryStorage(() => sessionStorage.getItem(`${PREFIX}key`) ?? localStorage.getItem(`${PREFIX}key`))
  );
}

/** Store the key until the tab is closed; with `remember`, permanently in this browser. */
export function saveKey(value, remember) {
  removeKey();
  keyInMemory = value;
  tryStorage(() => (remember ? localStorage : sessionStorage).setItem(`${PREFIX}key`, value));
}

/** Remove the key from memory and from all storage. */
export function removeKey() {
  keyInMemory = null;
  tryStorage(() => sessionStorage.removeItem(`${PREFIX}key`));
  tryStorage(() => localStorage.removeItem(`${PREFIX}key`));
}

const sentRequests = () => tryStorage(() => JSON.parse(localStorage.getItem(`${PREFIX}sent`))) ?? [];

/** Store the request of a task. Images from files must be omitted, because they are too large for the browser's storage.
 * `left` is the number of omitted images. */
export function saveSentRequest(taskId, request, left) {
  const entry = { taskId, request, left };
  tryStorage(() =>
    localStorage.setItem(`${PREFIX}sent`, JSON.stringify([entry, ...sentRequests()].slice(0, MAX_SENT))),
  );
}

/** Return `{request, left}` for a task that was created in this browser, and undefined for other tasks. `left` is the
 * number of omitted images. */
export const findSentRequest = (taskId) => sentRequests().find((entry) => entry.taskId === taskId);

/** Remove all sent requests, because the next user of this browser may be a different person. */
export const removeSentRequests = () => tryStorage(() => localStorage.removeItem(`${PREFIX}sent`));
