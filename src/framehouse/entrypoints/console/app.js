// The frame of the page: who is signed in, which view is shown, language and theme.

import * as account from "./account.js";
import { exchange, loadConfig, refused } from "./api.js";
import * as create from "./create.js";
import { fill, h, icon } from "./dom.js";
import * as elements from "./elements.js";
import { errorBox } from "./errors.js";
import * as gallery from "./gallery.js";
import { language, otherLanguage, setLanguage, t } from "./i18n.js";
import * as signin from "./signin.js";
import { choose, keepKey, key } from "./store.js";
import * as task from "./task.js";

const view = document.getElementById("view");
const VIEWS = { "": create, tasks: gallery, elements, account };
let leaving = new AbortController();
let problem = null;

const route = () => location.hash.replace(/^#\/?/, "").split("/").map(decode);

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Show what the address says. Each view gets a signal that ends with it. */
function show() {
  leaving.abort();
  leaving = new AbortController();
  const [name, ...rest] = route();
  top();
  const known = VIEWS[name] ?? create;
  const chosen = !key() ? signin : name === "tasks" && rest[0] ? task : known;
  document.title = `${t(key() ? `nav.${name in VIEWS && name ? name : "create"}` : "signin.title")} · Framehouse`;
  chosen.show(view, { signal: leaving.signal, path: rest, problem, again: show });
  if (key()) problem = null; // till then it is told why there is none, wherever one goes
}

function top() {
  const [name] = route();
  const link = (to, label) =>
    h("a", { href: `#/${to}`, "aria-current": to === (name ?? "") ? "page" : null }, t(`nav.${label}`));
  const links = key()
    ? h(
        "nav",
        { "aria-label": "Framehouse" },
        link("", "create"),
        link("tasks", "tasks"),
        link("elements", "elements"),
        link("account", "account"),
      )
    : h("span.grow");
  const dark = isDark();
  fill(
    document.getElementById("top"),
    h(
      "a.brand",
      { href: "#/" },
      h("img", { src: "console/icon.svg", alt: "", width: 26, height: 26 }),
      h("span", {}, "Framehouse"),
    ),
    links,
    h("a.quiet.docs", { href: "docs" }, t("nav.docs")),
    h(
      "button.quiet",
      { type: "button", lang: otherLanguage(), onclick: switchLanguage },
      otherLanguage() === "zh" ? "中文" : "English",
    ),
    h(
      "button.quiet.square",
      { type: "button", "aria-label": t(dark ? "theme.light" : "theme.dark"), onclick: switchTheme },
      icon(dark ? "sun" : "moon"),
    ),
  );
}

function isDark() {
  return (
    (document.documentElement.dataset.theme ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark"
  );
}

function switchTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  choose("theme", theme);
  top();
  document.querySelector("#top button:last-child").focus();
}

function switchLanguage() {
  setLanguage(language === "zh" ? "en" : "zh");
  show();
  document.querySelector("#top button").focus();
}

async function arrive() {
  const [name, code] = route();
  if (name === "sign-in" && code) {
    history.replaceState(null, "", "#/"); // it works once: neither reload nor history shall try it again
    try {
      keepKey(await exchange(code), true); // also instead of a key that another server on this port may have given
    } catch (error) {
      if (!key()) problem = error;
    }
  }
  show();
}

refused.addEventListener("refused", ({ detail }) => {
  problem = detail;
  show();
});
addEventListener("hashchange", () => {
  if (route()[0] === "sign-in") return arrive();
  show();
  scrollTo(0, 0);
  view.focus({ preventScroll: true });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", top);

async function start() {
  setLanguage();
  try {
    await loadConfig();
    await arrive();
  } catch (error) {
    fill(view, h(".narrow", {}, errorBox(error, start)));
  }
}

start();
