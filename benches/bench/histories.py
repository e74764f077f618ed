"""The workloads about long histories: one engine whose log grows, run after run."""

import os
import socket
import subprocess
import time

from . import load
from .engine import Engine
from .machine import disk_bytes, resident_mib
from .queries import Queries
from .workloads import IN_FLIGHT, delivered, used, workload

#: Events of a measured run, the same at each length of the history.
SLICE = 20_000
#: The same of the long log: read models are merged in bursts, and some of each have to fall into it.
LONG_SLICE = 200_000
#: Events of one run of the load while the history grows: it remembers each of them.
GROWTH = 500_000
#: Records of an event that is delivered at the first attempt.
RECORDS = 3
#: Runs of the load keep both of the machine's cores busy this long while queries are made.
QUERIED_S = 20


class History:
    """An engine with one pipeline, and how many events it has had. The receiver's port stays, so the pipeline does."""

    def __init__(self, context, engine):
        self.context, self.engine, self.events = context, engine, 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def options(self, events):
        """Of the next run, which these events belong to."""
        options = dict(events=events, first_event=self.events, port=self.port, again=int(self.events > 0))
        self.events += events
        return options

    def grow_to(self, events):
        while self.events < events:
            options = self.options(min(GROWTH, events - self.events))
            load.run(self.context.load, self.engine.address, **options)

    def slice(self, events=SLICE):
        """The next events, measured."""
        row = used(self.context, self.engine, **self.options(events))
        row["rate"] = delivered(row)
        row["disk"] = disk_bytes(self.engine.folder) / self.events
        return row


@workload("a curve of events", "the same at each length")
def curve(context, binary):
    with Engine(binary, context.folder, delivery_concurrency_per_host=IN_FLIGHT) as engine:
        history, first, length = History(context, engine), None, 10_000
        while length <= context.history:
            history.grow_to(length)
            row = history.slice()
            first = first or row
            compare(row, first)
            engine.kill()
            row["restart_s"] = engine.start(patience=600)
            yield f"{length:,}", row
            length *= 10


@workload("a long log", "as at its beginning; queries p99 ≤ 50 ms", large=True)
def long_log(context, binary):
    with Engine(binary, context.folder, delivery_concurrency_per_host=IN_FLIGHT) as engine:
        history = History(context, engine)
        history.grow_to(SLICE)
        first = history.slice(LONG_SLICE)
        yield f"{history.events * RECORDS:,} records", first
        Queries(engine, history.events).turn()  # one that is refused is told now, and not at the end
        history.grow_to(context.history // RECORDS)
        row = history.slice(LONG_SLICE)
        compare(row, first)
        yield f"{history.events * RECORDS:,} records", row

        queries, told = queried(history, row["rate"])
        told["rate"] = delivered(told)
        compare(told, first)
        yield "beside queries", told
        for path, times in queries.items():
            yield path, times


def compare(row, first):
    """With the slice at the beginning."""
    row["rate_of_first"] = row["rate"] / first["rate"]
    if "resident_mib" in row:
        row["resident_of_first"] = row["resident_mib"] / first["resident_mib"]


def queried(history, rate):
    """Queries made one after the other, beside the full load; answers their times and the load's figures."""
    engine, events = history.engine, history.events
    options = history.options(int(rate * QUERIED_S))
    words = load.command(history.context.load, engine.address, **options)
    queries = Queries(engine, events)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(1)  # until the load is at its full rate
        while process.poll() is None:
            queries.turn()
        told = load.figures(*process.communicate())
    return queries.times(), told
