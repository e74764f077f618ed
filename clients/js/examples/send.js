import { Client, InvalidRequest } from '@ledgerhook/client';

const client = new Client({ url: process.env.LEDGERHOOK_URL, key: process.env.LEDGERHOOK_KEY });

const webhook = await client.createWebhook({
  url: process.env.RECEIVER_URL,
  events: ['conversion.created'],
  secret: process.env.WEBHOOK_SECRET,
});
console.log('made', webhook.id);

const event = await client.sendEvent({
  type: 'conversion.created',
  data: { conversion_id: 'conv_1', amount: 49.99, currency: 'USD' },
});

for await (const delivery of client.listDeliveries({ event_id: event.id })) {
  console.log(delivery.resource, delivery.status);
}

try {
  await client.updateWebhook(webhook.id, { url: 'nonsense', events: [] });
} catch (error) {
  if (!(error instanceof InvalidRequest)) throw error;
  for (const { pointer, message } of error.errors) console.log(pointer, message);
}
