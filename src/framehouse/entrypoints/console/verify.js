// The page "Verify": choose an image, and see whether it was made here.

import { call } from "./api.js";
import { contentCredentialsPin, fill, h, icon } from "./dom.js";
import { errorBox } from "./errors.js";
import { dateTime, fileSize, hasText, t } from "./i18n.js";
import { filesOf, hasAcceptedType } from "./images.js";
import { dialog } from "./picker.js";

const MAX_BYTES = 64_000_000;
const INVALID_IMAGE = 1201;
const ICON_OF = { made_here: "check", altered: "alert", metadata: "image", similar: "compare", unknown: "question" };

/** The image of the page: `{name, size, blobUrl}`, and then `result` or `error`. It is kept while the page is loaded. */
let image = null;
let controller = new AbortController();
let showNewest = () => {};

export function show(view, { signal }) {
  const input = h("input.hidden", {
    id: "verify-file",
    type: "file",
    accept: "image/png,image/jpeg,image/webp,image/avif",
    onchange: () => input.files.length && verify(input.files[0]).then(() => (input.value = "")),
  });
  const picture = h("div.verify-image");
  const result = h("div.verify-result", { role: "status" });
  const zone = h(
    "div.field.drop.verify-drop",
    {
      role: "group",
      "aria-labelledby": "verify-label",
      ondragover: (event) => (event.preventDefault(), zone.classList.add("over")),
      ondragleave: (event) => zone.contains(event.relatedTarget) || zone.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        zone.classList.remove("over");
        verifyFirst(event.dataTransfer);
      },
    },
    h("span.label", { id: "verify-label" }, t("verify.label")),
    picture,
    h("div.row.wrap", {}, input, h("label.button", { for: input.id }, icon("plus"), t("verify.choose"))),
    h("p.hint", {}, t("verify.hint")),
  );
  fill(
    view,
    h("h1", {}, t("verify.title")),
    h("p.lead.verify-lead", {}, t("verify.lead")),
    h("div.verify", {}, zone, h("div.card.verify-card", {}, result)),
  );
  addEventListener(
    "paste",
    (event) => {
      if (document.querySelector("dialog[open]")) return;
      if (verifyFirst(event.clipboardData)) event.preventDefault();
    },
    { signal },
  );

  function verifyFirst(transfer) {
    const [file] = filesOf(transfer);
    if (file) verify(file);
    return Boolean(file);
  }

  async function verify(file) {
    controller.abort();
    controller = new AbortController();
    const { signal: own } = controller;
    if (image) URL.revokeObjectURL(image.blobUrl);
    const chosen = { file, name: file.name || t("images.pasted"), blobUrl: URL.createObjectURL(file) };
    image = chosen;
    render();
    try {
      if (!hasAcceptedType(await file.slice(0, 12).arrayBuffer())) chosen.problem = "type";
      else if (file.size > MAX_BYTES) chosen.problem = "too_large";
      else {
        const form = new FormData();
        form.append("image", file);
        chosen.result = (await call("POST", "/v1/verify", { form, signal: own })).data;
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      chosen.error = error;
    }
    if (image === chosen) showNewest();
  }

  function render() {
    const isImage = image && !image.problem && image.error?.code !== INVALID_IMAGE;
    fill(picture, isImage ? thumbnail(image) : h("span.noimage.large", {}, icon("image")));
    fill(result, image ? resultOf(image, () => verify(image.file)) : emptyResult());
    result.setAttribute("aria-busy", String(isChecking(image)));
  }
  // the newest view shows the result, because the language may have been changed meanwhile
  showNewest = render;
  render();
}

const isChecking = (chosen) => Boolean(chosen && !chosen.result && !chosen.error && !chosen.problem);

function thumbnail({ name, blobUrl, result }) {
  return h(
    "figure.verify-figure",
    {},
    h("img", { src: blobUrl, alt: name }),
    result?.signer
      ? h(
          "button.pin",
          { type: "button", "aria-label": t("verify.pin"), title: t("verify.pin"), onclick: () => credentials(result) },
          contentCredentialsPin(),
        )
      : null,
  );
}

