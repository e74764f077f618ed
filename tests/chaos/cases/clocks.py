"""The wall clock jumps, runs backwards, and is shown in other zones."""

import re
import time
from datetime import datetime, timezone

from ..engine import Failed, eventually
from ..faults import Faults
from ..load import conversion
from ..run import Run
from ..sink import Reply
from . import case

HOUR = 3_600_000
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(\S*?)[\"']")


def waiting(context, faults, delay, events=10):
    """A run whose events have each failed once and wait for their retry."""
    engine = context.engine(variables=faults.variables)
    answer = lambda request: Reply(500 if request["attempt"] == 1 else 200)  # noqa: E731
    run = Run(context, engine=engine, answer=answer, delay=delay, has_right_clock=False).begin(clients=0)
    for number in range(events):
        run.post(conversion(f"evt_{number}", f"conv_{number}", number))
    eventually("each has failed once", lambda: sum(r["end"] is not None for r in run.sink.requests) >= events, 20)
    time.sleep(0.1)
    return run


def gaps(run):
    """Seconds between the two attempts of each event; there have to be two."""
    found = []
    for event in {request["event"] for request in run.sink.requests}:
        sent = [request for request in run.sink.requests if request["event"] == event]
        if [request["attempt"] for request in sent] != [1, 2]:
            raise Failed(f"{event}: attempts {[request['attempt'] for request in sent]}")
        found.append(sent[1]["start"] - sent[0]["end"])
    return found


def jump(context, jump_ms):
    faults = Faults(context)
    run = waiting(context, faults, delay=3)
    faults.clock_ms = jump_ms
    run.finish()
    found = gaps(run)
    if min(found) < 2.0 or max(found) > 8.0:
        raise Failed(f"retries came {min(found):.2f} to {max(found):.2f} s behind their failure instead of 3")
    context.note(f"{len(found)} retries {min(found):.2f} to {max(found):.2f} s behind their failure instead of 3")


@case("CLK.1", "the wall clock jumps one hour back while retries wait")
def an_hour_back(context):
    jump(context, -HOUR)


@case("CLK.2", "the wall clock jumps one day forward while retries wait")
def a_day_forward(context):
    jump(context, 24 * HOUR)


@case("CLK.3", "the wall clock jumps while the engine is down")
def jumps_while_down(context):
    for name, by in (("forward", HOUR), ("back", -HOUR)):
        faults = Faults(context)
        run = waiting(context, faults, delay=3)
        run.engine.kill()
        faults.clock_ms = by
        run.engine.start()
        up = time.monotonic()
        eventually("all is delivered", lambda e=run.engine: e.pending() == 0, 20)
        late = time.monotonic() - up
        if late > 3 + 5:
            raise Failed(f"{name}: {late:.1f} s to the last retry, of which 3 at most remained")
        run.finish()
        gaps(run)
        context.note(f"an hour {name}: {late:.2f} s from the start to the last retry")
        context.fresh(run.engine)


@case("CLK.4", "the clock steps back between events and within a millisecond")
def steps_between_events(context):
    faults = Faults(context)
    engine = context.engine(variables=faults.variables)
    run = Run(context, engine=engine, delay=0, has_right_clock=False).begin(clients=3, pause=0.0)
    run.load.start()
    for step in range(50):
        faults.clock_ms = context.dice.choice((0, -1, -2, -50, -5_000, 20, -HOUR, HOUR))
        time.sleep(0.03)
        if step == 25:
            engine.kill()
            engine.start()
    run.load.stop()
    history = run.finish()
    context.note(f"50 steps, {len(history['posts'])} events: ids unique, order is that of acceptance")


@case("CLK.5", "the timestamp of a signature is that of its attempt")
def timestamps_of_attempts(context):
    wanted = context.times(1_000, 10_000)
    run = Run(context, delay=3).begin(clients=3, pause=0.0, resources=100)
    run.load.start()
    eventually("enough events", lambda: run.load.accepted >= wanted, 600)
    run.load.stop()
    history = run.finish()
    off = [abs(request["timestamp"] - request["wall"]) for request in history["requests"]]
    # What waited behind a failure is three seconds older than its attempt: that it is right shows in the retries.
    retries = sum(request["attempt"] > 1 for request in history["requests"])
    if retries < wanted // 50:
        raise Failed(f"only {retries} retries")
    context.note(f"{len(off)} requests, {retries} of them retries, at most {max(off):.2f} s from the receiver's clock")


def check_times(text, where):
    for match in TIME.finditer(text):
        if match.group(1) != "Z":
            raise Failed(f"{where}: {match.group(0)} is not UTC")
        moment = datetime.fromisoformat(match.group(0)[:19]).replace(tzinfo=timezone.utc)
        if moment.year > 2024 and abs(moment.timestamp() - time.time()) > 120:
            raise Failed(f"{where}: {match.group(0)} is not now")
    return len(TIME.findall(text))


@case("CLK.6", "zones at both ends of the world, and one that changes its offset")
def zones(context):
    # The last one leaves its summer time a minute from now.
    now = datetime.now(timezone.utc)
    change = f"CHG-1CHS,0/0,{now.timetuple().tm_yday - 1}/{(now.hour + 2) % 24}:{now.minute:02}"
    for zone in ("<+14>-14", "<-12>12", change):
        engine = context.engine(variables={"TZ": zone})
        run = Run(context, engine=engine, delay=0).begin(clients=0)
        for number in range(20):
            run.post(conversion(f"evt_{number}", f"conv_{number % 3}", number))
        eventually("all has ended", lambda e=engine: e.pending() == 0, 20)
        text = ""
        for path in ("/api/deliveries", "/api/admin/webhooks/pipelines", "/api/admin/webhooks/stats", "/api/state"):
            text += str(engine.get(path)) + "\n"
        for one in engine.list("/api/deliveries")[:5]:
            text += str(engine.get(f"/api/deliveries/{one['id']}"))
        seen = check_times(text, f"API in {zone}") + check_times(engine.log_text(), f"log in {zone}")
        if seen < 20:
            raise Failed(f"only {seen} times were seen")
        run.finish()
        context.note(f"{zone}: {seen} times, all UTC")
        context.fresh(engine)
