// The address of the server, the key, and what other hosts receive.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mkdtemp, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { AuthenticationError, Client, ConnectionFailed, NotFound, ServerError, TimedOut } from "../dist/index.js";
import { accepted, PNG, standIn, task, unknownTask } from "./stand-in.mjs";

test("the path of the URL determines the prefix", async (t) => {
  const server = await standIn(t, () => task("processing"));
  for (const path of ["", "/", "/kling", "/kling/", "/kling/v1", "/v1", "/api/kling"]) {
    await new Client({ url: server.url + path, key: "k" }).get("t1", { kind: "expand" });
  }
  const prefixes = ["/kling", "/kling", "/kling", "/kling", "/kling", "", "/api/kling"];
  const paths = prefixes.map((prefix) => `${prefix}/v1/images/editing/expand/t1`);
  assert.deepEqual(server.requests.map((request) => request.path), paths);
  for (const url of ["127.0.0.1:8000", "ftp://x", "http://x/?a=1", "nonsense"]) {
    assert.throws(() => new Client({ url, key: "k" }), TypeError);
  }
  assert.throws(() => new Client({ url: server.url, key: "a b" }), TypeError);
  assert.throws(() => new Client({ url: server.url, accessKey: "a" }), /must be used together/);
});

test("environment variables replace missing arguments", async (t) => {
  const server = await standIn(t, () => task("processing"));
  Object.assign(process.env, { FRAMEHOUSE_URL: server.url, FRAMEHOUSE_KEY: "from-environment" });
  t.after(() => ["FRAMEHOUSE_URL", "FRAMEHOUSE_KEY"].forEach((name) => delete process.env[name]));
  await new Client().get("t1");
  assert.equal(server.requests[0].headers["authorization"], "Bearer from-environment");
});

test("an access key and a secret key sign a JWT", async (t) => {
  const server = await standIn(t, () => task("processing"));
  await new Client({ url: server.url, accessKey: "ak", secretKey: "sk" }).get("t1");
  const [head, claims, signature] = server.requests[0].headers["authorization"].replace("Bearer ", "").split(".");
  const decoded = [head, claims].map((part) => JSON.parse(Buffer.from(part, "base64url").toString()));
  assert.deepEqual(decoded[0], { alg: "HS256", typ: "JWT" });
  assert.equal(decoded[1].iss, "ak");
  assert.ok(Math.abs(decoded[1].exp - Date.now() / 1000 - 1800) < 60 && decoded[1].nbf < Date.now() / 1000);
  assert.equal(signature, createHmac("sha256", "sk").update(`${head}.${claims}`).digest("base64url"));
});

test("the key is not sent to the host of an image, and not after a redirect", async (t) => {
  const other = await standIn(t, () => ({ body: PNG }));
  const server = await standIn(t, (request) =>
    request.path.includes("moved")
      ? { status: 307, headers: { location: `${other.url}/stolen` } }
      : task("succeed", { task_result: { images: [{ index: 0, url: `${other.url}/a.png` }] } }),
  );
  const client = new Client({ url: server.url, key: "k" });
  const [image] = (await client.get("t1")).images;
  assert.deepEqual(await image.bytes(), PNG);
  assert.equal((await image.blob()).type, "image/png");
  assert.deepEqual([...new Set(other.requests.map((request) => request.headers["authorization"]))], [undefined]);
  const before = other.requests.length;
  await assert.rejects(client.get("moved", { kind: "expand" }), (error) => error instanceof ServerError && /redirects to/.test(error.message));
  assert.equal(other.requests.length, before);
});

test("queries are retried after temporary errors", async (t) => {
  const answers = [null, { status: 503, headers: { "retry-after": "1" }, json: { code: 5001, message: "try again" } }, { status: 502 }];
  const server = await standIn(t, () => (answers.length ? answers.shift() : task("processing")));
  assert.equal((await new Client({ url: server.url, key: "k" }).get("t1")).status, "processing");
  assert.equal(server.requests.length, 4);
  const refusing = await standIn(t, () => ({ status: 401, json: { code: 1002, message: "unknown", request_id: "r" } }));
  await assert.rejects(new Client({ url: refusing.url, key: "k" }).get("t1"), AuthenticationError);
  assert.equal(refusing.requests.length, 1);
});

