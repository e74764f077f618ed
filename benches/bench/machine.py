"""What the machine itself can do: its sync time, and what it counts."""

import os
import statistics
import tempfile
import time

PAGE = 4096


def sync_ms(folder, count=200):
    """The median of an `fdatasync` behind 4 KiB that overwrite what is there, one each 2 ms."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.pwrite(file.fileno(), bytes(count * PAGE), 0)
        os.fsync(file.fileno())
        for number in range(count):
            os.pwrite(file.fileno(), b"x" * PAGE, number * PAGE)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
            time.sleep(0.002)
    return statistics.median(taken)


def disk(folder):
    """Bytes written to the disk of a folder so far, and its flushes; by whomever."""
    device = os.stat(folder).st_dev
    with open("/proc/diskstats", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
                return int(fields[9]) * 512, int(fields[18]) if len(fields) > 18 else 0
    return 0, 0


def disk_bytes(folder):
    """What the files of a folder take on the disk; room that is set aside counts only where it was written."""
    files = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(os.stat(file).st_blocks * 512 for file in files)


class Counters:
    """What a process, and its disk, have used up so far."""

    TICKS = os.sysconf("SC_CLK_TCK")

    def __init__(self, pid, folder):
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        self.cpu_s = (int(fields[11]) + int(fields[12])) / self.TICKS
        self.switches = sum(self._switches(pid))
        # The process's own `write_bytes` count whole folios, however little of one was touched.
        self.written, self.flushes = disk(folder)

    @staticmethod
    def _switches(pid):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
                for line in file:
                    if "ctxt_switches" in line:
                        yield int(line.split(":")[1])


def resident_mib(pid):
    """Of a process, now."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
