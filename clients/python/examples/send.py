import os

from ledgerhook import Client, InvalidRequest

client = Client(os.environ["LEDGERHOOK_URL"], os.environ["LEDGERHOOK_KEY"])

webhook = client.create_webhook({
    "url": os.environ["RECEIVER_URL"],
    "events": ["conversion.created"],
    "secret": os.environ["WEBHOOK_SECRET"],
})
print("made", webhook["id"])

event = client.send_event({
    "type": "conversion.created",
    "data": {"conversion_id": "conv_1", "amount": 49.99, "currency": "USD"},
})

for delivery in client.list_deliveries(event_id=event["id"]):
    print(delivery["resource"], delivery["status"])

try:
    client.update_webhook(webhook["id"], {"url": "nonsense", "events": []})
except InvalidRequest as error:
    for field in error.errors:
        print(field["pointer"], field["message"])
