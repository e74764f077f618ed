// What a delivery claims, and what has to hold for it: the part of verify() that needs no cryptography, and so is
// the same in Node and on the web.

import { VerificationError } from './errors.js';

/** The profiles' own headers: hex HMAC-SHA256 of the raw body, behind a prefix. */
const PROFILES = {
  __proto__: null,
  afftok: { headers: ['X-Afftok-Signature'] },
  attribution: { headers: ['X-Attribution-Signature'] },
  apexmediation: { headers: ['X-Apexmediation-Signature', 'X-Adstack-Signature'] },
  social: { headers: ['X-Webhook-Signature'], prefix: 'sha256=' },
};

const encoder = new TextEncoder();
const fail = (reason, message) => {
  throw new VerificationError(reason, message);
};

/**
 * The body as bytes, and all claims: each is a list of alternatives, one of which has to hold.
 * An alternative is `{ algorithm: 'hmac' | 'ed25519', key, message, signature }`.
 */
export function claims(body, headers, secret, { profile = 'standard', tolerance = 300, now = Date.now() / 1000 } = {}) {
  const bytes = raw(body);
  const secrets = [secret].flat();
  if (secrets.length === 0 || !secrets.every((one) => typeof one === 'string' && one !== '')) {
    fail('unusable_secret', 'the secret is empty or no text: is its environment variable set?');
  }
  const read = (name) => header(headers, name);
  if (profile === 'standard') return { bytes, claims: [standard(bytes, read, secrets, tolerance, now)] };
  const shape = typeof profile === 'string' ? PROFILES[profile] : profile;
  if (!shape)
    throw new TypeError(`there is no profile "${profile}"; known are standard, ${Object.keys(PROFILES).join(', ')}`);
  return { bytes, claims: own(bytes, read, secrets, shape) };
}

/** Standard Webhooks: `{id}.{timestamp}.{body}`, several signatures of which one has to fit. */
function standard(bytes, read, secrets, tolerance, now) {
  const [id, timestamp, signatures] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map(
    (name) => read(name) ?? fail('missing_header', `the header ${name} is missing`),
  );
  if (!/^\d{1,15}$/.test(timestamp)) fail('malformed_header', 'webhook-timestamp is not a number of seconds');
  const age = Math.round(now - Number(timestamp));
  if (!(Math.abs(age) <= tolerance)) {
    const when = age > 0 ? `${age} s ago` : `${-age} s in the future`;
    fail('stale_timestamp', `signed ${when}, allowed are ${tolerance} s: a replay, or a clock that is off`);
  }
  const message = concat(encoder.encode(`${id}.${timestamp}.`), bytes);
  const keys = secrets.map(standardKey);
  const given = signatures.split(' ').flatMap((entry) => {
    const [, version, text] = /^(v1a?),([A-Za-z0-9+/]+={0,2})$/.exec(entry) ?? [];
    const signature = version && decode(text);
    return signature ? [{ algorithm: version === 'v1' ? 'hmac' : 'ed25519', signature }] : [];
  });
  if (given.length === 0) fail('malformed_header', 'webhook-signature has no signature of the versions v1 and v1a');
  return keys.flatMap(({ algorithm, key }) =>
    given.filter((one) => one.algorithm === algorithm).map(({ signature }) => ({ algorithm, key, message, signature })),
  );
}

/** `whsec_` and `whpk_` stand before base64; without either the key is the text itself. */
function standardKey(secret) {
  const [, kind, text] = /^(whsec|whpk|whsk)_(.*)$/s.exec(secret) ?? [];
  if (!kind) return { algorithm: 'hmac', key: encoder.encode(secret) };
  if (kind === 'whsk') fail('unusable_secret', 'this is the private key of the sender; receivers need whpk_…');
  const key = decode(text);
  if (!key?.length || (kind === 'whpk' && key.length !== 32)) {
    fail('unusable_secret', `what follows ${kind}_ is not base64 of ${kind === 'whpk' ? '32 bytes' : 'a key'}`);
  }
  return { algorithm: kind === 'whpk' ? 'ed25519' : 'hmac', key };
}

/** A profile's own headers. Where there are several, at least one is there, and each that is there has to fit. */
function own(bytes, read, secrets, { headers, prefix = '' }) {
  const given = headers.map((name) => [name, read(name)]).filter(([, value]) => value !== undefined);
  if (given.length === 0) fail('missing_header', `the header ${headers.join(' or ')} is missing`);
  return given.map(([name, value]) => {
    const hex = value.startsWith(prefix) ? value.slice(prefix.length) : '';
    if (!/^[0-9a-f]{64}$/i.test(hex)) fail('malformed_header', `${name} is not ${prefix}<64 hexadecimal digits>`);
    const signature = Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
    return secrets.map((one) => ({ algorithm: 'hmac', key: encoder.encode(one), message: bytes, signature }));
  });
}

/** The event of a body whose claims hold; `null` for an empty one. */
export function event(bytes, holds) {
  if (!holds)
    fail('wrong_signature', 'no signature fits: another secret, or a body that was changed or serialised anew');
  if (bytes.length === 0) return null;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return fail('not_json', 'the signature fits, but the body is not JSON in UTF-8');
  }
}

function raw(body) {
  if (typeof body === 'string') return encoder.encode(body);
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  return fail(
    'raw_body_needed',
    "needs the body as it came, not parsed: express.raw({ type: 'application/json' }), await request.text()",
  );
}

/** From `Headers`, or from an object with names in any case. */
function header(headers, name) {
  if (typeof headers?.get === 'function') return headers.get(name) ?? undefined;
  const found = Object.keys(headers ?? {}).find((key) => key.toLowerCase() === name.toLowerCase());
  return found === undefined || headers[found] == null ? undefined : String(headers[found]);
}

function decode(base64) {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function concat(first, second) {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}
