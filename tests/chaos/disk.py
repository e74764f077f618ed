"""A file system of its own, whose power can be cut and which can be full."""

import fcntl
import os
import struct
import subprocess

from .cases import Skipped

#: `EXT4_IOC_SHUTDOWN`: from here on nothing reaches the device.
SHUTDOWN = 0x8004587D
#: Does not even write out the journal.
NO_LOG_FLUSH = 2


class Disk:
    """ext4 on a loop device, as the engine's data folder."""

    def __init__(self, context, name="disk", mib=96):
        self.image = os.path.join(context.folder, f"{name}.img")
        self.folder = os.path.join(context.folder, name)
        os.makedirs(self.folder)
        with open(self.image, "wb") as file:
            file.truncate(mib << 20)
        if os.geteuid() != 0:
            raise Skipped("needs root for a loop device")
        made = subprocess.run(["mkfs.ext4", "-q", "-F", self.image], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise Skipped(f"needs mkfs.ext4: {made.stderr.strip()}")
        self.mount()

    def mount(self):
        command = ["mount", "-o", "loop", self.image, self.folder]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            raise Skipped(f"needs loop devices: {mounted.stderr.strip()}")

    def unmount(self):
        subprocess.run(["umount", self.folder], check=True)

    def cut_power(self):
        """What was not synced is gone; the engine has to be killed before the power comes back."""
        file = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(file, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(file)

    def restore_power(self):
        self.unmount()
        self.mount()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.folder], check=False)
