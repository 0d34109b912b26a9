"""Upgrade firewalld on a host as its package does: new files under a running daemon, a restart.

As dpkg does, a configuration file is replaced only if the operator has not changed it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.host import Host

_LIBRARY = "usr/lib/python3/dist-packages/firewall"
_OWNED = ("usr/lib/firewalld", _LIBRARY)
# The bus reads it anew as soon as it changes, and lets no firewalld in while it is missing.
_BUS_POLICY = "usr/share/dbus-1/system.d/FirewallD.conf"
_PROGRAMS = ("usr/sbin/firewalld", "usr/bin/firewall-cmd", "usr/bin/firewall-offline-cmd")
CONFIGURATION = "etc/firewalld/firewalld.conf"


def of_this_machine(folder: Path) -> Path:
    """Lay out the machine's own firewalld below a folder, as ``dpkg --extract`` would."""
    for name in (*_OWNED, *_PROGRAMS, _BUS_POLICY, CONFIGURATION):
        source, target = Path("/") / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def unpack(host: Host, old: Path, new: Path) -> None:
    """Replace the files of the old package by those of the new one; nothing is restarted."""
    configuration = host.path(f"/{CONFIGURATION}")
    changed = configuration.read_bytes() != (old / CONFIGURATION).read_bytes()
    mine = configuration.read_bytes()
    host.run(["rm", "-rf", *(f"/{name}" for name in _OWNED)])
    # Older packages have a folder where the host has a link: /lib. Folders that are there stay as
    # they are, as with dpkg: a bus that cannot read / any more answers no-one.
    unpacked = "tar --extract --directory=/ --keep-directory-symlink --no-overwrite-dir"
    packed = f"tar --create --directory='{new}' --exclude=./{_BUS_POLICY} ."
    host.run(["sh", "-c", f"{packed} | {unpacked}"])
    policy = host.path(f"/{_BUS_POLICY}")
    waiting = policy.with_suffix(".new")
    waiting.write_bytes((new / _BUS_POLICY).read_bytes())
    waiting.replace(policy)
    if changed:
        configuration.write_bytes(mine)


def upgrade(host: Host, old: Path, new: Path) -> None:
    """Do all of it."""
    unpack(host, old, new)
    host.restart_firewalld()


def version(host: Host) -> str:
    """The version of the firewalld that runs, as it says itself."""
    return host.run(["firewall-cmd", "--version"]).stdout.strip()
