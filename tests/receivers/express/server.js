const express = require('express');
const crypto = require('crypto');

const app = express();
app.use(express.json());

app.post('/webhooks/afftok', (req, res) => {
  // Verify signature
  const signature = req.headers['x-afftok-signature'];
  const payload = JSON.stringify(req.body);
  const expectedSignature = crypto
    .createHmac('sha256', process.env.WEBHOOK_SECRET)
    .update(payload)
    .digest('hex');

  if (signature !== expectedSignature) {
    return res.status(401).json({ error: 'Invalid signature' });
  }

  // Process event
  const event = req.body;
  
  switch (event.type) {
    case 'conversion.created':
      handleConversionCreated(event.data);
      break;
    case 'conversion.approved':
      handleConversionApproved(event.data);
      break;
    case 'fraud.detected':
      handleFraudDetected(event.data);
      break;
    default:
      console.log('Unhandled event type:', event.type);
  }

  // Respond quickly
  res.status(200).json({ received: true });
});

function handleConversionCreated(data) {
  console.log('New conversion:', data.conversion_id);
  // Update your database, send notifications, etc.
}

function handleConversionApproved(data) {
  console.log('Conversion approved:', data.conversion_id);
  // Credit user account, etc.
}

function handleFraudDetected(data) {
  console.log('Fraud detected:', data.reason);
  // Log fraud event, alert team, etc.
}

app.listen(3000);
