"""The workloads: each runs once in a round and answers with its figures, or with several rows of them, each with its name."""

import subprocess
import time

from . import load
from .engine import Engine
from .machine import Counters, resident_mib

WORKLOADS = []
#: Requests in flight to the receiver, which is one host.
IN_FLIGHT = 256


def workload(name, goal, large=False):
    """Adds a function to the list."""

    def add(function):
        WORKLOADS.append((name, goal, large, function))
        return function

    return add


def measured(context, binary, events, settings=None, **options):
    """One run of the load against a fresh engine, with what the engine used up for it."""
    settings = {"delivery_concurrency_per_host": IN_FLIGHT, **(settings or {})}
    with Engine(binary, context.folder, **settings) as engine:
        return used(context, engine, events=events, **options)


def used(context, engine, **options):
    """One run of the load, with what the engine used up for it."""
    began = Counters(engine.pid, engine.folder)
    told = load.run(context.load, engine.address, **options)
    time.sleep(0.3)  # read models follow
    ended = Counters(engine.pid, engine.folder)
    row = dict(told)
    count = told["deliveries"] or told["events"]
    row["cpu_us"] = (ended.cpu_s - began.cpu_s) * 1e6 / count
    row["switches"] = (ended.switches - began.switches) / count
    row["written"] = (ended.written - began.written) / count
    row["flushes"] = (ended.flushes - began.flushes) / count
    row["resident_mib"] = resident_mib(engine.pid)
    if told["out_of_order"] and options.get("resources") != 1:
        raise RuntimeError(f"out of order: {told}")
    return row


def delivered(row):
    return row["deliveries"] / row["delivered_s"]


def accepted(row):
    return row["events"] / row["accepted_s"]


def compared(context, row, rate):
    """The rate, and its share of the bare loop's in the same round."""
    row["rate"] = rate
    row["of_bare"] = rate / context.bare_rate
    return row


@workload("one pipeline", "≥ 0.33 of the bare loop, ≤ 32 µs")
def one_pipeline(context, binary):
    row = measured(context, binary, context.events(25_000))
    return compared(context, row, delivered(row))


@workload("fan-out of ten", "≥ 0.55 of the bare loop")
def fan_out(context, binary):
    row = measured(context, binary, context.events(4_000), pipelines=10)
    return compared(context, row, delivered(row))


@workload("accept only", "≥ 0.5 of the bare loop")
def accept_only(context, binary):
    row = measured(context, binary, context.events(50_000), paused=1)
    return compared(context, row, accepted(row))


@workload("200 a second", "p50 ≤ 1.5 syncs + 0.5 ms, p99 ≤ 4 syncs + 4 ms")
def trickle(context, binary):
    return measured(context, binary, context.events(200), rate=200)


@workload("receiver of 50 ms", "≥ 90 % of what the concurrency allows")
def slow_receiver(context, binary):
    allowed = IN_FLIGHT / 0.05
    row = measured(context, binary, context.events(4_000), delay_ms=50)
    row["rate"], row["of_allowed"] = delivered(row), delivered(row) / allowed
    return row


@workload("one hot resource", "≥ 0.9 of 1 / (sync + receiver time)")
def hot_resource(context, binary):
    receiver = load.run(context.load, events=2_000, connections=1)["p50_ms"]
    row = measured(context, binary, context.events(2_000), resources=1, connections=8)
    allowed = 1000 / (context.sync_ms + receiver)
    row["rate"], row["of_allowed"] = delivered(row), delivered(row) / allowed
    return row


@workload("a neighbour with 2,000 queued for 5 s each", "p50 and p99 within 1.5 × of alone")
def neighbour(context, binary):
    def beside(is_busy):
        with Engine(binary, context.folder) as engine:
            own, other = engine.make_tenant("own"), engine.make_tenant("other")
            busy = None
            if is_busy:
                words = load.command(context.load, engine.address, key=other, events=2_000, delay_ms=5_000)
                busy = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(3)
            told = load.run(context.load, engine.address, key=own, events=context.events(50), rate=50, resources=50, connections=8)
            if busy:
                busy.kill()
                busy.wait()
            return told

    alone, row = beside(False), beside(True)
    row["p50_of_alone"], row["p99_of_alone"] = row["p50_ms"] / alone["p50_ms"], row["p99_ms"] / alone["p99_ms"]
    return row


@workload("100,000 resources, 10,000 pipelines", "within 20 % of the first row", large=True)
def many(context, binary):
    settings = {"default_profile": "standard"}
    options = {"resources": 100_000, "pipelines": 10_000, "apart": 1}
    row = measured(context, binary, max(context.events(25_000), 100_000), settings, **options)
    return compared(context, row, delivered(row))


def backlog(context, binary, events):
    """Accepted while paused, killed, started again, then delivered."""
    with Engine(binary, context.folder, delivery_concurrency_per_host=IN_FLIGHT) as engine:
        words = load.command(context.load, engine.address, events=events, paused=1, hold=1)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(words, **pipes) as process:
            assert process.stdout.readline().strip() == "posted"
            waiting = resident_mib(engine.pid)
            engine.kill()
            restart = engine.start()
            row = load.figures(process.communicate("go\n")[0])
            row["waiting_mib"], row["restart_s"] = waiting, restart
            row["resident_mib"] = resident_mib(engine.pid)
    return compared(context, row, delivered(row))


@workload("1,000,000 waiting", "≤ 256 MiB, restart ≤ 3 s, drains at the first row's rate", large=True)
def million(context, binary):
    return backlog(context, binary, 1_000_000)


@workload("10,000,000 waiting", "≤ 1.5 GiB, restart ≤ 30 s", large=True)
def ten_millions(context, binary):
    return backlog(context, binary, 10_000_000)


@workload("idle", "≤ 30 MiB, ≤ 0.1 % CPU")
def idle(context, binary):
    with Engine(binary, context.folder) as engine:
        time.sleep(1)
        began, seconds = Counters(engine.pid, engine.folder), max(context.seconds, 5)
        time.sleep(seconds)
        used = Counters(engine.pid, engine.folder).cpu_s - began.cpu_s
        return dict(resident_mib=resident_mib(engine.pid), cpu_percent=100 * used / seconds)
