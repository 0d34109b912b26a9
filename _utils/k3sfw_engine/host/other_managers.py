"""What files tell of other programs that manage packets here: flannel, ufw, nm-cloud-setup."""

from __future__ import annotations

from pathlib import Path

# https://github.com/flannel-io/flannel/blob/master/Documentation/running.md
_SUBNET_FILE = "run/flannel/subnet.env"
UFW_FILE = "etc/ufw/ufw.conf"
_WANTED_BY = "etc/systemd/system/{}.target.wants/nm-cloud-setup.{}"
CLOUD_SETUP = (
    _WANTED_BY.format("timers", "timer"),
    _WANTED_BY.format("multi-user", "service"),
    "etc/systemd/system/NetworkManager.service.wants/nm-cloud-setup.service",
)


def text_of(path: Path) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def read_flannel_mtu(root: Path) -> int:
    """The MTU that flannel wrote down when it started; 0 if it is not running."""
    for line in text_of(root / _SUBNET_FILE).splitlines():
        name, _, value = line.partition("=")
        if name == "FLANNEL_MTU" and value.isdigit():
            return int(value)
    return 0
