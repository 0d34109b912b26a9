"""The folder of a lab on disk: its paths, and the record of its hosts.

A lab writes nowhere else. Whether a host is alive is not recorded; its lock tells (``lab.lock``).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import kill_hosts, lock
from lab.errors import LabError
from lab.init import OVERLAID
from lab.spec import HostSpec, from_record

DEFAULT_NAME = "k3sfw"
DEFAULT_ROOT = "/run/k3sfw-lab"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Record:
    """What a lab was started with."""

    specs: tuple[HostSpec, ...]
    salt: bool


@dataclass(frozen=True)
class Folder:
    """The paths of one lab."""

    path: Path

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.path.name

    @property
    def switch_lock(self) -> Path:
        """Locked by the switch while it is alive."""
        return self.path / "switch.lock"

    def host(self, name: str) -> Path:
        """The folder with all files that one host writes, and its lock."""
        return self.path / "hosts" / name

    def host_lock(self, name: str) -> Path:
        """Locked by a host's pid 1 while it is alive."""
        return self.host(name) / "lock"

    def alive(self) -> set[int]:
        """The first processes of all running hosts, and of the switch."""
        return kill_hosts.first_processes(self.path)

    def read(self) -> Record:
        """Read the record of this lab."""
        try:
            data = json.loads((self.path / "lab.json").read_text())
        except (FileNotFoundError, ValueError):
            raise LabError(not_up(self.name)) from None
        specs = tuple(map(from_record, data["hosts"]))
        return Record(specs=specs, salt=data["salt"])

    def write(self, record: Record) -> None:
        """Write the record atomically."""
        data = {"hosts": [asdict(spec) for spec in record.specs], "salt": record.salt}
        fresh = self.path / "lab.json.new"
        fresh.write_text(json.dumps(data, indent=2) + "\n")
        fresh.rename(self.path / "lab.json")

    def make_host(self, name: str) -> Path:
        """Create the empty folder of a host."""
        folder = self.host(name)
        for part in ("srv", *(f"files/{top}" for top in OVERLAID)):
            (folder / part).mkdir(parents=True)
        for top in OVERLAID:
            (folder / "work" / top).mkdir(parents=True)
        self.host_lock(name).touch(mode=0o600)
        return folder

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from starting, changing or ending this lab during the block."""
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        busy = self.path / "busy"
        try:
            with lock.held(busy):
                yield
        except BlockingIOError:
            other = lock.holder(busy)
            fix = f"wait for it, or kill {other}" if other else "wait for it, and try again"
            raise LabError(
                f"Another process is starting or ending lab {self.name}. Fix: {fix}"
            ) from None

    def remove(self) -> None:
        """Remove the folder, and its parent if this was the last lab."""
        remove_tree(self.path)
        if self.path.parent == Path(DEFAULT_ROOT):
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()


def folder_of(name: str) -> Folder:
    """The folder of the lab with this name, whether it exists or not."""
    if not _NAME.fullmatch(name):
        raise LabError(
            f"{name!r} cannot name a lab. Fix: use up to 40 lower-case letters, digits and hyphens"
        )
    root = Path(os.environ.get("K3SFW_LAB_DIR") or DEFAULT_ROOT).resolve()
    for top in OVERLAID:
        # overlayfs refuses to mount a folder over the one that contains it.
        if Path("/", top) in (root, *root.parents):
            raise LabError(
                f"A lab cannot be below /{top}. Fix: set K3SFW_LAB_DIR to a folder elsewhere"
            )
    return Folder(root / name)


def not_up(name: str) -> str:
    """The message for a lab that is not up."""
    return f"Lab {name} is not up. Fix: .venv/bin/python -m lab --name {name} up"


def remove_tree(path: Path) -> None:
    """Remove a folder that an ending host may still write to for a moment."""
    for attempts_left in reversed(range(20)):
        if not path.exists():
            return
        try:
            shutil.rmtree(path)
        except OSError:
            if not attempts_left:
                raise
            time.sleep(0.05)
