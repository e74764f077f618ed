"""Runs the workloads in turns, each beside the bare loop of its round, and prints their medians."""

import argparse
import statistics
import sys
import tempfile

from . import load, machine, report
from . import histories  # noqa: F401 (adds its own)
from .workloads import WORKLOADS


class Context:
    """What the workloads of one round share."""

    def __init__(self, options, folder):
        self.load, self.seconds, self.folder = options.load, options.seconds, folder
        self.history = options.history or (10_000_000 if options.large else 1_000_000)
        self.bare_rate, self.sync_ms = 0.0, 0.0

    def events(self, rate):
        """How many make a run of about the wanted length."""
        return rate * self.seconds

    def look_at_machine(self):
        """The limits that the round's figures are held against."""
        self.sync_ms = machine.sync_ms(self.folder)
        told = load.run(self.load, events=100_000 * self.seconds)
        self.bare_rate = told["deliveries"] / told["delivered_s"]


def parts_of(told):
    """The rows of a workload, each with its name; most have one."""
    return [("", told)] if isinstance(told, dict) else told


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--load", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--against", help="a second binary, in the same rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--history", type=int, help="how long the histories become: events, or records of the log")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = [one for one in WORKLOADS if options.only in one[0] and (options.large or not one[2])]
    if options.list:
        print("\n".join(name for name, *_ in WORKLOADS))
        return
    binaries = [("", options.binary)] + ([(" (other)", options.against)] if options.against else [])
    results = {}
    bare, syncs = [], []
    with tempfile.TemporaryDirectory(prefix="bench-", dir="target") as folder:
        context = Context(options, folder)
        for number in range(options.rounds):
            for name, goal, _, function in chosen:
                context.look_at_machine()
                bare.append(context.bare_rate)
                syncs.append(context.sync_ms)
                for mark, binary in binaries:
                    for part, row in parts_of(function(context, binary)):
                        title = f"{name}{mark}: {part}" if part else name + mark
                        results.setdefault(title, (goal, []))[1].append(row)
                        print(f"round {number + 1}: {title}: {report.medians([row])}", file=sys.stderr)
    print(f"\nbare loop {statistics.median(bare):,.0f} a second ({min(bare):,.0f} to {max(bare):,.0f}), ", end="")
    print(f"fdatasync {statistics.median(syncs):.3f} ms ({min(syncs):.3f} to {max(syncs):.3f})\n")
    print(report.table((name, goal, rows) for name, (goal, rows) in results.items()))


main()
