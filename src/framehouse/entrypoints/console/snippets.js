// The request as curl, Python and JavaScript: complete, so that what is copied runs. Pictures are read from their files.

/** A picture that was picked from a file, by the name that the text reads it from. */
export class File64 {
  constructor(name) {
    this.name = name;
  }
}

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** JSON, or a language's like of it: `word(value)` words what differs from JSON, or gives undefined. */
function literal(value, word, indent = "") {
  const own = word(value);
  if (own !== undefined) return own;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}  `;
  const lines = Array.isArray(value)
    ? value.map((item) => inner + literal(item, word, inner))
    : Object.entries(value).map(([name, item]) => `${inner}${JSON.stringify(name)}: ${literal(item, word, inner)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const short = lines.map((line) => line.trim()).join(", ");
  if (!short.includes("\n") && short.length < 60) return open + short + close;
  return `${open}\n${lines.join(",\n")}\n${indent}${close}`;
}

export function curl(url, request) {
  const files = JSON.stringify(request, (_, value) => (value instanceof File64 ? "\0file" : value)).includes(
    "\\u0000file",
  );
  const head = `curl ${shell(url)} \\\n  -H "Authorization: Bearer $FRAMEHOUSE_KEY" \\\n  -H 'Content-Type: application/json' \\\n`;
  if (!files) return `${head}  -d ${shell(literal(request, () => undefined, "  "))}`;
  // a here-document, for no argument may be as long as a picture
  const hold = (text) => JSON.stringify(text).replace(/[\\$`]/g, "\\$&");
  const word = (value) => {
    if (value instanceof File64) return `"$(base64 < ${shell(value.name)} | tr -d '\\n')"`;
    return typeof value === "string" ? hold(value) : undefined;
  };
  return `${head}  -d @- <<END\n${literal(request, word)}\nEND`;
}

export function python(url, request) {
  const word = (value) => {
    if (value instanceof File64) return `base64.b64encode(open(${JSON.stringify(value.name)}, "rb").read()).decode()`;
    if (value === null) return "None";
    return typeof value === "boolean" ? (value ? "True" : "False") : undefined;
  };
  const body = literal(request, word);
  const imports = `${body.includes("base64.b64encode(open(") ? "import base64\n" : ""}import os\n\nimport requests\n`;
  return `${imports}
answer = requests.post(
    ${JSON.stringify(url)},
    headers={"Authorization": "Bearer " + os.environ["FRAMEHOUSE_KEY"]},
    json=${body.replaceAll("\n", "\n    ")},
).json()
task = requests.get(
    ${JSON.stringify(`${url}/`)} + answer["data"]["task_id"] + "?wait=60",
    headers={"Authorization": "Bearer " + os.environ["FRAMEHOUSE_KEY"]},
).json()["data"]
print(task["task_status"], task.get("task_result"))`;
}

export function javascript(url, request) {
  const word = (value) =>
    value instanceof File64 ? `readFileSync(${JSON.stringify(value.name)}, "base64")` : undefined;
  const body = literal(request, word);
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
