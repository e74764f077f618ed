// For browsers, workers and other places with WebCrypto instead of Node's. The same names; verify() is async.

import { claims, event } from './claims.js';

export { Client } from './client.js';
export * from './errors.js';
export { Pages } from './pages.js';

/** As `verify` of the main entry, but a promise: never forget the `await`. */
export async function verify(body, headers, secret, options) {
  const claimed = claims(body, headers, secret, options);
  let all = true;
  for (const alternatives of claimed.claims) {
    all = (await Promise.all(alternatives.map(holds))).includes(true) && all;
  }
  return event(claimed.bytes, all);
}

async function holds({ algorithm, key, message, signature }) {
  const { subtle } = globalThis.crypto;
  const kind = algorithm === 'hmac' ? { name: 'HMAC', hash: 'SHA-256' } : { name: 'Ed25519' };
  return subtle.verify(kind.name, await subtle.importKey('raw', key, kind, false, ['verify']), signature, message);
}
