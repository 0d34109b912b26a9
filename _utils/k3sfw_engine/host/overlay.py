"""What carries pods' packets to other nodes here, read from the kernel and from flannel's files.

No process is started, so that a run that changes nothing may read it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import netaddr

from k3sfw_engine.errors import Problem
from k3sfw_engine.host.flannel_files import (
    data_folder,
    read_flannel_config,
    read_running_networks,
)
from k3sfw_engine.host.image import is_image
from k3sfw_engine.host.tunnel_devices import read_gateway_routes, read_tunnel_devices
from k3sfw_engine.model.overlay import NOTHING_KNOWN, OverlayFacts

_T = TypeVar("_T")


def read_overlay(root: Path = Path("/")) -> OverlayFacts:
    """Read the devices, the routes and the files; what cannot be read is unknown.

    In an image nothing is known: the kernel is that of the host which builds it.

    root
        ``/``, or a folder in its place for the files.
    """
    if is_image():
        return NOTHING_KNOWN
    config, unread = read_flannel_config(data_folder(root))
    devices, no_devices = _ask(read_tunnel_devices, "tunnel devices")
    routes, no_routes = _ask(read_gateway_routes, "routes")
    return OverlayFacts(
        devices=devices,
        config=config,
        running=read_running_networks(root),
        routes=routes,
        unread=(*unread, *no_devices, *no_routes),
    )


def _ask(read: Callable[[], _T], what: str) -> tuple[_T | None, tuple[Problem, ...]]:
    try:
        return read(), ()
    except (OSError, LookupError, ValueError, struct.error, netaddr.AddrFormatError) as error:
        return None, (Problem(f"the kernel does not list its {what} ({error})"),)
