// The client against a server that answers as it is told.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, test } from 'node:test';
import { inspect } from 'node:util';
import * as library from '@ledgerhook/client';

const { Client, ConnectionError, Conflict, InvalidRequest, NotFound, Unauthorized, Unavailable, UnexpectedAnswer } =
  library;
const KEY = 'lhk_the_key_of_the_tests';
const SECRET = 'a secret of the tests, long enough';
const problem = (status, code, rest = {}) => ({
  status,
  body: { type: 'about:blank', title: 'x', status, code, detail: `because of ${code}`, ...rest },
});
const data = (value, status = 200) => ({ status, body: { success: true, data: value } });

const servers = [];
after(() => servers.forEach((server) => server.close() && server.closeAllConnections()));

/** Answers the requests one after another, the last answer for good; keeps what it saw. */
async function serve(...answers) {
  const seen = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { method, url, headers } = request;
    seen.push({ method, url, headers, body: body && JSON.parse(body) });
    const answer = answers[Math.min(seen.length, answers.length) - 1];
    if (answer === 'silence') return;
    if (answer === 'hang up') return void request.socket.destroy();
    const { status, body: json, headers: more, text = json === undefined ? '' : JSON.stringify(json) } = answer;
    response.writeHead(status, { 'content-type': 'application/json', ...more }).end(text);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  const url = `http://127.0.0.1:${server.address().port}`;
  return { seen, url, client: (options) => new Client({ url, key: KEY, ...options }) };
}

test('a webhook is created with key, idempotency key and body as given', async () => {
  const { seen, client } = await serve(data({ id: 'wh_1' }, 201));
  const draft = { url: 'https://a.example', events: ['x'], secret: SECRET };
  assert.deepEqual(await client().createWebhook(draft), { id: 'wh_1' });
  const [{ method, url, headers, body }] = seen;
  assert.deepEqual([method, url, body], ['POST', '/api/webhooks', draft]);
  assert.equal(headers.authorization, `Bearer ${KEY}`);
  assert.match(headers['idempotency-key'], /^[\x21-\x7e]{20,128}$/);
  await client({ tenant: 't2' }).createWebhook(draft, { idempotencyKey: 'mine' });
  assert.deepEqual([seen[1].headers['idempotency-key'], seen[1].headers['x-tenant-id']], ['mine', 't2']);
});

test('each profile has its webhooks at its own path, and answers without an envelope are taken too', async () => {
  const { seen, client } = await serve({ status: 201, body: { id: 'webhook_1' } });
  for (const profile of ['attribution', 'apexmediation', 'social', 'afftok']) {
    assert.equal((await client({ profile }).createWebhook({})).id, 'webhook_1');
  }
  assert.deepEqual(
    seen.map(({ url }) => url),
    ['/webhooks', '/v1/webhooks', '/api/v1/webhooks', '/api/webhooks'],
  );
});

test('ids are escaped, and cannot lead to another path', async () => {
  const { seen, client } = await serve(data({}));
  await client().getWebhook('a/b?c#d é');
  await client().skipLane('pipe_1', 'deal:7/8');
  assert.deepEqual(
    seen.map(({ url }) => url),
    ['/api/webhooks/a%2Fb%3Fc%23d%20%C3%A9', '/api/pipelines/pipe_1/lanes/deal%3A7%2F8/skip'],
  );
  for (const id of ['', '.', '..', undefined, null]) assert.throws(() => client().getWebhook(id), /is no id/);
});

