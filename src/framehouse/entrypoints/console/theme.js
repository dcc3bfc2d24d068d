// Before the first paint: a chosen theme, else the system's.
(() => {
  try {
    const chosen = localStorage.getItem("framehouse.theme");
    if (chosen) document.documentElement.dataset.theme = chosen;
  } catch {
    // storage is forbidden: the system's theme it is
  }
})();
