// A stand-in for the server, whose responses a test chooses, and faster timers for the pauses of the client.

import { createServer } from "node:http";

const SPEED_UP = 20;
const original = globalThis.setTimeout;
globalThis.setTimeout = (callback, ms, ...rest) => original(callback, ms / SPEED_UP, ...rest);

export const PNG = Uint8Array.from(
  atob("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="),
  (letter) => letter.charCodeAt(0),
);

/**
 * Start a server. `respond` gets a request and returns {status, headers, json, body}, or null to close the connection
 * without a response. `requests` contains all requests.
 */
export async function standIn(t, respond) {
  const requests = [];
  const server = createServer(async (incoming, outgoing) => {
    const chunks = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const request = { method: incoming.method, path: incoming.url, headers: incoming.headers, body };
    request.json = incoming.headers["content-type"] === "application/json" ? JSON.parse(body.toString()) : null;
    requests.push(request);
    const response = await respond(request);
    if (response === null) {
      incoming.socket.destroy();
      return;
    }
    const json = response.json === undefined ? null : JSON.stringify(response.json);
    outgoing.writeHead(response.status ?? 200, { ...(json ? { "content-type": "application/json" } : {}), ...response.headers });
    outgoing.end(json ?? response.body ?? "");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  t.after(stop);
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url, requests, stop, posts: () => requests.filter((request) => request.method === "POST") };
}

export const FRAMEHOUSE = { "x-framehouse": "1" };

export function accepted(request, headers = {}) {
  const data = { task_id: "t1", task_info: { external_task_id: request.json.external_task_id }, task_status: "submitted" };
  return { headers, json: { code: 0, message: "SUCCEED", request_id: "r1", data } };
}

export function task(status, more = {}) {
  return { json: { code: 0, message: "SUCCEED", request_id: "r2", data: { task_id: "t1", task_status: status, ...more } } };
}

export function unknownTask(headers = {}) {
  const json = { code: 1201, message: "Task not found by id/external id: x", request_id: "r3" };
  return { status: 400, headers, json };
}
