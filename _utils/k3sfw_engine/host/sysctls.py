"""The sysctls of this host that decide about forwarded packets, read from /proc/sys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from k3sfw_engine.host.text_files import text_of
from k3sfw_engine.model.sysctl_names import (
    BRIDGE_CALLS,
    FORWARDING,
    forwarding_of,
    rp_filter_of,
)


def read_sysctls(interfaces: Iterable[str], root: Path) -> dict[str, str]:
    """Read the general sysctls and those of these interfaces.

    root
        ``/``, or a folder in its place.

    Returns the values by path below ``/proc/sys``, without those that the kernel does not have.
    """
    names = [*FORWARDING.values(), *BRIDGE_CALLS.values(), rp_filter_of("all")]
    for interface in interfaces:
        names += [forwarding_of(interface), rp_filter_of(interface)]
    values = {name: text_of(root / "proc/sys" / name).strip() for name in names}
    return {name: value for name, value in values.items() if value}
