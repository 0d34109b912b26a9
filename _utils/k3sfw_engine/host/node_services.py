"""What serves ports on this host: its listeners, tunnels, redirections and K3s's datastore."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import netaddr

from k3sfw_engine.host.flannel_files import data_folder
from k3sfw_engine.host.k3s_records import read_datastore
from k3sfw_engine.host.listeners import read_listeners
from k3sfw_engine.host.nat import read_redirections
from k3sfw_engine.model.listeners import has_listeners, listening_on
from k3sfw_engine.model.nat import LocalAddresses
from k3sfw_engine.model.node_services import NodeServices
from k3sfw_engine.model.overlay import OverlayFacts
from k3sfw_engine.model.rows import Row


def read_node_services(
    addresses: Iterable[netaddr.IPAddress],
    rows: Iterable[Row],
    overlay: OverlayFacts,
    root: Path = Path("/"),
) -> NodeServices:
    """Read what serves these rows; no process is started unless a row has no listener.

    addresses
        Those of this node.
    """
    listeners = read_listeners()
    unserved = any(
        has_listeners(row) and not listening_on(listeners, row.protocol, row.ports) for row in rows
    )
    here = LocalAddresses(frozenset(addresses))
    redirected = read_redirections(here).found if unserved else ()
    datastore = read_datastore(data_folder(root))
    return NodeServices(listeners, tuple(sorted(redirected)), overlay, datastore)
