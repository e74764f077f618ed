"""A run: an engine, a receiver, clients; at its end everything is gathered and judged."""

import json
import os
import random
import shutil
import time

from .checker import check
from .engine import Engine, Failed, eventually
from .load import Load
from .sink import Reply, Sink


class Context:
    """What a case is given."""

    def __init__(self, binary, folder, seed, long):
        self.binary, self.folder, self.seed, self.long = binary, folder, seed, long
        #: the load generator, beside the binary
        self.load = os.path.join(os.path.dirname(binary), "examples", "load")
        self.dice = random.Random(seed)
        #: what the case did, for its line
        self.notes = []
        self.engines = []

    def note(self, text):
        self.notes.append(text)

    def times(self, usual, long):
        return long if self.long else usual

    def engine(self, name="data", **more):
        engine = Engine(self.binary, os.path.join(self.folder, name), **more)
        self.engines.append(engine)
        return engine

    def fresh(self, engine):
        """The next engine of this name begins with nothing."""
        engine.stop()
        shutil.rmtree(engine.folder)

    def close(self):
        """No process outlives its case."""
        for engine in self.engines:
            engine.stop()


def flaky(seed, share=0.1):
    """A receiver that fails a share of its requests."""
    dice = random.Random(seed)
    return lambda request: Reply(500 if dice.random() < share else 200)


class Run:
    """See the module."""

    def __init__(self, context, engine=None, answer=None, after=None, attempts=8, delay=1, timed=False, has_right_clock=True):
        self.context = context
        self.engine = engine or context.engine()
        self.sink = Sink(answer or flaky(context.seed), after)
        self.attempts, self.delay, self.timed = attempts, delay, timed
        self.has_right_clock = has_right_clock
        self.stills = []
        self.posts = []

    def begin(self, **load):
        """Starts the engine and makes the pipeline."""
        self.engine.start()
        self.pipeline = self.engine.create_pipeline(self.sink.url, attempts=self.attempts, delay=self.delay)
        self.load = Load(self.engine, self.context.seed, **load)
        return self

    def post(self, event, tries=1):
        """One event from here, on the record."""
        post = {"id": event["id"], "client": -1, "resource": event["data"]["conversion_id"], "event": event}
        post.update(sent=time.monotonic(), answered=None, status=None, position=None, tries=tries)
        self.posts.append(post)
        status, answer = self.engine.api("POST", "/api/events", event)
        post.update(answered=time.monotonic(), status=status, position=answer.get("data", {}).get("position"))
        if status >= 500 or status == 429:
            post.update(answered=None, status=None)
        return status, answer

    def finish(self, patience=120, deep=True):
        """Comes to rest, gathers, judges; then the log is verified and folded again."""
        engine = self.engine
        eventually("every delivery has ended", lambda: engine.pending() == 0, patience, 0.05)
        posts = self.posts + self.load.posts
        listed = eventually("the lists tell what the engine does", lambda: settled(engine), 60, 0.05)
        deliveries = [told(engine.get(f"/api/deliveries/{one['id']}")) for one in listed]
        dead = [item["delivery_id"] for item in engine.list("/api/admin/webhooks/logs/dlq")]
        history = {
            "posts": posts,
            "requests": list(self.sink.requests),
            "deliveries": deliveries,
            "dead": dead,
            "counts": engine.state(),
            "outages": list(engine.outages),
            "stills": self.stills,
            "attempts_max": self.attempts,
            "delay": float(self.delay) if self.timed else None,
        }
        if not self.has_right_clock:
            for request in history["requests"]:
                request["timestamp"] = 0
        if deep:
            history["before"] = engine.state()
            code = engine.terminate()
            if code != 0:
                raise Failed(f"exit code {code} behind SIGTERM: {engine.tail()}")
            # A stop writes its own fact; the state before it is asked for by its position.
            to = ("--to", str(history["before"]["position"]))
            history["replayed"] = [json.loads(engine.verb("log", "replay", *to).stdout) for _ in range(3)]
            history["problems"] = verify(engine)
            engine.start()
            history["after"] = engine.state()
            engine.kill()
        else:
            engine.kill()
            history["problems"] = verify(engine)
        self.sink.stop()
        self.judge(history)
        return history

    def judge(self, history):
        breaks = check(history)
        if breaks:
            path = os.path.join(self.context.folder, "history.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(history, file)
            first = "; ".join(f"{invariant}: {text}" for invariant, text in breaks[:5])
            raise Failed(f"{len(breaks)} breaks: {first} (all in {path})")


def verify(engine):
    """What `log verify` finds."""
    verified = engine.verb("log", "verify")
    return [] if verified.returncode == 0 else [f"log verify: {verified.stdout} {verified.stderr}"]


def settled(engine):
    """All deliveries, once the lists have followed the engine."""
    counts, listed = engine.state()["deliveries"], engine.list("/api/deliveries")
    is_told = all(sum(one["status"] == name for one in listed) == count for name, count in counts.items())
    return (listed or [None]) and is_told and sum(counts.values()) == len(listed) and listed


def told(delivery):
    """A delivery of the API as the checker wants it."""
    attempts = [
        {
            "number": attempt["number"],
            "round": attempt.get("round", 1),
            "queue": attempt["queue"],
            "outcome": attempt["outcome"],
            "http_status": attempt.get("http_status"),
        }
        for attempt in delivery["attempts"]
    ]
    return {
        "id": delivery["id"],
        "pipeline": delivery["pipeline_id"],
        "event": delivery["event_id"],
        "status": delivery["status"],
        "attempts": attempts,
    }
