"""What people ask of the API, one question after the other over one connection."""

import http.client
import json
import random
import statistics
import time

from .engine import OPERATOR_KEY


class Queries:
    """Asks each kind in turn, and keeps how long the answers took."""

    def __init__(self, engine, events):
        self.connection = http.client.HTTPConnection(*engine.address, timeout=60)
        self.events, self.dice = events, random.Random(1)
        pipeline = json.loads(self.ask("/api/admin/webhooks/pipelines?limit=1"))["data"]["pipelines"][0]["id"]
        self.paths = {
            "GET /api/deliveries?limit=50": lambda: "/api/deliveries?limit=50",
            "… of a pipeline": lambda: f"/api/deliveries?limit=50&pipeline_id={pipeline}",
            "… of a resource": lambda: f"/api/deliveries?limit=50&resource=r{self.dice.randrange(1000)}",
            "… dead-lettered (none is)": lambda: "/api/deliveries?limit=50&status=dead_lettered",
            "GET /api/events/{id}": lambda: f"/api/events/evt_{self.dice.randrange(self.events):012}",
            "GET …/webhooks/stats": lambda: "/api/admin/webhooks/stats",
            "GET …/webhooks/pipelines": lambda: "/api/admin/webhooks/pipelines",
            "GET …/logs/dlq": lambda: "/api/admin/webhooks/logs/dlq",
        }
        self.taken = {name: [] for name in self.paths}

    def ask(self, path):
        """Answers with the body; a question that is refused ends the benchmark."""
        self.connection.request("GET", path, headers={"Authorization": f"Bearer {OPERATOR_KEY}"})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {text}")
        return text

    def turn(self):
        """Each kind once."""
        for name, path in self.paths.items():
            wanted = path()
            began = time.monotonic()
            self.ask(wanted)
            self.taken[name].append((time.monotonic() - began) * 1000)

    def times(self):
        """A row for each kind."""
        cuts = {name: statistics.quantiles(taken, n=100, method="inclusive") for name, taken in self.taken.items()}
        return {name: dict(p50_ms=cut[49], p99_ms=cut[98]) for name, cut in cuts.items()}
