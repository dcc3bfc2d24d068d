// The request as a complete program in curl, Python and JavaScript. The program reads images from their files.

/** Stands in a request for the base64 content of a file. The generated code reads the file by this name. */
export class Base64OfFile {
  constructor(name) {
    this.name = name;
  }
}

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Return a value as source text. `convert(value)` returns the text of a value that the language writes differently from
 * JSON, and undefined for other values. */
function literal(value, convert, indent = "") {
  const converted = convert(value);
  if (converted !== undefined) return converted;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}  `;
  const lines = Array.isArray(value)
    ? value.map((item) => inner + literal(item, convert, inner))
    : Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${literal(item, convert, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const oneLine = lines.map((line) => line.trim()).join(", ");
  if (!oneLine.includes("\n") && oneLine.length < 60) return open + oneLine + close;
  return `${open}\n${lines.join(",\n")}\n${indent}${close}`;
}

export function curl(url, request) {
  const hasFiles = JSON.stringify(request, (_, value) => (value instanceof Base64OfFile ? "\0file" : value)).includes(
    "\\u0000file",
  );
  const head = `curl ${shell(url)} \\\n  -H "Authorization: Bearer $FRAMEHOUSE_KEY" \\\n  -H 'Content-Type: application/json' \\\n`;
  if (!hasFiles) return `${head}  -d ${shell(literal(request, () => undefined, "  "))}`;
  // a here-document, because an image is too long for a command-line argument
  const escaped = (text) => JSON.stringify(text).replace(/[\\$`]/g, "\\$&");
  const convert = (value) => {
    if (value instanceof Base64OfFile) return `"$(base64 < ${shell(value.name)} | tr -d '\\n')"`;
    return typeof value === "string" ? escaped(value) : undefined;
  };
  return `${head}  -d @- <<END\n${literal(request, convert)}\nEND`;
}

export function python(url, request) {
  const convert = (value) => {
    if (value instanceof Base64OfFile)
      return `base64.b64encode(open(${JSON.stringify(value.name)}, "rb").read()).decode()`;
    if (value === null) return "None";
    return typeof value === "boolean" ? (value ? "True" : "False") : undefined;
  };
  const body = literal(request, convert);
  const imports = `${body.includes("base64.b64encode(open(") ? "import base64\n" : ""}import os\n\nimport requests\n`;
  return `${imports}
response = requests.post(
    ${JSON.stringify(url)},
    headers={"Authorization": "Bearer " + os.environ["FRAMEHOUSE_KEY"]},
    json=${body.replaceAll("\n", "\n    ")},
).json()
task = requests.get(
    ${JSON.stringify(`${url}/`)} + response["data"]["task_id"] + "?wait=60",
    headers={"Authorization": "Bearer " + os.environ["FRAMEHOUSE_KEY"]},
).json()["data"]
print(task["task_status"], task.get("task_result"))`;
}

export function javascript(url, request) {
  const convert = (value) =>
    value instanceof Base64OfFile ? `readFileSync(${JSON.stringify(value.name)}, "base64")` : undefined;
  const body = literal(request, convert);
  const imports = body.includes("readFileSync(") ? 'import { readFileSync } from "node:fs";\n\n' : "";
  return `${imports}const headers = {
  Authorization: \`Bearer \${process.env.FRAMEHOUSE_KEY}\`,
  "Content-Type": "application/json",
};
const url = ${JSON.stringify(url)};
const body = JSON.stringify(${body});
const { data } = await (await fetch(url, { method: "POST", headers, body })).json();
const task = (await (await fetch(\`\${url}/\${data.task_id}?wait=60\`, { headers })).json()).data;
console.log(task.task_status, task.task_result);`;
}
