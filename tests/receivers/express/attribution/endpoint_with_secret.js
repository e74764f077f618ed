// ATT-16, ATT-18: the same handler, and a `verifySignature` that knows the secret.
const express = require('express');
const crypto = require('crypto');
const app = express();
app.use(express.json());
const handleDealAttributed = (data) => seen.push(data.dealId);
const handlePartnerCreated = (data) => seen.push(data.id);

function verifySignature(req) {
  const hmac = crypto.createHmac('sha256', process.env.WEBHOOK_SECRET);
  const expected = hmac.update(JSON.stringify(req.body)).digest('hex');
  return req.headers['x-attribution-signature'] === expected;
}

//= attribution/create-an-endpoint.js
