// Callbacks are verified as Standard Webhooks.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";

import { InvalidSignature, verifyWebhook } from "../dist/index.js";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY = JSON.stringify({ task_id: "t1", task_status: "succeed", task_result: { images: [{ index: 0, url: "http://x/0.png" }] } });

function signed(body = BODY, { age = 0, secret = SECRET, id = "msg_1" } = {}) {
  const timestamp = String(Math.floor(Date.now() / 1000) - age);
  const key = Buffer.from(secret.replace("whsec_", ""), "base64");
  const signature = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
  return { "Webhook-Id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1,AAAA v1,${signature}` };
}

test("a valid message describes a task", async () => {
  for (const headers of [signed(), new Headers(signed())]) {
    for (const body of [BODY, new TextEncoder().encode(BODY)]) {
      const task = await verifyWebhook(body, headers, SECRET);
      assert.deepEqual([task.id, task.status, task.images[0].url], ["t1", "succeed", "http://x/0.png"]);
    }
  }
  await verifyWebhook(BODY, signed(), ["whsec_b3RoZXI=", SECRET]);
});

test("a message that was changed, is old, or has another secret is refused", async () => {
  const refused = [
    [BODY.replace("t1", "t2"), signed(), SECRET],
    [BODY, { ...signed(), "Webhook-Id": "msg_2" }, SECRET],
    [BODY, signed(BODY, { age: 301 }), SECRET],
    [BODY, signed(BODY, { age: -301 }), SECRET],
    [BODY, signed(), "whsec_b3RoZXI="],
    [BODY, { ...signed(), "webhook-signature": "v1," }, SECRET],
    [BODY, { ...signed(), "webhook-timestamp": "soon" }, SECRET],
    [BODY, {}, SECRET],
    ["[]", signed("[]"), SECRET],
  ];
  for (const [body, headers, secret] of refused) await assert.rejects(verifyWebhook(body, headers, secret), InvalidSignature);
  await verifyWebhook(BODY, signed(BODY, { age: 290 }), SECRET);
  await assert.rejects(verifyWebhook(BODY, signed(), "not base64!"), TypeError);
});
