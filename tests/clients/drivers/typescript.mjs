// Runs one scenario of tests/clients/scenarios.py with the TypeScript client: node typescript.mjs SCENARIO FOLDER

import { Client, FramehouseError } from "../../../clients/typescript/dist/index.js";

const [scenario, folder] = process.argv.slice(2);
const { MODEL: model, REFERENCE: reference, IDEMPOTENCY_KEY: idempotencyKey } = process.env;
const options = { aspectRatio: "16:9", ...(model ? { model } : {}), ...(idempotencyKey ? { idempotencyKey } : {}) };
const PROMPT = "A red fox in the snow";

async function generate(client, more = {}, waiting = {}) {
  const task = await client.create(PROMPT, { ...options, ...more });
  await task.wait(waiting);
  return { images: await task.save(folder) };
}

const scenarios = {
  generate: (client) => generate(client),
  killed: (client) => generate(client),
  several: (client) => generate(client, { n: 3 }),
  edit: (client) => generate(client, { images: [reference], aspectRatio: undefined }),
  unknown_model: (client) => generate(client, { model: "no-such-model" }),
  wrong_key: () => generate(new Client({ key: "fh_wrong" })),
  async progress(client) {
    let progress = 0;
    return { ...(await generate(client, {}, { onProgress: () => progress++ })), progress };
  },
  async repeat(client) {
    const [first, second] = [await generate(client), await generate(new Client())];
    return { images: [...first.images, ...second.images] };
  },
  async list_and_cancel(client) {
    const task = await client.create(PROMPT, { ...options, n: 9 });
    for await (const listed of client.tasks()) {
      if (listed.id === task.id) return { images: [], status: (await listed.cancel()).status };
    }
    throw new Error("the task is not in the list");
  },
};

const result = { images: [], error: null, progress: 0 };
try {
  Object.assign(result, await scenarios[scenario](new Client()));
} catch (error) {
  if (!(error instanceof FramehouseError)) throw error;
  result.error = { status: error.status, code: error.code, message: error.message, class: error.name };
}
console.log(JSON.stringify(result));
