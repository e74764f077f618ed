// SOC-30, SOC-51: the handler and the document's verifier.
const express = require('express');
const app = express();
app.use(express.json());
const { WEBHOOK_SECRET } = process.env;
const processEvent = (event) => seen.push(event.event);

//= social/create-a-webhook-endpoint.js
//= social/verification-examples.js