test('a list is read to its end, cursor by cursor and page by page', async () => {
  const cursors = await serve(
    data({ items: [1, 2], next: 'abc' }),
    data({ items: [], next: 'def' }),
    data({ items: [3], next: null }),
  );
  const items = [];
  for await (const item of cursors.client().listDeliveries({ status: 'delivered', type: undefined })) items.push(item);
  assert.deepEqual(items, [1, 2, 3]);
  assert.deepEqual(
    cursors.seen.map(({ url }) => url),
    ['', '&cursor=abc', '&cursor=def'].map((end) => `/api/deliveries?status=delivered${end}`),
  );

  const page = (pipelines, page) => data({ pipelines, pagination: { page, limit: 2, total: 3 } });
  const numbered = await serve(page(['a', 'b'], 1), page(['c'], 2));
  assert.deepEqual(await numbered.client().listPipelines().take(9), ['a', 'b', 'c']);
  assert.deepEqual(
    numbered.seen.map(({ url }) => url.split('?')[1]),
    [undefined, 'page=2'],
  );
});

test('a list that is a bare array goes on where its Link says', async () => {
  const link = '</api/v1/webhooks?limit=1&cursor=a%2Bb>; rel="next", </api/v1/webhooks?cursor=x>; rel="prev"';
  const { seen, client } = await serve({ status: 200, body: [1], headers: { link } }, { status: 200, body: [2] });
  assert.deepEqual(await client({ profile: 'social' }).listWebhooks({ limit: 1 }).take(9), [1, 2]);
  assert.equal(seen[1].url, '/api/v1/webhooks?limit=1&cursor=a%2Bb');
});

test('no more pages are read than are asked for', async () => {
  const { seen, client } = await serve(data({ items: [1, 2], next: 'abc' }));
  assert.deepEqual(await client().listEvents().take(2), [1, 2]);
  assert.equal(seen.length, 1);
});

test('each refusal has its class, with code, fields and request', async () => {
  const fields = [
    { pointer: '/url', code: 'bad_url', message: 'is no URL' },
    { pointer: '/events', code: 'length', message: 'is empty' },
  ];
  const { client } = await serve(problem(422, 'validation_failed', { errors: fields, request_id: 'req_1' }));
  const error = await client()
    .createWebhook({ secret: SECRET })
    .catch((error) => error);
  assert.ok(error instanceof InvalidRequest && error.name === 'InvalidRequest');
  assert.deepEqual(
    [error.status, error.code, error.errors, error.requestId],
    [422, 'validation_failed', fields, 'req_1'],
  );
  assert.match(
    error.message,
    /422 validation_failed: because of validation_failed\n  \/url: is no URL\n  \/events: is empty/,
  );
  for (const [status, kind] of [
    [401, Unauthorized],
    [404, NotFound],
    [409, Conflict],
    [412, Conflict],
    [500, Unavailable],
    [400, InvalidRequest],
  ]) {
    const { client, seen } = await serve(problem(status, 'x'));
    await assert.rejects(client().getWebhook('wh_1'), kind);
    assert.equal(seen.length, 1, `${status} is not repeated`);
  }
});

test('what is refused for now is sent again when the server says, the same each time', async () => {
  const later = (status) => ({ ...problem(status, 'busy'), headers: { 'retry-after': '0' } });
  const { seen, client } = await serve(later(429), later(503), data({ id: 'wh_1' }, 201));
  await client().createWebhook({ url: 'https://a.example' });
  assert.equal(seen.length, 3);
  assert.equal(new Set(seen.map(({ headers, body }) => headers['idempotency-key'] + JSON.stringify(body))).size, 1);
});

test('retries are bounded, in number and in time', async () => {
  const busy = { ...problem(429, 'busy'), headers: { 'retry-after': '0' } };
  const often = await serve(busy);
  await assert.rejects(often.client({ retries: 1 }).stats(), { retryAfter: 0 });
  assert.equal(often.seen.length, 2);
  const long = await serve({ ...busy, headers: { 'retry-after': '31' } });
  await assert.rejects(long.client().stats(), { retryAfter: 31 });
  const unsaid = await serve({ ...busy, headers: {} });
  await assert.rejects(unsaid.client().stats(), Unavailable);
  const date = await serve({ ...busy, headers: { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() } });
  await assert.rejects(date.client().stats(), ({ retryAfter }) => retryAfter > 3500 && retryAfter <= 3600);
  assert.deepEqual(
    [long, unsaid, date].map(({ seen }) => seen.length),
    [1, 1, 1],
  );
});

