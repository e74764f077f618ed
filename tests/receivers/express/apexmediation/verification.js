// APX-14: the helper, and its use within a handler.
const express = require('express');
const app = express();
app.use(express.json());
const { WEBHOOK_SECRET } = process.env;

app.post('/webhooks/apexmediation', (req, res) => {
  //= apexmediation/verify-webhook-signature.js
  res.status(200).send('OK');
});
