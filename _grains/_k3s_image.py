"""Whether this is an image: a tree of files that the running system is not started from.

The engine asks the same (``host/image.py``): a change there is one here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

OFFLINE = "SYSTEMD_OFFLINE"
_YES = ("1", "y", "yes", "t", "true", "on")
_NO = ("0", "n", "no", "f", "false", "off")
_MOUNT_POINT = 4


def is_image(environment: Mapping[str, str] = os.environ, processes: Path = Path("/proc")) -> bool:
    """Whether this process works on the files of another system: in a chroot, or told so."""
    said = environment.get(OFFLINE, "").lower()
    if said in (*_YES, *_NO):
        return said in _YES
    try:
        return not os.path.samefile("/", processes / "1/root")
    except OSError:
        return _came_from_another_root(processes) or not _root_is_mounted(processes)


def _came_from_another_root(processes: Path) -> bool:
    process = "self"
    while process != "0":
        with suppress(OSError):
            if not os.path.samefile("/", processes / process / "root"):
                return True
        process = _parent(processes / process)
    return False


def _parent(process: Path) -> str:
    try:
        lines = (process / "status").read_text(errors="replace").splitlines()
    except OSError:
        return "0"
    return next((line.split()[1] for line in lines if line.startswith("PPid:")), "0")


def _root_is_mounted(processes: Path) -> bool:
    try:
        lines = (processes / "self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.split()[_MOUNT_POINT] == "/" for line in lines)
