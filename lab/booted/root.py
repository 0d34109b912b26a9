"""The root of a booted host: its own files, and nothing that it could change of the machine.

systemd empties /tmp and sets up /dev when it boots. So the machine's folders must not be there in
the first place: they are unmounted, not covered, and the kernel's table of mounts must show it
before anything is executed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lab.booted import syscalls
from lab.errors import LabError
from lab.init import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
)

# Folders that must be the host's own.
OWN = ("/", "/dev", "/dev/shm", "/etc", "/home", "/root", "/run", "/srv", "/tmp", "/usr", "/var")
DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
# The folder that systemd-tmpfiles empties, and where a folder of the machine's is mounted
# instead of in it.
EMPTIED = Path("/tmp")
SHOWN = Path("mnt/machine")
# The parts of /proc that belong to the whole machine.
MACHINES = ("acpi", "bus", "fs", "irq", "sys", "sysrq-trigger")
# CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_MKNOD, CAP_AUDIT_CONTROL, CAP_SYSLOG,
# CAP_WAKE_ALARM: these reach the machine without any of its files.
GIVEN_UP = {
    "sys_module": 16,
    "sys_rawio": 17,
    "sys_time": 25,
    "mknod": 27,
    "audit_control": 30,
    "syslog": 34,
    "wake_alarm": 35,
}


def devices() -> frozenset[str]:
    """The devices of all mounts of this process."""
    return frozenset(mount.device for mount in syscalls.mounts())


def enter(disk: Path, srv: Path, shown: list[Path], cgroups: Path, machine: frozenset[str]) -> None:
    """Make the disk the root of this process, which is in new namespaces already.

    ``shown`` are folders of the machine that appear read-only at their own paths, ``machine`` the
    devices that nothing in here may write to.
    """
    branch = cgroups.stat().st_ino
    # First of all: otherwise each mount below would appear on the machine too.
    syscalls.mount("none", "/", "", MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount(str(srv), disk / "srv", "", MS_BIND)
    syscalls.mount("tmpfs", disk / "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    syscalls.mount("tmpfs", disk / "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    # After these, as a checkout may lie in one of them.
    for folder in shown:
        _show(folder, disk)
    _dev(disk / "dev")
    _proc(disk / "proc")
    _sys(disk / "sys")
    syscalls.change_root(disk)
    refuse_what_is_shared(machine)
    if Path("/sys/fs/cgroup").stat().st_ino != branch:
        raise LabError("The cgroups in here are the machine's: nothing is started")
    for number in GIVEN_UP.values():
        syscalls.give_up_capability(number)


def refuse_what_is_shared(machine: frozenset[str]) -> None:
    """Raise an error if anything writable in here is on one of the machine's devices."""
    mounts = syscalls.mounts()
    for name in OWN:
        lies_on = _mount_of(Path(name), mounts)
        if lies_on.device in machine:
            raise LabError(f"{name} in here is the machine's: nothing is started.")
    for mount in mounts:
        # All cgroups are one device; enter() has checked which branch this is.
        if mount.device in machine and not mount.read_only and mount.kind != "cgroup2":
            raise LabError(f"{mount.point} in here is the machine's: nothing is started.")


def _mount_of(path: Path, mounts: list[syscalls.Mount]) -> syscalls.Mount:
    above = [mount for mount in mounts if mount.point == path or mount.point in path.parents]
    deepest = max(len(mount.point.parts) for mount in above)
    return [mount for mount in above if len(mount.point.parts) == deepest][-1]


def _show(folder: Path, disk: Path) -> None:
    """Mount a folder of the machine read-only, and make it appear at its own path."""
    here = folder.relative_to("/")
    target = disk / here
    if EMPTIED in folder.parents:
        # A mount below it would be in the way of a boot that empties it; a link is not.
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to("/" / SHOWN / here)
        target = disk / SHOWN / here
    target.mkdir(parents=True, exist_ok=True)
    syscalls.mount(str(folder), target, "", MS_BIND)
    syscalls.mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def _dev(dev: Path) -> None:
    syscalls.mount("tmpfs", dev, "tmpfs", MS_NOSUID, "mode=755")
    mask = os.umask(0)
    for name, number in DEVICES.items():
        os.mknod(dev / name, 0o666 | stat.S_IFCHR, os.makedev(1, number))
    os.mknod(dev / "tty", 0o666 | stat.S_IFCHR, os.makedev(5, 0))
    os.umask(mask)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    options = "newinstance,ptmxmode=0666,mode=620"
    syscalls.mount("devpts", dev / "pts", "devpts", MS_NOSUID | MS_NOEXEC, options)
    syscalls.mount("tmpfs", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    (dev / "ptmx").symlink_to("pts/ptmx")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        (dev / name).symlink_to(f"/proc/self/fd{target}")


def _proc(proc: Path) -> None:
    plain = MS_NOSUID | MS_NODEV | MS_NOEXEC
    syscalls.mount("proc", proc, "proc", plain)
    network = os.open(proc / "sys/net", os.O_PATH)
    for name in MACHINES:
        if (proc / name).exists():
            syscalls.mount(str(proc / name), proc / name, "", MS_BIND)
            syscalls.mount("none", proc / name, "", MS_BIND | MS_REMOUNT | MS_RDONLY | plain)
    # These values belong to the network namespace, which is the host's own.
    syscalls.mount(f"/proc/self/fd/{network}", proc / "sys/net", "", MS_BIND)
    os.close(network)
    # Otherwise inherited from the machine, where another program may have set it.
    (proc / "sys/net/ipv4/ip_forward").write_text("0")


def _sys(sys: Path) -> None:
    plain = MS_NOSUID | MS_NODEV | MS_NOEXEC
    syscalls.mount("sysfs", sys, "sysfs", plain | MS_RDONLY)
    # In a new cgroup namespace, the root is the branch of this process.
    syscalls.mount("cgroup2", sys / "fs/cgroup", "cgroup2", plain, "nsdelegate")
