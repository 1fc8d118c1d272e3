// The official Node SDK's own calls for webhooks; test_openai_node.py runs it with OPENAI_BASE_URL, OPENAI_API_KEY and
// RECEIVER, a URL that answers 200.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI();
const hooks = client.webhooks;
const url = process.env.RECEIVER;

const made = await hooks.create({ name: "ci", url, event_types: ["batch.expired"] });
assert.match(made.signing_secret, /^whsec_/);
assert.equal(made.object, "webhook_endpoint");
const changed = await hooks.update(made.id, { name: "cd" });
assert.deepEqual([changed.name, changed.url, changed.event_types], ["cd", url, ["batch.expired"]]);
const listed = [];
for await (const each of hooks.list({ limit: 1 })) listed.push(each.id);
assert.ok(listed.includes(made.id));
const came = await hooks.test(made.id, { event_type: "batch.completed" });
assert.deepEqual([came.success, came.status_code], [true, 200]);
const rotated = await hooks.rotateSecret(made.id, { keep_old_secret_active_for_24_hours: true });
assert.notEqual(rotated.signing_secret, made.signing_secret);
assert.equal((await hooks.delete(made.id)).deleted, true);
await assert.rejects(hooks.retrieve(made.id), OpenAI.NotFoundError);
console.log(JSON.stringify({ secret: made.signing_secret }));
