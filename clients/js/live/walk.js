// Every call of the client against a running server. It is given an operator's key, and a receiver that answers 500 to
// paths that end with `fail`.

import assert from 'node:assert/strict';
import { Client, Conflict, InvalidRequest, NotFound, Unauthorized } from '@ledgerhook/client';

const { LEDGERHOOK_URL: url, LEDGERHOOK_KEY: key, RECEIVER_URL: receiver } = process.env;
const called = new Set();
const watch = {
  get(client, name) {
    called.add(name);
    return client[name].bind(client);
  },
};
const clientOf = (options) => new Proxy(new Client({ url, key, ...options }), watch);
const client = clientOf();

/** Asks again until the answer is the one that is waited for. */
async function until(ask, wanted) {
  for (let answer; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
    answer = await ask();
    if (wanted(answer)) return answer;
  }
}
const conversion = (id) => ({ type: 'conversion.created', data: { conversion_id: id } });
const ended = (pipeline_id, status) =>
  until(
    () => client.listDeliveries({ pipeline_id, limit: 1 }).take(9),
    (all) => all.length > 0 && all.every((one) => one.status === status),
  );

// Webhooks and events.
const webhook = await client.createWebhook({ url: `${receiver}/ok`, events: ['conversion.created'], name: 'A' });
assert.match(webhook.secret, /^whsec_/);
await client.createWebhook({ url: `${receiver}/ok`, events: ['click.tracked'], name: 'B' });
assert.deepEqual(
  (await client.listWebhooks({ limit: 1 }).take(9)).map(({ name }) => name),
  ['A', 'B'],
);
const renamed = await client.updateWebhook(webhook.id, { name: 'C' }, { ifVersion: webhook.version });
assert.equal((await client.getWebhook(webhook.id)).name, 'C');
await assert.rejects(client.updateWebhook(webhook.id, { name: 'D' }, { ifVersion: webhook.version }), Conflict);
assert.ok(renamed.version > webhook.version);
assert.equal((await client.revealSecret(webhook.id)).secret, webhook.secret);
assert.notEqual((await client.rotateSecret(webhook.id)).secret, webhook.secret);
assert.equal((await client.testWebhook(webhook.id)).status, 'completed');

const sent = await client.sendEvent(conversion('conv_1'), { idempotencyKey: 'once' });
assert.equal((await client.sendEvent(conversion('conv_1'), { idempotencyKey: 'once' })).id, sent.id);
const batch = await client.sendEvents([conversion('conv_2'), { type: 'no such type' }]);
assert.deepEqual([batch.accepted, batch.refused], [1, 1]);
const delivered = await ended(webhook.id, 'delivered');
assert.equal(delivered.length, 2);
assert.equal((await client.getDelivery(delivered[0].id)).attempts.length, 1);
assert.equal((await client.getEvent(sent.id)).id, sent.id);
assert.equal((await client.listEvents({ type: 'conversion.created', limit: 1 }).take(9)).length, 2);
assert.deepEqual(
  (await client.webhookLogs(webhook.id).take(9)).map(({ status }) => status),
  ['success', 'success'],
);
assert.equal((await client.listExecutions({ limit: 1 }).take(9)).length, 2);
await client.retryDelivery(delivered[0].id);
await client.deleteWebhook(webhook.id);
await assert.rejects(client.getWebhook(webhook.id), NotFound);

