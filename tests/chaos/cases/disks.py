"""Power cuts, failing operations, short writes, a full disk."""

import errno
import os
import time

from ..disk import Disk
from ..engine import Failed, eventually
from ..faults import Faults
from ..load import conversion
from ..run import Run, verify
from ..sink import Reply, Sink
from . import case


@case("CRS.2", "power cuts under load: what was not synced is gone")
def power_cuts(context):
    cuts, dice = context.times(50, 1_000), context.dice
    with Disk(context, mib=200) as disk:
        engine = context.engine("disk/data")
        run = Run(context, engine=engine, delay=0).begin(clients=3, pause=0.01)
        run.load.start()
        for _ in range(cuts):
            time.sleep(0.05 + dice.random() * 0.3)
            engine.went_down()
            disk.cut_power()
            engine.process.kill()
            engine.process.wait()
            disk.restore_power()
            engine.start()
        run.load.stop()
        history = run.finish()
    context.note(f"{cuts} cuts, {len(history['posts'])} events, none lost")


def script(engine, sink, accepted):
    """The life that is repeated with each operation failing in turn; `accepted` is what was accepted in it."""
    engine.start()
    engine.create_pipeline(sink.url, attempts=2, delay=0)
    for number in range(6):
        status, _ = engine.api("POST", "/api/events", conversion(f"evt_{number}", f"conv_{number % 2}", number), timeout=5)
        if status == 202:
            accepted.append(f"evt_{number}")
        elif status < 500:
            raise Failed(f"{status} for an event on a disk that fails")
    eventually("all is delivered", lambda: engine.pending() == 0 or not engine.is_running(), 10)


def attempt(engine, sink):
    """Runs the script as far as it goes."""
    accepted = []
    try:
        script(engine, sink, accepted)
        engine.terminate()
    except Exception as error:  # pylint: disable=broad-except
        # An engine that answers wrongly, or hangs at its end, is what is looked for; one that ended by itself is not.
        if isinstance(error, Failed) and any(told in str(error) for told in ("on a disk that fails", "after SIGTERM")):
            raise
    if engine.is_running():
        engine.kill()
    return accepted


@case("CRS.5", "each single operation on the data folder fails once")
def every_operation_fails(context):
    # Read models are made again from the log; their operations, most of all, fail in the long run only.
    spared = "" if context.long else "/projections"
    faults = Faults(context, "count", spared)
    engine = context.engine("count", variables=faults.variables)
    sink = Sink()
    accepted = []
    script(engine, sink, accepted)
    if len(accepted) != 6:
        raise Failed("the script does not run")
    engine.terminate()
    total = faults.operations
    if total < 40:
        raise Failed(f"only {total} operations were seen")
    errors = (errno.EIO, errno.ENOSPC, errno.EAGAIN) if context.long else (errno.EIO,)
    failed = ended = 0
    for error in errors:
        for number in range(1, total + 1):
            name = f"op{error}-{number}"
            faults, sink = Faults(context, name, spared), Sink()
            engine = context.engine(name, variables=faults.variables)
            faults.fail_at, faults.error = number, error
            acknowledged = attempt(engine, sink)
            failed += faults.failed
            ended += engine.process.returncode not in (0, -9)
            # On a machine that works again: everything that was acknowledged, and everything that was sent, is there.
            faults.clear()
            engine.start()
            known = {one["event_id"] for one in engine.list("/api/deliveries")}
            eventually("all has ended", lambda e=engine: e.pending() == 0, 20)
            seen = {request["event"] for request in sink.requests}
            if lost := (set(acknowledged) | seen) - known:
                raise Failed(f"operation {number} fails with {os.strerror(error)}: {lost} lost")
            engine.terminate()
            if problems := verify(engine):
                raise Failed(f"operation {number}: {problems}")
            sink.stop()
    if failed < total * len(errors) * 0.8:
        raise Failed(f"only {failed} of {total * len(errors)} operations were made to fail")
    context.note(f"{failed} operations failed in turn, {ended} of them ended the process, nothing lost")


