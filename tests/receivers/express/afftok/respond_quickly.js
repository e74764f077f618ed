// AFF-36, AFF-37: acknowledges whatever comes, then leaves out what it knows by its id.
const express = require('express');
const app = express();
app.use(express.json());

//= afftok-overview/respond-quickly.js
//= afftok-overview/handle-duplicates.js
