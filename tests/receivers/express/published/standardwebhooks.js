// `standardwebhooks` of npm; `?secret=` is what the receiver knows.
const express = require('express');
const { Webhook } = require('standardwebhooks');
const app = express();

app.post('/', express.raw({ type: 'application/json' }), (req, res) => {
  try {
    const event = new Webhook(req.query.secret).verify(req.body.toString(), req.headers);
    res.status(event ? 200 : 500).send();
  } catch (error) {
    res.status(401).send(error.message);
  }
});
