# APX-15: the helper, and its use within a handler. Fits bodies in the form `python` (T-1).
import os

from flask import Flask, request

app = Flask(__name__)
WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"]


@app.route("/webhooks/apexmediation", methods=["POST"])
def receive():
    #= apexmediation/verify-webhook-signature.py
    return "OK", 200
