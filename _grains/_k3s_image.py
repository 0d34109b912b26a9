"""Whether this is an image: a tree of files that the running system is not started from.

The engine asks the same (``host/image.py``): a change there is one here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

OFFLINE = "SYSTEMD_OFFLINE"
_YES = ("1", "y", "yes", "t", "true", "on")
_MOUNT_POINT = 4


def is_image(environment: Mapping[str, str] = os.environ, processes: Path = Path("/proc")) -> bool:
    """Whether this process works on the files of another system: in a chroot, or told so."""
    if environment.get(OFFLINE, "").lower() in _YES:
        return True
    try:
        return not os.path.samefile("/", processes / "1/root")
    except OSError:
        return not _root_is_mounted(processes / "self/mountinfo")


def _root_is_mounted(table: Path) -> bool:
    try:
        lines = table.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.split()[_MOUNT_POINT] == "/" for line in lines)
