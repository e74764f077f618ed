import { createHmac, createPublicKey, timingSafeEqual, verify as verifyEd25519 } from 'node:crypto';
import { claims, event } from './claims.js';

/**
 * Checks a delivery and answers with its event; throws a `VerificationError` that says what is wrong.
 * `body` is what came over the wire, before anything parsed it. Compares in constant time.
 */
export function verify(body, headers, secret, options) {
  const claimed = claims(body, headers, secret, options);
  return event(
    claimed.bytes,
    claimed.claims.every((alternatives) => alternatives.some(holds)),
  );
}

function holds({ algorithm, key, message, signature }) {
  if (algorithm === 'ed25519') {
    const x = Buffer.from(key).toString('base64url');
    return verifyEd25519(
      null,
      message,
      createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }),
      signature,
    );
  }
  const expected = createHmac('sha256', key).update(message).digest();
  return signature.length === expected.length && timingSafeEqual(signature, expected);
}
