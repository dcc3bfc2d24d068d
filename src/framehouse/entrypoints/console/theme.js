// Sets the stored theme before the page is rendered. Without a stored theme, the system's theme applies.
(() => {
  try {
    const theme = localStorage.getItem("framehouse.theme");
    if (theme) document.documentElement.dataset.theme = theme;
  } catch {
    // the browser forbids storage, so the system's theme applies
  }
})();
