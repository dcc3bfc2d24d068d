// Texts in the user's language, and the format of numbers and times in that language.

import { preference, savePreference } from "./store.js";
import en from "./translations/en.js";
import zh from "./translations/zh.js";

const TRANSLATIONS = { en, zh };
export let language = "en";

/** Set the language: the one given, otherwise the stored preference, otherwise the browser's language. */
export function setLanguage(selected) {
  if (selected) savePreference("language", selected);
  const tag = selected ?? preference("language") ?? navigator.language;
  language = tag.toLowerCase().startsWith("zh") ? "zh" : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}

export const otherLanguage = () => (language === "zh" ? "en" : "zh");

/** Return the text of a key, with each `{name}` replaced by its value. The fallback is English, then the key itself. */
export function t(key, values = {}) {
  const text = TRANSLATIONS[language][key] ?? en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

export const hasText = (key) => key in en;
export const number = (value) => new Intl.NumberFormat(document.documentElement.lang).format(value);
export const dateTime = (ms) =>
  new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }).format(ms);
export const fileSize = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`);
