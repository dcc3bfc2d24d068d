// The page: header, sign-in, navigation, language and theme.

import * as account from "./account.js";
import { exchangeCode, keyRefused, loadConfig } from "./api.js";
import * as create from "./create.js";
import { fill, h, icon } from "./dom.js";
import * as elements from "./elements.js";
import { errorBox } from "./errors.js";
import * as gallery from "./gallery.js";
import { language, otherLanguage, setLanguage, t } from "./i18n.js";
import * as signin from "./signin.js";
import { key, saveKey, savePreference } from "./store.js";
import * as task from "./task.js";
import * as verify from "./verify.js";

const view = document.getElementById("view");
const VIEWS = { "": create, tasks: gallery, elements, verify, account };
let viewController = new AbortController();
let signInError = null;

const route = () => location.hash.replace(/^#\/?/, "").split("/").map(decode);

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Show the view that the address names. Each view gets a signal that is aborted when the next view is shown. */
function show() {
  viewController.abort();
  viewController = new AbortController();
  const [name, ...path] = route();
  renderHeader();
  const section = name === "tasks" && path[0] ? task : (VIEWS[name] ?? create);
  const current = key() ? section : signin;
  document.title = `${t(key() ? `nav.${name in VIEWS && name ? name : "create"}` : "signin.title")} · Framehouse`;
  current.show(view, { signal: viewController.signal, path, signInError, reload: show });
  if (key()) signInError = null; // until then, the sign-in form shows the error on every page and in either language
}

function renderHeader() {
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
        link("verify", "verify"),
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
  savePreference("theme", theme);
  renderHeader();
  document.querySelector("#top button:last-child").focus();
}

function switchLanguage() {
  setLanguage(language === "zh" ? "en" : "zh");
  show();
  document.querySelector("#top button").focus();
}

/** Exchange the code of a sign-in link for a key, if the address has a code. Then show the view. */
async function signInAndShow() {
  const [name, code] = route();
  if (name === "sign-in" && code) {
    history.replaceState(null, "", "#/"); // the code works once, so a reload or the history must not send it again
    try {
      // this replaces a stored key, because another server on this port may have created that key
      saveKey(await exchangeCode(code), true);
    } catch (error) {
      if (!key()) signInError = error;
    }
  }
  show();
}

keyRefused.addEventListener("refused", ({ detail }) => {
  signInError = detail;
  show();
});
addEventListener("hashchange", () => {
  if (route()[0] === "sign-in") return signInAndShow();
  show();
  scrollTo(0, 0);
  view.focus({ preventScroll: true });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renderHeader);

async function start() {
  setLanguage();
  try {
    await loadConfig();
    await signInAndShow();
  } catch (error) {
    fill(view, h(".narrow", {}, errorBox(error, start)));
  }
}

start();
