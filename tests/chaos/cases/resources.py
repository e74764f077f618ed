"""No descriptors, no memory, no processor."""

import os
import signal
import socket
import time

from ..engine import Failed, eventually
from ..load import conversion
from ..run import Run
from . import Skipped, case

CGROUP = "/sys/fs/cgroup/memory"


@case("CRS.15", "out of descriptors, and then they are free again")
def out_of_descriptors(context):
    engine = context.engine(wrap=("prlimit", "--nofile=96:96"))
    run = Run(context, engine=engine, delay=0).begin(clients=2, pause=0.005)
    run.load.start()
    eventually("some load", lambda: run.load.accepted > 50, 20)
    hoard, most = [], 0
    for _ in range(150):
        idle = socket.socket()
        idle.settimeout(1)
        try:
            idle.connect(engine.address)
            hoard.append(idle)
        except OSError:
            idle.close()
            break
    time.sleep(2)
    most = len(os.listdir(f"/proc/{engine.process.pid}/fd"))
    if not engine.is_running():
        raise Failed(f"it ended: {engine.tail()}")
    if "connections_max" not in engine.log_text():
        raise Failed("nobody was told that connections are bounded by the descriptors")
    if most > 90:
        raise Failed(f"{most} of 96 descriptors in use: strangers take up what the log and deliveries need")
    for idle in hoard:
        idle.close()
    run.load.accepts_more(50, "it takes events again", 60)
    run.load.stop()
    run.finish()
    context.note(f"{most} of 96 descriptors in use, the log stayed open, events again when connections ended")


@case("CRS.1-memory", "killed for want of memory")
def out_of_memory(context):
    group = f"{CGROUP}/chaos-{os.getpid()}"
    try:
        os.mkdir(group)
    except OSError as error:
        raise Skipped(f"needs a memory cgroup: {error}") from None
    engine = context.engine()
    try:
        run = Run(context, engine=engine, delay=0).begin(clients=3, pause=0.0, pad=20_000)
        run.load.start()
        eventually("some load", lambda: run.load.accepted > 300, 60)
        engine.kill()
        engine.wrap = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "--"]
        kills, limit = 0, 8
        while limit <= 512:
            with open(f"{group}/memory.limit_in_bytes", "w", encoding="ascii") as file:
                file.write(str(limit << 20))
            engine.spawn()
            try:
                engine.wait_until_ready(30)
                engine.process.wait(2)
            except Failed:
                pass
            except Exception:  # pylint: disable=broad-except
                break  # it lives
            if engine.process.wait(10) != -signal.SIGKILL:
                raise Failed(f"ended with {engine.process.returncode} at {limit} MiB: {engine.tail()}")
            engine.went_down()
            kills += 1
            limit += 4
        if kills == 0:
            raise Failed("no limit was low enough")
        # It lives, if slowly; with room again it is as fast as before.
        engine.kill()
        engine.wrap = []
        engine.start()
        run.load.stop()
        run.finish()
        context.note(f"{kills} kills at limits up to {limit - 4} MiB, nothing lost; it lives in {limit} MiB")
    finally:
        if engine.is_running():
            engine.kill()
        try:
            os.rmdir(group)
        except OSError:
            pass


@case("CRS.1-stall", "stopped and continued (SIGSTOP) under load")
def stalls(context):
    rounds = context.times(5, 100)
    run = Run(context, delay=0).begin(clients=3, pause=0.005)
    run.load.start()
    for _ in range(rounds):
        time.sleep(0.2 + context.dice.random() * 0.2)
        run.engine.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5 + context.dice.random())
        run.engine.process.send_signal(signal.SIGCONT)
        run.load.accepts_more(20, "it goes on", 30)
    run.load.stop()
    run.post(conversion("evt_last", "conv_last", 0))
    run.finish()
    context.note(f"{rounds} stalls of 0.5 to 1.5 s")
