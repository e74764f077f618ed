import { Pages } from './pages.js';
import { Transport } from './transport.js';

const PIPELINES = '/api/admin/webhooks/pipelines';
const LOGS = '/api/admin/webhooks/logs';

/** Where the profiles have their webhooks; all other tenants have them at `/api/webhooks`. */
const WEBHOOKS = {
  __proto__: null,
  attribution: '/webhooks',
  apexmediation: '/v1/webhooks',
  social: '/api/v1/webhooks',
};

/**
 * The API of one tenant.
 *
 *     const client = new Client({ url: 'https://hooks.example.com', key: process.env.LEDGERHOOK_KEY });
 *
 * Bodies and answers have the names of the API (docs/api.md), untouched. Lists are `Pages`. Whatever is refused
 * is thrown, as an `ApiError`.
 */
export class Client {
  #transport;
  #webhooks;

  constructor(options) {
    this.#transport = new Transport(options);
    this.#webhooks = WEBHOOKS[options.profile] ?? '/api/webhooks';
  }

  // Webhooks: one URL, some events.

  createWebhook(webhook, options) {
    return this.#create(this.#webhooks, webhook, options);
  }
  listWebhooks(query) {
    return this.#list(this.#webhooks, query, 'items');
  }
  getWebhook(id) {
    return this.#get(this.#webhooks + path`/${id}`);
  }
  /** What is absent stays, `null` clears. */
  updateWebhook(id, changes, options) {
    return this.#send('PUT', this.#webhooks + path`/${id}`, { body: changes, ...options });
  }
  deleteWebhook(id, options) {
    return this.#send('DELETE', this.#webhooks + path`/${id}`, options);
  }
  /** Sends a test event and waits for what the receiver says. */
  testWebhook(id, test) {
    return this.#send('POST', this.#webhooks + path`/${id}/test`, { body: test });
  }
  webhookLogs(id, query) {
    return this.#list(this.#webhooks + path`/${id}/logs`, query, 'items');
  }
  /** The signing secret in clear; the audit records that it was shown. */
  revealSecret(id) {
    return this.#get(path`/api/webhooks/${id}/secret`);
  }
  rotateSecret(id, rotation = {}) {
    return this.#send('POST', path`/api/webhooks/${id}/secret/rotate`, { body: rotation });
  }

  // Events in. Without an `id` of its own, an event gets one that is made of the idempotency key, so that sending
  // it again cannot deliver it twice.

  sendEvent(event, options) {
    return this.#create('/api/events', event, options);
  }
  /** Up to 1,000 events; each has its own outcome, in order. */
  sendEvents(events, options) {
    return this.#create('/api/events/batch', { events }, options);
  }
  listEvents(query) {
    return this.#list('/api/events', query, 'items');
  }
  getEvent(id) {
    return this.#get(path`/api/events/${id}`);
  }

  // Deliveries, dead letters, lanes.

  listDeliveries(query) {
    return this.#list('/api/deliveries', query, 'items');
  }
  /** With every attempt. */
  getDelivery(id) {
    return this.#get(path`/api/deliveries/${id}`);
  }
  cancelDelivery(id) {
    return this.#send('POST', path`/api/deliveries/${id}/cancel`);
  }
  retryDelivery(id) {
    return this.#send('POST', path`/api/deliveries/${id}/retry`);
  }
  listExecutions(query) {
    return this.#list(`${LOGS}/recent`, query, 'logs');
  }
  listFailures(query) {
    return this.#list(`${LOGS}/failures`, query, 'logs');
  }
  listDeadLetters(query) {
    return this.#list(`${LOGS}/dlq`, query, 'items');
  }
  retryDeadLetter(id) {
    return this.#send('POST', LOGS + path`/dlq/${id}/retry`);
  }
  deleteDeadLetter(id) {
    return this.#send('DELETE', LOGS + path`/dlq/${id}`);
  }
  listLanes(pipelineId, query) {
    return this.#list(path`/api/pipelines/${pipelineId}/lanes`, query, 'items');
  }
  /** Passes over the dead letter that a halted lane waits for. */
  skipLane(pipelineId, resource) {
    return this.#send('POST', path`/api/pipelines/${pipelineId}/lanes/${resource}/skip`);
  }
  resumeLane(pipelineId, resource) {
    return this.#send('POST', path`/api/pipelines/${pipelineId}/lanes/${resource}/resume`);
  }

  // Pipelines: several steps, in order.

