// A task is created exactly once, although responses are lost.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, ContentRefused, InvalidRequest, TaskMayExist } from "../dist/index.js";
import { accepted, FRAMEHOUSE, standIn, task, unknownTask } from "./stand-in.mjs";

test("a request has an idempotency key and an external id", async (t) => {
  const server = await standIn(t, accepted);
  const created = await new Client({ url: server.url, key: "k" }).create("A red fox", { n: 2, aspectRatio: "16:9" });
  const [post] = server.posts();
  assert.equal(created.id, "t1");
  assert.equal(post.path, "/kling/v1/images/omni-image");
  assert.equal(post.headers["authorization"], "Bearer k");
  assert.match(post.headers["idempotency-key"], /^[0-9a-f]{32}$/);
  assert.match(post.json.external_task_id, /^fh-[0-9a-f]{32}$/);
  assert.equal(post.json.model_name, "kling-v3-omni");
  assert.equal(post.json.n, 2);
  assert.ok(!("negative_prompt" in post.json));
});

test("a lost response is repeated with the same key, if the server is Framehouse", async (t) => {
  let lost = 0;
  const server = await standIn(t, (request) => {
    if (request.method === "GET") return unknownTask(FRAMEHOUSE);
    return lost++ < 2 ? null : accepted(request, FRAMEHOUSE);
  });
  assert.equal((await new Client({ url: server.url, key: "k" }).create("A red fox")).id, "t1");
  const posts = server.posts();
  assert.equal(posts.length, 3);
  assert.equal(new Set(posts.map((post) => post.headers["idempotency-key"])).size, 1);
  assert.equal(new Set(posts.map((post) => post.body.toString())).size, 1);
});

test("a lost response is never repeated at another server", async (t) => {
  const server = await standIn(t, (request) => (request.method === "GET" ? unknownTask() : null));
  await assert.rejects(new Client({ url: server.url, key: "k" }).create("A red fox", { externalTaskId: "mine" }), (error) => {
    assert.ok(error instanceof TaskMayExist);
    assert.equal(error.externalTaskId, "mine");
    return true;
  });
  assert.equal(server.posts().length, 1);
  assert.equal(server.requests.filter((request) => request.method === "GET").length, 5);
});

test("a lost response is found by its external id", async (t) => {
  const server = await standIn(t, (request) => (request.method === "GET" ? task("processing") : null));
  const created = await new Client({ url: server.url, key: "k" }).create("A red fox");
  assert.equal(created.status, "processing");
  assert.equal(server.posts().length, 1);
});

test("an error of a proxy is not repeated at another server, but at Framehouse", async (t) => {
  for (const [headers, posts] of [[{}, 1], [FRAMEHOUSE, 2]]) {
    let failed = 0;
    const server = await standIn(t, (request) => {
      if (request.method === "GET") return unknownTask(headers);
      return failed++ ? accepted(request, headers) : { status: 502, body: "<html>Bad Gateway</html>" };
    });
    const creating = new Client({ url: server.url, key: "k" }).create("A red fox");
    await (posts === 1 ? assert.rejects(creating, TaskMayExist) : creating);
    assert.equal(server.posts().length, posts);
  }
});

test("a refused connection is retried, because no request was sent", async (t) => {
  const server = await standIn(t, accepted);
  let attempts = 0;
  const refusing = (url, options) => {
    if (attempts++ < 2) throw new TypeError("fetch failed", { cause: Object.assign(new Error("no"), { code: "ECONNREFUSED" }) });
    return fetch(url, options);
  };
  await new Client({ url: server.url, key: "k", fetch: refusing }).create("A red fox");
  assert.equal(server.posts().length, 1);
});

test("a limit is waited for, also if the server states it with HTTP 200 and a string", async (t) => {
  const answers = [
    { status: 429, headers: { "retry-after": "2" }, json: { code: 1303, message: "parallel task over resource pack limit" } },
    { status: 200, json: { code: "1302", message: "too many requests" } },
  ];
  const server = await standIn(t, (request) => answers.shift() ?? accepted(request));
  await new Client({ url: server.url, key: "k" }).create("A red fox");
  assert.equal(server.posts().length, 3);
});

test("a refusal is not retried, and states its code, status and request id", async (t) => {
  const refusals = [
    [400, { code: 1201, message: "n must be from 1 to 9, not 12", request_id: "r9" }, InvalidRequest, 1201],
    [200, { code: "1301", message: "refused", request_id: "r9" }, ContentRefused, 1301],
  ];
  for (const [status, json, kind, code] of refusals) {
    const server = await standIn(t, () => ({ status, json }));
    await assert.rejects(new Client({ url: server.url, key: "k" }).create("A red fox", { n: 12 }), (error) => {
      assert.ok(error instanceof kind, String(error));
      assert.deepEqual([error.code, error.status, error.requestId, error.name], [code, status, "r9", kind.name]);
      return true;
    });
    assert.equal(server.requests.length, 1);
  }
});

test("a request with the caller's key is looked up first, and has the same external id each time", async (t) => {
  const server = await standIn(t, (request) => (request.method === "GET" ? unknownTask() : accepted(request)));
  for (const _ of [1, 2]) {
    await new Client({ url: server.url, key: "k" }).create("A red fox", { idempotencyKey: "order-7" });
  }
  const [first, second] = server.posts();
  assert.equal(first.headers["idempotency-key"], "order-7");
  assert.equal(first.json.external_task_id, second.json.external_task_id);
  assert.deepEqual(server.requests.map((request) => request.method), ["GET", "POST", "GET", "POST"]);
});

test("contradicting arguments are refused before anything is sent", async (t) => {
  const server = await standIn(t, accepted);
  const client = new Client({ url: server.url, key: "k" });
  await assert.rejects(client.create("x", { n: 2, series: 3 }), /use series or n/);
  await assert.rejects(client.create("x", { series: 3, negativePrompt: "y" }), /cannot be used together/);
  await assert.rejects(client.create("x", { images: "bag.png" }), /must be an array/);
  assert.equal(server.requests.length, 0);
});
