// The official Node SDK through every flow of files and batches; prints what it proved as one JSON object.
//
// test_openai_node.py runs it with OPENAI_BASE_URL, OPENAI_API_KEY, IN (an input file), OUT (where an answer may be
// written), FINISHED (a batch that is over) and MANY (how many batches the tenant of OTHER_KEY has).

import assert from "node:assert/strict";
import fs from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { setTimeout as rest } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

const { IN, OUT, FINISHED, MANY, OTHER_KEY } = process.env;
const CHAT = "/v1/chat/completions";
const ENDED = ["completed", "failed", "expired", "cancelled"];
const text = await readFile(IN);
let sent = 0;
const counting = (url, init) => {
  sent += 1;
  return fetch(url, init);
};
const client = new OpenAI({ fetch: counting });
const proved = {};

async function ended(id) {
  for (;;) {
    const batch = await client.batches.retrieve(id);
    if (ENDED.includes(batch.status)) return batch;
    await rest(20);
  }
}

async function refused(kind, status, call, said = {}) {
  const before = sent;
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
    assert.equal(error.status, status);
    assert.equal(error.type, "invalid_request_error");
    assert.match(error.requestID, /^req_/);
    assert.deepEqual(Object.keys(error.error).sort(), ["code", "message", "param", "type"]);
    for (const [name, value] of Object.entries(said)) assert.equal(error[name], value, name);
    return true;
  });
  assert.equal(sent - before, 1, "a refusal for good is sent once");
}

async function uploads() {
  const forms = {
    "stream.jsonl": fs.createReadStream(IN),
    "buffer é'.jsonl": await toFile(text, "buffer é'.jsonl"),
    "web.jsonl": new File([text], "web.jsonl", { type: "application/jsonl" }),
    "blob.jsonl": await toFile(await fs.openAsBlob(IN), "blob.jsonl"),
  };
  for (const [name, file] of Object.entries(forms)) {
    const made = await client.files.create({ file, purpose: "batch" });
    assert.equal(made.bytes, text.length, name);
    assert.equal(made.filename, name.startsWith("stream") ? IN.split("/").at(-1) : name);
    assert.equal((await client.files.waitForProcessing(made.id, { pollInterval: 10 })).status, "processed");
    assert.deepEqual(Buffer.from(await (await client.files.content(made.id)).arrayBuffer()), text);
  }
  const short = await client.files.create({
    file: fs.createReadStream(IN),
    purpose: "batch",
    expires_after: { anchor: "created_at", seconds: 3600 },
  });
  assert.equal(short.expires_at, short.created_at + 3600);
  assert.deepEqual(await client.files.delete(short.id), { id: short.id, object: "file", deleted: true });
  await refused(OpenAI.NotFoundError, 404, () => client.files.retrieve(short.id), { param: "id" });
  return Object.keys(forms).length;
}

async function lifecycle() {
  const file = await client.files.create({ file: fs.createReadStream(IN), purpose: "batch" });
  const made = await client.batches.create({
    input_file_id: file.id,
    endpoint: CHAT,
    completion_window: "24h",
    metadata: { run: "7" },
    output_expires_after: { anchor: "created_at", seconds: 7200 },
  });
  assert.equal(made.status, "validating");
  assert.deepEqual(made.request_counts, { total: 0, completed: 0, failed: 0 });
  const batch = await ended(made.id);
  assert.equal(batch.status, "completed");
  assert.deepEqual(batch.metadata, { run: "7" });
  assert.equal(batch.error_file_id, null);
  const content = await client.files.content(batch.output_file_id);
  await writeFile(OUT, content.body);
  const rows = (await readFile(OUT, "utf8")).trim().split("\n").map((row) => JSON.parse(row));
  assert.equal(rows.length, batch.request_counts.completed);
  for (const row of rows) assert.equal(row.response.body.object, "chat.completion");
  const { data, response, request_id } = await client.batches.retrieve(batch.id).withResponse();
  assert.equal(response.headers.get("x-request-id"), request_id);
  assert.equal(data._request_id, request_id);
  return rows.length;
}