function emptyResult() {
  return h("div.empty", {}, icon("question"), h("h2", {}, t("verify.empty")), h("p", {}, t("verify.empty.hint")));
}

function resultOf(chosen, retry) {
  if (chosen.error?.code === INVALID_IMAGE) return problemBox(chosen, "unreadable", chosen.error.message);
  if (chosen.error) return errorBox(chosen.error, retry);
  if (chosen.problem) return problemBox(chosen, chosen.problem);
  if (!chosen.result)
    return [h("h2", {}, t("verify.checking")), h("progress", { "aria-label": t("verify.checking") })];
  const { verdict, copied_metadata: copied, altered } = chosen.result;
  const rows = rowsOf(chosen.result);
  const notes = [
    copied ? t("verify.copied") : null,
    altered && !["altered", "made_here"].includes(verdict) ? t("verify.foreign_altered") : null,
    chosen.result.signer && !chosen.result.signer.trusted ? t("verify.untrusted") : null,
  ];
  return [
    h(
      `div.verdict.${verdict}`,
      {},
      icon(ICON_OF[verdict]),
      h("div", {}, h("h2", {}, t(`verify.${verdict}`)), h("p", {}, t(`verify.${verdict}.text`))),
    ),
    notes.filter(Boolean).map((note) => h("p.verify-note", {}, icon("alert"), note)),
    h("div", {}, verdict === "unknown" && rows.length ? h("h3", {}, t("verify.stated")) : null, facts(rows)),
  ];
}

function problemBox({ name, file }, problem, details = "") {
  const reason = t(`verify.problem.${problem}`, { size: fileSize(file.size) });
  const message = h("strong", {}, t("images.problem", { name, reason }));
  return h(".notice.bad", { role: "alert" }, icon("alert"), h("div", {}, message, details && h("p", {}, details)));
}

/** Return the rows of the facts about the image that are known, `[label, value]`. */
function rowsOf(result) {
  const { task_id: task, image_index: index, source_type: source, label, made_from: used, created_at: at } = result;
  const distance = result.evidence === "signature" ? null : result.distance;
  return [
    ["verify.model", result.model],
    ["verify.engine", result.engine],
    ["verify.time", at && dateTime(at)],
    [
      "verify.task",
      task && result.created_at
        ? h("a", { href: `#/tasks/${encodeURIComponent(task)}` }, t("verify.task.link", { number: (index ?? 0) + 1 }))
        : null,
    ],
    ["verify.signer", result.signer && signerName(result.signer)],
    ["verify.source", source && hasText(`verify.source.${source}`) ? t(`verify.source.${source}`) : source],
    ["verify.aigc", label && labelText(label)],
    ["verify.used", used?.map(usedText).join(" · ")],
    ["verify.distance", distance == null ? null : t("verify.distance.value", { bits: distance })],
  ].filter(([, value]) => value);
}

const signerName = ({ name, organization }) =>
  [...new Set([name, organization].filter(Boolean))].join(" · ") || t("verify.signer.none");

const labelText = ({ value, producer }) =>
  [t(hasText(`verify.aigc.${value}`) ? `verify.aigc.${value}` : "verify.aigc.other"), producer]
    .filter(Boolean)
    .join(" · ");

const usedText = ({ title, altered }) =>
  `${title || t("verify.used.untitled")}${altered ? ` (${t("verify.used.altered")})` : ""}`;

function facts(rows) {
  if (!rows.length) return null;
  return h(
    "dl.verify-facts",
    {},
    rows.map(([label, value]) => h("div", {}, h("dt", {}, t(label)), h("dd", {}, value))),
  );
}

/** Open a dialog with the content credentials of the image. */
function credentials(result) {
  const { signer, altered } = result;
  const rows = [
    ["verify.signer", signerName(signer)],
    ["verify.trust", t(signer.trusted ? "verify.trust.yes" : "verify.trust.no")],
    ["verify.state", altered == null ? null : t(altered ? "verify.state.altered" : "verify.state.intact")],
    ...rowsOf(result).filter(([label]) => ["verify.model", "verify.source", "verify.used"].includes(label)),
  ].filter(([, value]) => value);
  dialog(t("verify.credentials"), facts(rows), h("p.hint", {}, t("verify.credentials.hint")));
}
