"""Producers: each posts one event after the other, and posts it again until it has an answer."""

import http.client
import json
import random
import threading
import time

from .engine import call, eventually


def conversion(event, resource, number):
    """`conversion.created`."""
    return {
        "id": event,
        "type": "conversion.created",
        "timestamp": "2024-01-15T10:35:00Z",
        "data": {"conversion_id": resource, "amount": 49.99, "n": number},
    }


class Load:
    """Threads that post until they are stopped; each has resources of its own."""

    def __init__(self, engine, seed, clients=4, resources=8, pause=0.005, pad=0, prefix="evt"):
        self.engine = engine
        self.pause, self.pad, self.prefix = pause, pad, prefix
        self.posts = []
        self.accepted = 0
        #: called with every post that got its 202
        self.on_accepted = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(client, resources, random.Random(seed * 1_000 + client)), daemon=True)
            for client in range(clients)
        ]

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def accepts_more(self, count, what="some load", patience=60):
        """Waits until more than `count` further events have their 202."""
        before = self.accepted
        eventually(what, lambda: self.accepted > before + count, patience)

    def stop(self):
        """Lets each client finish its event; the engine has to be up by then."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
            if thread.is_alive():
                raise TimeoutError("a client still waits for an answer")

    def _run(self, client, resources, dice):
        connection, number = None, 0
        while not self._stopping.is_set():
            resource = f"conv_{client}_{dice.randrange(resources)}"
            event = conversion(f"{self.prefix}_{client}_{number}", resource, number)
            if self.pad:
                event["data"]["pad"] = "x" * self.pad
            number += 1
            post = {"id": event["id"], "client": client, "resource": resource, "event": event, "sent": time.monotonic()}
            post.update(answered=None, status=None, position=None, tries=0)
            with self._lock:
                self.posts.append(post)
            body = json.dumps(event).encode()
            while post["answered"] is None:
                post["tries"] += 1
                try:
                    if connection is None:
                        connection = http.client.HTTPConnection(*self.engine.address, timeout=15)
                    status, answer = call(connection, "POST", "/api/events", body)
                except (OSError, http.client.HTTPException, TypeError):
                    connection = None
                    time.sleep(0.01)
                    continue
                if status >= 500 or status == 429:
                    time.sleep(0.02)
                    continue
                post["answered"], post["status"] = time.monotonic(), status
                post["position"] = answer.get("data", {}).get("position")
                if 200 <= status < 300:
                    with self._lock:
                        self.accepted += 1
                    if self.on_accepted:
                        self.on_accepted(post)
            time.sleep(self.pause * dice.random() * 2)