  createPipeline(pipeline, options) {
    return this.#create(PIPELINES, pipeline, options);
  }
  listPipelines(query) {
    return this.#list(PIPELINES, query, 'pipelines');
  }
  getPipeline(id) {
    return this.#get(PIPELINES + path`/${id}`);
  }
  updatePipeline(id, changes, options) {
    return this.#send('PUT', PIPELINES + path`/${id}`, { body: changes, ...options });
  }
  deletePipeline(id, options) {
    return this.#send('DELETE', PIPELINES + path`/${id}`, options);
  }
  testPipeline(id, test = {}) {
    return this.#send('POST', path`/api/admin/webhooks/test/pipeline/${id}`, { body: test });
  }
  testStep(call) {
    return this.#send('POST', '/api/admin/webhooks/test/step', { body: call });
  }
  revealStepSecret(pipelineId, stepId) {
    return this.#get(path`/api/pipelines/${pipelineId}/steps/${stepId}/secret`);
  }
  rotateStepSecret(pipelineId, stepId, rotation = {}) {
    return this.#send('POST', path`/api/pipelines/${pipelineId}/steps/${stepId}/secret/rotate`, { body: rotation });
  }
  stats() {
    return this.#get('/api/admin/webhooks/stats');
  }

  // Tenants and keys.

  createTenant(tenant, options) {
    return this.#create('/api/tenants', tenant, options);
  }
  listTenants(query) {
    return this.#list('/api/tenants', query, 'items');
  }
  getTenant(id) {
    return this.#get(path`/api/tenants/${id}`);
  }
  updateTenant(id, changes) {
    return this.#send('PUT', path`/api/tenants/${id}`, { body: changes });
  }
  deleteTenant(id) {
    return this.#send('DELETE', path`/api/tenants/${id}`);
  }
  createKey(tenantId, key, options) {
    return this.#create(path`/api/tenants/${tenantId}/keys`, key, options);
  }
  listKeys(tenantId, query) {
    return this.#list(path`/api/tenants/${tenantId}/keys`, query, 'items');
  }
  deleteKey(tenantId, keyId) {
    return this.#send('DELETE', path`/api/tenants/${tenantId}/keys/${keyId}`);
  }

  /** The public keys of `v1a` signatures, and where everybody finds them. */
  signingKeys(tenantId) {
    return this.#get(path`/api/tenants/${tenantId}/signing-keys`);
  }
  rotateSigningKeys(tenantId, rotation = {}) {
    return this.#send('POST', path`/api/tenants/${tenantId}/signing-keys/rotate`, { body: rotation });
  }
  /** Where deliveries come from, and what that is going to change to. */
  egressIps() {
    return this.#get('/api/egress-ips');
  }

  // What is, and the proof of it.

  audit(query) {
    return this.#list('/api/audit', query, 'items');
  }
  state() {
    return this.#get('/api/state');
  }
  log(query) {
    return this.#list('/api/log', query, 'items');
  }
  verifyLog() {
    return this.#get('/api/log/verify');
  }

  #send(method, where, options) {
    return this.#transport.send(method, where, options);
  }
  #get(where) {
    return this.#send('GET', where);
  }
  /** With its key the same request does nothing twice, so that it may be repeated. */
  #create(where, body, { idempotencyKey = newKey() } = {}) {
    return this.#send('POST', where, { body, idempotencyKey, repeatable: true });
  }
  /** Lists go on with a cursor, or by numbered pages. */
  #list(where, query, items) {
    return new Pages(async (place) => {
      const data = await this.#send('GET', where, { query: { ...query, ...place } });
      const { page, limit, total } = data.pagination ?? {};
      const next = data.next ? { cursor: data.next } : page * limit < total ? { page: page + 1 } : undefined;
      return { items: data[items], next };
    });
  }
}

/** A path whose ids are escaped; `.` and `..` are no ids, and would lead elsewhere. */
function path(texts, ...ids) {
  return texts.map((text, at) => text + (at < ids.length ? segment(ids[at]) : '')).join('');
}

function segment(id) {
  const text = String(id ?? '');
  if (['', '.', '..'].includes(text)) throw new TypeError(`"${text}" is no id`);
  return encodeURIComponent(text);
}

/** No secret: it only has to be another one each time. Node 18 has no global `crypto`. */
function newKey() {
  return globalThis.crypto?.randomUUID?.() ?? [0, 0, 0].map(() => Math.random().toString(36).slice(2)).join('');
}