test("the time for retries ends", async (t) => {
  const server = await standIn(t, () => ({ status: 503 }));
  await assert.rejects(new Client({ url: server.url, key: "k", retry: 0 }).get("t1"), ServerError);
  assert.equal(server.requests.length, 1);
  const stopped = await standIn(t, () => ({}));
  await stopped.stop();
  const gone = new Client({ url: stopped.url, key: "k", retry: 1 });
  await assert.rejects(gone.get("t1"), (error) => error instanceof ConnectionFailed && !error.sent);
});

test("a wait does not depend on long polls, reports progress, and can end early", async (t) => {
  let polls = 0;
  const server = await standIn(t, () => (polls++ < 4 ? task("processing", { progress: polls / 10 }) : task("succeed", { task_result: { images: [] } })));
  const client = new Client({ url: server.url, key: "k" });
  const seen = [];
  const waited = await (await client.get("t1")).wait({ onProgress: (task) => seen.push([task.status, task.progress]) });
  assert.equal(waited.status, "succeed");
  assert.deepEqual(seen, [["processing", 0.2], ["processing", 0.3], ["processing", 0.4], ["succeed", 1]]);
  polls = -1e9;
  const endless = await client.get("t1");
  await assert.rejects(endless.wait({ timeout: 0.2 }), (error) => error instanceof TimedOut && error.taskId === "t1");
  const before = server.requests.length;
  const controller = new AbortController();
  setTimeout(() => controller.abort(new Error("stopped")), 10_000); // 0.5 seconds of the faster timers
  await assert.rejects(endless.wait({ signal: controller.signal }), /stopped/);
  assert.ok(server.requests.length - before < 15, "the client polls without pauses");
});

test("an image is a path, a URL, a Blob or bytes", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "fh-"));
  const path = join(folder, "bag.png");
  await writeFile(path, PNG);
  const server = await standIn(t, accepted);
  const web = "https://example.com/bag.png";
  const images = [path, pathToFileURL(path), new Blob([PNG]), PNG, PNG.buffer, web, new URL(web)];
  await new Client({ url: server.url, key: "k" }).create("x", { images });
  const base64 = Buffer.from(PNG).toString("base64");
  const sent = server.posts()[0].json.image_list.map((entry) => entry.image);
  assert.deepEqual(sent, [base64, base64, base64, base64, base64, web, web]);
  await assert.rejects(new Client({ url: server.url, key: "k" }).create("x", { images: [join(folder, "none.png")] }), /ENOENT/);
});

test("images of resellers are saved completely, and pages of errors are not", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "fh-"));
  const url = `data:image/png;base64,${Buffer.from(PNG).toString("base64")}`;
  let result = { data: { id: "x/1", status: "completed", output: [url, { b64_json: "aGVsbG8=" }] } };
  const server = await standIn(t, (request) => (request.path === "/page" ? { body: "<html>" } : { json: { code: "success", ...result } }));
  const client = new Client({ url: server.url, key: "k" });
  await assert.rejects((await client.get("x/1")).save(folder), /is not an image/);
  result = { data: [{ id: "x/1", status: "SUCCESS", images: [url] }] };
  const paths = await (await client.get("x/1")).save(folder);
  assert.match(paths[0], /x_1-[0-9a-f]{8}-0\.png$/);
  result = { data: { id: "x/1", status: "SUCCESS", images: ["/page"] } };
  await assert.rejects((await client.get("x/1")).save(folder), /is not an image/);
  assert.equal((await readdir(folder)).filter((name) => name.endsWith(".part")).length, 0);
});

test("all pages of tasks are listed, each task once", async (t) => {
  const ids = Array.from({ length: 150 }, (_, number) => `task-${number}`);
  const server = await standIn(t, (request) => {
    const query = new URL(request.path, "http://x").searchParams;
    const start = (Number(query.get("pageNum")) - 1) * Number(query.get("pageSize"));
    const shift = start ? 1 : 0; // a new task moved the tasks by one
    const page = ids.slice(start - shift, start - shift + Number(query.get("pageSize")));
    return { json: { code: 0, message: "", data: page.map((task_id) => ({ task_id, task_status: "processing" })) } };
  });
  const found = [];
  for await (const one of new Client({ url: server.url, key: "k" }).tasks()) found.push(one.id);
  assert.deepEqual(found, ids);
  const limited = [];
  for await (const one of new Client({ url: server.url, key: "k" }).tasks({ limit: 3 })) limited.push(one.id);
  assert.deepEqual(limited, ids.slice(0, 3));
});

test("an unknown task is not found at any endpoint", async (t) => {
  const server = await standIn(t, () => unknownTask());
  await assert.rejects(new Client({ url: server.url, key: "k" }).get("x"), NotFound);
  assert.equal(server.requests.length, 5);
});
