# Our own client; `?secret=` and `?profile=` are what the receiver knows.
import sys
from pathlib import Path

from flask import Flask, request

sys.path.insert(0, str(Path.cwd().parents[2] / "clients/python/src"))
from ledgerhook import VerificationError, verify  # noqa: E402

app = Flask(__name__)


@app.post("/")
def receive():
    profile = request.args.get("profile", "standard")
    try:
        event = verify(request.get_data(), request.headers, request.args["secret"], profile=profile)
    except VerificationError as error:
        return f"{error.reason}: {error}", 401
    return "", 200 if event else 500
