"""`kill -9` at random moments, at markers, in the middle of a start."""

import contextlib
import threading
import time
from http.client import HTTPException

from ..checker import is_success
from ..engine import Failed, eventually
from ..load import conversion
from ..run import Run, flaky
from ..sink import Reply
from . import case


@case("CRS.1", "kill -9 at random moments and at markers, under load")
def kills_under_load(context):
    dice, kills = context.dice, context.times(200, 5_000)
    arrived, answered, accepted = (threading.Event() for _ in range(3))
    flaky_answer = flaky(context.seed)

    def answer(request):
        arrived.set()
        reply = flaky_answer(request)
        reply.delay = 0.02 if dice.random() < 0.2 else 0.0
        return reply

    run = Run(context, answer=answer, after=lambda _: answered.set(), delay=0).begin(clients=3, pause=0.02)
    run.load.on_accepted = lambda _: accepted.set()
    run.load.start()
    engine = run.engine
    for number in range(kills):
        marker = (arrived, answered, accepted, None, None)[number % 5]
        time.sleep(dice.random() * 0.15)
        if marker is not None:
            # A request is under way, its answer is out, a 202 is out: the moment is now.
            marker.clear()
            marker.wait(2)
        engine.kill()
        if number % 10 == 9:
            # And in the middle of the start that follows.
            engine.spawn()
            time.sleep(dice.random() * 0.03)
            engine.kill()
        engine.start()
    run.load.stop()
    history = run.finish()
    context.note(f"{kills} kills, {len(history['posts'])} events, {len(history['requests'])} requests, none lost")


@case("CRS.10", "killed in its own recovery, ten times in a row")
def killed_in_recovery(context):
    run = Run(context).begin(clients=4, pause=0.001)
    run.load.start()
    eventually("some load", lambda: run.load.accepted > 500, 60)
    run.engine.kill()
    for _ in range(10):
        run.engine.spawn()
        time.sleep(context.dice.random() * 0.03)
        run.engine.kill()
    run.engine.start()
    run.load.stop()
    run.finish()
    context.note("10 starts cut short")


@case("CRS.11", "three of eight attempts are made: five remain, at their time")
def attempts_survive(context):
    run = Run(context, answer=lambda _: Reply(500), attempts=8, delay=1, timed=True).begin(clients=0)
    run.post(conversion("evt_0", "conv_0", 0))
    sent = run.sink.requests
    eventually("three attempts", lambda: len(sent) == 3 and sent[2]["end"], 10)
    time.sleep(0.1)
    run.engine.kill()
    run.engine.start()
    eventually("it is dead", lambda: run.engine.list("/api/admin/webhooks/logs/dlq"), 20)
    numbers = [request["attempt"] for request in sent]
    if numbers != list(range(1, 9)):
        raise Failed(f"attempts {numbers}")
    gap = sent[3]["start"] - sent[2]["end"]
    if not 0.9 <= gap <= 2.5:
        raise Failed(f"{gap:.2f} s to the attempt behind the kill, not the one second that was decided")
    run.finish()
    context.note(f"{gap:.2f} s over a kill instead of 1")


@case("CRS.12", "killed between the receiver's 200 and its record")
def killed_behind_the_answer(context):
    rounds = context.times(20, 500)
    run = Run(context, delay=0)
    kill_now = threading.Event()

    def after(request):
        if kill_now.is_set():
            kill_now.clear()
            run.engine.went_down()
            run.engine.process.kill()

    run.sink.answer, run.sink.after = (lambda _: Reply(200)), after
    run.begin(clients=0)
    again = 0
    for number in range(rounds):
        kill_now.set()
        # The receiver may have its request before the client has its answer: then the kill takes the answer along.
        with contextlib.suppress(OSError, HTTPException):
            run.post(conversion(f"evt_{number}", f"conv_{number}", number))
        run.engine.process.wait(20)
        run.engine.start()
        event = f"evt_{number}"
        eventually("it has ended", lambda: run.engine.pending() == 0, 20)
        sent = [request for request in run.sink.requests if request["event"] == event]
        if len(sent) > 2 or not is_success(sent[-1]):
            raise Failed(f"{event} was sent {len(sent)} times")
        if [request["attempt"] for request in sent] != list(range(1, len(sent) + 1)):
            raise Failed(f"{event}: attempts {[request['attempt'] for request in sent]}")
        again += len(sent) - 1
    run.finish()
    if again == 0:
        raise Failed("no kill came in time")
    context.note(f"{rounds} kills, {again} sent once more")
