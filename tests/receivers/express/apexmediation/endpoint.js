// APX-13: complete but for what it does with an event.
const handleWebhookEvent = (event) => seen.push(event.event);

//= apexmediation/create-webhook-endpoint.js
