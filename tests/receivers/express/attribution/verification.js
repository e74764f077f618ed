// ATT-16: definition and use of the document's verifier.
const express = require('express');
const app = express();
app.use(express.json());

//= attribution/verification-example.js
