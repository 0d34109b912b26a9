"""Whether this is an image: a tree of files that the running system is not started from.

The grain ``k3s_image`` asks the same (``_grains/_k3s_image.py``), as it must not import the engine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from k3sfw_engine.errors import FirewalldUnavailable, Problem

# What systemctl obeys as well; the scriptlets of packages set it where they build an image.
# https://systemd.io/ENVIRONMENT/
OFFLINE = "SYSTEMD_OFFLINE"
_YES = ("1", "y", "yes", "t", "true", "on")
_MOUNT_POINT = 4


def is_image(environment: Mapping[str, str] = os.environ, processes: Path = Path("/proc")) -> bool:
    """Whether this process works on the files of another system: in a chroot, or told so.

    environment
        ``SYSTEMD_OFFLINE=1`` says so where it cannot be seen, as in the build of a container.
    """
    if environment.get(OFFLINE, "").lower() in _YES:
        return True
    try:
        return not os.path.samefile("/", processes / "1/root")
    except OSError:
        # Another user's first process may not be looked at, or there is no /proc.
        return not _root_is_mounted(processes / "self/mountinfo")


def refuse_in_image() -> None:
    """Raise ``FirewalldUnavailable`` in an image: what runs there is the host that builds it."""
    if is_image():
        raise FirewalldUnavailable(
            Problem(
                f"this is an image (a chroot, or {OFFLINE} is set), in which no firewalld runs: "
                "only its files can be written",
                "salt-call --local state.apply k3s.firewall; for the rest, start the image",
            )
        )


def _root_is_mounted(table: Path) -> bool:
    """Whether something is mounted at ``/``, as everywhere but in a chroot into a mere folder."""
    try:
        lines = table.read_text(errors="replace").splitlines()
    except OSError:
        return False  # Only a chroot lacks /proc.
    return any(line.split()[_MOUNT_POINT] == "/" for line in lines)
