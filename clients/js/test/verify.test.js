// SIG.1, SIG.5, SIG.7: both verifiers against the vectors that all clients share (made with openssl).

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { VerificationError, verify } from '@ledgerhook/client';
import { verify as verifyOnTheWeb } from '@ledgerhook/client/web';

const vectors = JSON.parse(readFileSync(new URL('../../vectors.json', import.meta.url)));

const outcome = async (check, { secret, headers, body, profile, now }, bytes = body) => {
  try {
    return await check(bytes, headers, secret, { profile, now });
  } catch (error) {
    assert.ok(error instanceof VerificationError, error);
    for (const one of [secret].flat().filter(Boolean)) assert.ok(!error.message.includes(one), 'a secret in a message');
    return error.reason;
  }
};
const expected = ({ reason, body }) => reason ?? (body === '' ? null : JSON.parse(body));

for (const vector of vectors) {
  test(`verify, ${vector.name}`, async () => {
    const forms = [vector.body, Buffer.from(vector.body), new TextEncoder().encode(vector.body).buffer];
    for (const body of forms) {
      assert.deepEqual(await outcome(verify, vector, body), expected(vector));
      assert.deepEqual(await outcome(verifyOnTheWeb, vector, body), expected(vector));
    }
    const asHeaders = { ...vector, headers: new Headers(vector.headers) };
    assert.deepEqual(await outcome(verify, asHeaders), expected(vector));
  });
}

test('a parsed body is refused, with the way to get the raw one', () => {
  const [{ secret, headers, profile }] = vectors;
  assert.throws(() => verify({ type: 'x' }, headers, secret, { profile }), {
    reason: 'raw_body_needed',
    message: /express\.raw/,
  });
});

test('another tolerance counts, and none that is no number', () => {
  const { body, headers, secret, now } = vectors.find(({ name }) => name === 'standard: 300 s old');
  const check = (tolerance) => verify(body, headers, secret, { now, tolerance });
  assert.ok(check(300));
  for (const tolerance of [299, 0, NaN]) assert.throws(() => check(tolerance), { reason: 'stale_timestamp' });
});

test('an unknown profile is a mistake of the program, and named', () => {
  assert.throws(
    () => verify('', {}, 'secret', { profile: 'constructor' }),
    /there is no profile "constructor"; known are/,
  );
});

test('bytes that are no UTF-8 are verified, and then refused', () => {
  const body = Buffer.from([0xff]);
  const signature = createHmac('sha256', 'secret').update(body).digest('hex');
  const check = () => verify(body, { 'x-afftok-signature': signature }, 'secret', { profile: 'afftok' });
  assert.throws(check, { reason: 'not_json' });
});
