"""The root of a booted host: its own files and nothing else of the machine's.

systemd empties /tmp and sets /dev up when it boots. So no folder of the machine may be
there in the first place: what was mounted is let go of, not covered, and before
anything is executed the kernel's table of mounts has to show it.
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

# Must be the host's own, whatever else is.
OWN = ("/", "/dev", "/dev/shm", "/etc", "/home", "/root", "/run", "/srv", "/tmp", "/usr", "/var")
DEVICES = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
# The folder that systemd-tmpfiles empties, and where a folder of the machine's is mounted
# instead of in it.
EMPTIED = Path("/tmp")
SHOWN = Path("mnt/machine")
# What is the whole machine's in /proc.
MACHINES = ("acpi", "bus", "fs", "irq", "sys", "sysrq-trigger")
# CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_MKNOD, CAP_AUDIT_CONTROL, CAP_SYSLOG,
# CAP_WAKE_ALARM: what reaches the machine although no file of it is there.
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
    """The devices of all that is mounted for this process."""
    return frozenset(mount.device for mount in syscalls.mounts())


def enter(disk: Path, srv: Path, shown: list[Path], cgroups: Path, machine: frozenset[str]) -> None:
    """Make the disk the root of this process, in namespaces that it has begun before.

    ``shown`` are folders of the machine that are seen read-only at their own places,
    ``machine`` the devices that nothing here may be able to write to.
    """
    branch = cgroups.stat().st_ino
    # First of all: else every mount from here on would be the machine's as well.
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
        raise LabError("The cgroups in here are the machine's: nothing is started.")
    for number in GIVEN_UP.values():
        syscalls.give_up_capability(number)


def refuse_what_is_shared(machine: frozenset[str]) -> None:
    """Raise if anything that can be written here is on one of the machine's devices."""
    mounts = syscalls.mounts()
    for name in OWN:
        lies_on = _mount_of(Path(name), mounts)
        if lies_on.device in machine:
            raise LabError(f"{name} in here is the machine's: nothing is started.")
    for mount in mounts:
        # All cgroups are one device; which branch of it this is has been seen to.
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
    # The values in there are those of the network namespace, which is the host's own.
    syscalls.mount(f"/proc/self/fd/{network}", proc / "sys/net", "", MS_BIND)
    os.close(network)
    # Inherited from the machine otherwise, where another program may have set it.
    (proc / "sys/net/ipv4/ip_forward").write_text("0")


def _sys(sys: Path) -> None:
    plain = MS_NOSUID | MS_NODEV | MS_NOEXEC
    syscalls.mount("sysfs", sys, "sysfs", plain | MS_RDONLY)
    # In a new namespace of cgroups its root is the branch that this process is in.
    syscalls.mount("cgroup2", sys / "fs/cgroup", "cgroup2", plain, "nsdelegate")