test('a lost answer is asked for again only where that cannot do anything twice', async () => {
  const events = await serve('hang up', data({ id: 'evt_1' }, 202));
  assert.equal((await events.client().sendEvent({ type: 'x', data: {} })).id, 'evt_1');
  assert.equal(events.seen[0].headers['idempotency-key'], events.seen[1].headers['idempotency-key']);
  const reads = await serve('hang up', data({ position: 1 }));
  assert.equal((await reads.client().state()).position, 1);
  const writes = await serve('hang up', data({}));
  await assert.rejects(writes.client().retryDelivery('dlv_1'), ConnectionError);
  await assert.rejects((await serve('hang up')).client().rotateSecret('wh_1'), ConnectionError);
  assert.equal(writes.seen.length, 1);
});

test('a server that does not answer is given up', async () => {
  const { client } = await serve('silence');
  await assert.rejects(client({ timeout: 50, retries: 0 }).state(), {
    name: 'ConnectionError',
    message: 'GET /api/state failed: no answer within 50 ms',
  });
});

test('the key is not taken along a redirect', async () => {
  const other = await serve(data({}));
  const { client } = await serve({ status: 307, headers: { location: `${other.url}/stolen` } });
  await assert.rejects(client({ retries: 0 }).state(), ConnectionError);
  assert.equal(other.seen.length, 0);
});

test('what is no answer of the API is told as such, without repeating it', async () => {
  for (const answer of [
    { status: 200, text: '<html>' },
    { status: 502, text: `echo ${KEY}` },
    { status: 200, text: '"text"' },
  ]) {
    const { client } = await serve(answer);
    await assert.rejects(
      client({ retries: 0 }).state(),
      (error) => error instanceof UnexpectedAnswer && !error.message.includes('echo'),
    );
  }
});

test('no error and no client shows key or secret', async () => {
  for (const answer of [problem(422, 'x'), problem(401, 'y'), 'hang up', { status: 500, text: KEY }]) {
    const { client } = await serve(answer);
    const error = await client({ retries: 0 })
      .createWebhook({ secret: SECRET })
      .catch((error) => error);
    const shown =
      inspect(error, { depth: 9, showHidden: true }) +
      error.stack +
      JSON.stringify(error) +
      inspect(client(), { depth: 9, showHidden: true });
    assert.ok(!shown.includes(KEY) && !shown.includes(SECRET), shown);
  }
});

test('a key or URL that cannot be is refused at once, without being shown', () => {
  const make = (options) => () => new Client({ url: 'https://a.example', key: KEY, ...options });
  assert.throws(make({ key: undefined }), /`key` is to be an API key/);
  assert.throws(make({ key: `${KEY}\r\nX: y` }), (error) => !error.message.includes(KEY));
  assert.throws(make({ url: 'ftp://a.example' }), /https/);
  assert.throws(make({ url: `https://u:${KEY}@a.example` }), (error) => !error.message.includes(KEY));
});

test('a change names the version that it is made for', async () => {
  const { seen, client } = await serve(data({ version: 4 }));
  await client().updateWebhook('wh_1', { description: null }, { ifVersion: 3 });
  assert.deepEqual([seen[0].method, seen[0].headers['if-match'], seen[0].body], ['PUT', '"3"', { description: null }]);
});

test('the types name what is there, and nothing else', () => {
  const types = readFileSync(new URL('../src/index.d.ts', import.meta.url), 'utf8');
  const [, body] = /export class Client \{(.*?)\n\}/s.exec(types);
  const typed = [...body.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name);
  assert.deepEqual(typed.sort(), Object.getOwnPropertyNames(Client.prototype).sort());
  const exported = [...types.matchAll(/^export (?:class|function) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(exported.sort(), Object.keys(library).sort());
});