async function cancelling() {
  const file = await client.files.create({ file: fs.createReadStream(IN), purpose: "batch" });
  const made = await client.batches.create({ input_file_id: file.id, endpoint: CHAT, completion_window: "24h" });
  const asked = await client.batches.cancel(made.id);
  assert.equal(asked.status, "cancelling");
  assert.equal((await ended(made.id)).status, "cancelled");
  assert.equal((await client.batches.cancel(made.id)).status, "cancelled");
  return made.id;
}

async function paging() {
  const other = new OpenAI({ apiKey: OTHER_KEY });
  const counts = [];
  for (const limit of [2, 100]) {
    const ids = new Set();
    for await (const batch of other.batches.list({ limit })) ids.add(batch.id);
    counts.push(ids.size);
  }
  let page = await other.batches.list();
  let pages = 1;
  for (; page.hasNextPage(); pages += 1) page = await page.getNextPage();
  assert.ok(counts.every((count) => count >= Number(MANY)) && counts[0] === counts[1], counts);
  assert.equal(pages, Math.ceil(counts[0] / 20));
  const names = [];
  for await (const file of client.files.list({ purpose: "batch", order: "asc", limit: 1 })) names.push(file.id);
  assert.equal(new Set(names).size, names.length);
  return counts;
}

async function once() {
  const file = await client.files.create({ file: fs.createReadStream(IN), purpose: "batch" });
  const body = { input_file_id: file.id, endpoint: CHAT, completion_window: "24h" };
  const headers = { "Idempotency-Key": `node-${file.id}` };
  const first = await client.batches.create(body, { headers });
  assert.equal((await client.batches.create(body, { headers })).id, first.id);
  assert.equal((await client.batches.create({ ...body, idempotency_key: `node-${file.id}` })).id, first.id);
  await refused(
    OpenAI.ConflictError,
    409,
    () => client.batches.create({ ...body, completion_window: "48h" }, { headers }),
    { code: "idempotency_key_reused" },
  );

  let lost = false;
  const losing = new OpenAI({
    fetch: async (url, init) => {
      const reply = await fetch(url, init);
      if (lost) return reply;
      lost = true;
      await reply.arrayBuffer();
      throw new TypeError("the connection was lost on the way back");
    },
  });
  const mark = { metadata: { lost: file.id } };
  const made = await losing.batches.create({ ...body, ...mark });
  const same = [];
  for (const batch of (await client.batches.list({ limit: 100 })).data) {
    if (batch.metadata?.lost === file.id) same.push(batch.id);
  }
  assert.deepEqual(same, [made.id]);
  return same.length;
}

async function refusals() {
  const good = { input_file_id: "file-none", endpoint: CHAT, completion_window: "24h" };
  const cases = [
    [OpenAI.BadRequestError, 400, () => client.batches.create({ ...good, endpoint: "/v1/x" }), { param: "endpoint", code: "invalid_value" }],
    [OpenAI.BadRequestError, 400, () => client.batches.create({ ...good, input_file_id: undefined }), { param: "input_file_id", code: "missing_required_parameter" }],
    [OpenAI.BadRequestError, 400, () => client.batches.create({ ...good, metadata: { tags: ["a"] } }), { param: "metadata.tags", code: "invalid_type" }],
    [OpenAI.BadRequestError, 400, () => client.batches.list({ after: "batch_none" }), { param: "after" }],
    [OpenAI.BadRequestError, 400, async () => client.files.create({ file: await toFile(text, "a.txt"), purpose: "batch" }), { param: "file" }],
    [OpenAI.NotFoundError, 404, () => client.batches.retrieve("batch_none"), {}],
    [OpenAI.NotFoundError, 404, () => client.files.content("file-none"), { param: "id" }],
    [OpenAI.AuthenticationError, 401, () => client.withOptions({ apiKey: "sk-wrong" }).files.list(), { code: "invalid_api_key" }],
    [OpenAI.ConflictError, 409, () => client.batches.cancel(FINISHED), {}],
  ];
  for (const [kind, status, call, said] of cases) await refused(kind, status, call, said);
  const failed = await client.batches.create(good);
  assert.equal(failed.status, "failed");
  assert.equal(failed.errors.data[0].param, "file_id");
  return cases.length;
}

for (const flow of [uploads, lifecycle, cancelling, paging, once, refusals]) proved[flow.name] = await flow();
console.log(JSON.stringify(proved));
