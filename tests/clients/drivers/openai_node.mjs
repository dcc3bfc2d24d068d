// Runs one scenario of tests/clients/scenarios.py with OpenAI's package for Node.js: node openai_node.mjs SCENARIO FOLDER
// NODE_PACKAGES is the folder that contains the package.

import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";

const { OpenAI, APIError } = createRequire(`${process.env.NODE_PACKAGES}/`)("openai");
const [scenario, folder] = process.argv.slice(2);
const { FRAMEHOUSE_URL: url, FRAMEHOUSE_KEY: key, MODEL: model, REFERENCE: reference, IDEMPOTENCY_KEY: id } = process.env;
const client = new OpenAI({
  baseURL: `${url}/openai/v1`,
  apiKey: scenario === "wrong_key" ? "fh_wrong" : key,
  maxRetries: 10,
});
const request = { model: scenario === "unknown_model" ? "no-such-model" : model, prompt: "A red fox in the snow" };
const result = { images: [], error: null, progress: 0 };

async function save(content) {
  const path = `${folder}/${result.images.length}.png`;
  await writeFile(path, Buffer.from(content, "base64"));
  result.images.push(path);
}

async function generate() {
  const headers = scenario === "repeat" ? { "Idempotency-Key": id } : {};
  const n = scenario === "several" ? 3 : 1;
  const { data } = await client.images.generate({ ...request, size: "1280x720", n }, { headers });
  for (const image of data) await save(image.b64_json);
}

const scenarios = {
  async edit() {
    const { data } = await client.images.edit({ ...request, image: createReadStream(reference) });
    await save(data[0].b64_json);
  },
  async progress() {
    const stream = await client.images.generate({ ...request, size: "1280x720", stream: true });
    for await (const event of stream) {
      if (event.type === "image_generation.completed") await save(event.b64_json);
      else result.progress++;
    }
  },
  async repeat() {
    await generate();
    await generate();
  },
};

try {
  await (scenarios[scenario] ?? generate)();
} catch (error) {
  if (!(error instanceof APIError)) throw error;
  result.error = { status: error.status, code: error.code, message: error.message, class: error.constructor.name };
}
console.log(JSON.stringify(result));