@case("CRS.5-sync", "a sync fails once under load: the batch is not acknowledged, the file not trusted again (ING.2)")
def a_sync_fails(context):
    faults = Faults(context)
    engine = context.engine(variables=faults.variables)
    run = Run(context, engine=engine, delay=0).begin(clients=3, pause=0.005)
    run.load.start()
    rounds = context.times(10, 200)
    for _ in range(rounds):
        run.load.accepts_more(20, patience=20)
        faults.only_syncs, faults.error = 1, errno.EIO
        faults.fail_at = faults.operations + 1
        engine.process.wait(20)
        engine.went_down()
        if engine.process.returncode == 0:
            raise Failed("a failed sync ended the process as if all were well")
        faults.clear()
        engine.start()
    run.load.stop()
    run.finish()
    text = engine.log_text()
    if "cannot" not in text or "ERROR" not in text:
        raise Failed("the log does not say that a sync failed")
    context.note(f"{rounds} syncs failed, each ended the process with an error and lost nothing")


@case("CRS.7", "writes that come up short, and are interrupted")
def short_writes(context):
    faults = Faults(context)
    faults.short_every, faults.interrupt_every = 3, 5
    engine = context.engine(variables=faults.variables)
    run = Run(context, engine=engine, delay=0).begin(clients=3, pause=0.003, pad=2_000)
    run.load.start()
    for _ in range(5):
        run.load.accepts_more(100, patience=30)
        engine.kill()
        engine.start()
    run.load.stop()
    writes = faults.writes
    run.finish()
    if writes < 500:
        raise Failed(f"only {writes} writes were seen")
    context.note(f"{writes} writes, every third cut in half, every fifth interrupted")


@case("CRS.6", "the disk fills up under load, and has space again")
def a_full_disk(context):
    with Disk(context, mib=300) as disk:
        variables = {"LEDGERHOOK_LOG_FREE_BYTES_MIN": str(100 << 20)}
        engine = context.engine("disk/data", variables=variables)
        run = Run(context, engine=engine, answer=lambda _: Reply(200, delay=0.2), delay=0).begin(clients=0)
        ballast = os.path.join(disk.folder, "ballast")
        room = os.statvfs(disk.folder)
        leave = 150 << 20
        with open(ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - leave)
        refused, number = None, 0
        until = time.monotonic() + 90
        while refused is None and time.monotonic() < until:
            event = conversion(f"evt_{number}", f"conv_{number % 50}", number)
            event["data"]["pad"] = "x" * 200_000
            status, answer = run.post(event)
            number += 1
            if status in (503, 507):
                refused = (status, answer)
            elif status != 202:
                raise Failed(f"{status} {answer} on a disk that fills up")
        if refused is None:
            raise Failed("it never refused")
        eventually("what was accepted goes on", lambda: engine.pending() == 0, 60)
        health, told = engine.api("GET", "/readyz?verbose")
        if "disk" not in str(told):
            raise Failed(f"/readyz does not name the disk: {health} {told}, {refused}")
        # Not one byte is left, for log lines neither: standard error lies on this disk, too.
        with open(ballast + ".2", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        for _ in range(50):
            run.post(conversion(f"evt_{len(run.posts)}", "conv_0", len(run.posts)))
            time.sleep(0.02)
        health, told = engine.api("GET", "/readyz?verbose")
        if not engine.is_running():
            raise Failed("it ended when nothing could be written at all")
        os.remove(ballast + ".2")
        os.remove(ballast)

        def accepts():
            event = conversion(f"evt_{len(run.posts)}", "conv_0", len(run.posts))
            return run.post(event)[0] == 202

        eventually("it takes events again without a restart", accepts, 30, 0.2)
        if not engine.is_running():
            raise Failed("it ended")
        run.finish()
        context.note(f"refused with {refused[0]} after {number - 1} events of 200 kB, took them again with space")
