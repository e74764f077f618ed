# SOC-31: the document's verifier, given the parsed body that it is written for. Fits bodies in the form `python` (T-1).
import os

from flask import Flask, request

app = Flask(__name__)

#= social/verification-examples.py


@app.route("/webhooks/social-media", methods=["POST"])
def receive():
    if not verify_signature(request.headers.get("X-Webhook-Signature"), request.json, os.environ["WEBHOOK_SECRET"]):
        return "Invalid signature", 401
    return "OK", 200
