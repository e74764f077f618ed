// Our own client, in Node and as it is in workers; `?secret=` and `?profile=` are what the receiver knows.
const express = require('express');
const client = esm('clients/js/src/index.js');
const web = esm('clients/js/src/web.js');
const app = express();

app.post('/', express.raw({ type: 'application/json' }), async (req, res) => {
  const { secret, profile } = req.query;
  try {
    const event = (await client).verify(req.body, req.headers, secret, { profile });
    await (await web).verify(req.body, req.headers, secret, { profile });
    res.status(event ? 200 : 500).send();
  } catch (error) {
    res.status(error.reason ? 401 : 500).send(`${error.reason}: ${error.message}`);
  }
});
