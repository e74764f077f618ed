# SOC-28, SOC-33, SOC-53: the same handler, and a verifier that hashes the bytes which it is given.
import hashlib
import hmac
import os

from flask import Flask, make_response, request

app = Flask(__name__)
WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"]
process_event_async = print


def verify_signature(signature, body, secret):
    expected_signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return f"sha256={expected_signature}" == signature


#= social/create-a-webhook-endpoint.py
