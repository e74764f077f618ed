"""Orders to the library that is loaded into the engine (`faults.c`)."""

import mmap
import os
import shutil
import struct
import subprocess

from .cases import Skipped

FIELDS = (
    "operations",
    "fail_at",
    "error",
    "short_every",
    "interrupt_every",
    "sync_ms",
    "clock_ms",
    "failed",
    "writes",
    "only_syncs",
)


class Faults:
    """Fields are read and set while the engine runs."""

    def __init__(self, context, name="data", spared=""):
        library = build(context.folder)
        path = os.path.join(context.folder, f"{name}.orders")
        with open(path, "wb") as file:
            file.write(b"\0" * 8 * len(FIELDS))
        with open(path, "r+b") as file:
            object.__setattr__(self, "_map", mmap.mmap(file.fileno(), 8 * len(FIELDS)))
        folder = os.path.join(context.folder, name)
        variables = {"LD_PRELOAD": library, "CHAOS_ORDERS": path, "CHAOS_FOLDER": folder, "CHAOS_SPARED": spared}
        object.__setattr__(self, "variables", variables)

    def __getattr__(self, name):
        return struct.unpack_from("q", self._map, 8 * FIELDS.index(name))[0]

    def __setattr__(self, name, value):
        struct.pack_into("q", self._map, 8 * FIELDS.index(name), value)

    def clear(self):
        """Back to a machine that works."""
        for name in FIELDS:
            setattr(self, name, 0)


def build(folder):
    """Compiles the library."""
    if not shutil.which("gcc"):
        raise Skipped("needs gcc")
    library = os.path.join(folder, "faults.so")
    if not os.path.exists(library):
        source = os.path.join(os.path.dirname(__file__), "faults.c")
        command = ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True)
    return library
