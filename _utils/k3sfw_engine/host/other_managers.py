"""What files tell of other programs: flannel, K3s, ufw, nm-cloud-setup, other firewalls."""

from __future__ import annotations

import re
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
        if name == "FLANNEL_MTU" and re.fullmatch("[0-9]{1,5}", value):
            return int(value)
    return 0


# -- K3s's service --------------------------------------------------------------------------------

# First what is enabled, whatever its name (INSTALL_K3S_NAME).
_K3S_UNITS = ("etc/systemd/system/*.wants/k3s*.service", "etc/systemd/system/k3s*.service")
_K3S_SCRIPTS = ("etc/runlevels/*/k3s*", "etc/init.d/k3s*")
_OURS = "k3sfw"


def read_k3s_service(root: Path) -> str:
    """The name of the one service of K3s on this host; empty if there is none, or more than one."""
    for pattern in _K3S_SCRIPTS if runs_openrc(root) else _K3S_UNITS:
        found = [path.name for path in root.glob(pattern) if not path.name.startswith(_OURS)]
        names = {name.removesuffix(".service") for name in found}
        if names:
            return names.pop() if len(names) == 1 else ""
    return ""


def runs_openrc(root: Path) -> bool:
    """Whether OpenRC starts K3s here: there is its script, and no systemd runs.

    https://www.freedesktop.org/software/systemd/man/sd_booted.html
    """
    return not (root / "run/systemd/system").is_dir() and any(root.glob(_K3S_SCRIPTS[1]))


# -- firewalls that are loaded from a file --------------------------------------------------------

_WANTS = "etc/systemd/system/*.wants"
_RULE_FILES = (
    ("etc/iptables/rules.v4", "netfilter-persistent"),
    ("etc/iptables/rules.v6", "netfilter-persistent"),
    ("etc/sysconfig/iptables", "iptables"),
    ("etc/sysconfig/ip6tables", "ip6tables"),
    ("etc/sysconfig/nftables.conf", "nftables"),
    ("etc/nftables.conf", "nftables"),
    ("etc/csf/csf.conf", "csf"),
)


def read_rule_files(root: Path) -> tuple[str, ...]:
    """The files from which an enabled service loads rules at boot, each with that service."""
    return tuple(
        f"/{name} ({service}.service)"
        for name, service in _RULE_FILES
        if (root / name).exists()
        and any((wants / f"{service}.service").is_symlink() for wants in root.glob(_WANTS))
    )


# -- network managers -----------------------------------------------------------------------------

# The state k3s.routes writes it. NetworkManager reads these files last, sorted by name.
_NM_FOLDER = "etc/NetworkManager/conf.d"
NM_FILE = "zz-k3sfw.conf"
_REPLACES = re.compile(r"^\s*unmanaged-devices\s*=", re.MULTILINE)


def read_nm_override(root: Path) -> str:
    """The file of NetworkManager that replaces our list of unmanaged devices; empty if none does.

    https://networkmanager.dev/docs/api/latest/NetworkManager.conf.html
    """
    later = sorted(
        path
        for path in (root / _NM_FOLDER).glob("*.conf")
        if path.name > NM_FILE and _REPLACES.search(text_of(path))
    )
    return f"/{_NM_FOLDER}/{later[-1].name}" if later else ""


_NETWORKD_LINKS = "run/systemd/netif/links"
_NETWORKD_FOLDERS = ("usr/lib", "run", "etc")
_FOREIGN_ROUTES = re.compile(r"^\s*ManageForeignRoutes\s*=\s*(\S+)", re.MULTILINE)
_NO = ("no", "false", "0", "off")


def networkd_drops_routes(root: Path) -> bool:
    """Whether systemd-networkd runs and, at its start, drops the routes that others have set.

    https://www.freedesktop.org/software/systemd/man/networkd.conf.html
    """
    links = root / _NETWORKD_LINKS
    if not any("ADMIN_STATE=configured" in text_of(path) for path in _files(links)):
        return False
    # Files of one name replace each other; the rest is read in the order of names.
    drop_ins = {
        path.name: path
        for folder in _NETWORKD_FOLDERS
        for path in (root / folder / "systemd/networkd.conf.d").glob("*.conf")
    }
    files = [root / "etc/systemd/networkd.conf", *(drop_ins[name] for name in sorted(drop_ins))]
    values = [value for path in files for value in _FOREIGN_ROUTES.findall(text_of(path))]
    return not values or values[-1].lower() not in _NO


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
