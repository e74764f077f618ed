// `svix` of npm; `?secret=` is what the receiver knows.
const express = require('express');
const { Webhook } = require('svix');
const app = express();

app.post('/', express.raw({ type: 'application/json' }), (req, res) => {
  try {
    new Webhook(req.query.secret).verify(req.body, req.headers);
    res.send();
  } catch (error) {
    res.status(401).send(error.message);
  }
});
