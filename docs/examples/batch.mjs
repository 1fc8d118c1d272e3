// Answer a file of prompts with the official OpenAI SDK for Node: upload, create, poll, download.
//
//   npm install openai
//   export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=bw_...    # both from `batchwright up`
//   node batch.mjs prompts.jsonl answers.jsonl

import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { setTimeout as rest } from "node:timers/promises";
import OpenAI from "openai";

const [prompts, answers] = process.argv.slice(2);
const client = new OpenAI();

const file = await client.files.create({ file: createReadStream(prompts), purpose: "batch" });
let batch = await client.batches.create(
  { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" },
  // A program that dies and is started again finds its batch instead of making a second one.
  { headers: { "Idempotency-Key": `answers-of-${file.id}` } },
);
while (["validating", "in_progress", "finalizing"].includes(batch.status)) {
  await rest(1000);
  batch = await client.batches.retrieve(batch.id);
}
for (const problem of batch.errors?.data ?? []) console.error(`line ${problem.line}: ${problem.message}`);
for (const [fileId, path] of [
  [batch.output_file_id, answers],
  [batch.error_file_id, `${answers}.errors`],
]) {
  if (fileId) await writeFile(path, (await client.files.content(fileId)).body);
}
console.log(batch.id, batch.status, JSON.stringify(batch.request_counts));
process.exitCode = batch.status === "completed" && !batch.error_file_id ? 0 : 1;
