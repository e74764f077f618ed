# `svix` of PyPI; `?secret=` is what the receiver knows.
from flask import Flask, request
from svix.webhooks import Webhook, WebhookVerificationError

app = Flask(__name__)


@app.post("/")
def receive():
    try:
        Webhook(request.args["secret"]).verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError as error:
        return str(error), 401
    return ""
