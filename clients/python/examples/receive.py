import os

from flask import Flask, request
from ledgerhook import VerificationError, verify

app = Flask(__name__)


@app.post("/webhooks")
def receive():
    try:
        event = verify(request.get_data(), request.headers, os.environ["WEBHOOK_SECRET"])
    except VerificationError as error:
        print("refused:", error.reason, error)
        return "", 401
    print("received", event["type"], "with id", request.headers["webhook-id"])
    return "", 200
