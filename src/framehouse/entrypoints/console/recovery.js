// Reloads the page if one of its scripts cannot be loaded, for example while the server restarts.
(() => {
  const COUNT = "framehouse.reloads";
  const MAX_RELOADS = 5;
  const PAUSE_MS = 2000;

  /** Count one more reload. Returns false if the maximum is reached, or if the browser forbids storage. */
  function countReload() {
    try {
      const count = Number(sessionStorage.getItem(COUNT)) + 1;
      sessionStorage.setItem(COUNT, count);
      return count <= MAX_RELOADS;
    } catch {
      return false;
    }
  }
  let failed = false;
  function onError({ target }) {
    if (!(target instanceof HTMLScriptElement)) return;
    failed = true;
    const chinese = navigator.language.startsWith("zh");
    document.getElementById("view").textContent = chinese
      ? "控制台未能加载。请重新加载页面。"
      : "The console could not be loaded. Reload the page.";
    if (countReload()) setTimeout(() => location.reload(), PAUSE_MS);
  }
  function onLoad() {
    if (!failed) sessionStorage.removeItem(COUNT);
  }
  addEventListener("error", onError, true); // the error of a script does not bubble
  addEventListener("load", onLoad);
})();
