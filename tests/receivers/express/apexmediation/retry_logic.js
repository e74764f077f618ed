// APX-19: the receiver's own retries, when its processing fails twice, or for good.
const express = require('express');
const app = express();
app.use(express.json());

const sleep = async (milliseconds) => seen.push(`slept ${milliseconds}`);
const storeFailedEvent = async (event, error) => seen.push(`stored ${event.event}: ${error.message}`);
let failures = 0;
async function handleWebhookEvent(event) {
  const allowed = event.event === 'payout.failed' ? Infinity : 2;
  if (failures++ < allowed) throw new Error('no database');
  seen.push(`handled ${event.event}`);
}
app.post('/webhooks/apexmediation', async (req, res) => {
  failures = 0;
  await processEventAsync(req.body);
  res.status(200).send('OK');
});

//= apexmediation/implement-retry-logic.js
