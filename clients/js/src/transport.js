// Sends one request of the API: headers, timeout, retries, and what an answer means.

import {
  Conflict,
  ConnectionError,
  Forbidden,
  InvalidRequest,
  NotFound,
  Unauthorized,
  Unavailable,
  UnexpectedAnswer,
} from './errors.js';

/** Errors by status; others are `Unavailable` from 500 on, else `InvalidRequest`. */
const ERRORS = { 401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict, 412: Conflict, 429: Unavailable };

/** The server did not act, and says when to come again. */
const REFUSED_FOR_NOW = new Set([429, 503, 507]);

export class Transport {
  #key;

  constructor({ url, key, tenant, timeout = 30_000, retries = 2, longestWait = 30, fetch = globalThis.fetch }) {
    const base = new URL(url);
    if (!/^https?:$/.test(base.protocol)) throw new TypeError('`url` is to begin with https:// or http://');
    if (base.username || base.password)
      throw new TypeError('`url` is to be without user and password; the key goes into `key`');
    if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key)) throw new TypeError('`key` is to be an API key');
    this.#key = key;
    this.base = base.origin + base.pathname.replace(/\/+$/, '');
    Object.assign(this, { tenant, timeout, retries, longestWait, fetch });
  }

  /** `repeatable`: whether the request may be sent again when it is not known what became of it. */
  async send(method, path, { query, body, idempotencyKey, ifVersion, repeatable = method === 'GET' } = {}) {
    const headers = { accept: 'application/json', authorization: `Bearer ${this.#key}` };
    if (this.tenant) headers['x-tenant-id'] = this.tenant;
    if (idempotencyKey) headers['idempotency-key'] = idempotencyKey;
    if (ifVersion !== undefined) headers['if-match'] = `"${ifVersion}"`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    // A redirect would take the key elsewhere.
    const request = { method, headers, body: JSON.stringify(body), redirect: 'error' };
    for (let attempt = 0; ; attempt += 1) {
      const last = attempt >= this.retries;
      try {
        return await this.#once(this.base + path + parameters(query), request);
      } catch (error) {
        const wait = last ? undefined : this.#wait(error, attempt, repeatable);
        if (wait === undefined) throw error;
        await new Promise((resolve) => setTimeout(resolve, wait * 1000));
      }
    }
  }

  async #once(url, request) {
    let answer, text;
    try {
      answer = await this.fetch.call(undefined, url, { ...request, signal: AbortSignal.timeout(this.timeout) });
      text = await answer.text();
    } catch (error) {
      const late = error.name === 'TimeoutError' && `no answer within ${this.timeout} ms`;
      const why = late || (error.cause?.code ?? error.cause?.message ?? error.name);
      throw new ConnectionError(`${request.method} ${new URL(url).pathname} failed: ${why}`);
    }
    const json = parse(text);
    if (answer.ok && (json || text === '')) return bare(json, answer.headers.get('link'));
    const retryAfter = seconds(answer.headers.get('retry-after'));
    if (!answer.ok && typeof json?.status === 'number') {
      const kind = ERRORS[answer.status] ?? (answer.status >= 500 ? Unavailable : InvalidRequest);
      throw new kind(answer.status, json, retryAfter);
    }
    const what = `${answer.status} without a body of the API: is ${this.base} the right address?`;
    throw new UnexpectedAnswer(what, answer.status, retryAfter);
  }

  /** Seconds until the next attempt; nothing if there is to be none. */
  #wait(error, attempt, repeatable) {
    if (error instanceof ConnectionError && repeatable) return 0.25 * 2 ** attempt * (1 + Math.random());
    const asked = REFUSED_FOR_NOW.has(error.status) ? error.retryAfter : undefined;
    return asked <= this.longestWait ? asked : undefined;
  }
}

/** Without the envelope. Where a provider's lists are arrays, their cursors stand in `Link`. */
function bare(json, link) {
  if (!Array.isArray(json)) return json?.success === true && 'data' in json ? json.data : json;
  const [, next] = /<([^>]*)>; rel="next"/.exec(link ?? '') ?? [];
  return { items: json, next: next && new URL(next, 'http://list').searchParams.get('cursor') };
}

function parameters(query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return given.length === 0 ? '' : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

function parse(text) {
  try {
    const json = JSON.parse(text);
    return json !== null && typeof json === 'object' ? json : undefined;
  } catch {
    return undefined;
  }
}

/** `Retry-After`: seconds, or a date. */
function seconds(value) {
  if (!value) return undefined;
  const number = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isNaN(number) ? undefined : Math.max(0, number);
}
