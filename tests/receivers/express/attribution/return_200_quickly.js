// ATT-20, ATT-23: acknowledges whatever comes, then leaves out what it has stored under the same id.
const express = require('express');
const app = express();
app.use(express.json());

const stored = [];
const db = {
  webhooks: {
    findOne: async ({ id }) => stored.find((one) => one.id === id),
    insert: async (one) => stored.push(one),
  },
};
const handleEvent = async (event) => seen.push(event.id);
const processWebhookAsync = processWebhook;

//= attribution/return-200-quickly.js
//= attribution/store-webhook-ids.js
