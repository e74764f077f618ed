// ATT-19, T-8: calls `verifySignature(req)` without the secret that the document's own definition needs.
const express = require('express');
const app = express();
app.use(express.json());
const handleDealAttributed = (data) => seen.push(data.dealId);
const handlePartnerCreated = (data) => seen.push(data.id);

//= attribution/create-an-endpoint.js

{
  //= attribution/verification-example.js
}