// Pipelines: one that fails, and one that is paused.
const retry_policy = { max_attempts: 1 };
const failing = await client.createPipeline({
  name: 'Failing',
  trigger_type: 'conversion',
  on_exhausted: 'halt',
  steps: [{ url: `${receiver}/fail`, retry_policy }],
});
assert.equal((await client.getPipeline(failing.id)).name, 'Failing');
assert.equal((await client.testPipeline(failing.id)).status, 'failed');
assert.equal((await client.testStep({ url: `${receiver}/ok` })).http_status, 200);
const step = failing.steps[0].id;
const { secret } = await client.revealStepSecret(failing.id, step);
assert.notEqual((await client.rotateStepSecret(failing.id, step)).secret, secret);
await client.sendEvents([conversion('conv_3'), conversion('conv_4'), conversion('conv_5')]);
await ended(failing.id, 'dead_lettered');
const lanes = await client.listLanes(failing.id, { limit: 1 }).take(9);
assert.deepEqual(
  lanes.map(({ state }) => state),
  ['held', 'held', 'held'],
);
await client.skipLane(failing.id, lanes[0].resource);
await client.resumeLane(failing.id, lanes[1].resource);
assert.equal((await client.listFailures().take(9)).length, 3);
const letters = await client.listDeadLetters({ limit: 1 }).take(9);
assert.equal(letters.length, 3);
await client.retryDeadLetter(letters[0].id);
await client.deleteDeadLetter(letters[1].id);
await client.updatePipeline(failing.id, { status: 'paused' });
assert.equal((await client.listPipelines({ status: 'paused' }).take(9))[0].id, failing.id);
const held = await client.sendEvent(conversion('conv_6'));
const [waiting] = await client.listDeliveries({ event_id: held.id }).take(1);
assert.equal((await client.cancelDelivery(waiting.id)).status, 'cancelled');
assert.ok((await client.stats()).summary);
await client.deletePipeline(failing.id);

// Tenants and keys.
const tenant = await client.createTenant({ id: 'acme', name: 'Acme', profile: 'standard' });
await client.updateTenant('acme', { name: 'Acme Corp' });
assert.equal((await client.getTenant('acme')).name, 'Acme Corp');
assert.ok((await client.listTenants({ limit: 1 }).take(9)).length >= 2);
const made = await client.createKey('acme', { scopes: ['read'] });
assert.equal((await client.listKeys('acme', { limit: 1 }).take(9)).length, 2);
assert.deepEqual(await clientOf({ key: made.key }).listWebhooks().take(1), []);
assert.deepEqual(await clientOf({ tenant: 'acme' }).listWebhooks().take(1), []);
const [{ public_key }] = (await client.signingKeys('acme')).keys;
const { keys } = await client.rotateSigningKeys('acme', { overlap_seconds: 60 });
assert.deepEqual(keys.map(({ status }) => status), ['current', 'former']);
assert.equal(keys[1].public_key, public_key);
await client.deleteKey('acme', made.id);
await assert.rejects(clientOf({ key: made.key }).listWebhooks().take(1), Unauthorized);
await assert.rejects(
  client.createTenant({ name: 'x', profile: 'nope' }),
  (error) => error instanceof InvalidRequest && error.errors[0].pointer === '/profile',
);

// The three trees of the providers.
const types = { attribution: 'partner.created', apexmediation: 'payout.failed', social: 'post.created' };
for (const [profile, type] of Object.entries(types)) {
  const { api_key } = await client.createTenant({ id: profile, name: profile, profile });
  const own = clientOf({ key: api_key.key, profile });
  const draft = { events: [type], secret: 'a secret of twenty-four bytes or more' };
  const [first] = [
    await own.createWebhook({ url: 'https://a.example/1', ...draft }),
    await own.createWebhook({ url: 'https://a.example/2', ...draft }),
  ];
  assert.deepEqual(
    (await own.listWebhooks({ limit: 1 }).take(9)).map(({ url }) => url.slice(-1)),
    ['1', '2'],
  );
  assert.equal((await own.updateWebhook(first.id, { status: 'paused' })).status, 'paused');
  assert.equal((await own.revealSecret(first.id)).secret, draft.secret);
  assert.deepEqual(await own.webhookLogs(first.id).take(9), []);
  await own.deleteWebhook(first.id);
  await assert.rejects(own.getWebhook(first.id), NotFound);
  await client.deleteTenant(profile);
}

// What is, and the proof of it.
assert.ok((await client.audit({ limit: 1 }).take(3)).length === 3);
assert.ok((await client.state()).position > 0);
assert.equal((await client.log({ from: 1, limit: 1 }).take(3)).length, 3);
assert.equal((await client.verifyLog()).sound, true);
assert.ok(Array.isArray((await client.egressIps()).ips));
assert.equal(tenant.profile, 'standard');

const left = Object.getOwnPropertyNames(Client.prototype).filter((name) => name !== 'constructor' && !called.has(name));
assert.deepEqual(left, [], 'calls that were not made');
console.log('walked through', called.size, 'calls');
