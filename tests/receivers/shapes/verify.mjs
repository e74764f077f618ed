// Checks deliveries in the two published schemes that `examples/profiles` follow, by nothing but their documents:
// docs.stripe.com/webhooks ("Verify webhook signatures manually") and docs.github.com ("Validating webhook deliveries").
// Reads requests as a JSON array from the file that is named; prints one verdict a line.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';

const equal = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

const schemes = {
  stripe(secret, headers, body) {
    const pairs = (headers['stripe-signature'] ?? '').split(',').map((pair) => pair.split('=', 2));
    const timestamp = pairs.find(([key]) => key === 't')?.[1];
    if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300)) return false;
    const expected = createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex');
    return pairs.some(([key, value]) => key === 'v1' && equal(value, expected));
  },
  github(secret, headers, body) {
    const expected = 'sha256=' + createHmac('sha256', secret).update(body).digest('hex');
    return equal(headers['x-hub-signature-256'] ?? '', expected);
  },
};

for (const { scheme, secret, headers, body } of JSON.parse(readFileSync(process.argv[2], 'utf8'))) {
  console.log(schemes[scheme](secret, headers, Buffer.from(body, 'base64')));
}
