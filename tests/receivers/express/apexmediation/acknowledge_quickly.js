// APX-17, APX-18: acknowledges, then leaves out what it knows by event, timestamp and payout.
const express = require('express');
const crypto = require('crypto');
const app = express();
app.use(express.json());

function verifySignature(req) {
  const hmac = crypto.createHmac('sha256', process.env.WEBHOOK_SECRET);
  const expected = hmac.update(JSON.stringify(req.body)).digest('hex');
  return req.headers['x-apexmediation-signature'] === expected;
}
const processEvent = async (event) => seen.push(event.data);

//= apexmediation/acknowledge-receipt-quickly.js
//= apexmediation/handle-idempotency.js
