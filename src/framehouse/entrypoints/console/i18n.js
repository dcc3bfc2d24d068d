// Words in the reader's language, and numbers and times as they are written there.

import { choice, choose } from "./store.js";
import en from "./words/en.js";
import zh from "./words/zh.js";

const WORDS = { en, zh };
export let language = "en";

/** The chosen language, or the browser's at first. */
export function setLanguage(chosen) {
  if (chosen) choose("language", chosen);
  const wanted = chosen ?? choice("language") ?? navigator.language;
  language = wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}

export const otherLanguage = () => (language === "zh" ? "en" : "zh");

/** The words for a key, with `{name}` filled in. */
export function t(key, values = {}) {
  const words = WORDS[language][key] ?? en[key] ?? key;
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

export const has = (key) => key in en;
export const number = (value) => new Intl.NumberFormat(document.documentElement.lang).format(value);
export const moment = (ms) =>
  new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }).format(ms);
export const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`);
