"""The service that starts K3s on this host, by its files."""

from __future__ import annotations

from pathlib import Path

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
