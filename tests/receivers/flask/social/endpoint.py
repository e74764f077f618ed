# SOC-31, T-7: hands the raw bytes to a verifier that serialises: `bytes is not JSON serializable`.
import os

from flask import Flask, make_response, request

app = Flask(__name__)
WEBHOOK_SECRET = os.environ["WEBHOOK_SECRET"]
process_event_async = print

#= social/create-a-webhook-endpoint.py
#= social/verification-examples.py
