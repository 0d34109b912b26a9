"""The disk of a booted host: the lab's files, and the units that systemd starts."""

from __future__ import annotations

from pathlib import Path

from lab import host_files
from lab.spec import HostSpec

MACHINE = Path("/")
UNITS = Path("usr/lib/systemd/system")
OWN_UNITS = Path("etc/systemd/system")
# All units that are started at boot, whatever is enabled on the machine.
STARTED = {
    "multi-user.target": ("dbus.service", "firewalld.service"),
    "sockets.target": (
        "dbus.socket",
        "systemd-journald-dev-log.socket",
        "systemd-journald.socket",
    ),
    "sysinit.target": ("systemd-journald.service",),
}
# Other units or D-Bus would start these, and they set up what does not exist here.
MASKED = (
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-tmpfiles-setup.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
)


def lay_out(folder: Path, spec: HostSpec, base: Path = MACHINE) -> None:
    """Fill the folder of a host that has not been booted; ``base`` is what its disk is based on.

    firewalld is started if it is installed there.
    """
    (folder / "srv").mkdir()
    host_files.furnish(folder, spec, [spec], firewalld=base == MACHINE)
    files = folder / "files"
    # The host has a unit of K3s, and nothing that it could start.
    for enabled in (files / OWN_UNITS).glob("*.wants/*"):
        enabled.unlink()
    # Hide generators of units for the disks of this machine.
    host_files.empty(files / "usr/lib/systemd/system-generators")
    for wants in (base / UNITS).glob("*.wants"):
        host_files.empty(files / UNITS / wants.name)
    for target, units in STARTED.items():
        (files / OWN_UNITS / f"{target}.wants").mkdir(exist_ok=True)
        for unit in units:
            if (base / UNITS / unit).exists():
                (files / OWN_UNITS / f"{target}.wants" / unit).symlink_to("/" / UNITS / unit)
    for unit in MASKED:
        (files / OWN_UNITS / unit).symlink_to("/dev/null")
    (files / OWN_UNITS / "default.target").symlink_to("/" / UNITS / "multi-user.target")
    if (base / UNITS / "firewalld.service").exists():
        (files / OWN_UNITS / "dbus-org.fedoraproject.FirewallD1.service").symlink_to(
            "/" / UNITS / "firewalld.service"
        )
