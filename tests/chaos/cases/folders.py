"""Two owners, an orderly stop, a copy, folds, and how long a start takes."""

import json
import os
import shutil
import subprocess
import threading
import time

from ..checker import alike
from ..engine import OPERATOR_KEY, Engine, Failed, eventually
from ..load import conversion
from ..run import Run, verify
from ..sink import Reply
from . import Skipped, case


@case("CRS.9", "three folds, and the start's, give the state that was running; the long run has a snapshot")
def folds(context):
    run = Run(context, delay=0).begin(clients=0)
    engine = run.engine
    # A snapshot is taken each 500,000 records.
    fill(run, context.times(10_000, 600_000))
    eventually("all has ended", lambda: engine.pending() == 0, 600, 0.1)
    if context.long:
        eventually("a snapshot", lambda: "took a snapshot" in engine.log_text(), 60, 0.2)
    before = engine.state()
    engine.terminate()
    to = ("--to", str(before["position"]))
    replayed = [json.loads(engine.verb("log", "replay", *to).stdout) for _ in range(3)]
    if any(one != before for one in replayed):
        raise Failed(f"running {before}, folded {replayed}")
    if problems := verify(engine):
        raise Failed(str(problems))
    engine.start()
    if not alike(before, engine.state()):
        raise Failed(f"running {before}, started {engine.state()}")
    context.note(f"equal at {before['position']} records")


@case("CRS.13", "a second process on the same folder, under load")
def a_second_process(context):
    run = Run(context, delay=0).begin(clients=3, pause=0.005)
    run.load.start()
    for _ in range(5):
        second = Engine(context.binary, run.engine.folder)
        second.log_path = os.path.join(context.folder, "second.log")
        command = [second.binary, "--data-dir", second.folder, "--listen", "127.0.0.1:0"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if refused.returncode == 0 or "in use" not in refused.stderr + refused.stdout:
            raise Failed(f"a second process ended with {refused.returncode}: {refused.stderr}")
        run.load.accepts_more(20, "the first goes on", 20)
    run.load.stop()
    run.finish()
    context.note("5 refused, the first was not disturbed")


@case("CRS.14", "SIGTERM under load")
def orderly_stops(context):
    rounds = context.times(5, 100)
    run = Run(context, answer=lambda _: Reply(200, delay=0.2), delay=0).begin(clients=3, pause=0.005)
    run.load.start()
    for _ in range(rounds):
        run.load.accepts_more(30, patience=30)
        code = run.engine.terminate()
        if code != 0:
            raise Failed(f"exit code {code}: {run.engine.tail()}")
        run.engine.start()
    run.load.stop()
    history = run.finish()
    unknown = sum(a["outcome"] == "unknown" for d in history["deliveries"] for a in d["attempts"])
    if unknown:
        raise Failed(f"{unknown} attempts in flight did not end within the grace time")
    context.note(f"{rounds} stops with code 0, every attempt in flight ended")


@case("CRS.16", "a copy of the folder, taken while it is written to, starts elsewhere")
def a_copy(context):
    run = Run(context, delay=0).begin(clients=3, pause=0.002)
    run.load.start()
    for number in range(context.times(3, 50)):
        run.load.accepts_more(200)
        before = {post["id"] for post in list(run.load.posts) if post["status"] == 202}
        copy = context.engine(f"copy-{number}")
        shutil.copytree(run.engine.folder, copy.folder, ignore=shutil.ignore_patterns("address"))
        if problems := verify(copy):
            raise Failed(f"the copy does not verify: {problems}")
        copy.start()
        eventually("its lists follow", lambda c=copy: len(c.list("/api/deliveries")) == c.state()["events"], 30, 0.1)
        known = {one["event_id"] for one in copy.list("/api/deliveries")}
        copy.kill()
        if lost := before - known:
            raise Failed(f"{len(lost)} events that were acknowledged before the copy are not in it: {sorted(lost)[:3]}")
    run.load.stop()
    # The copies send, too: what the receiver saw is not of one engine any more.
    eventually("all has ended", lambda: run.engine.pending() == 0, 60)
    run.engine.terminate()
    if problems := verify(run.engine):
        raise Failed(str(problems))
    context.note("each held all that was acknowledged before it")


def fill(run, records, threads=2):
    """Batches until the log has so many records."""
    numbers, lock = iter(range(10**9)), threading.Lock()

    def work():
        while run.engine.state()["position"] < records:
            with lock:
                batch = [conversion(f"fill_{n}", f"conv_{n % 500}", n) for n in (next(numbers) for _ in range(500))]
            sent = time.monotonic()
            status, answer = run.engine.api("POST", "/api/events/batch", {"events": batch}, timeout=60)
            if status != 202:
                time.sleep(0.05)
                answer = {}
            results = {one["index"]: one for one in answer.get("data", answer).get("events", [])}
            for index, event in enumerate(batch):
                one = results.get(index, {})
                is_taken = "position" in one or one.get("status") in ("accepted", 202)
                post = {"id": event["id"], "client": -2, "resource": event["data"]["conversion_id"], "event": event}
                post.update(sent=sent, answered=time.monotonic() if is_taken else None, tries=1)
                post.update(status=202 if is_taken else None, position=one.get("position"))
                run.posts.append(post)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@case("CRS.10-figure", "how long a start takes to its first delivery")
def recovery(context):
    if not os.path.exists(context.load):
        raise Skipped(f"{context.load} is missing: cargo build --release --example load")
    state = {"is_healthy": True}
    run = Run(context, answer=lambda _: Reply(200 if state["is_healthy"] else 500), attempts=50, delay=1)
    engine = run.engine.start()
    # Three records an event: accepted, attempt started, attempt ended.
    events = context.times(100_000, 10_000_000) // 3 + 1
    address = f"{engine.address[0]}:{engine.address[1]}"
    command = [context.load, "--engine", address, "--key", OPERATOR_KEY, "--events", str(events)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "refused 0, out of order 0, repeated 0" not in told:
        raise Failed(told)
    engine.create_pipeline(run.sink.url, attempts=50, delay=1)
    state["is_healthy"] = False
    run.post(conversion("evt_last", "conv_last", 0))
    eventually("it was tried", lambda: any(r["event"] == "evt_last" and r["end"] for r in run.sink.requests), 20)
    position = engine.state()["position"]
    figures = []
    for name in ("first start", "second"):
        engine.kill()
        time.sleep(1.2)
        seen, began = len(run.sink.requests), time.monotonic()
        engine.start(120)
        ready = time.monotonic() - began
        eventually("a request", lambda n=seen: len(run.sink.requests) > n, 120, 0.002)
        figures.append(run.sink.requests[seen]["start"] - began)
        context.note(f"{name}: ready after {ready:.2f} s, first delivery after {figures[-1]:.2f} s")
    # The target is told; what fails is ten times that, since machines of CI are what they are.
    target = 10 if context.long else 1
    if max(figures) > 10 * target:
        raise Failed(f"{max(figures):.1f} s at {position} records, {target} s is the target")
    engine.kill()
    if problems := verify(engine):
        raise Failed(str(problems))
    run.sink.stop()
    context.note(f"{position} records, target {target} s")
