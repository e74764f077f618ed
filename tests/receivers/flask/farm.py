"""Serves every receiver of this folder at /<provider>/<name>, each as an application of its own.

In a receiver a line `#= FILE` stands for that snippet of tests/fixtures/documents, as it is printed there, at the
indentation of the line.
"""

import re
from pathlib import Path
from textwrap import indent

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

HERE = Path(__file__).resolve().parent
DOCUMENTS = HERE.parents[1] / "fixtures/documents"


def load(path):
    def snippet(line):
        return indent((DOCUMENTS / line[2]).read_text(encoding="utf-8"), line[1])

    source = re.sub(r"^( *)#= (\S+)$", snippet, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    names = {"__name__": path.stem}
    exec(compile(source, path, "exec"), names)
    return names["app"]


receivers = {f"/{path.parent.name}/{path.stem}": load(path) for path in sorted(HERE.glob("[a-z]*/*.py"))}
server = make_server("127.0.0.1", 0, DispatcherMiddleware(Flask("farm"), receivers), threaded=True)
print(f"listening on {server.port}", flush=True)
server.serve_forever()
