"""Whether this is an image: a tree of files that the running system is not started from.

The grain ``k3s_image`` asks the same (``_grains/_k3s_image.py``), as it must not import the engine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from k3sfw_engine.errors import FirewalldUnavailable, Problem

# What systemctl obeys as well; the scriptlets of packages set it where they build an image.
# https://systemd.io/ENVIRONMENT/
OFFLINE = "SYSTEMD_OFFLINE"
_YES = ("1", "y", "yes", "t", "true", "on")
_NO = ("0", "n", "no", "f", "false", "off")
_MOUNT_POINT = 4


def is_image(environment: Mapping[str, str] = os.environ, processes: Path = Path("/proc")) -> bool:
    """Whether this process works on the files of another system: in a chroot, or told so.

    environment
        ``SYSTEMD_OFFLINE=1`` says so where it cannot be seen, as in the build of a container, and
        ``SYSTEMD_OFFLINE=0`` says that a chroot is the running system all the same.
    """
    said = environment.get(OFFLINE, "").lower()
    if said in (*_YES, *_NO):
        return said in _YES
    try:
        return not os.path.samefile("/", processes / "1/root")
    except OSError:
        # Another user's first process may not be looked at, or there is no /proc.
        return _came_from_another_root(processes) or not _root_is_mounted(processes)


def refuse_in_image() -> None:
    """Raise ``FirewalldUnavailable`` in an image: what runs there is the host that builds it."""
    if is_image():
        raise FirewalldUnavailable(
            Problem(
                f"this is an image (a chroot, or {OFFLINE} is set), in which no firewalld runs: "
                "only its files can be written",
                "salt-call --local state.apply k3s.firewall; for the rest, start the image; or, if "
                f"this is the running host all the same, put {OFFLINE}=0 before the command",
            )
        )


def _came_from_another_root(processes: Path) -> bool:
    """Whether a process from which this one descends, and which may be looked at, has another."""
    process = "self"
    while process != "0":
        with suppress(OSError):
            if not os.path.samefile("/", processes / process / "root"):
                return True
        process = _parent(processes / process)
    return False


def _parent(process: Path) -> str:
    """Return the number of the process that started this one; 0 if it cannot be seen."""
    try:
        lines = (process / "status").read_text(errors="replace").splitlines()
    except OSError:
        return "0"
    return next((line.split()[1] for line in lines if line.startswith("PPid:")), "0")


def _root_is_mounted(processes: Path) -> bool:
    """Whether something is mounted at ``/``, as everywhere but in a chroot into a mere folder."""
    try:
        lines = (processes / "self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False  # Only a chroot lacks /proc.
    return any(line.split()[_MOUNT_POINT] == "/" for line in lines)
