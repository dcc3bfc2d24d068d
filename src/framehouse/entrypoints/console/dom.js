// Functions that build the page. They insert text only as text nodes, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** Create an HTML element: `h("button.primary", {onclick}, "Create")`. The default tag is `div`. Children are nodes,
 * strings or lists; null, undefined and false are skipped. */
export function h(selector, props = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  const node = document.createElement(tag || "div");
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(props)) set(node, name, value);
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

function set(node, name, value) {
  if (value == null || value === false) return;
  if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (name.startsWith("--")) node.style.setProperty(name, value);
  else if (["value", "checked", "disabled", "hidden", "selected"].includes(name)) node[name] = value;
  else node.setAttribute(name, value === true ? "" : value);
}

/** Replace all children of a node. Children are as in `h`. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  down: "M12 4v11m-5-5 5 5 5-5M5 20h14",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
  redo: "M4 12a8 8 0 1 0 3-6.2M7 2v4h4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  compare: "M12 3v18M4 6h5v12H4M15 6h5v12h-5",
  code: "M8 7l-5 5 5 5M16 7l5 5-5 5",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  check: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M8 12.5l2.8 2.8L16 9.5",
  question: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M9.7 9.5a2.4 2.4 0 1 1 3.4 2.3c-.8.4-1.1.9-1.1 1.7M12 16.6h.01",
  alert: "M12 4 2.5 20h19zM12 10v4M12 17h.01",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Return the pin of content credentials: a drop with the letters CR. */
export function contentCredentialsPin() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("aria-hidden", "true");
  const shapes = [
    ["drop", "M16 2a14 14 0 1 0 0 28h14V16A14 14 0 0 0 16 2z"],
    ["letters", "M14.6 13.4a4 4 0 1 0 0 5.4M19.2 20.2v-8M19.2 15.6c.2-2.2 1.6-3.4 4-3.2"],
  ];
  for (const [name, d] of shapes) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

let timer;

/** Show a short message for 3.5 seconds. Screen readers read the message. */
export function toast(text) {
  const box = document.getElementById("toast");
  box.textContent = text;
  box.classList.add("shown");
  clearTimeout(timer);
  timer = setTimeout(() => box.classList.remove("shown"), 3500);
}

/** Let the browser save a blob as a file. */
export function saveFile(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
