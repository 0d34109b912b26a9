"""What files tell of other programs that set rules or routes: firewalls, network managers."""

from __future__ import annotations

import re
from pathlib import Path

from k3sfw_engine.host.text_files import text_of

UFW_FILE = "etc/ufw/ufw.conf"
_WANTED_BY = "etc/systemd/system/{}.target.wants/nm-cloud-setup.{}"
CLOUD_SETUP = (
    _WANTED_BY.format("timers", "timer"),
    _WANTED_BY.format("multi-user", "service"),
    "etc/systemd/system/NetworkManager.service.wants/nm-cloud-setup.service",
)


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
