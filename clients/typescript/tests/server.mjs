// Tests with a running Framehouse server. pytest starts the server and sets FRAMEHOUSE_URL, FRAMEHOUSE_KEY and REFERENCE.

import assert from "node:assert/strict";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { AuthenticationError, Client, InvalidRequest, NotFound, TaskFailed } from "../dist/index.js";

const { FRAMEHOUSE_URL, REFERENCE } = process.env;
const client = new Client();

async function collect(iterable) {
  const found = [];
  for await (const item of iterable) found.push(item);
  return found;
}

test("a series with a reference image is generated, reported and saved", async () => {
  const seen = [];
  const task = await client.create("The bag of <<<image_1>>> in three places", { images: [REFERENCE], series: 3 });
  assert.equal(task.status, "submitted");
  await task.wait({ onProgress: ({ status, progress }) => seen.push([status, progress]) });
  assert.deepEqual(seen.at(-1), ["succeed", 1]);
  assert.equal(task.units, 24);
  const paths = await task.save(join(await mkdtemp(join(tmpdir(), "fh-")), "out"));
  assert.equal(paths.length, 3);
  for (const path of paths) assert.equal((await readFile(path)).subarray(1, 4).toString(), "PNG");
});

test("images are streamed", async () => {
  const task = await client.create("A red fox in the snow", { n: 3, aspectRatio: "16:9", watermark: true });
  const images = await collect(task.stream());
  assert.deepEqual(images.map((image) => image.index).sort(), [0, 1, 2]);
  assert.ok((await images[0].bytes()).length > 1000);
  assert.equal((await images[0].blob()).type, "image/png");
  assert.equal((await task.save(await mkdtemp(join(tmpdir(), "fh-")))).length, 6);
});

test("the other kinds of tasks, a negative prompt and an uploaded image", async () => {
  const uploaded = await client.upload(REFERENCE);
  const tasks = [
    await client.expand(uploaded, { left: 0.5, right: 0.5 }),
    await client.combine([REFERENCE, uploaded], { scene: REFERENCE, prompt: "Both on a table" }),
    await client.tryOn(REFERENCE, uploaded),
    await client.create("A bag", { negativePrompt: "people", images: [await readFile(REFERENCE)] }),
  ];
  for (const task of tasks) assert.equal((await task.wait()).images.length, 1);
  assert.deepEqual(tasks.map((task) => task.kind), ["expand", "multi-image2image", "try-on", "generations"]);
  for (const task of tasks) assert.equal((await client.get(task.externalTaskId)).id, task.id);
  const listed = await collect(client.tasks());
  for (const task of tasks) assert.ok(listed.some(({ id, kind }) => id === task.id && kind === task.kind));
  assert.equal((await collect(client.tasks({ kind: "expand" }))).length, 1);
});

test("the same idempotency key returns the same task", async () => {
  const options = { idempotencyKey: `order-${Date.now()}` };
  const tasks = [await client.create("A red fox", options), await new Client().create("A red fox", options)];
  assert.equal(tasks[0].id, tasks[1].id);
  await tasks[0].wait();
  assert.equal((await tasks[1].refresh()).status, "succeed");
});

test("a task is cancelled", async () => {
  const task = await client.create("A red fox in the snow", { n: 9, resolution: "4k" });
  await task.cancel();
  assert.equal(task.status, "failed");
  await assert.rejects(task.wait(), (error) => error instanceof TaskFailed && /Canceled/.test(error.message));
});

test("elements are created, cited, listed and deleted", async () => {
  const element = await client.elements.create("Bag", "A red bag", [REFERENCE, REFERENCE], { tags: ["o_104"] });
  assert.deepEqual([element.name, element.tags, element.imageUrls.length], ["Bag", ["o_104"], 2]);
  assert.equal((await client.elements.get(element.id)).id, element.id);
  assert.ok((await collect(client.elements.list())).some(({ id }) => id === element.id));
  const [preset] = await collect(client.elements.presets());
  assert.equal(preset.ownedBy, "framehouse");
  const task = await client.create("<<<element_1>>> and <<<element_2>>>", { elements: [element, preset.id] });
  assert.equal((await task.wait()).images.length, 1);
  await client.elements.delete(element);
  await assert.rejects(client.elements.delete(element), NotFound);
});

test("the account and the origin of an image", async () => {
  assert.equal((await client.account()).units.limit, null);
  const [image] = (await (await client.create("A red fox")).wait()).images;
  assert.equal((await client.verify(await image.bytes())).verdict, "made_here");
  assert.equal((await client.verify(await readFile(REFERENCE))).made_here, false);
});

test("errors have a class, a code, a status and a request id", async () => {
  const wrong = new Client({ url: FRAMEHOUSE_URL, key: "fh_wrong" });
  await assert.rejects(wrong.create("x"), (error) => error instanceof AuthenticationError && error.code === 1002);
  await assert.rejects(client.create("x", { model: "none" }), (error) => error instanceof NotFound && error.code === 1203);
  await assert.rejects(client.create("x", { n: 12 }), (error) => {
    assert.ok(error instanceof InvalidRequest && error.status === 400 && error.requestId !== "");
    return /n must be/.test(error.message);
  });
  await assert.rejects(client.get("unknown"), NotFound);
});
